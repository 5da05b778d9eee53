//! Runs other programs and lists the workspace's crates.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};

/// The workspace folder. All paths in this program are relative to it.
pub(crate) fn root() -> Result<&'static Path> {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask has no parent folder")
}

/// The cargo that runs this program.
pub(crate) fn cargo<'a>(args: impl IntoIterator<Item = &'a str>) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(args);
    command
}

/// A cargo command with the profile of all checks: release dependencies, and workspace crates with fast compilation
/// and assertions. Another profile would recompile everything.
pub(crate) fn compile<'a>(args: impl IntoIterator<Item = &'a str>) -> Command {
    let mut args = args.into_iter();
    let mut command = cargo(args.next());
    command.args(["--release", "--config", ".cargo/checks.toml"]).args(args);
    command
}

/// Restarts this program with one of its features.
pub(crate) fn again(feature: &str, args: &[&str]) -> Result<()> {
    let start = ["run", "--quiet", "--package", "xtask", "--features", feature, "--"];
    run(compile(start).args(args))
}

/// Prints a command and runs it; fails if the command fails.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let shown = show(command);
    println!("$ {shown}");
    let status = command.status().with_context(|| format!("cannot start `{shown}`"))?;
    ensure!(status.success(), "`{shown}` failed ({status})");
    Ok(())
}

/// The command line, including environment variables.
pub(crate) fn show(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let mut words: Vec<String> = command
        .get_envs()
        .filter_map(|(name, value)| Some((name.display(), value?.display())))
        .map(|(name, value)| format!("{name}={}", quote(value.to_string())))
        .collect();
    words.push(program.file_name().unwrap_or_default().display().to_string());
    words.extend(command.get_args().map(|arg| quote(arg.display().to_string())));
    words.join(" ")
}

fn quote(word: String) -> String {
    if word.contains(' ') { format!("'{word}'") } else { word }
}

/// A crate below `crates/`.
pub(crate) struct Member {
    pub(crate) name: String,
    pub(crate) published: bool,
    /// The features except `default`.
    pub(crate) features: Vec<String>,
}

/// The crates below `crates/`, sorted by name.
pub(crate) fn members() -> Result<Vec<Member>> {
    let mut folders: Vec<PathBuf> =
        fs::read_dir("crates")?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    folders.retain(|folder| folder.join("Cargo.toml").is_file());
    folders.sort();
    folders.iter().map(|folder| member(&fs::read_to_string(folder.join("Cargo.toml"))?)).collect()
}

/// Reads the three required fields of a manifest. Cargo has validated the manifest, so a line-based parser is
/// sufficient.
fn member(manifest: &str) -> Result<Member> {
    let section = |wanted: &str| -> Vec<(&str, &str)> {
        let lines = manifest.lines().skip_while(|line| line.trim() != wanted).skip(1);
        lines
            .take_while(|line| !line.starts_with('['))
            .filter(|line| !line.starts_with([' ', '#', ']']))
            .filter_map(|line| line.split_once('='))
            .map(|(key, value)| (key.trim(), value.trim()))
            .collect()
    };
    let package = section("[package]");
    let (_, name) = package.iter().find(|(key, _)| *key == "name").context("no name")?;
    let features = section("[features]").into_iter().map(|(key, _)| key);
    Ok(Member {
        name: name.trim_matches('"').to_owned(),
        published: !package.contains(&("publish", "false")),
        features: features.filter(|key| *key != "default").map(str::to_owned).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_gives_name_features_and_whether_it_is_published() {
        let read = member(
            "[package]\nname = \"a\"\n\n[features]\ndefault = [\"x\"]\n# why\nx = [\n    \"dep:b\",\n]\n\
             y = []\n\n[dependencies]\nb = \"1\"\n",
        )
        .unwrap();
        assert_eq!(read.name, "a");
        assert!(read.published);
        assert_eq!(read.features, ["x", "y"]);
        assert!(!member("[package]\nname = \"a\"\npublish = false\n").unwrap().published);
    }

    #[test]
    fn a_command_is_shown_as_it_would_be_typed() {
        let mut command = Command::new("/bin/cargo");
        command.args(["doc", "two words"]).env("FLAGS", "-D warnings");
        assert_eq!(show(&command), "FLAGS='-D warnings' cargo doc 'two words'");
    }
}
