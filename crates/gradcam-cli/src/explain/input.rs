//! Images: photos, and tensors in .npy files, from files or from standard input.

use std::{
    fs::File,
    io::{self, Cursor, Read},
    path::Path,
};

use gradcam::{
    image::{Limits, Photo},
    ndarray::{ArrayD, Axis},
};
use ndarray_npy::{ReadNpyExt, npy::header::Header};

use crate::names;

/// What is explained.
#[derive(Debug)]
pub(super) enum Image {
    /// A photo, to be prepared for the network.
    Photo(Photo),
    /// Images that are ready for the network, [N, …].
    Tensor(ArrayD<f32>),
}

const MAGIC: &[u8] = b"\x93NUMPY";

/// Most bytes of a .npy file.
const MAX_TENSOR_BYTES: u64 = 8 << 30;

/// Reads an image. `rank` is the number of axes of the model's input.
///
/// The bytes say what it is, not the name: a .npy file begins with a magic string.
pub(super) fn load(path: &Path, rank: usize) -> Result<Image, String> {
    let shown =
        if names::is_dash(path) { "standard input".to_owned() } else { path.display().to_string() };
    let wrong = |why: String| format!("{shown}: {why}");
    let bytes = if names::is_dash(path) {
        read(io::stdin().lock())
    } else if path.is_dir() {
        return Err(wrong("is a folder; name the pictures in it".to_owned()));
    } else {
        File::open(path).map_err(|error| error.to_string()).and_then(read)
    };
    let bytes = bytes.map_err(|why| wrong(format!("cannot be read: {why}")))?;
    if bytes.starts_with(MAGIC) {
        return tensor(&bytes, rank).map(Image::Tensor).map_err(wrong);
    }
    if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("npy")) {
        return Err(wrong("is no .npy file: it does not begin with \\x93NUMPY".to_owned()));
    }
    Photo::decode(&bytes, &Limits::default())
        .map(Image::Photo)
        .map_err(|error| wrong(error.to_string()))
}

fn read(mut source: impl Read) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    source
        .by_ref()
        .take(MAGIC.len() as u64)
        .read_to_end(&mut bytes)
        .map_err(|error| error.to_string())?;
    let limit = if bytes == MAGIC { MAX_TENSOR_BYTES } else { Limits::default().max_bytes };
    source.take(limit).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() as u64 >= limit {
        return Err(format!("it is longer than the limit of {limit} bytes"));
    }
    Ok(bytes)
}

/// A .npy file as [N, …], the batch axis added where it is missing.
fn tensor(bytes: &[u8], rank: usize) -> Result<ArrayD<f32>, String> {
    check(bytes)?;
    let array = ArrayD::<f32>::read_npy(Cursor::new(bytes)).map_err(|error| damaged(&error))?;
    let array = array.as_standard_layout().into_owned();
    if array.ndim() + 1 == rank {
        return Ok(array.insert_axis(Axis(0)));
    }
    if array.ndim() != rank || array.is_empty() {
        let expected = match rank {
            4 => "[C, H, W] or [N, C, H, W] (channels last where the model takes them last)"
                .to_owned(),
            rank => format!("{rank} axes, or {} for one image", rank.saturating_sub(1)),
        };
        return Err(format!("the tensor has shape {:?}; expected {expected}", array.shape()));
    }
    Ok(array)
}

/// Checks type and size by the header, before memory is taken for what it claims.
fn check(bytes: &[u8]) -> Result<(), String> {
    // The parser of the header recurses into brackets, which a real header has three of.
    let start = bytes.get(..bytes.len().min(10_000)).unwrap_or_default();
    let end = start.iter().position(|byte| *byte == b'\n').unwrap_or(start.len());
    let brackets = start[..end].iter().filter(|byte| matches!(byte, b'(' | b'[' | b'{')).count();
    if brackets > 16 || end == 10_000 {
        return Err("its .npy header is malformed".to_owned());
    }
    let mut rest = Cursor::new(bytes);
    let header = Header::from_reader(&mut rest).map_err(|error| damaged(&error))?;
    let descriptor = header.type_descriptor.to_string();
    let descriptor = descriptor.trim_matches('\'');
    if !matches!(descriptor, "<f4" | ">f4" | "|f4" | "=f4") {
        return Err(format!(
            "the tensor has type {}; the network takes float32: save it with x.astype(numpy.float32)",
            type_name(descriptor)
        ));
    }
    let count = header.shape.iter().try_fold(4u64, |all, size| all.checked_mul(*size as u64));
    let held = (bytes.len() as u64).saturating_sub(rest.position());
    if count != Some(held) {
        return Err(format!(
            "the file is cut short or damaged: a tensor of shape {:?} needs {} bytes, it has {held}",
            header.shape,
            count.map_or_else(|| "too many".to_owned(), |count| count.to_string())
        ));
    }
    Ok(())
}

fn damaged(error: &dyn std::error::Error) -> String {
    format!("the .npy file is damaged: {error}")
}

/// A numpy type descriptor, as numpy names the type.
fn type_name(descriptor: &str) -> String {
    let name = match descriptor.trim_start_matches(['<', '>', '|', '=']) {
        "f8" => "float64",
        "f2" => "float16",
        "u1" => "uint8",
        "i1" => "int8",
        "i4" => "int32",
        "i8" => "int64",
        "b1" => "bool",
        _ => return format!("'{descriptor}'"),
    };
    name.to_owned()
}
