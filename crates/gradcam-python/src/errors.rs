//! Errors of Rust as exceptions of Python.

use std::{error::Error as _, io};

use gradcam::{Error, ErrorKind};
use pyo3::{prelude::*, sync::PyOnceLock, types::PyType};

use crate::hints::words;

/// The class in `onnx_gradcam.errors` of an error. Each derives from `GradcamError` and from a builtin exception.
fn class(error: &Error) -> &'static str {
    match error.kind() {
        ErrorKind::Io if is_missing(error) => "MissingFileError",
        ErrorKind::Io => "FileError",
        ErrorKind::Model => "ModelError",
        ErrorKind::Unsupported => "UnsupportedError",
        ErrorKind::Layer => "LayerError",
        ErrorKind::Target => "TargetError",
        ErrorKind::Method => "MethodError",
        ErrorKind::Image => "ImageError",
        ErrorKind::Input => "InputError",
        ErrorKind::Memory => "MemoryLimitError",
        ErrorKind::Engine => "EngineError",
        // A hook that failed has raised an exception of its own.
        ErrorKind::Hook => "ReentryError",
        ErrorKind::Canceled => "CanceledError",
        _ => "GradcamError",
    }
}

/// Whether a file does not exist.
fn is_missing(error: &Error) -> bool {
    let mut source = error.source();
    while let Some(error) = source {
        let io = error.downcast_ref::<io::Error>();
        if io.is_some_and(|error| error.kind() == io::ErrorKind::NotFound) {
            return true;
        }
        source = error.source();
    }
    false
}

/// An error as an exception: of a hook the exception that the hook raised, else one of this package.
pub(crate) fn exception(py: Python<'_>, error: &Error) -> PyErr {
    let raised = error.source().and_then(|source| source.downcast_ref::<PyErr>());
    if let (ErrorKind::Hook, Some(raised)) = (error.kind(), raised) {
        return raised.clone_ref(py);
    }
    new(py, class(error), &error.worded(words), error.node())
}

/// An exception of a class of `onnx_gradcam.errors`.
pub(crate) fn new(py: Python<'_>, class: &str, message: &str, node: Option<&str>) -> PyErr {
    static MODULE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let module = MODULE.get_or_try_init(py, || {
        py.import("onnx_gradcam.errors").map(|module| module.into_any().unbind())
    });
    let made = module.and_then(|module| {
        let class = module.bind(py).getattr(class)?.cast_into::<PyType>()?;
        let exception = class.call1((message,))?;
        exception.setattr("node", node)?;
        Ok(PyErr::from_value(exception))
    });
    made.unwrap_or_else(|failure| failure)
}

/// Results of Rust as those of Python.
pub(crate) trait OrRaise<T> {
    /// The value, or the exception.
    fn or_raise(self, py: Python<'_>) -> PyResult<T>;
}

impl<T, E: Into<Error>> OrRaise<T> for Result<T, E> {
    fn or_raise(self, py: Python<'_>) -> PyResult<T> {
        self.map_err(|error| exception(py, &error.into()))
    }
}
