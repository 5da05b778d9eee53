//! Cases that are transcripts, in the files of `tests/cases`: what is typed, what is said, and the exit code behind `?`
//! where it is not 0. Standard output comes before standard error.
//!
//! `[..]` stands for anything on a line, a line `...` for any lines. `SNAPSHOTS=overwrite` writes the files anew, except
//! what agrees already; read what it wrote for truth.

use std::{
    collections::BTreeMap,
    env,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use snapbox::{Assert, IntoData};
use testkit::Suite;

use crate::run::Folder;

/// What stands around the commands and what they say.
const FENCES: [&str; 2] = ["```console\n", "```\n"];

/// Adds a test for each heading of a file, each in a folder of its own.
pub(crate) fn tests(suite: &mut Suite, module: &str, file: &str, prepared: fn() -> Folder) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/cases/{file}.md"));
    if env::var_os("SNAPSHOTS").is_some_and(|action| action == "overwrite") {
        suite.test(format!("{module}::{file}::written"), move || write(&path, prepared));
        return;
    }
    let text = fs::read_to_string(&path).expect(file);
    for section in sections(&text).skip(1) {
        let title = section.lines().next().expect("a heading").trim_start_matches("## ");
        let transcript = transcript(section).expect(title).to_owned();
        suite.test(format!("{module}::{file}::{title}"), move || {
            let said = run(&transcript, &prepared());
            if let Err(error) = compared(&said, &transcript) {
                panic!("{error}");
            }
        });
    }
}

/// The text before the first heading, and from each heading to the next.
fn sections(text: &str) -> impl Iterator<Item = &str> {
    let starts = [0].into_iter().chain(text.match_indices("\n## ").map(|(place, _)| place + 1));
    let starts: Vec<usize> = starts.collect();
    let ends: Vec<usize> = starts.iter().skip(1).copied().chain([text.len()]).collect();
    starts.into_iter().zip(ends).map(|(start, end)| &text[start..end])
}

fn transcript(section: &str) -> Option<&str> {
    let (_, rest) = section.split_once(FENCES[0])?;
    rest.split_once(FENCES[1]).map(|(transcript, _)| transcript)
}

fn compared(said: &str, transcript: &str) -> snapbox::assert::Result<()> {
    // A backslash is what it is.
    Assert::new().normalize_paths(false).try_eq(None, said.into_data(), transcript.into_data())
}

fn write(path: &Path, prepared: fn() -> Folder) {
    let text = fs::read_to_string(path).expect("a file of cases");
    let written = sections(&text).map(|section| match transcript(section) {
        Some(transcript) => {
            let said = run(transcript, &prepared());
            let is_same = compared(&said, transcript).is_ok();
            if is_same { section.to_owned() } else { section.replace(transcript, &said) }
        }
        None => section.to_owned(),
    });
    fs::write(path, written.collect::<String>()).expect("a file of cases");
}

/// Runs the commands of a transcript, and writes it as it really is. A command that fails leaves all files as they are,
/// an explanation writes one.
fn run(transcript: &str, folder: &Folder) -> String {
    let mut real = String::new();
    for command in transcript.lines().filter(|line| line.starts_with("$ gradcam")) {
        let args: Vec<&str> = command.split_whitespace().skip(2).collect();
        let before = files(&folder.path(""));
        let ran = folder.gradcam(&args);
        let code = ran.code.expect("it ends by itself");
        let writes = ["explain", "export", "grad"].contains(&args[0]) || args.contains(&"--svg");
        let wrote = code == 0 && writes && !args.contains(&"--help");
        assert_eq!(files(&folder.path("")) != before, wrote, "{command}: files");
        // Writing to a string cannot fail.
        let _ = writeln!(real, "{command}");
        if code != 0 {
            let _ = writeln!(real, "? {code}");
        }
        for line in String::from_utf8_lossy(&ran.stdout).lines().chain(ran.stderr.lines()) {
            let _ = writeln!(real, "{}", line.trim_end());
        }
    }
    real
}

/// All files below a folder, with what is in them.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        match path.is_dir() {
            true => files.extend(self::files(&path)),
            false => _ = files.insert(path.clone(), fs::read(path).expect("a file")),
        }
    }
    files
}
