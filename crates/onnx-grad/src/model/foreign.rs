//! Names files that are no ONNX model, by their first bytes, and says what to do with each.

use std::{fs, path::Path};

use prost::{
    DecodeError,
    bytes::Buf,
    encoding::{WireType, decode_key, decode_varint},
};

use super::source::{DataFile, MESSAGE_LIMIT};
use crate::{
    error::{Error, ErrorKind, Result, bail},
    proto::ModelProto,
};

/// How much of a file's beginning and of its end is looked at.
const SAMPLE: u64 = 256 * 1024;

/// The beginning and the end of a file that is no ONNX model.
pub(super) struct Sample {
    head: Vec<u8>,
    tail: Vec<u8>,
}

impl Sample {
    /// What cannot be read is left out.
    pub(super) fn of_file(file: &DataFile) -> Self {
        let part = |from: u64| {
            let length = SAMPLE.min(file.len() - from);
            let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
            file.read_at(from, &mut bytes).map_or_else(|_| Vec::new(), |()| bytes)
        };
        Self { head: part(0), tail: part(file.len().saturating_sub(SAMPLE)) }
    }

    pub(super) fn of_bytes(bytes: &[u8]) -> Self {
        let length = bytes.len().min(usize::try_from(SAMPLE).unwrap_or(usize::MAX));
        Self { head: bytes[..length].to_vec(), tail: bytes[bytes.len() - length..].to_vec() }
    }

    fn starts(&self, magic: &[u8]) -> bool {
        self.head.starts_with(magic)
    }

    fn has_at(&self, offset: usize, magic: &[u8]) -> bool {
        self.head.get(offset..).is_some_and(|rest| rest.starts_with(magic))
    }

    /// Whether it is a zip archive with a file of a name that ends so. Names stand in it as they are, before each file and
    /// again at the end.
    fn is_zip_with(&self, name: &[u8]) -> bool {
        self.starts(b"PK\x03\x04")
            && [&self.head, &self.tail].iter().any(|part| contains(part, name))
    }

    /// The text without the white space before it, in lower case; empty where it is no text.
    fn text(&self) -> String {
        let text = String::from_utf8_lossy(&self.head[..self.head.len().min(512)]);
        text.trim_start_matches('\u{feff}').trim_start().to_ascii_lowercase()
    }

    /// The numbers of the first two fields of a protocol-buffer message and the first byte of the second, where that is a
    /// message or text.
    fn fields(&self) -> Option<Fields> {
        let mut rest = self.head.as_slice();
        let (first, wire) = decode_key(&mut rest).ok()?;
        let start = match wire {
            WireType::Varint => decode_varint(&mut rest).ok()?,
            _ => {
                decode_varint(&mut rest).ok()?;
                u64::from(*rest.first()?)
            }
        };
        Some(Fields { first, wire, start, rest: rest.to_vec() })
    }
}

/// The beginning of a protocol-buffer message.
struct Fields {
    /// The number of the first field.
    first: u32,
    wire: WireType,
    /// The value of the first field if it is a number, else its first byte.
    start: u64,
    /// What follows: the bytes of the first field, or the second field.
    rest: Vec<u8>,
}

/// A kind of file that is no ONNX model.
struct Kind {
    /// What it is, with its article.
    name: &'static str,
    fits: fn(&Sample) -> bool,
    /// What to do.
    advice: &'static str,
}

const fn kind(name: &'static str, fits: fn(&Sample) -> bool, advice: &'static str) -> Kind {
    Kind { name, fits, advice }
}

