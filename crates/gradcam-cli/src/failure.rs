//! The failure of a command: its kind and message.

use std::{any::Any, fmt, io};

use crate::hints;

/// The failure of a command.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The command line asks for something impossible: exit code 2.
    Usage(String),
    /// The work failed: exit code 1.
    Failed(String),
    /// The work failed, and would fail for every other image: exit code 1.
    Stop(String),
    /// The work failed, and the messages are printed already: exit code 1.
    Said,
    /// The reader of standard output is gone, which is not a failure.
    Closed,
    /// Output of clap: help and version with exit code 0, mistakes with 2.
    Clap(clap::Error),
}

/// The result of a command's functions.
pub(crate) type Result<T, E = Failure> = std::result::Result<T, E>;

impl Failure {
    /// Names the image that the work failed for.
    pub(crate) fn about(self, image: &str) -> Self {
        match self {
            Self::Failed(message) => Self::Failed(format!("{image}: {message}")),
            other => other,
        }
    }
}

/// The failure for a panic that no other code caught.
pub(crate) fn internal(payload: Box<dyn Any + Send>) -> Result<()> {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| payload.downcast_ref::<String>().cloned());
    let text = text.as_deref().unwrap_or("no message").lines().next().unwrap_or_default();
    Err(Failure::Failed(format!(
        "internal error: {text}; please report it at {}/issues",
        env!("CARGO_PKG_REPOSITORY")
    )))
}

impl From<gradcam::Error> for Failure {
    fn from(error: gradcam::Error) -> Self {
        match error.kind() {
            // The parser knows the names of the methods, so flags were combined that do not go together.
            gradcam::ErrorKind::Method => Self::Usage(error.worded(hints::words)),
            _ => Self::Failed(error.worded(hints::words)),
        }
    }
}

impl From<gradcam::image::ImageError> for Failure {
    fn from(error: gradcam::image::ImageError) -> Self {
        Self::Failed(error.to_string())
    }
}

impl From<gradcam::onnx_grad::Error> for Failure {
    fn from(error: gradcam::onnx_grad::Error) -> Self {
        Self::Failed(error.to_string())
    }
}

/// An error of writing to standard output.
pub(crate) fn stdout(error: io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::Closed,
        _ => Failure::Failed(format!("cannot write to standard output: {error}")),
    }
}

/// A failure of the work, from what went wrong.
pub(crate) fn failed(message: impl fmt::Display) -> Failure {
    Failure::Failed(message.to_string())
}

#[cfg(test)]
mod tests {
    use std::panic;

    use super::*;

    #[test]
    fn a_panic_becomes_one_line() {
        let rows: [(fn(), &str); 3] = [
            (|| panic!("first line\nsecond"), "internal error: first line; please report"),
            (|| panic!("{}", 7), "internal error: 7; please report"),
            (|| panic::panic_any(7), "internal error: no message; please report"),
        ];
        for (run, wanted) in rows {
            let done = panic::catch_unwind(|| {
                run();
                Ok(())
            });
            match done.unwrap_or_else(internal) {
                Err(Failure::Failed(message)) => {
                    assert!(message.starts_with(wanted) && !message.contains('\n'), "{message}");
                }
                other => panic!("{other:?}"),
            }
        }
    }
}
