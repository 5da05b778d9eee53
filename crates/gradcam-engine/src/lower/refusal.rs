//! The texts of refusals, each written once. Messages fill in their values; docs/operators.md lists them.

use std::fmt::Display;

/// The text of a refusal, with … in place of each value.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RefusalText(&'static str);

impl RefusalText {
    /// The placeholder of a value.
    pub(super) const GAP: char = '…';

    pub(crate) const fn new(text: &'static str) -> Self {
        Self(text)
    }

    pub(crate) const fn text(self) -> &'static str {
        self.0
    }

    /// The text with the values in place of the first placeholders.
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

pub(super) const NO_OPERATOR: RefusalText = RefusalText::new("… has no …");
pub(super) const NO_ATTRIBUTE: RefusalText = RefusalText::new("… has no attribute …");
pub(super) const ATTRIBUTE_VALUE: RefusalText = RefusalText::new("attribute … is …; … takes …");
pub(super) const NEWEST_OPSET: RefusalText = RefusalText::new("… takes it up to opset …");
pub(super) const UNKNOWN_DOMAIN: RefusalText =
    RefusalText::new("operators of the domain … are unknown to it; …");
pub(super) const NO_TYPE: RefusalText = RefusalText::new("… has no tensors of type …");

/// What to do about nodes of a domain that an engine does not support.
pub(super) const UNKNOWN_DOMAIN_ADVICE: &[(&str, &str)] = &[
    ("ai.onnx.contrib", "onnxruntime-extensions is not supported; remove these nodes"),
    ("com.microsoft", "the file was optimized for ONNX Runtime; use that engine"),
    ("com.microsoft.nchwc", "the file was optimized for one machine; use the original file"),
    ("com.ms.internal.nhwc", "the file was optimized for one machine; use the original file"),
];

/// The messages with which engines may refuse any operator, with … in place of values.
pub const REFUSED_FORMS: &[&str] = &[UNKNOWN_DOMAIN.text(), NO_TYPE.text()];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_replace_placeholders() {
        let text = RefusalText::new("attribute … is …");
        assert_eq!(text.with(&[&"pads", &-1]), "attribute pads is -1");
        assert_eq!(text.with(&[&"pads"]), "attribute pads is …");
        assert_eq!(text.with(&[&RefusalText::GAP, &'…']), text.text());
    }
}
