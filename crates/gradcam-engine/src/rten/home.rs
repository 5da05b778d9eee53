//! The process that started the threads of an engine. A process that is forked from it has the memory, and none of the threads:
//! a run there would wait for them forever.

use std::process;

use crate::error::{Result, bail};

/// The process that threads live in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Home(u32);

impl Home {
    /// This process.
    pub(super) fn here() -> Self {
        Self(process_id())
    }

    /// # Errors
    /// `Unavailable` in another process.
    pub(super) fn check(self) -> Result<()> {
        self.check_in(process_id())
    }

    fn check_in(self, process: u32) -> Result<()> {
        let Self(home) = self;
        if process != home {
            bail!(
                Unavailable,
                "rten's threads are in process {home}, from which this process, {process}, was forked without them; start \
                 processes with spawn instead of fork, as Python's multiprocessing.get_context(\"spawn\") does, or use the \
                 engine onnxruntime and load the model after the fork"
            );
        }
        Ok(())
    }
}

/// WebAssembly has no processes to fork.
fn process_id() -> u32 {
    if cfg!(target_family = "wasm") { 0 } else { process::id() }
}

#[cfg(test)]
impl Home {
    /// Another process than this one.
    pub(super) fn elsewhere() -> Self {
        Self(process_id() ^ 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::EngineErrorKind;

    #[test]
    fn only_the_process_with_the_threads_runs() {
        assert!(Home::here().check().is_ok());
        assert!(Home(7).check_in(7).is_ok());
        let error = Home(7).check_in(8).unwrap_err();
        assert_eq!(error.kind(), EngineErrorKind::Unavailable);
        let message = error.to_string();
        for part in ["process 7,", "this process, 8,", "spawn", "onnxruntime"] {
            assert!(message.contains(part), "{message}");
        }
    }
}
