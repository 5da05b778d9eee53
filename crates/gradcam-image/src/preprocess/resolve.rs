//! How a model wants its photos prepared, from everything that may say so, with the origin of every value.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::json::MAX_SIDE;
use super::metadata::Props;
use super::origin::{Origin, Origins, Partial};
use super::sources::{Shape, Sidecars};
use super::{Channels, Geometry, Layout, Preprocess, Resize};
use crate::{Filter, ImageError, ImageErrorKind};

/// What the network's input holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Numbers {
    /// Floats.
    Floats,
    /// Integers: pixel values 0 to 255 as they are, where nothing says otherwise.
    Integers,
}

/// How a photo of another shape fits the network's input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fit {
    /// Short side to the size (or to [`Overrides::short_side`]), then a centre crop.
    Crop,
    /// Both sides to the size; the aspect ratio is lost.
    Squash,
    /// Long side to the size, with black borders.
    Pad,
}

/// What the caller decides. Everything that is `None` is looked for.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Overrides {
    /// Size of the network's input, [width, height], for models whose input shape leaves it open.
    pub size: Option<(u32, u32)>,
    /// How the photo fits that size.
    pub fit: Option<Fit>,
    /// Length of the short side before a centre crop; implies [`Fit::Crop`].
    pub short_side: Option<u32>,
    /// Filter of the resize.
    pub filter: Option<Filter>,
    /// Factor of the 8-bit values.
    pub rescale: Option<f64>,
    /// Mean per channel (or one for all), subtracted after the factor.
    pub mean: Option<Vec<f32>>,
    /// Standard deviation per channel (or one for all).
    pub std: Option<Vec<f32>>,
    /// Order of the axes.
    pub layout: Option<Layout>,
    /// Number and order of the channels.
    pub channels: Option<Channels>,
    /// The caller knows that the ImageNet defaults are right, so they are not reported as guessed.
    pub imagenet: bool,
    /// A file of labels: one per line, or JSON (a list, or an object of index to label).
    pub labels: Option<PathBuf>,
}

/// How to prepare photos for a model, and where each value came from. Serialises to JSON.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Resolved {
    /// The values.
    pub preprocess: Preprocess,
    /// Names of the classes in the order of the model's output, where something says them.
    pub labels: Option<Vec<String>>,
    /// Where each value came from.
    pub origins: Origins,
    /// The values that were guessed because nothing says them, in words; none where all were said.
    pub guess: Option<String>,
}

