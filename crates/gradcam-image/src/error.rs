//! Errors of the image half.

use std::error::Error;
use std::fmt;

/// What kind of thing went wrong with a picture or with the rules that prepare it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ImageErrorKind {
    /// A file could not be read.
    Read,
    /// The bytes are no JPEG, PNG or WebP picture.
    Format,
    /// The picture is cut off or damaged.
    Damaged,
    /// The picture, or what it would be resized to, exceeds a limit.
    TooLarge,
    /// A metadata entry or a file beside the model is malformed; the message names it and its key.
    Metadata,
    /// A value given by the caller is impossible, or contradicts the model's input shape.
    Invalid,
}

/// What the caller can set where an error or a warning says that something is missing. How that is done is the caller's to
/// say: the message names no flag and no function.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ImageHint {
    /// How photos fit the network's input, [`Overrides::fit`](crate::Overrides::fit).
    Fit,
    /// Fit, short side, filter, rescale, mean and std of [`Overrides`](crate::Overrides), or a file beside the model.
    Preprocessing,
}

/// An error of the image half: a kind, one line for a person, and the cause where there is one.
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

    /// Puts the name of the file in front of the message.
    pub(crate) fn in_file(mut self, file: impl fmt::Display) -> Self {
        self.message = format!("{file}: {}", self.message);
        self
    }

    pub(crate) fn with_hint(mut self, hint: ImageHint) -> Self {
        self.hint = Some(hint);
        self
    }

    /// What to set, where that helps.
    pub fn hint(&self) -> Option<ImageHint> {
        self.hint
    }

    /// The kind of the error.
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
