//! The one error type of this crate.

use std::fmt;

/// What went wrong, for callers that react to it; the message says the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A file could not be read or written.
    Io,
    /// The bytes are no ONNX model.
    NotAModel,
    /// The model is read, but breaks the ONNX standard: a value without a producer, a tensor with
    /// too few bytes, an external path that leaves the model's folder.
    InvalidModel,
    /// No value or node has that name.
    UnknownValue,
    /// An operator, an opset or an attribute on the path has no gradient rule.
    Unsupported,
    /// The value that is differentiated with respect to does not reach the target.
    NotConnected,
    /// A shape is unknown or does not fit.
    Shape,
    /// A size that the model asks for is beyond what can be computed.
    TooLarge,
}

/// An error with its kind, the node it is about where there is one, and its source.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    message: String,
    node: Option<String>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// The result of everything in this crate that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), node: None, source: None }
    }

    pub(crate) fn at_node(mut self, node: impl Into<String>) -> Self {
        self.node = Some(node.into());
        self
    }

    pub(crate) fn because(
        mut self,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        self.source = Some(source.into());
        self
    }

    /// What went wrong.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The name of the node that the error is about, if it is about one.
    pub fn node(&self) -> Option<&str> {
        self.node.as_deref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

/// Shorthand for `Err(Error::new(kind, format!(…)))`.
macro_rules! bail {
    ($kind:ident, $($message:tt)+) => {
        return Err($crate::Error::new($crate::ErrorKind::$kind, format!($($message)+)))
    };
}
pub(crate) use bail;
