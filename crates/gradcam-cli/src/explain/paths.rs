//! The images of a command line: files, the pictures of folders, patterns and lists, each with its name in file names.

use std::{
    collections::{HashMap, HashSet},
    ffi::OsStr,
    fs, io,
    path::{Component, Path, PathBuf},
};

use crate::{
    failure::{Failure, Result, failed},
    names,
};

/// The extensions of the files of a folder that are explained. Those that are not decoded are refused by name.
const EXTENSIONS: [&str; 14] = [
    "avif", "bmp", "gif", "heic", "heif", "jfif", "jpeg", "jpg", "jxl", "npy", "png", "tif",
    "tiff", "webp",
];

/// An image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ImagePath {
    /// Its file; `-` for standard input.
    pub(crate) path: PathBuf,
    /// Its name in file names, with the folders that it keeps, joined by `/`.
    pub(crate) name: String,
}

/// A file, and its path below the folder or the pattern that it was found by.
#[derive(Debug)]
struct Found {
    path: PathBuf,
    below: PathBuf,
}

impl Found {
    /// A file that was named itself.
    fn named(path: PathBuf) -> Self {
        let below = path.file_name().map_or_else(|| path.clone(), PathBuf::from);
        Self { path, below }
    }

    fn within(folder: &Path, path: PathBuf) -> Self {
        let below = path.strip_prefix(folder).map_or_else(|_| path.clone(), Path::to_owned);
        Self { path, below }
    }
}

/// The images that the arguments name, in their order, each once. What does not exist is among them, so that it is reported in
/// its place and does not stop the others.
pub(crate) fn expand(images: &[PathBuf], output: Option<&Path>) -> Result<Vec<ImagePath>> {
    if images.iter().filter(|image| names::is_dash(image)).count() > 1 {
        return Err(Failure::Usage("standard input is read once; give - once".to_owned()));
    }
    // The pictures of an earlier run are not explained.
    let output = output.and_then(|output| fs::canonicalize(output).ok());
    let mut found = Vec::new();
    for image in images {
        let list = image.to_str().and_then(|text| text.strip_prefix('@'));
        match list.filter(|_| !image.exists()) {
            Some(list) => {
                for line in lines(list)? {
                    add(Path::new(&line), output.as_deref(), &mut found);
                }
            }
            None => add(image, output.as_deref(), &mut found),
        }
    }
    let mut seen = HashSet::new();
    found.retain(|one| {
        seen.insert(fs::canonicalize(&one.path).unwrap_or_else(|_| one.path.clone()))
    });
    if found.is_empty() {
        return Err(failed("the list names no image"));
    }
    let names = distinct_names(&found);
    Ok(found
        .into_iter()
        .zip(names)
        .map(|(found, name)| ImagePath { path: found.path, name })
        .collect())
}

/// The lines of a list of paths; `-` is standard input.
fn lines(list: &str) -> Result<Vec<String>> {
    let text = match list {
        "-" => io::read_to_string(io::stdin().lock()),
        file => fs::read_to_string(file),
    };
    let text = text
        .map_err(|error| failed(format!("@{list}: the list of images cannot be read: {error}")))?;
    let lines = text.trim_start_matches('\u{feff}').lines().map(str::trim);
    Ok(lines.filter(|line| !line.is_empty()).map(str::to_owned).collect())
}

/// Adds the file, the pictures of the folder, or the files of the pattern.
fn add(path: &Path, output: Option<&Path>, found: &mut Vec<Found>) {
    if names::is_dash(path) {
        found.push(Found { path: path.to_owned(), below: "stdin".into() });
        return;
    }
    if path.is_dir() {
        let mut files = Vec::new();
        walk(path, output, &mut files);
        if files.is_empty() {
            files.push(path.to_owned());
        }
        found.extend(files.into_iter().map(|file| Found::within(path, file)));
        return;
    }
    let wild = |text: &&str| text.contains(['*', '?', '[']);
    if let Some(pattern) = path.to_str().filter(wild).filter(|_| !path.exists()) {
        let options =
            glob::MatchOptions { require_literal_leading_dot: true, ..Default::default() };
        let matches = glob::glob_with(pattern, options).into_iter().flatten().flatten();
        let files: Vec<PathBuf> = matches.filter(|file| !file.is_dir()).collect();
        let base: PathBuf = path
            .components()
            .take_while(|part| part.as_os_str().to_str().is_some_and(|part| !wild(&part)))
            .collect();
        if !files.is_empty() {
            found.extend(files.into_iter().map(|file| Found::within(&base, file)));
            return;
        }
    }
    found.push(Found::named(path.to_owned()));
}

