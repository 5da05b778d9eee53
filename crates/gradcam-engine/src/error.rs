//! The error of the engines.

use std::fmt;

/// What went wrong in an engine, for callers that react to it. The message has the details.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EngineErrorKind {
    /// The engine does not exist or is not in this build, or its library is missing or too old.
    Unavailable,
    /// The graph has nodes that this engine cannot run. The message lists all of them.
    Unsupported,
    /// The engine refuses the model, or its weights cannot be read.
    Model,
    /// An input is missing, unknown, or has the wrong type or shape.
    InvalidInput,
    /// The model has no output of that name.
    UnknownOutput,
    /// The engine failed during a run.
    Run,
}

/// An error with its kind, its source, and the node where it occurred if there is one.
#[derive(Debug)]
pub struct EngineError {
    kind: EngineErrorKind,
    message: String,
    node: Option<String>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// The result of operations of engines.
pub type Result<T, E = EngineError> = std::result::Result<T, E>;

impl EngineError {
    pub(super) fn new(kind: EngineErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), node: None, source: None }
    }

    pub(super) fn at_node(mut self, node: Option<String>) -> Self {
        self.node = node;
        self
    }

    pub(super) fn because(
        mut self,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        self.source = Some(source.into());
        self
    }

    /// What went wrong.
    pub fn kind(&self) -> EngineErrorKind {
        self.kind
    }

    /// The name of the first node where the error occurred, if it occurred at nodes.
    pub fn node(&self) -> Option<&str> {
        self.node.as_deref()
    }
}

impl fmt::Display for EngineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for EngineError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

impl From<onnx_grad::Error> for EngineError {
    fn from(error: onnx_grad::Error) -> Self {
        let node = error.node().map(str::to_owned);
        Self::new(EngineErrorKind::Model, error.to_string()).at_node(node).because(error)
    }
}

/// Shorthand for `Err(EngineError::new(kind, format!(…)))`.
macro_rules! bail {
    ($kind:ident, $($message:tt)+) => {
        return Err($crate::EngineError::new(
            $crate::EngineErrorKind::$kind,
            format!($($message)+),
        ))
    };
}
pub(super) use bail;
