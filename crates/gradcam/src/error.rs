//! The error of this crate.

use std::fmt;

use crate::{
    engine::{EngineError, EngineErrorKind},
    hint::{Hint, worded},
    image::{ImageError, ImageErrorKind, ImageHint},
};

/// The kind of an error, for callers that react to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A file could not be read or written.
    Io,
    /// The model is no ONNX model, or a broken one.
    Model,
    /// An operator on the path has no gradient rule, or the engine lacks it.
    Unsupported,
    /// No layer has that name, or it cannot be explained.
    Layer,
    /// The target names no class, or several.
    Target,
    /// No method has that name, or it takes no layer.
    Method,
    /// A picture or its preprocessing is not usable.
    Image,
    /// A tensor has the wrong shape or type.
    Input,
    /// The run would need more memory than it may use.
    Memory,
    /// The engine is missing, or failed while it ran.
    Engine,
    /// A hook returned an error, which is the source of this one, or called the network that was calling it.
    Hook,
    /// The progress callback or a token ended the work.
    Canceled,
}

/// An error with its kind, what can be done about it, the node it is about where there is one, and its source.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    message: String,
    hint: Option<Hint>,
    node: Option<String>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// The result of everything in this crate that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), hint: None, node: None, source: None }
    }

    /// Adds a hint.
    pub(crate) fn hinting(self, hint: Hint) -> Self {
        Self { hint: Some(hint), ..self }
    }

    /// Adds a clause to the message.
    pub(crate) fn adding(self, clause: &str) -> Self {
        Self { message: format!("{}; {clause}", self.message), ..self }
    }

    /// The kind of the error.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The message, without the hint.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What a caller can do about it, where that depends on the interface.
    pub fn hint(&self) -> Option<Hint> {
        self.hint
    }

    /// The message, and the hint as `words` writes it, such as with the name of a flag.
    pub fn worded(&self, words: impl Fn(&Hint) -> String) -> String {
        worded(self.message(), self.hint(), words)
    }

    /// The name of the node that the error is about, if it is about one.
    pub fn node(&self) -> Option<&str> {
        self.node.as_deref()
    }
}

/// The message, and the hint in the words of this crate.
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.worded(Hint::to_string))
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        // The message is the source's own, so what follows is the source's source.
        self.source.as_deref().and_then(std::error::Error::source)
    }
}

/// The failure of a hook, and where it was called.
#[derive(Debug)]
pub(crate) struct HookFailure {
    pub(crate) hook: &'static str,
    pub(crate) layer: String,
    pub(crate) source: Box<dyn std::error::Error + Send + Sync>,
}

impl fmt::Display for HookFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the {} of {} failed: {}", self.hook, self.layer, self.source)
    }
}

impl std::error::Error for HookFailure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(self.source.as_ref())
    }
}

/// Wraps an error of a layer below; its message stays.
macro_rules! wrap {
    ($from:ty, $kind:expr, $node:expr) => {
        impl From<$from> for Error {
            fn from(error: $from) -> Self {
                let node: fn(&$from) -> Option<String> = $node;
                let kind: fn(&$from) -> ErrorKind = $kind;
                Self {
                    kind: kind(&error),
                    message: error.to_string(),
                    hint: None,
                    node: node(&error),
                    source: Some(Box::new(error)),
                }
            }
        }
    };
}

wrap!(
    onnx_grad::Error,
    |error| match error.kind() {
        onnx_grad::ErrorKind::Io => ErrorKind::Io,
        onnx_grad::ErrorKind::Unsupported => ErrorKind::Unsupported,
        onnx_grad::ErrorKind::NotConnected => ErrorKind::Layer,
        onnx_grad::ErrorKind::TooLarge => ErrorKind::Memory,
        _ => ErrorKind::Model,
    },
    |error| error.node().map(str::to_owned)
);
wrap!(
    EngineError,
    |error| match error.kind() {
        EngineErrorKind::Unsupported => ErrorKind::Unsupported,
        EngineErrorKind::Model => ErrorKind::Model,
        EngineErrorKind::InvalidInput => ErrorKind::Input,
        _ => ErrorKind::Engine,
    },
    |error| error.node().map(str::to_owned)
);
wrap!(HookFailure, |_| ErrorKind::Hook, |_| None);

impl From<ImageError> for Error {
    fn from(error: ImageError) -> Self {
        let kind = match error.kind() {
            ImageErrorKind::Read => ErrorKind::Io,
            _ => ErrorKind::Image,
        };
        let hint = error.hint().and_then(|hint| match hint {
            ImageHint::Fit => Some(Hint::GiveFit),
            _ => None,
        });
        let message = error.to_string();
        Self { hint, source: Some(Box::new(error)), ..Self::new(kind, message) }
    }
}

/// Shorthand for `return Err(Error::new(kind, format!(…)))`, with a hint where one stands before a semicolon.
macro_rules! bail {
    ($kind:ident, $hint:ident; $($message:tt)+) => {
        return Err($crate::Error::new($crate::ErrorKind::$kind, format!($($message)+))
            .hinting($crate::Hint::$hint))
    };
    ($kind:ident, $($message:tt)+) => {
        return Err($crate::Error::new($crate::ErrorKind::$kind, format!($($message)+)))
    };
}
pub(crate) use bail;
