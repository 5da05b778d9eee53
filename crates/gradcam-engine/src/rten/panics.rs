//! Panics of rten as errors.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
};

use crate::{EngineError, EngineErrorKind, error::Result};

/// Runs a call of rten and returns its panic as an error.
pub(super) fn guarded<T>(work: impl FnOnce() -> T) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic: Box<dyn Any + Send>| {
        let text = panic
            .downcast_ref::<&str>()
            .copied()
            .or(panic.downcast_ref::<String>().map(String::as_str));
        let text = text.unwrap_or("no message");
        EngineError::new(EngineErrorKind::Run, format!("rten panicked: {text}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_an_error() {
        let error = guarded(|| -> () { panic!("torn at {}", 7) }).unwrap_err();
        assert_eq!(error.to_string(), "rten panicked: torn at 7");
        assert_eq!(error.kind(), EngineErrorKind::Run);
    }
}