/// Finds out how a model wants its photos prepared.
///
/// The first of these that says something about a value wins: `overrides`; `gradcam.preprocess` and
/// `gradcam.labels` in `metadata` (the model's `metadata_props`); Hugging Face `preprocessor_config.json` and
/// `config.json`, and timm's `config.json`, beside the model or, for `onnx/model.onnx`, one folder up;
/// ultralytics' metadata; ONNX `Image.*` metadata; for labels `<model>.labels.txt`, `labels.txt`, `synset.txt`
/// beside the model; else what most ImageNet models take, and [`Resolved::guess`] says so.
///
/// `input_shape` has the sizes of the model's image input, `None` where they are open; `numbers` is what it holds.
///
/// # Errors
///
/// [`ImageErrorKind::Metadata`] for malformed metadata or files, naming file and key (nothing is skipped in
/// silence), [`ImageErrorKind::Read`] for unreadable files, [`ImageErrorKind::Invalid`] for values that
/// contradict the input shape.
pub fn resolve(
    overrides: &Overrides,
    metadata: &[(String, String)],
    model_path: Option<&Path>,
    input_shape: &[Option<i64>],
    numbers: Numbers,
) -> Result<Resolved, ImageError> {
    let shape = Shape::read(input_shape, overrides.layout)?;
    let props = Props(metadata);
    let sidecars = Sidecars::read(model_path)?;
    let size = shape.size.or(overrides.size);

    let mut sources = vec![(Origin::Flag, flags(overrides))];
    let mut add = |origin, partial: Option<Partial>| sources.extend(partial.map(|p| (origin, p)));
    add(Origin::GradcamMetadata, props.gradcam()?);
    add(Origin::PreprocessorConfig, sidecars.hugging_face()?);
    add(Origin::TimmConfig, sidecars.timm(size)?);
    add(Origin::Ultralytics, props.ultralytics(size)?);
    add(Origin::OnnxImage, props.onnx_image()?);
    let from_shape =
        Partial { layout: shape.layout, channels: shape.channels, ..Partial::default() };
    add(Origin::ModelShape, Some(from_shape));
    let raw = || Partial {
        rescale: Some(1.0),
        mean: Some(vec![0.0]),
        std: Some(vec![1.0]),
        ..Partial::default()
    };
    add(Origin::ModelType, (numbers == Numbers::Integers).then(raw));
    let channels = first(&sources, |p| p.channels).map_or(Channels::Rgb, |(_, channels)| channels);
    add_default(&mut sources, channels, size);

    let (geometry_origin, geometry) = pick("geometry", &sources, |p| p.geometry)?;
    let geometry = fit(geometry, overrides, shape.size);
    let flagged = overrides.fit.is_some() || overrides.short_side.is_some();
    let geometry_origin = if flagged { Origin::Flag } else { geometry_origin };
    let size_origin = match (shape.size, overrides.size) {
        (Some(_), _) => Origin::ModelShape,
        (None, Some(_)) => Origin::Flag,
        (None, None) => geometry_origin,
    };
    let count = channels.count();
    let spread = |values: Vec<f32>| if values.len() == 1 { vec![values[0]; count] } else { values };
    let (filter_origin, filter) = pick("filter", &sources, |p| p.filter)?;
    let (rescale_origin, rescale) = pick("rescale", &sources, |p| p.rescale)?;
    let (mean_origin, mean) = pick("mean", &sources, |p| p.mean.clone())?;
    let (std_origin, std) = pick("std", &sources, |p| p.std.clone())?;
    let (layout_origin, layout) = pick("layout", &sources, |p| p.layout)?;
    let (channels_origin, channels) = pick("channels", &sources, |p| p.channels)?;
    let (mean, std) = (spread(mean), spread(std));
    let preprocess = Preprocess { geometry, filter, rescale, mean, std, layout, channels };
    check(&preprocess, &shape, overrides, geometry_origin)?;
    let labels = sidecars.labels(overrides.labels.as_deref(), props)?;
    let origins = Origins {
        channels: channels_origin,
        filter: filter_origin,
        geometry: geometry_origin,
        labels: labels.as_ref().map(|(origin, _)| *origin),
        layout: layout_origin,
        mean: mean_origin,
        rescale: rescale_origin,
        size: size_origin,
        std: std_origin,
    };
    let labels = labels.map(|(_, labels)| labels);
    let guess = if overrides.imagenet { None } else { guess(&preprocess, &origins) };
    Ok(Resolved { preprocess, labels, origins, guess })
}

fn flags(overrides: &Overrides) -> Partial {
    Partial {
        geometry: None, // needs the size, see `fit`
        filter: overrides.filter,
        rescale: overrides.rescale,
        mean: overrides.mean.clone(),
        std: overrides.std.clone(),
        layout: overrides.layout,
        channels: overrides.channels,
    }
}

/// The last source: ImageNet's centre crop, mean and standard deviation; grey networks take the whole
/// short side in 0..1, as MNIST models do.
fn add_default(sources: &mut Vec<(Origin, Partial)>, channels: Channels, size: Option<(u32, u32)>) {
    let (width, height) = size.unwrap_or((224, 224));
    let (share, mean, std) = match channels {
        Channels::Rgb => (0.875, vec![0.485, 0.456, 0.406], vec![0.229, 0.224, 0.225]),
        Channels::Bgr => (0.875, vec![0.406, 0.456, 0.485], vec![0.225, 0.224, 0.229]),
        Channels::Grey => (1.0, vec![0.0], vec![1.0]),
    };
    let default = Partial {
        geometry: Some(Geometry::center(width, height, share)),
        filter: Some(Filter::Bilinear),
        rescale: Some(1.0 / 255.0),
        mean: Some(mean),
        std: Some(std),
        layout: Some(Layout::Nchw),
        channels: Some(channels),
    };
    sources.push((Origin::ImagenetDefault, default));
}

fn first<T>(
    sources: &[(Origin, Partial)],
    get: impl Fn(&Partial) -> Option<T>,
) -> Option<(Origin, T)> {
    sources.iter().find_map(|(origin, partial)| get(partial).map(|value| (*origin, value)))
}

/// The value of the first source that says it.
fn pick<T>(
    name: &str,
    sources: &[(Origin, Partial)],
    get: impl Fn(&Partial) -> Option<T>,
) -> Result<(Origin, T), ImageError> {
    first(sources, get)
        .ok_or_else(|| ImageError::new(ImageErrorKind::Invalid, format!("nothing says {name}")))
}

