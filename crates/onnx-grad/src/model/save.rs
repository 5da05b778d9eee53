//! Models as bytes and as files.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use prost::Message;

use super::{
    MessagePart, Model, Weight, data_file, external_entries, source::MESSAGE_LIMIT, visit,
};
use crate::error::{Error, ErrorKind, Result, bail};

impl Model {
    /// The model as one ONNX message including its weights.
    ///
    /// # Errors
    /// `Io` if weights cannot be read, `TooLarge` above 2 GiB, the limit of a message.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let total: usize = self.weights.iter().map(Weight::len).sum();
        if total >= MESSAGE_LIMIT {
            bail!(TooLarge, "{total} bytes of weights do not fit into one message; save to a file");
        }
        let mut proto = self.proto.clone();
        visit(&mut proto, &mut |part| {
            if let MessagePart::Tensor(tensor) = part
                && let Some(weight) = self.weight_of(tensor)
            {
                tensor.raw_data = Some(weight.read()?.into());
                tensor.data_location = None;
                tensor.external_data.clear();
            }
            Ok(())
        })?;
        Ok(proto.encode_to_vec())
    }

    /// Writes the model to a file. Weights of 2 GiB or more go to `<name>.data` in the same folder.
    ///
    /// The write is atomic.
    ///
    /// # Errors
    /// `Io`.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let total: usize = self.weights.iter().map(Weight::len).sum();
        let bytes = if total < MESSAGE_LIMIT {
            self.to_bytes()?
        } else {
            self.to_bytes_beside(&data_file(path))?
        };
        replace_file(path, |file| io::Write::write_all(file, &bytes))
    }

    fn to_bytes_beside(&self, data: &Path) -> Result<Vec<u8>> {
        let name = data.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut proto = self.proto.clone();
        let mut used = Vec::new();
        let mut offset = 0;
        visit(&mut proto, &mut |part| {
            if let MessagePart::Tensor(tensor) = part
                && let Some(weight) = self.weight_of(tensor)
            {
                tensor.external_data = external_entries(&name, offset, weight.len());
                offset += weight.len() as u64;
                used.push(weight);
            }
            Ok(())
        })?;
        replace_file(data, |file| {
            for weight in &used {
                io::Write::write_all(file, &weight.read().map_err(io::Error::other)?)?;
            }
            Ok(())
        })?;
        Ok(proto.encode_to_vec())
    }
}

/// Writes a temporary file in the target's folder and renames it, so a partial file is never
/// visible.
fn replace_file(path: &Path, write: impl FnOnce(&mut fs::File) -> io::Result<()>) -> Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".part");
    let beside = PathBuf::from(beside);
    let written = fs::File::create(&beside)
        .and_then(|mut file| write(&mut file))
        .and_then(|()| fs::rename(&beside, path));
    written.map_err(|e| {
        let _ = fs::remove_file(&beside);
        Error::new(ErrorKind::Io, format!("cannot write {}: {e}", path.display())).because(e)
    })
}