/// The known kinds of files. Where several rows fit, the first one counts.
#[rustfmt::skip]
const KINDS: &[Kind] = &[
    kind("a TensorFlow Lite model", |s| s.has_at(4, b"TFL3"),
        "convert it with `python -m tf2onnx.convert --tflite FILE --output model.onnx`"),
    kind("a model in ONNX Runtime's own format (ORT)", |s| s.has_at(4, b"ORTM"),
        "name the .onnx file that it was made from"),
    kind("an engine of TensorRT", |s| s.starts(b"ptrt") || s.starts(b"ftrt"),
        "it is compiled for one graphics card; name the .onnx file that it was built from"),
    kind("a TorchScript archive", |s| s.is_zip_with(b"constants.pkl") || s.is_zip_with(b"/code/__torch__"),
        "load it with torch.jit.load and write it with torch.onnx.export"),
    kind("a program of torch.export", |s| s.is_zip_with(b"archive_format"),
        "load it with torch.export.load and write it with torch.onnx.export"),
    kind("a PyTorch checkpoint", |s| s.is_zip_with(b"data.pkl") || is_pickle(s),
        "load it into its network in PyTorch and write that with torch.onnx.export"),
    kind("a Keras model", |s| s.is_zip_with(b"model.weights.h5"),
        "load it with keras.saving.load_model and write it with model.export(\"model.onnx\", format=\"onnx\")"),
    kind("an HDF5 file, such as a Keras model", |s| s.starts(b"\x89HDF\r\n\x1a\n"),
        "load it with keras.saving.load_model and write it with model.export(\"model.onnx\", format=\"onnx\")"),
    kind("a zip archive with an ONNX model in it", |s| s.is_zip_with(b".onnx"),
        "unpack it and name the .onnx file"),
    kind("a zip archive", |s| s.starts(b"PK\x03\x04"),
        "unpack it, and name the .onnx file if it holds one"),
    kind("a safetensors file", is_safetensors,
        "it holds weights without their network; load them into it, and export that to ONNX, such as with \
         `optimum-cli export onnx --model FOLDER OUTPUT`"),
    kind("a model of OpenVINO", |s| s.text().starts_with("<?xml") && contains(&s.head, b"<net "),
        "export the model that it was converted from to ONNX"),
    kind("a web page", |s| ["<!doctype html", "<html"].iter().any(|start| s.text().starts_with(start)),
        "the download went wrong: download the file itself, not the page that shows it (behind a login, or with /blob/ in \
         its address instead of /resolve/ or /raw/)"),
    kind("a pointer of Git LFS", |s| s.starts(b"version https://git-lfs"),
        "the file itself was not downloaded: fetch it with `git lfs pull`"),
    kind("a file packed by gzip", |s| s.starts(b"\x1f\x8b"),
        "unpack it with `gunzip` (`tar xf` for a .tar.gz)"),
    kind("a JSON text", |s| s.text().starts_with("{\"") || s.text().starts_with("{\n") || s.text().starts_with("[{"),
        "a download answers so where it failed; the file itself may say why"),
    kind("a picture", |s| PICTURES.iter().any(|magic| s.starts(magic)),
        "name the model's .onnx file"),
    kind("an array of NumPy", |s| s.starts(b"\x93NUMPY"),
        "name the model's .onnx file"),
    kind("a Core ML model", is_core_ml,
        "export the model that it was converted from to ONNX"),
    kind("a TensorFlow SavedModel", is_saved_model,
        "convert its folder with `python -m tf2onnx.convert --saved-model FOLDER --output model.onnx`"),
    kind("a frozen graph of TensorFlow", is_graph_def,
        "convert it with `python -m tf2onnx.convert --graphdef FILE --inputs NAME:0 --outputs NAME:0 --output model.onnx`"),
    kind("a model of PaddlePaddle", is_paddle,
        "convert its folder with `paddle2onnx --model_dir FOLDER --model_filename MODEL --params_filename PARAMS --save_file model.onnx`"),
];

/// The first bytes of JPEG, PNG, GIF, BMP, TIFF and WebP (every RIFF file) pictures.
const PICTURES: &[&[u8]] =
    &[b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"BM", b"II*\0", b"MM\0*", b"RIFF"];

/// A pickle of protocol 2 or newer: its number, then a frame, or an object that is begun.
fn is_pickle(sample: &Sample) -> bool {
    matches!(*sample.head, [0x80, 2..=5, b'\x95' | b'}' | b']' | b'(' | b'c' | b'\x8a', ..])
}

/// The length of a JSON header, then the header.
fn is_safetensors(sample: &Sample) -> bool {
    let length = sample.head.first_chunk().map(|length| u64::from_le_bytes(*length));
    length.is_some_and(|length| length <= 100_000_000) && sample.has_at(8, b"{\"")
}

/// A version, a description, and then one of the models, whose fields have numbers above 200.
fn is_core_ml(sample: &Sample) -> bool {
    let parsed = || {
        let fields = sample.fields()?;
        let mut rest = fields.rest.as_slice();
        let (second, _) = decode_key(&mut rest).ok()?;
        let length = usize::try_from(decode_varint(&mut rest).ok()?).ok()?;
        let mut rest = rest.get(length..)?;
        let (third, _) = decode_key(&mut rest).ok()?;
        Some((fields.first, second, third >= 200))
    };
    parsed() == Some((1, 2, true))
}

