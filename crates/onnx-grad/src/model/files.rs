//! Where the bytes of a model come from: files on disk, in memory, or behind another interface, such as a browser's.

use std::{
    collections::HashMap,
    fmt,
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use prost::bytes::Bytes;

/// The bytes of an open file, which are read by their position.
pub trait FileBytes: Send + Sync {
    /// The number of bytes.
    fn len(&self) -> u64;

    /// Whether there are no bytes.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Fills `into` with the bytes from `offset` on.
    ///
    /// # Errors
    /// `UnexpectedEof` if there are fewer, and those of the system.
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()>;

    /// The file on disk, for engines that map it themselves; `None` for other bytes.
    fn on_disk(&self) -> Option<&Path> {
        None
    }
}

/// Files by their path: a model, its external data, and the files beside it that say how it is used.
pub trait Files: fmt::Debug + Send + Sync {
    /// Opens a file. It stays readable until it is dropped.
    ///
    /// # Errors
    /// `NotFound` if there is none, and those of the system.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn FileBytes>>;
}

/// The files on disk.
#[derive(Clone, Copy, Debug)]
pub(super) struct Disk;

impl Files for Disk {
    fn open(&self, path: &Path) -> io::Result<Arc<dyn FileBytes>> {
        let file = File::open(path)?;
        let meta = file.metadata()?;
        if meta.is_dir() {
            return Err(io::Error::new(io::ErrorKind::IsADirectory, "it is a directory"));
        }
        Ok(Arc::new(DiskFile { path: path.to_owned(), len: meta.len(), file: Mutex::new(file) }))
    }
}

/// The handle stays open, so the bytes remain available even if the file is replaced.
struct DiskFile {
    path: PathBuf,
    len: u64,
    file: Mutex<File>,
}

impl FileBytes for DiskFile {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.seek(SeekFrom::Start(offset))?;
        file.read_exact(into)
    }

    fn on_disk(&self) -> Option<&Path> {
        Some(&self.path)
    }
}

/// Files in memory, by their path.
///
/// ```
/// use onnx_grad::{MemoryFiles, Model};
///
/// # fn main() -> onnx_grad::Result<()> {
/// # let model = std::fs::read("../testkit/fixtures/zoo/beit.legacy.onnx").unwrap();
/// # let data = Vec::new();
/// let files = MemoryFiles::from([("model.onnx", model), ("model.onnx.data", data)]);
/// let model = Model::open_in(files, "model.onnx")?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Default)]
pub struct MemoryFiles(HashMap<PathBuf, Bytes>);

impl<P: Into<PathBuf>, B: Into<Bytes>> FromIterator<(P, B)> for MemoryFiles {
    fn from_iter<I: IntoIterator<Item = (P, B)>>(files: I) -> Self {
        Self(files.into_iter().map(|(path, bytes)| (path.into(), bytes.into())).collect())
    }
}

impl<P: Into<PathBuf>, B: Into<Bytes>, const N: usize> From<[(P, B); N]> for MemoryFiles {
    fn from(files: [(P, B); N]) -> Self {
        files.into_iter().collect()
    }
}

impl fmt::Debug for MemoryFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Files for MemoryFiles {
    fn open(&self, path: &Path) -> io::Result<Arc<dyn FileBytes>> {
        let path = path.strip_prefix(".").unwrap_or(path);
        let bytes = self.0.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(Arc::new(MemoryFile(bytes.clone())))
    }
}

struct MemoryFile(Bytes);

impl FileBytes for MemoryFile {
    fn len(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        let from = usize::try_from(offset).ok().and_then(|offset| self.0.get(offset..));
        let bytes = from.and_then(|bytes| bytes.get(..into.len()));
        into.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}
