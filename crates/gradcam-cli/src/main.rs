//! The program `gradcam`: the command line, in a process of its own.

use std::{env, panic, process, process::ExitCode};

use gradcam_cli::Host;

fn main() -> ExitCode {
    // A panic inside an engine or a decoder is caught and reported as an error, so its own text is not printed.
    panic::set_hook(Box::new(|_| {}));
    let command = env::current_exe().map(|program| vec![program.into_os_string()]);
    let host = Host {
        command: command.unwrap_or_default(),
        before_files: Some(clean_up_on_interrupt),
        ..Host::default()
    };
    ExitCode::from(gradcam_cli::run(env::args_os().skip(1), &host))
}

/// Installs a handler: an interrupt removes the temporary files and ends the process with code 1.
fn clean_up_on_interrupt() {
    // Without the handler, an interrupt ends the process as usual.
    let _ = ctrlc::set_handler(|| {
        let _held = gradcam_cli::interrupt();
        process::exit(1);
    });
}
