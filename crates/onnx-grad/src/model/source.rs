//! The storage of tensor bytes, and a reader that does not load weights into memory.

use std::{
    collections::HashMap,
    fmt, io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use prost::bytes::{Buf, Bytes};

use super::files::{FileBytes, Files};
use crate::error::{Error, ErrorKind, Result};

/// The maximum size of a protobuf message; larger models keep weights in a separate file.
pub(super) const MESSAGE_LIMIT: usize = i32::MAX as usize;

/// Tensors of this size or more stay outside the message.
pub(super) const OUTSIDE_FROM: usize = 1024;

/// An open file that contains several tensors, with its path for messages.
pub(super) struct DataFile {
    path: PathBuf,
    len: u64,
    bytes: Arc<dyn FileBytes>,
}

impl DataFile {
    pub(super) fn open(files: &dyn Files, path: &Path) -> io::Result<Self> {
        let bytes = files.open(path)?;
        Ok(Self { path: path.to_owned(), len: bytes.len(), bytes })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn len(&self) -> u64 {
        self.len
    }

    pub(super) fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.bytes.read_at(offset, into)
    }
}

impl fmt::Debug for DataFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("DataFile").field(&self.path).field(&self.len).finish()
    }
}

/// The bytes of one weight: memory, or a range of a file that is read on demand.
#[derive(Clone, Debug)]
pub struct Weight {
    id: u64,
    source: Source,
}

#[derive(Clone, Debug)]
enum Source {
    File { file: Arc<DataFile>, offset: u64, len: usize },
    Memory(Bytes),
}

impl Weight {
    pub(super) fn in_file(file: Arc<DataFile>, offset: u64, len: usize) -> Self {
        Self::new(Source::File { file, offset, len })
    }

    pub(super) fn in_memory(bytes: Bytes) -> Self {
        Self::new(Source::Memory(bytes))
    }

    fn new(source: Source) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self { id: NEXT.fetch_add(1, Ordering::Relaxed), source }
    }

    /// An identifier that only this weight and its clones share, within this process. With it, engines detect weights
    /// that two models have in common.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The number of bytes.
    pub fn len(&self) -> usize {
        match &self.source {
            Source::File { len, .. } => *len,
            Source::Memory(bytes) => bytes.len(),
        }
    }

    /// Whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes, little-endian as in ONNX, in a new allocation.
    ///
    /// # Errors
    /// `Io` if the file is no longer readable.
    pub fn read(&self) -> Result<Vec<u8>> {
        match &self.source {
            Source::Memory(bytes) => Ok(bytes.to_vec()),
            Source::File { file, offset, len } => {
                let mut bytes = vec![0; *len];
                file.read_at(*offset, &mut bytes).map_err(|e| {
                    let path = file.path.display();
                    Error::new(ErrorKind::Io, format!("cannot read the weights of {path}: {e}"))
                        .because(e)
                })?;
                Ok(bytes)
            }
        }
    }

    /// The file on disk and the offset of the bytes, for an engine that maps them itself; `None` for a weight that is elsewhere.
    pub fn location(&self) -> Option<(&Path, u64)> {
        match &self.source {
            Source::File { file, offset, .. } => Some((file.bytes.on_disk()?, *offset)),
            Source::Memory(_) => None,
        }
    }
}

/// A buffered file reader for prost. It skips byte fields of [`OUTSIDE_FROM`] bytes or more: the message gets a
/// placeholder, and the reader records the range.
pub(super) struct SkippingReader<'a> {
    file: &'a DataFile,
    window: Vec<u8>,
    at: usize,
    /// The offset in the file of the byte after the window.
    next: u64,
    failed: Option<io::Error>,
    skipped: SkippedRanges,
}

/// Skipped ranges of a file, by the address of their placeholder in the message. The map also holds the placeholders:
/// if the message drops one, as for a repeated field, its address is not reused.
pub(super) type SkippedRanges = HashMap<*const u8, (Bytes, u64, usize)>;

const WINDOW: u64 = 64 * 1024;

impl<'a> SkippingReader<'a> {
    pub(super) fn new(file: &'a DataFile) -> Self {
        let mut reader = Self {
            file,
            window: Vec::new(),
            at: 0,
            next: 0,
            failed: None,
            skipped: HashMap::new(),
        };
        reader.refill();
        reader
    }

    /// The skipped ranges, or the first failed read.
    pub(super) fn finish(self) -> io::Result<SkippedRanges> {
        self.failed.map_or(Ok(self.skipped), Err)
    }

    fn position(&self) -> u64 {
        self.next - (self.window.len() - self.at) as u64
    }

    fn refill(&mut self) {
        let len = WINDOW.min(self.file.len - self.next);
        // What the window held is read over, so only what is new is zeroed.
        self.window.resize(usize::try_from(len).unwrap_or(0), 0);
        self.at = 0;
        if let Err(e) = self.file.read_at(self.next, &mut self.window) {
            self.window.fill(0);
            self.failed.get_or_insert(e);
        }
        self.next += len;
    }

    fn seek(&mut self, position: u64) {
        self.next = position.min(self.file.len);
        self.refill();
    }
}

impl Buf for SkippingReader<'_> {
    fn remaining(&self) -> usize {
        usize::try_from(self.file.len - self.position()).unwrap_or(usize::MAX)
    }

    fn chunk(&self) -> &[u8] {
        &self.window[self.at..]
    }

    fn advance(&mut self, count: usize) {
        if count < self.window.len() - self.at {
            self.at += count;
        } else {
            self.seek(self.position().saturating_add(count as u64));
        }
    }

    fn copy_to_bytes(&mut self, len: usize) -> Bytes {
        if len >= OUTSIDE_FROM {
            let placeholder = Bytes::from(vec![0; 1]);
            let range = (placeholder.clone(), self.position(), len);
            self.skipped.insert(placeholder.as_ptr(), range);
            self.advance(len);
            return placeholder;
        }
        let mut bytes = Vec::with_capacity(len);
        while bytes.len() < len && self.remaining() > 0 {
            let take = self.chunk().len().min(len - bytes.len());
            bytes.extend_from_slice(&self.chunk()[..take]);
            self.advance(take);
        }
        bytes.into()
    }
}
