//! PaddlePaddle's `inference.yml`, as PaddleClas, PaddleDetection and PaddleOCR export it.
//!
//! <https://github.com/PaddlePaddle/PaddleX>

use serde_json::{Map, Value};

use super::json::JsonFields;
use super::origin::SourceSettings;
use super::{Channels, Crop, CropRounding, Geometry, Resize, labels};
use crate::{Filter, ImageError};

/// A step of the preprocessing: its name and its parameters.
type Step<'a> = (&'a str, &'a Map<String, Value>);

/// The steps, `- Name: {…}` below `PreProcess: transform_ops`, or `- type: Name` below `Preprocess`.
fn steps(root: &Map<String, Value>) -> Vec<Step<'_>> {
    let list = root.get("PreProcess").and_then(|part| part.get("transform_ops"));
    let list = list.or_else(|| root.get("Preprocess")).and_then(Value::as_array);
    list.into_iter().flatten().filter_map(step).collect()
}

fn step(entry: &Value) -> Option<Step<'_>> {
    let map = entry.as_object()?;
    match map.get("type").and_then(Value::as_str) {
        Some(name) => Some((name, map)),
        None => map.iter().find_map(|(name, value)| Some((name.as_str(), value.as_object()?))),
    }
}

/// The settings of the steps; those of training and of labels say nothing of photos.
pub(super) fn preprocess(
    place: &str,
    root: &Map<String, Value>,
) -> Result<SourceSettings, ImageError> {
    let mut settings =
        SourceSettings { filter: Some(Filter::Bilinear), ..SourceSettings::default() };
    let mut resize = None;
    let mut crop = None;
    let mut fill = [0; 3];
    for (name, map) in steps(root) {
        let place = format!("{place}: {name}");
        let fields = JsonFields { place: &place, map };
        match name {
            "DecodeImage" => {
                settings.channels = match fields.text("img_mode")? {
                    Some("RGB") => Some(Channels::Rgb),
                    Some("BGR") => Some(Channels::Bgr),
                    Some("GRAY") => Some(Channels::Gray),
                    _ => None,
                };
            }
            "ResizeImage" => {
                let short = fields.side("resize_short")?;
                resize = match short {
                    Some(size) => Some(Resize::ShortSide { size, longest: None }),
                    None => width_height(fields, "size")?
                        .map(|(width, height)| Resize::Exact { width, height }),
                };
            }
            "Resize" => {
                // Height comes first here.
                let size = width_height(fields, "target_size")?;
                let keep = fields.bool("keep_ratio")?.unwrap_or(false);
                resize = size.map(|(height, width)| match keep {
                    true => Resize::Inside { width, height },
                    false => Resize::Exact { width, height },
                });
                if fields.get("interp").and_then(Value::as_u64) == Some(2) {
                    settings.filter = Some(Filter::Bicubic);
                }
            }
            "CropImage" => crop = width_height(fields, "size")?,
            "RecResizeImg" => {
                let sides = fields.sides("image_shape", 3)?;
                if let Some([_, height, width]) = sides.as_deref() {
                    // The line is resized to the height, and what remains of the width is zero after the normalization.
                    resize = Some(Resize::Inside { width: *width, height: *height });
                    crop = Some((*width, *height));
                    fill = [127; 3];
                }
                settings.rescale = Some(1.0 / 255.0);
                settings.mean = Some(vec![0.5]);
                settings.std = Some(vec![0.5]);
            }
            "NormalizeImage" => normalize(fields, &mut settings)?,
            _ => {}
        }
    }
    let crop = crop.map(|(width, height)| Crop { width, height, rounding: CropRounding::Down });
    settings.geometry = match (resize, crop) {
        (None, None) => None,
        (resize, crop) => Some(Geometry { resize: resize.unwrap_or(Resize::None), crop, fill }),
    };
    Ok(settings)
}

fn normalize(fields: JsonFields<'_>, settings: &mut SourceSettings) -> Result<(), ImageError> {
    let factor = |text: &str| {
        let number = |text: &str| text.trim().parse::<f64>().ok();
        match text.split_once('/') {
            Some((a, b)) => Some(number(a)? / number(b)?),
            None => number(text),
        }
    };
    let scale = match fields.get("scale") {
        Some(Value::String(text)) => factor(text),
        Some(other) => other.as_f64(),
        // PaddleDetection has a flag instead.
        None => match fields.bool("is_scale")? {
            Some(false) => Some(1.0),
            _ => Some(1.0 / 255.0),
        },
    };
    let expected = "a number that is not 0, such as 1/255";
    let scale = scale.filter(|scale| scale.is_finite() && *scale != 0.0);
    settings.rescale = Some(scale.ok_or_else(|| fields.wrong("scale", expected))?);
    let plain = fields.text("norm_type")? == Some("none");
    settings.mean = if plain { Some(vec![0.0]) } else { fields.per_channel("mean", false)? };
    settings.std = if plain { Some(vec![1.0]) } else { fields.per_channel("std", true)? };
    Ok(())
}

/// A list of two sides, or one for both.
fn width_height(fields: JsonFields<'_>, key: &str) -> Result<Option<(u32, u32)>, ImageError> {
    match fields.get(key) {
        Some(Value::Array(_)) => Ok(fields.sides(key, 2)?.map(|sides| (sides[0], sides[1]))),
        _ => Ok(fields.side(key)?.map(|side| (side, side))),
    }
}

/// The labels: `character_dict` or `label_list`, wherever they are.
pub(super) fn labels(
    place: &str,
    root: &Map<String, Value>,
) -> Result<Option<Vec<String>>, ImageError> {
    for key in ["character_dict", "label_list"] {
        let found = root.get(key).or_else(|| root.values().find_map(|part| find(part, key)));
        if let Some(list) = found.filter(|value| value.is_array() || value.is_object()) {
            return labels::from_value(&format!("{place}: {key}"), list).map(Some);
        }
    }
    Ok(None)
}

fn find<'a>(value: &'a Value, key: &str) -> Option<&'a Value> {
    let map = value.as_object()?;
    map.get(key).or_else(|| map.values().find_map(|part| find(part, key)))
}
