//! The terminal: colors where they are wanted, standard output that may close, and error messages.

use std::{
    env, fmt,
    io::{self, IsTerminal, Write},
};

use crate::failure::{self, Failure, Result};

/// The colors of this program, or none.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Style {
    colored: bool,
}

impl Style {
    /// Colors for a stream that is a terminal, unless `NO_COLOR` or `TERM=dumb` is set.
    pub(crate) fn of(stream: &impl IsTerminal) -> Self {
        let refused = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
            || env::var_os("TERM").is_some_and(|value| value == "dumb");
        Self { colored: stream.is_terminal() && !refused }
    }

    fn paint(self, code: &str, text: impl fmt::Display) -> String {
        if self.colored { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_string() }
    }

    pub(crate) fn bold(self, text: impl fmt::Display) -> String {
        self.paint("1", text)
    }

    pub(crate) fn dim(self, text: impl fmt::Display) -> String {
        self.paint("2", text)
    }

    pub(crate) fn red(self, text: impl fmt::Display) -> String {
        self.paint("1;31", text)
    }

    pub(crate) fn green(self, text: impl fmt::Display) -> String {
        self.paint("32", text)
    }

    pub(crate) fn yellow(self, text: impl fmt::Display) -> String {
        self.paint("33", text)
    }
}

/// Writes to standard output; a reader that went away ends the command quietly.
pub(crate) fn print(bytes: impl AsRef<[u8]>) -> Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(bytes.as_ref()).and_then(|()| stdout.flush()).map_err(failure::stdout)
}

/// Writes to standard error, where nothing can be done if that fails.
pub(crate) fn note(text: impl AsRef<str>) {
    let _ = io::stderr().lock().write_all(text.as_ref().as_bytes());
}

/// Says on standard error why a command failed, and gives the exit code.
pub(crate) fn report(failure: Failure) -> u8 {
    match failure {
        Failure::Usage(message) => {
            complain(&message);
            2
        }
        Failure::Failed(message) | Failure::Stop(message) => {
            complain(&message);
            1
        }
        Failure::Said => 1,
        Failure::Closed => 0,
        Failure::Clap(error) => clap(&error),
    }
}

/// Says on standard error what went wrong.
pub(crate) fn complain(message: &str) {
    let name = Style::of(&io::stderr()).red("gradcam:");
    let lines: Vec<String> = message.split('\n').map(printable).collect();
    note(format!("{name} {}\n", lines.join("\n")));
}

/// Text without control characters: names come from files, and must not control the terminal or start new lines.
pub(crate) fn printable(text: &str) -> String {
    let safe = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    text.chars().map(safe).collect()
}

/// Prints clap's output: help on standard output, mistakes like any other error.
fn clap(error: &clap::Error) -> u8 {
    if !error.use_stderr() {
        return match error.print() {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => 1,
            _ => 0,
        };
    }
    let rendered = error.render();
    if error.kind() == clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        note(rendered.to_string());
        return 2;
    }
    let style = Style::of(&io::stderr());
    let text = if style.colored { rendered.ansi().to_string() } else { rendered.to_string() };
    let rest = text.split_once("error:").map_or(text.as_str(), |(_, rest)| rest);
    let rest = rest.strip_prefix("\u{1b}[0m").unwrap_or(rest);
    note(format!("{}{rest}", style.red("gradcam:")));
    2
}
