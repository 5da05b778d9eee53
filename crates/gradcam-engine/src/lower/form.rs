//! The texts of refusals, each written once: messages fill them in, docs/operators.md lists them.

use std::fmt::Display;

/// The text of a refusal, with … where nodes differ.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Form(&'static str);

impl Form {
    /// What stands for a value that differs.
    pub(super) const GAP: char = '…';

    pub(crate) const fn new(text: &'static str) -> Self {
        Self(text)
    }

    pub(crate) const fn text(self) -> &'static str {
        self.0
    }

    /// The text with a value in each gap; gaps without a value stay.
    pub(crate) fn with(self, values: &[&dyn Display]) -> String {
        let mut values = values.iter();
        let mut parts = self.0.split(Self::GAP);
        let mut text = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            match values.next() {
                Some(value) => text += &value.to_string(),
                None => text.push(Self::GAP),
            }
            text += part;
        }
        text
    }
}

pub(super) const NO_OPERATOR: Form = Form::new("… has no …");
pub(super) const NO_ATTRIBUTE: Form = Form::new("… has no attribute …");
pub(super) const ATTRIBUTE_VALUE: Form = Form::new("attribute … is …; … takes …");
pub(super) const NEWEST_OPSET: Form = Form::new("… takes it up to opset …");
pub(super) const UNKNOWN_DOMAIN: Form = Form::new("operators of the domain … are unknown to it; …");
pub(super) const NO_TYPE: Form = Form::new("… has no tensors of type …");

/// What to do about nodes of a domain that an engine lacks.
pub(super) const UNKNOWN_DOMAIN_ADVICE: &[(&str, &str)] = &[
    ("ai.onnx.contrib", "onnxruntime-extensions is not supported; cut these nodes off"),
    ("com.microsoft", "the file was optimised for ONNX Runtime; use that engine"),
    ("com.microsoft.nchwc", "the file was optimised for one machine; use the file from before"),
    ("com.ms.internal.nhwc", "the file was optimised for one machine; use the file from before"),
];

/// What engines say of any operator that they refuse, with … for what differs.
pub const REFUSED_FORMS: &[&str] = &[UNKNOWN_DOMAIN.text(), NO_TYPE.text()];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_fill_the_gaps() {
        let form = Form::new("attribute … is …");
        assert_eq!(form.with(&[&"pads", &-1]), "attribute pads is -1");
        assert_eq!(form.with(&[&"pads"]), "attribute pads is …");
        assert_eq!(form.with(&[&Form::GAP, &'…']), form.text());
    }
}
