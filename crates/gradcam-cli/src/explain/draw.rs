//! From an explanation to the bytes of files.

use gradcam::{
    Explanation,
    image::{OverlayStyle, Photo},
    ndarray::{Array2, ArrayBase, Data, Dimension},
};
use ndarray_npy::WriteNpyExt;
use serde_json::Value;

use super::Item;
use crate::{
    args::Format,
    failure::{Result, failed},
};

/// The files of one format for one layer of an explanation: extension and bytes.
pub(super) fn parts(
    format: Format,
    item: &Item,
    explanation: &Explanation,
    layer: usize,
    style: &OverlayStyle,
    json: impl FnOnce() -> Value,
) -> Result<Vec<(&'static str, Vec<u8>)>> {
    Ok(match format {
        Format::Png => vec![("png", picture(item, explanation, layer, style)?.to_png()?)],
        Format::Npy => vec![
            ("raw.npy", npy(&explanation.layers[layer].map)?),
            ("heatmap.npy", npy(&explanation.heatmap(layer)?)?),
        ],
        Format::Json => vec![("json", format!("{:#}\n", json()).into_bytes())],
    })
}

/// The heatmap over the photo, or alone where there is no photo; a map of the network's input
/// by itself.
fn picture(
    item: &Item,
    explanation: &Explanation,
    layer: usize,
    style: &OverlayStyle,
) -> Result<Photo> {
    if let Some(picture) = explanation.input_picture(layer)? {
        return Ok(picture);
    }
    match &item.photo {
        Some((photo, placement)) => Ok(explanation.overlay(layer, photo, placement, style)?),
        None => alone(&explanation.heatmap(layer)?, style),
    }
}

fn alone(heatmap: &Array2<f32>, style: &OverlayStyle) -> Result<Photo> {
    let side = |side: usize| u32::try_from(side).map_err(failed);
    let rgb = heatmap.iter().flat_map(|heat| style.colormap.color(*heat)).collect();
    Ok(Photo::from_rgb8(side(heatmap.ncols())?, side(heatmap.nrows())?, rgb)?)
}

fn npy<S: Data<Elem = f32>, D: Dimension>(array: &ArrayBase<S, D, f32>) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    array.write_npy(&mut bytes).map_err(failed)?;
    Ok(bytes)
}
