//! The command line, for a process of its own.

use std::{ffi::OsString, panic, process};

use gradcam_cli::Host;
use pyo3::prelude::*;

use crate::engine;

/// Runs the command line and gives the exit code. The process is taken to be its own: an interrupt removes unfinished files and
/// ends it. `command` starts it again in another process.
#[pyfunction]
pub(crate) fn command_line(
    py: Python<'_>,
    args: Vec<OsString>,
    command: Vec<OsString>,
) -> PyResult<u8> {
    // A panic inside an engine or a decoder is caught and reported as an error, so its own text is not printed.
    panic::set_hook(Box::new(|_| {}));
    let host = Host {
        command,
        environment: engine::environment(py)?,
        before_files: Some(clean_up_on_interrupt),
    };
    Ok(py.detach(|| gradcam_cli::run(args, &host)))
}

fn clean_up_on_interrupt() {
    // Without the handler, an interrupt ends the process as usual.
    let _ = ctrlc::set_handler(|| {
        let _held = gradcam_cli::interrupt();
        process::exit(1);
    });
}