/// The pictures of a folder and of those in it, in the order of their names. What is hidden is left out, and links to folders
/// are not followed. A folder that cannot be read stands for itself.
fn walk(folder: &Path, output: Option<&Path>, files: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else {
        files.push(folder.to_owned());
        return;
    };
    let mut entries: Vec<fs::DirEntry> = entries.flatten().collect();
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let path = folder.join(entry.file_name());
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            let is_output =
                output.is_some_and(|out| fs::canonicalize(&path).is_ok_and(|path| path == out));
            if !is_output {
                walk(&path, output, files);
            }
        } else if is_picture(&path) {
            files.push(path);
        }
    }
}

fn is_picture(path: &Path) -> bool {
    let extension = path.extension().and_then(OsStr::to_str).map(str::to_ascii_lowercase);
    extension.is_some_and(|extension| EXTENSIONS.contains(&extension.as_str()))
}

/// The extensions, for messages.
pub(super) fn extensions() -> String {
    EXTENSIONS.join(", ")
}

/// A name for each file. Files of one name keep the folders below the one that they have in common; files that are then still
/// of one name keep their extensions.
fn distinct_names(found: &[Found]) -> Vec<String> {
    let mut names: Vec<String> = found.iter().map(|one| name(&one.below, false)).collect();
    for group in same(&names) {
        let folders = group.iter().filter_map(|at| found[*at].path.parent());
        let common = folders.map(Path::to_owned).reduce(|a, b| {
            let both = a.components().zip(b.components()).take_while(|(a, b)| a == b);
            both.map(|(part, _)| part).collect()
        });
        let common = common.unwrap_or_default();
        for at in group {
            names[at] = name(&Found::within(&common, found[at].path.clone()).below, false);
        }
    }
    for at in same(&names).into_iter().flatten() {
        let folder = names[at].rsplit_once('/').map_or("", |(folder, _)| folder);
        let file = name(Path::new(found[at].below.file_name().unwrap_or_default()), true);
        names[at] = if folder.is_empty() { file } else { format!("{folder}/{file}") };
    }
    names
}

/// The places of the names that several files have.
fn same(names: &[String]) -> Vec<Vec<usize>> {
    let mut places: HashMap<&str, Vec<usize>> = HashMap::new();
    for (at, name) in names.iter().enumerate() {
        places.entry(name).or_default().push(at);
    }
    places.into_values().filter(|places| places.len() > 1).collect()
}

/// A path as a name: its folders, and its stem or its whole file name.
fn name(below: &Path, whole: bool) -> String {
    let file = if whole { below.file_name() } else { below.file_stem() };
    let folders = below.parent().into_iter().flat_map(Path::components);
    let folders = folders.filter_map(|part| match part {
        Component::Normal(part) => Some(part),
        _ => None,
    });
    let parts = folders.chain(file).map(OsStr::to_string_lossy);
    parts.collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_one_name_are_told_apart() {
        let rows: [(&[&str], &[&str]); 7] = [
            (&["a.png", "x/b.tar.jpg"], &["a", "b.tar"]),
            (&["one/cat.png", "two/cat.png", "dog.png"], &["one/cat", "two/cat", "dog"]),
            (&["cat.png", "b/cat.jpg"], &["cat", "b/cat"]),
            (&["cat.png", "cat.jpg"], &["cat.png", "cat.jpg"]),
            (&["/data/x/cat.png", "/data/y/z/cat.png"], &["x/cat", "y/z/cat"]),
            (&["a/cat.png", "a/cat.jpg", "b/cat.png"], &["a/cat.png", "a/cat.jpg", "b/cat"]),
            (&["../cat.png", "cat.png"], &["cat.png", "cat.png"]),
        ];
        for (paths, wanted) in rows {
            let found: Vec<Found> = paths.iter().map(|path| Found::named(path.into())).collect();
            assert_eq!(distinct_names(&found), wanted, "{paths:?}");
        }
    }
}
