//! timm's `config.json`: `pretrained_cfg`, or the flat form of older files.
//!
//! The transforms are those of `transforms_imagenet_eval` in timm's `data/transforms_factory.py`.
//! <https://huggingface.co/docs/timm>

use serde_json::Value;

use super::json::JsonFields;
use super::origin::SourceSettings;
use super::{Channels, Geometry, Resize, labels};
use crate::{Filter, ImageError};

/// Whether a `config.json` has the form of timm.
pub(super) fn is_timm(root: JsonFields<'_>) -> bool {
    root.get("pretrained_cfg").is_some()
        || (root.get("architecture").is_some() && root.get("input_size").is_some())
}

/// The evaluation transform. `size` is the model's [width, height] if its input shape has it.
pub(super) fn preprocess(
    root: JsonFields<'_>,
    size: Option<(u32, u32)>,
) -> Result<SourceSettings, ImageError> {
    let config = root.object("pretrained_cfg")?.unwrap_or(root);
    let chw = |key| config.sides(key, 3).map(|sides| sides.map(|chw| (chw[2], chw[1])));
    let (train, test) = (chw("input_size")?, chw("test_input_size")?);
    let mut share = config.positive("crop_pct", 1.0)?.unwrap_or(0.875);
    // A model that was exported at its test size has the crop of the test too.
    if size.is_some() && size == test && size != train {
        share = config.positive("test_crop_pct", 1.0)?.unwrap_or(share);
    }
    let mean = config.per_channel("mean", false)?;
    let geometry = match (size.or(train), config.text("crop_mode")?.unwrap_or("center")) {
        (None, _) => None,
        (Some((width, height)), mode) => {
            let center = Geometry::center(width, height, share);
            let larger = |side: u32| (f64::from(side) / share) as u32;
            let (wide, high) = (larger(width), larger(height));
            Some(match mode {
                "center" => center,
                "squash" => {
                    Geometry { resize: Resize::Exact { width: wide, height: high }, ..center }
                }
                "border" => {
                    let level = |mean: &f32| (255.0 * mean).round_ties_even() as u8;
                    let levels: Vec<u8> = mean.iter().flatten().map(level).collect();
                    let fill = match levels[..] {
                        [red, green, blue] => [red, green, blue],
                        [gray] => [gray; 3],
                        _ => [0; 3],
                    };
                    Geometry {
                        resize: Resize::Inside { width: wide, height: high },
                        fill,
                        ..center
                    }
                }
                _ => return Err(config.wrong("crop_mode", "center, squash or border")),
            })
        }
    };
    let filter = match config.text("interpolation")? {
        // timm uses "random" only for training and evaluates with bilinear.
        Some("random") => Some(Filter::Bilinear),
        Some(name) => Some(name.parse().map_err(|_| {
            config.wrong("interpolation", "nearest, bilinear, bicubic, lanczos, box or hamming")
        })?),
        None => Some(Filter::Bicubic),
    };
    let channels = config.sides("input_size", 3)?.and_then(|chw| Channels::of_count(chw[0].into()));
    Ok(SourceSettings {
        geometry,
        filter,
        rescale: Some(1.0 / 255.0),
        mean,
        std: config.per_channel("std", true)?,
        layout: None,
        channels,
    })
}

/// The labels `label_names` (a list or a dict of index to name), replaced by their `label_descriptions` if there are any.
pub(super) fn labels(root: JsonFields<'_>) -> Result<Option<Vec<String>>, ImageError> {
    let config = root.object("pretrained_cfg")?.unwrap_or(root);
    let get = |key| root.get(key).or_else(|| config.get(key));
    let Some(names) = get("label_names").or_else(|| get("labels")) else {
        return Ok(None);
    };
    let mut labels = labels::from_value(&format!("{}: label_names", root.place), names)?;
    if let Some(descriptions) = get("label_descriptions").and_then(Value::as_object) {
        for label in &mut labels {
            if let Some(description) = descriptions.get(label).and_then(Value::as_str) {
                *label = description.to_owned();
            }
        }
    }
    Ok(Some(labels))
}
