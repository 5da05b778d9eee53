//! From an explanation to the bytes of files.

use gradcam::{
    Explanation,
    image::{OverlayStyle, Photo, heatmap_picture},
    ndarray::{Array2, ArrayD},
};

use super::Item;
use crate::{
    args::Format,
    failure::{Result, failed},
    names, npy,
};

/// The files of one format for one heatmap of an explanation: extension and bytes.
pub(super) fn parts(
    format: Format,
    item: &Item,
    explanation: &Explanation,
    at: usize,
    style: &OverlayStyle,
    json: impl FnOnce() -> Result<String>,
) -> Result<Vec<(String, Vec<u8>)>> {
    let named = |extension: &str, bytes| (extension.to_owned(), bytes);
    Ok(match format {
        Format::Png => {
            let picture = picture(item.photo.as_ref(), explanation, at, style)?;
            vec![named("png", picture.to_png()?)]
        }
        Format::Npy => {
            let mut files = if explanation.is_fused() {
                raw_of_layers(explanation)
            } else {
                vec![named("raw.npy", npy::bytes_of(&explanation.layers[at].map))]
            };
            files.push(named("heatmap.npy", npy::bytes_of(&explanation.heatmap_nd(at)?)));
            files
        }
        Format::Json => vec![named("json", json()?.into_bytes())],
    })
}

/// The raw maps of all layers, each with its layer's name.
fn raw_of_layers(explanation: &Explanation) -> Vec<(String, Vec<u8>)> {
    let layers = explanation.layers.iter().enumerate();
    let raw = layers.map(|(at, layer)| {
        let extension = format!("{}.raw.npy", names::layer_of(explanation, at));
        (extension, npy::bytes_of(&layer.map))
    });
    raw.collect()
}

/// The heatmap over the photo, or alone where there is no photo; a map of the network's input
/// by itself.
pub(crate) fn picture(
    photo: Option<&Photo>,
    explanation: &Explanation,
    at: usize,
    style: &OverlayStyle,
) -> Result<Photo> {
    if let Some(picture) = explanation.input_picture(at)? {
        return Ok(picture);
    }
    match photo {
        Some(photo) => Ok(explanation.overlay(at, photo, style)?),
        None => Ok(heatmap_picture(flat(explanation.shown_heatmap(at)?)?.view(), style)?),
    }
}

/// A heatmap as a picture: one of a line as a strip, one of a volume as its slices along the depth, beside each
/// other and then below.
fn flat(heatmap: ArrayD<f32>) -> Result<Array2<f32>> {
    let shape = heatmap.shape();
    let Some(size) = flat_size(shape) else {
        return Err(failed(format!(
            "a heatmap of shape {shape:?} is no picture; write the array with gradcam explain --format npy"
        )));
    };
    Ok(Array2::from_shape_fn(size, |(y, x)| match *shape {
        [_] => heatmap[[x]],
        [_, height, width] => {
            let slice = (y / height) * (size.1 / width) + x / width;
            heatmap.get([slice, y % height, x % width]).copied().unwrap_or(0.0)
        }
        _ => heatmap[[y, x]],
    }))
}

/// The height and the width of the picture of a heatmap; `None` where it is none.
pub(crate) fn flat_size(shape: &[usize]) -> Option<(usize, usize)> {
    match *shape {
        [length] => Some(((length / 8).clamp(16, 128), length)),
        [height, width] => Some((height, width)),
        [depth, height, width] => {
            let columns = (1..=depth).find(|side| side * side >= depth).unwrap_or(1);
            Some((height * depth.div_ceil(columns), width * columns))
        }
        _ => None,
    }
}
