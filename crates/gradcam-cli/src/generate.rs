//! `gradcam completions` and `gradcam man`: what is generated from the definitions of the flags.

use crate::{
    args,
    failure::{Failure, Result, failed},
    terminal,
};

/// Prints the completion script for a shell.
pub(crate) fn completions(shell: clap_complete::Shell) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut args::definitions(), "gradcam", &mut script);
    terminal::print(script)
}

/// Prints the manual page of the program, or of one of its commands.
pub(crate) fn man(command: Option<&str>) -> Result<()> {
    let mut all = args::definitions();
    all.build();
    let page = match command {
        None => all,
        Some(name) => match all.find_subcommand(name) {
            Some(found) => found.clone(),
            None => {
                let names: Vec<_> = all.get_subcommands().map(clap::Command::get_name).collect();
                let message =
                    format!("no command named \"{name}\"; there are: {}", names.join(", "));
                return Err(Failure::Usage(message));
            }
        },
    };
    let mut roff = Vec::new();
    clap_mangen::Man::new(page).render(&mut roff).map_err(failed)?;
    terminal::print(roff)
}
