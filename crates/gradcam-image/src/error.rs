//! The error of this crate.

use std::error::Error;
use std::fmt;

/// What went wrong with a picture or its preprocessing, for callers that react to it. The message has the details.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ImageErrorKind {
    /// A file could not be read.
    Read,
    /// The bytes are not a picture of a format that is decoded.
    Format,
    /// The picture is truncated or damaged.
    Damaged,
    /// The picture, or its size after a resize, exceeds a limit.
    TooLarge,
    /// A metadata entry or a file beside the model is malformed. The message names it and the key.
    Metadata,
    /// A value from the caller is invalid, or contradicts the model's input shape.
    Invalid,
}

/// What to set after an error or a warning. Messages do not name flags or functions; callers know how their users set a
/// value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ImageHint {
    /// [`Overrides::fit`](crate::Overrides::fit): how photos fit the network's input.
    Fit,
}

/// An error with its kind, a message, and its source if there is one.
#[derive(Debug)]
pub struct ImageError {
    kind: ImageErrorKind,
    message: String,
    hint: Option<ImageHint>,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl ImageError {
    pub(crate) fn new(kind: ImageErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), hint: None, source: None }
    }

    pub(crate) fn caused_by(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Adds the name of the file before the message.
    pub(crate) fn in_file(mut self, file: impl fmt::Display) -> Self {
        self.message = format!("{file}: {}", self.message);
        self
    }

    pub(crate) fn with_hint(mut self, hint: ImageHint) -> Self {
        self.hint = Some(hint);
        self
    }

    /// What to set, if that helps.
    pub fn hint(&self) -> Option<ImageHint> {
        self.hint
    }

    /// What went wrong.
    pub fn kind(&self) -> ImageErrorKind {
        self.kind
    }
}

impl fmt::Display for ImageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for ImageError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn Error + 'static))
    }
}
