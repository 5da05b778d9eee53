//! Writes files completely or not at all, even if the process is interrupted.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    process,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::failure::{Result, failed};

/// The temporary files of writes in progress.
static UNFINISHED: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// The number of writes so far. Commands in one process may write the same file at once.
static WRITES: AtomicU64 = AtomicU64::new(0);

fn unfinished() -> MutexGuard<'static, Vec<PathBuf>> {
    UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What [`interrupt`] gives: while it exists, commands in progress neither begin nor finish a file and say nothing on standard
/// error.
#[derive(Debug)]
pub struct Interruption {
    _files: MutexGuard<'static, Vec<PathBuf>>,
    _silent: io::StderrLock<'static>,
}

/// Removes the temporary files of commands in progress, for a process that ends before they do. Keep the result until the
/// process exits: runs fail while the exit tears down their engine, and their errors mean nothing.
#[must_use = "commands go on when it is dropped"]
pub fn interrupt() -> Interruption {
    let mut unfinished = unfinished();
    for path in unfinished.drain(..) {
        let _ = fs::remove_file(path);
    }
    Interruption { _files: unfinished, _silent: io::stderr().lock() }
}

/// Refuses a file that cannot be written, before what takes long.
pub(crate) fn check(path: &Path) -> Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    if let Some(folder) = folder.filter(|folder| !folder.is_dir()) {
        let (path, folder) = (path.display(), folder.display());
        return Err(failed(format!(
            "cannot write {path}: there is no folder {folder}; make it first"
        )));
    }
    if path.is_dir() {
        return Err(failed(format!("cannot write {}: a folder has that name", path.display())));
    }
    Ok(())
}

/// Writes a temporary file beside the destination and then renames it.
///
/// Links are followed. A pipe or a device is written to directly, because it must not be replaced by a file.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let found = fs::metadata(path).ok();
    if found.as_ref().is_some_and(|found| !found.is_file() && !found.is_dir()) {
        let opened = File::options().write(true).open(path);
        let written = opened.and_then(|mut file| file.write_all(bytes));
        return written.map_err(|error| failed(cannot_write(path, &error)));
    }
    let followed = found.and_then(|_| fs::canonicalize(path).ok());
    let target = followed.as_deref().unwrap_or(path);
    let mut beside = target.as_os_str().to_owned();
    let number = WRITES.fetch_add(1, Ordering::Relaxed);
    beside.push(format!(".{}.{number}.part", process::id()));
    let beside = PathBuf::from(beside);
    let begun = {
        let mut unfinished = unfinished();
        unfinished.push(beside.clone());
        File::create(&beside)
    };
    let written = begun.and_then(|mut file| file.write_all(bytes));
    let mut unfinished = unfinished();
    let moved = written.and_then(|()| fs::rename(&beside, target));
    unfinished.retain(|unfinished| *unfinished != beside);
    moved.map_err(|error| {
        let _ = fs::remove_file(&beside);
        failed(cannot_write(path, &error))
    })
}

/// Why a file cannot be written, and what to do.
fn cannot_write(path: &Path, error: &io::Error) -> String {
    let shown = path.display();
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    match folder {
        Some(folder) if !folder.exists() => format!(
            "cannot write {shown}: there is no folder {}; make it, or end the path with / for a new folder",
            folder.display()
        ),
        _ => format!("cannot write {shown}: {error}"),
    }
}
