//! The destination of results: a folder, one file, or standard output.

use std::{
    collections::{HashMap, HashSet},
    fs, io,
    io::IsTerminal,
    path::{Path, PathBuf},
};

use crate::{
    args::Format,
    failure::{Failure, Result, failed},
    files, names, terminal,
};

/// The destination of results.
#[derive(Debug)]
enum Destination {
    Folder(PathBuf),
    File(PathBuf),
    Stdout,
}

/// Writes the results of a run. No result overwrites another one or an input of the run.
#[derive(Debug)]
pub(crate) struct Place {
    destination: Destination,
    inputs: HashSet<PathBuf>,
    written: HashMap<PathBuf, String>,
}

/// Refuses an output that no run can write, before anything is read.
pub(crate) fn check(output: Option<&Path>, as_json: bool) -> Result<()> {
    let usage = |message: String| Err(Failure::Usage(message));
    let Some(output) = output else { return Ok(()) };
    if names::is_dash(output) && as_json {
        return usage("-o - and --json both write to standard output; choose one".to_owned());
    }
    let extension = output.extension().map(|e| e.to_string_lossy().to_lowercase());
    let extension =
        extension.filter(|e| ["jpg", "jpeg", "webp", "gif", "bmp"].contains(&e.as_str()));
    if let Some(extension) = extension.filter(|_| !output.is_dir()) {
        return usage(format!(
            "-o {}: pictures are written as PNG, not as {extension}; end the name in .png",
            output.display()
        ));
    }
    Ok(())
}

/// The number of files of one image with `maps` maps, of which `heatmaps` heatmaps are made.
pub(super) fn files_for(maps: usize, heatmaps: usize, formats: &[Format]) -> usize {
    let each = |format: &Format| match format {
        Format::Png | Format::Json => heatmaps,
        Format::Npy => maps + heatmaps,
    };
    formats.iter().map(each).sum()
}

impl Place {
    /// Decides where the results of a run go, of which there are `count`, and makes the folder. The run reads the files of
    /// `read`.
    pub(crate) fn new<'a>(
        output: Option<&Path>,
        read: impl IntoIterator<Item = &'a PathBuf>,
        count: usize,
    ) -> Result<Self> {
        let destination = match output {
            None => Destination::Folder(PathBuf::new()),
            Some(dash) if names::is_dash(dash) => {
                if count != 1 {
                    return Err(Failure::Usage(format!(
                        "-o - writes one file to standard output, this run makes {count}; name a folder"
                    )));
                }
                if io::stdout().is_terminal() {
                    return Err(Failure::Usage(
                        "-o - would write a file to the terminal; send it to a file or a program"
                            .to_owned(),
                    ));
                }
                Destination::Stdout
            }
            Some(path) => {
                let slash = path.to_string_lossy().ends_with(std::path::is_separator);
                if slash || count != 1 || path.is_dir() {
                    fs::create_dir_all(path).map_err(|error| cannot_make(path, &error))?;
                    Destination::Folder(path.to_owned())
                } else {
                    Destination::File(path.to_owned())
                }
            }
        };
        let read = read.into_iter();
        let inputs = read.filter_map(|path| fs::canonicalize(path).ok()).collect();
        Ok(Self { destination, inputs, written: HashMap::new() })
    }

    /// Writes one result of `image`, named `name` in a folder, below which it may name others, and says where it went.
    pub(crate) fn write(&mut self, image: &str, name: &str, bytes: &[u8]) -> Result<String> {
        let path = match &self.destination {
            Destination::Folder(folder) => folder.join(name),
            Destination::File(path) => path.clone(),
            Destination::Stdout => {
                terminal::print(bytes)?;
                return Ok("-".to_owned());
            }
        };
        let shown = path.display().to_string();
        if fs::canonicalize(&path).is_ok_and(|path| self.inputs.contains(&path)) {
            return Err(failed(format!(
                "{shown} is an input of this run and is not written over; choose another place with -o"
            )));
        }
        match self.written.get(&path) {
            // Two names of one target, such as argmax and its number, give the same map.
            Some(before) if before == image => return Ok(shown),
            Some(before) => {
                return Err(failed(format!(
                    "{shown} holds a map of {before} already; rename one image"
                )));
            }
            None => {}
        }
        if let (Some(folder), true) = (path.parent(), name.contains('/')) {
            fs::create_dir_all(folder).map_err(|error| cannot_make(folder, &error))?;
        }
        files::write(&path, bytes)?;
        self.written.insert(path, image.to_owned());
        Ok(shown)
    }
}

fn cannot_make(folder: &Path, error: &io::Error) -> Failure {
    let taken = folder.components().collect::<PathBuf>().is_file();
    let why = if taken { "a file has that name".to_owned() } else { error.to_string() };
    failed(format!("cannot make the folder {}: {why}", folder.display()))
}
