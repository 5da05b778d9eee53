//! The error type of the crate.

use std::fmt;

/// The category of an error, for callers that handle it; the message has the details.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A file could not be read or written.
    Io,
    /// The bytes are not an ONNX model.
    NotAModel,
    /// The model is readable but breaks the ONNX standard: a value without a producer, a tensor
    /// with too few bytes, an external path outside the model's folder.
    InvalidModel,
    /// No value or node has the name.
    UnknownValue,
    /// An operator, an opset or an attribute on the path has no gradient rule.
    Unsupported,
    /// The target does not depend on the value with respect to which it is differentiated.
    NotConnected,
    /// A shape is unknown or does not match.
    Shape,
    /// A size that the model requires exceeds the limits of this crate.
    TooLarge,
}

/// An error with its kind, its source and, if it concerns a node, the node's name.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    message: String,
    node: Option<String>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// The result of fallible functions in this crate.
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

    /// The category of the error.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The name of the node that the error concerns, if any.
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
