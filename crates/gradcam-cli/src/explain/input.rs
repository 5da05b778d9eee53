//! Images: photos, and tensors in .npy files, from files or from standard input.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

use gradcam::{
    Explainer, ImageInput,
    engine::Tensor,
    image::{Limits, OverlayStyle, PhotoFile, Placement},
    ndarray::{ArrayD, Axis},
};

use super::paths;
use crate::{
    names,
    npy::{self, MAGIC, Npy},
};

/// What a file holds.
#[derive(Debug)]
pub(crate) enum Content {
    /// A picture that is not decoded yet.
    Picture(Vec<u8>),
    /// Images that are ready for the network, [N, …].
    Tensor(ArrayD<f32>),
}

/// The name of an image in messages.
pub(crate) fn shown(path: &Path) -> String {
    if names::is_dash(path) { "standard input".to_owned() } else { path.display().to_string() }
}

/// Reads an image for an input of a model.
///
/// The bytes say what it is, not the name: a .npy file begins with a magic string.
pub(crate) fn read_content(path: &Path, input: &ImageInput) -> Result<Content, String> {
    let bytes = if names::is_dash(path) {
        read(io::stdin().lock())
    } else if path.is_dir() && path.read_dir().is_ok() {
        return Err(format!("is a folder without pictures ({})", paths::extensions()));
    } else {
        File::open(path).map_err(|error| error.to_string()).and_then(read)
    };
    let bytes = bytes.map_err(|why| format!("cannot be read: {why}"))?;
    if bytes.starts_with(MAGIC) {
        return tensor(&bytes, input).map(Content::Tensor);
    }
    if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("npy")) {
        return Err("is no .npy file: it does not begin with \\x93NUMPY".to_owned());
    }
    Ok(Content::Picture(bytes))
}

fn read(mut source: impl Read) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    source
        .by_ref()
        .take(MAGIC.len() as u64)
        .read_to_end(&mut bytes)
        .map_err(|error| error.to_string())?;
    let limit = if bytes == MAGIC { npy::MAX_BYTES } else { Limits::default().max_bytes };
    source.take(limit).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() as u64 >= limit {
        return Err(format!("it is longer than the limit of {limit} bytes"));
    }
    Ok(bytes)
}

/// The most bytes that a photo takes until it is drawn in a style.
pub(crate) fn memory(file: &PhotoFile<'_>, explainer: &Explainer, style: &OverlayStyle) -> u64 {
    let (width, height) = file.size();
    let photo = file.photo_memory();
    let preprocess = explainer.preprocessing().ok().map(|choice| &choice.preprocess);
    let placement = preprocess.map_or_else(
        || Placement::identity(width, height),
        |preprocess| preprocess.placement(width, height),
    );
    let drawn = style.memory(width, height, &placement);
    // A network of gray gets its input from a copy.
    let is_gray = preprocess.is_some_and(|preprocess| preprocess.channels.is_gray());
    let prepared = if is_gray { photo } else { 0 };
    file.memory().max(photo.saturating_add(drawn.max(prepared)))
}

/// A .npy file as [N, …], the batch axis added where it is missing.
fn tensor(bytes: &[u8], input: &ImageInput) -> Result<ArrayD<f32>, String> {
    let Npy { tensor, dtype } = npy::read(bytes)?;
    let wanted = input.elem.numpy_name();
    let array = match tensor {
        Tensor::F32(array) if dtype == "float32" || dtype == wanted => array,
        Tensor::I64(array) if dtype == wanted => floats(&array)?,
        _ => {
            return Err(format!(
                "the tensor has type {dtype}; the network takes {wanted}: save it with x.astype(numpy.{wanted})"
            ));
        }
    };
    let array = array.as_standard_layout().into_owned();
    let rank = input.shape.len();
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

/// Integers as the floats that the explainer takes.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "what is not exact is refused"
)]
fn floats(array: &ArrayD<i64>) -> Result<ArrayD<f32>, String> {
    match array.iter().find(|number| **number as f32 as i64 != **number) {
        Some(number) => Err(format!("the number {number} is beyond those that float32 holds")),
        None => Ok(array.mapv(|number| number as f32)),
    }
}