/// The geometry with what the caller and the model's own size change about it.
fn fit(geometry: Geometry, overrides: &Overrides, fixed: Option<(u32, u32)>) -> Geometry {
    let output = geometry.output();
    let size = fixed.or(overrides.size);
    let (width, height) = size.or(output).unwrap_or((224, 224));
    match (overrides.fit, overrides.short_side) {
        (Some(Fit::Squash), _) => return Geometry::squash(width, height),
        (Some(Fit::Pad), _) => return Geometry::pad(width, height, [0; 3]),
        (Some(Fit::Crop), None) => return Geometry::center(width, height, 1.0),
        (_, Some(short)) => {
            let resize = Resize::ShortSide { size: short, longest: None };
            return Geometry { resize, ..Geometry::center(width, height, 1.0) };
        }
        (None, None) => {}
    }
    let Some((width, height)) = size.filter(|size| Some(*size) != output) else {
        return geometry;
    };
    match (output, geometry.resize) {
        // A caller's size for a model of open size: everything scales with it.
        (Some(_), _) if fixed.is_none() => geometry.scaled_to(width, height),
        (Some(_), _) => geometry, // a contradiction, reported by `check`
        (None, Resize::None) => Geometry::squash(width, height),
        (None, _) => {
            let crop = Geometry::center(width, height, 1.0).crop;
            Geometry { crop, ..geometry }
        }
    }
}

/// Refuses what contradicts the model's input shape or itself.
fn check(
    preprocess: &Preprocess,
    shape: &Shape,
    overrides: &Overrides,
    geometry_origin: Origin,
) -> Result<(), ImageError> {
    let invalid = |message: String| Err(ImageError::new(ImageErrorKind::Invalid, message));
    if let Some((w, h)) = overrides.size.filter(|(w, h)| *w.min(h) == 0 || *w.max(h) > MAX_SIDE) {
        return invalid(format!("size is {w}x{h}; expected sides between 1 and {MAX_SIDE}"));
    }
    if let Some((width, height)) = shape.size {
        if let Some((w, h)) = overrides.size.filter(|size| *size != (width, height)) {
            return invalid(format!(
                "size {w}x{h} was asked for, but the model takes {width}x{height} only"
            ));
        }
        if let Some((w, h)) = preprocess.geometry.output().filter(|size| *size != (width, height)) {
            return invalid(format!(
                "{geometry_origin} prepares {w}x{h} pixels, but the model takes {width}x{height}; say how photos fit with --fit"
            ));
        }
    }
    let count = preprocess.channels.count();
    if let Some(channels) = shape.channels.filter(|channels| channels.count() != count) {
        let s = if count == 1 { " was" } else { "s were" };
        return invalid(format!(
            "{count} channel{s} asked for, but the model takes {}",
            channels.count()
        ));
    }
    for (name, values) in [("mean", &preprocess.mean), ("std", &preprocess.std)] {
        if values.len() != count {
            return invalid(format!(
                "{name} has {} values, but the model takes {count} channels",
                values.len()
            ));
        }
        if values.iter().any(|value| !value.is_finite() || (name == "std" && *value == 0.0)) {
            return invalid(format!(
                "{name} is {values:?}; expected finite numbers, and std not 0"
            ));
        }
    }
    if !(preprocess.rescale.is_finite() && preprocess.rescale != 0.0) {
        return invalid(format!(
            "rescale is {}; expected a number that is not 0",
            preprocess.rescale
        ));
    }
    Ok(())
}

/// The values that nothing says, in words.
fn guess(preprocess: &Preprocess, origins: &Origins) -> Option<String> {
    let values = [
        (
            origins.geometry,
            geometry_text(&preprocess.geometry, &format!("{} filter", preprocess.filter)),
        ),
        (origins.rescale, format!("values times {:.6}", preprocess.rescale)),
        (origins.mean, format!("mean {:?}", preprocess.mean)),
        (origins.std, format!("std {:?}", preprocess.std)),
    ];
    let guessed = values.into_iter().filter(|(origin, _)| *origin == Origin::ImagenetDefault);
    let guessed: Vec<String> = guessed.map(|(_, text)| text).collect();
    (!guessed.is_empty()).then(|| guessed.join(", "))
}

fn geometry_text(geometry: &Geometry, filter: &str) -> String {
    let resize = match geometry.resize {
        Resize::ShortSide { size, .. } => format!("short side to {size}"),
        Resize::Outside { width, height } => format!("resize to cover {width}x{height}"),
        other => format!("{other:?}"),
    };
    let crop = geometry
        .crop
        .map_or_else(String::new, |crop| format!(", centre crop {}x{}", crop.width, crop.height));
    format!("{resize} ({filter}){crop}")
}
