//! Reads JSON files of other programs. Every error names the file, the key and the expected value.

use serde_json::{Map, Value};

use crate::{ImageError, ImageErrorKind};

/// The largest side in pixels that a configuration may request.
pub(super) const MAX_SIDE: u32 = 1 << 14;

/// The JSON object in `text`.
pub(super) fn object(place: &str, text: &[u8]) -> Result<Map<String, Value>, ImageError> {
    match value(place, text)? {
        Value::Object(map) => Ok(map),
        other => Err(metadata(format!("{place}: {}; expected a JSON object", brief(&other)))),
    }
}

/// The JSON value in `text`.
pub(super) fn value(place: &str, text: &[u8]) -> Result<Value, ImageError> {
    serde_json::from_slice(text)
        .map_err(|error| metadata(format!("{place}: not JSON: {error}")).caused_by(error))
}

pub(super) fn metadata(message: String) -> ImageError {
    ImageError::new(ImageErrorKind::Metadata, message)
}

/// A JSON value as text, shortened for messages.
pub(super) fn brief(value: &Value) -> String {
    let text = value.to_string();
    if text.chars().count() <= 60 {
        return text;
    }
    text.chars().take(57).chain("...".chars()).collect()
}

/// A JSON object and its location. A `null` counts as missing.
#[derive(Clone, Copy)]
pub(super) struct JsonFields<'a> {
    pub(super) place: &'a str,
    pub(super) map: &'a Map<String, Value>,
}

impl<'a> JsonFields<'a> {
    pub(super) fn get(self, key: &str) -> Option<&'a Value> {
        self.map.get(key).filter(|value| !value.is_null())
    }

    /// The error for a wrong value of a key.
    pub(super) fn wrong(self, key: &str, expected: &str) -> ImageError {
        let got = self.get(key).map_or_else(|| "missing".to_owned(), brief);
        metadata(format!("{}: {key} is {got}; expected {expected}", self.place))
    }

    fn read<T>(
        self,
        key: &str,
        expected: &str,
        read: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, ImageError> {
        self.get(key).map(|value| read(value).ok_or_else(|| self.wrong(key, expected))).transpose()
    }

    pub(super) fn bool(self, key: &str) -> Result<Option<bool>, ImageError> {
        self.read(key, "true or false", Value::as_bool)
    }

    pub(super) fn text(self, key: &str) -> Result<Option<&'a str>, ImageError> {
        self.read(key, "a string", Value::as_str)
    }

    pub(super) fn object(self, key: &str) -> Result<Option<JsonFields<'a>>, ImageError> {
        let map = self.read(key, "an object", Value::as_object)?;
        Ok(map.map(|map| JsonFields { place: self.place, map }))
    }

    /// A number above 0 and at most `max`.
    pub(super) fn positive(self, key: &str, max: f64) -> Result<Option<f64>, ImageError> {
        let expected = format!("a number above 0 and at most {max}");
        self.read(key, &expected, |value| value.as_f64().filter(|n| *n > 0.0 && *n <= max))
    }

    /// A length in pixels.
    pub(super) fn side(self, key: &str) -> Result<Option<u32>, ImageError> {
        let expected = format!("pixels between 1 and {MAX_SIDE}");
        self.read(key, &expected, side)
    }

    /// A list of lengths in pixels, `count` of them.
    pub(super) fn sides(self, key: &str, count: usize) -> Result<Option<Vec<u32>>, ImageError> {
        let expected = format!("a list of {count} numbers of pixels between 1 and {MAX_SIDE}");
        self.read(key, &expected, |value| {
            let sides: Option<Vec<u32>> = value.as_array()?.iter().map(side).collect();
            sides.filter(|sides| sides.len() == count)
        })
    }

    /// One finite number per channel, or one for all channels.
    pub(super) fn per_channel(
        self,
        key: &str,
        nonzero: bool,
    ) -> Result<Option<Vec<f32>>, ImageError> {
        let expected = if nonzero { "1 to 4 numbers that are not 0" } else { "1 to 4 numbers" };
        let number = |value: &Value| {
            let number = value.as_f64()? as f32;
            (number.is_finite() && !(nonzero && number == 0.0)).then_some(number)
        };
        self.read(key, expected, |value| match value {
            Value::Array(values) if (1..=4).contains(&values.len()) => {
                values.iter().map(number).collect()
            }
            value => Some(vec![number(value)?]),
        })
    }
}

/// A length in pixels within the limits. It must be a whole number, but may be written as `224.0`.
pub(super) fn side(value: &Value) -> Option<u32> {
    let number = value.as_f64().filter(|number| number.fract() == 0.0)?;
    (1.0..=f64::from(MAX_SIDE)).contains(&number).then_some(number as u32)
}
