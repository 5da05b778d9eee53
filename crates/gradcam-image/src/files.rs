//! Reads files. No other module of this crate accesses the disk.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::Path;

use super::{ImageError, ImageErrorKind};

/// Files by their path: those on disk, or what stands for them.
pub trait Files {
    /// Opens a file.
    ///
    /// # Errors
    ///
    /// `NotFound` if there is none, and those of the system.
    fn open(&self, path: &Path) -> io::Result<Box<dyn Read>>;
}

/// The files on disk.
#[derive(Clone, Copy, Debug)]
pub(super) struct Disk;

impl Files for Disk {
    fn open(&self, path: &Path) -> io::Result<Box<dyn Read>> {
        Ok(Box::new(File::open(path)?))
    }
}

/// Reads a file of at most `max_bytes`.
pub(super) fn read(files: &dyn Files, path: &Path, max_bytes: u64) -> Result<Vec<u8>, ImageError> {
    read_if_there(files, path, max_bytes)?.ok_or_else(|| {
        ImageError::new(ImageErrorKind::Read, format!("{}: no such file", path.display()))
            .caused_by(std::io::Error::from(ErrorKind::NotFound))
    })
}

/// Reads a file of at most `max_bytes`; `None` if it does not exist.
pub(super) fn read_if_there(
    files: &dyn Files,
    path: &Path,
    max_bytes: u64,
) -> Result<Option<Vec<u8>>, ImageError> {
    let failed = |error: std::io::Error| {
        ImageError::new(
            ImageErrorKind::Read,
            format!("{}: cannot be read: {error}", path.display()),
        )
        .caused_by(error)
    };
    let file = match files.open(path) {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        opened => opened.map_err(failed)?,
    };
    let mut bytes = Vec::new();
    // The length in the file system is not used, because devices and pipes have none.
    file.take(max_bytes.saturating_add(1)).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > max_bytes {
        let message = format!("{}: longer than the limit of {max_bytes} bytes", path.display());
        return Err(ImageError::new(ImageErrorKind::TooLarge, message));
    }
    Ok(Some(bytes))
}