/// A schema version of 1, and then a graph with its tags. The name of a program, which an ONNX model has there, is short.
fn is_saved_model(sample: &Sample) -> bool {
    let parsed = || {
        let fields = sample.fields()?;
        let mut rest = fields.rest.as_slice();
        let (second, _) = decode_key(&mut rest).ok()?;
        let length = decode_varint(&mut rest).ok()?;
        Some((fields.first, fields.start, second, length > 1000))
    };
    parsed() == Some((1, 1, 2, true))
}

/// Nodes, each of which begins with its name.
fn is_graph_def(sample: &Sample) -> bool {
    let fields = sample.fields();
    fields.is_some_and(|f| (f.first, f.wire, f.start) == (1, WireType::LengthDelimited, 0x0a))
}

/// Blocks, each of which begins with its number.
fn is_paddle(sample: &Sample) -> bool {
    let fields = sample.fields();
    fields.is_some_and(|f| {
        (f.first, f.wire, f.start) == (1, WireType::LengthDelimited, 0x08)
            && f.rest.starts_with(&[0x08, 0x00, 0x10])
    })
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// The message of a model, or what its bytes are instead. `cut` gives the number of bytes that are missing.
pub(super) fn checked(
    decoded: Result<ModelProto, DecodeError>,
    shown: &str,
    sample: impl FnOnce() -> Sample,
    cut: impl FnOnce() -> Option<usize>,
) -> Result<ModelProto> {
    // Random bytes often decode as a message with unknown fields.
    let is_empty = |proto: &ModelProto| {
        proto.graph.as_ref().is_none_or(|graph| graph.node.is_empty() && graph.output.is_empty())
    };
    let failure = match decoded {
        Ok(proto) if !is_empty(&proto) => return Ok(proto),
        Ok(_) => None,
        Err(failure) => Some(failure),
    };
    let sample = sample();
    if let Some(Kind { name, advice, .. }) = KINDS.iter().find(|kind| (kind.fits)(&sample)) {
        bail!(NotAModel, "{shown} is {name}, not an ONNX model; {advice}");
    }
    if let Some(bytes) = cut() {
        let s = if bytes == 1 { " is" } else { "s are" };
        bail!(
            NotAModel,
            "{shown} is an ONNX model that is cut short: at least {bytes} byte{s} missing; download or copy it again"
        );
    }
    match failure {
        None => bail!(NotAModel, "{shown} is not an ONNX model: it has no graph"),
        Some(failure) => {
            let message = format!("{shown} is not an ONNX model, or it is damaged ({failure})");
            Err(Error::new(ErrorKind::NotAModel, message).because(failure))
        }
    }
}

/// What a folder is that was named as a model, and what to do.
pub(super) fn folder(path: &Path) -> String {
    let shown = path.display();
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    let mut names: Vec<String> =
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    let has = |name: &str| names.iter().any(|there| there == name);
    let models: Vec<&str> =
        names.iter().map(String::as_str).filter(|name| name.ends_with(".onnx")).collect();
    match models.as_slice() {
        [] if has("saved_model.pb") => format!(
            "{shown} is a TensorFlow SavedModel, not an ONNX model; convert it with `python -m tf2onnx.convert \
             --saved-model {shown} --output model.onnx`"
        ),
        [] if has("Manifest.json") && has("Data") => format!(
            "{shown} is a Core ML model, not an ONNX model; export the model that it was converted from to ONNX"
        ),
        [] => format!("{shown} is a folder; name the .onnx file in it"),
        [one] => format!("{shown} is a folder; name the file in it: {one}"),
        several => format!("{shown} is a folder; name a file in it: {}", several.join(", ")),
    }
}

/// The number of bytes that are missing at least at the end of a model, where a field of the message ends behind it.
pub(super) fn missing(mut message: impl Buf) -> Option<usize> {
    while message.has_remaining() {
        let (field, wire) = decode_key(&mut message).ok()?;
        // The fields of an ONNX model; others mean that it is none.
        if !matches!(field, 1..=8 | 14 | 20 | 25 | 26) {
            return None;
        }
        let number = decode_varint(&mut message).ok()?;
        match wire {
            WireType::Varint => {}
            WireType::LengthDelimited => {
                let there = message.remaining();
                // A longer field is noise.
                let length =
                    usize::try_from(number).ok().filter(|length| *length <= MESSAGE_LIMIT)?;
                match length.checked_sub(there) {
                    None | Some(0) => message.advance(length),
                    Some(missing) => return Some(missing),
                }
            }
            _ => return None,
        }
    }
    None
}

#[cfg(test)]
mod tests;
