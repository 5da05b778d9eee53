//! Determines the preprocessing that a model expects, from all sources, with the origin of every value.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::json::MAX_SIDE;
use super::metadata::MetadataProps;
use super::origin::{Origins, SettingOrigin, SourceSettings};
use super::sources::{InputShape, Sidecars};
use super::task::Task;
use super::{Channels, Geometry, Layout, Preprocess, Resize};
use crate::files::{Disk, Files};
use crate::{Filter, ImageError, ImageErrorKind, ImageHint};

/// The element type of the network's input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Numbers {
    /// Floats.
    Floats,
    /// Integers: pixel values 0 to 255, unless a source says otherwise.
    Integers,
}

/// How a photo with another aspect ratio fits the network's input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fit {
    /// Resize the short side to the size (or to [`Overrides::short_side`]), then crop the center.
    Crop,
    /// Resize both sides to the size; the aspect ratio is lost.
    Squash,
    /// Resize the long side to the size and add black borders.
    Pad,
}

impl Fit {
    /// All of them with their names.
    pub const ALL: [(&'static str, Self); 3] =
        [("crop", Self::Crop), ("squash", Self::Squash), ("pad", Self::Pad)];
}

/// The values that the caller sets. For `None` the other sources decide.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Overrides {
    /// The size of the network's input, [width, height], for models with an open input shape.
    pub size: Option<(u32, u32)>,
    /// How the photo fits that size.
    pub fit: Option<Fit>,
    /// The length of the short side before a center crop. With [`Fit::Squash`] that of the distorted photo, which then loses its
    /// border; [`Fit::Pad`] has none.
    pub short_side: Option<u32>,
    /// The filter of the resize.
    pub filter: Option<Filter>,
    /// The factor of the 8-bit values. Where it is missing and mean and std are set, it follows from them: 1 if one of them is
    /// above 1, else 1/255.
    pub rescale: Option<f64>,
    /// The mean per channel (or one for all), subtracted after the factor.
    pub mean: Option<Vec<f32>>,
    /// The standard deviation per channel (or one for all).
    pub std: Option<Vec<f32>>,
    /// The order of the axes.
    pub layout: Option<Layout>,
    /// The number and order of the channels.
    pub channels: Option<Channels>,
    /// The ImageNet defaults are right, so they are not reported as guessed.
    pub imagenet: bool,
    /// A file of labels: one per line, or JSON (a list, or an object of index to label).
    pub labels: Option<PathBuf>,
}

/// The preprocessing of photos for a model, and the origin of each value. Serializes to JSON.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PreprocessChoice {
    /// The values.
    pub preprocess: Preprocess,
    /// The names of the classes in the order of the model's output, if a source has them.
    pub labels: Option<Vec<String>>,
    /// The origin of each value.
    pub origins: Origins,
    /// What the model was trained for, where a source says so, and which.
    pub task: Option<(Task, SettingOrigin)>,
    /// The guessed values in words, where no source has them.
    pub guess: Option<String>,
}

impl PreprocessChoice {
    /// Keeps the aspect ratio of photos, for a network that takes any size, where no source says how they fit.
    pub fn keep_aspect(&mut self) {
        self.preprocess.geometry = Geometry::aspect(None, None);
        self.guess = self.guess.take().and_then(|_| guess(&self.preprocess, &self.origins));
    }
}

/// Determines the preprocessing that a model expects.
///
/// For each value the first of these sources that has it decides: `overrides`; `gradcam.preprocess` and
/// `gradcam.labels` in `metadata` (the model's `metadata_props`); Hugging Face `preprocessor_config.json` and
/// `config.json`, and timm's `config.json`, beside the model or, for `onnx/model.onnx`, one folder up;
/// Triton's `config.pbtxt` (the layout and the labels), beside the model or, for `1/model.onnx`, one folder up;
/// ultralytics' metadata; OpenVINO's `model_info` metadata; ONNX `Image.*` metadata; PaddlePaddle's `inference.yml`; for labels
/// also `character` metadata and, beside the model, `<model>.labels.txt`, `<model>.txt`, `<model>.json`, `labels.txt`,
/// `labels.json`, `classes.txt`, `class_indices.json`, `synset.txt`; otherwise the defaults of most ImageNet models, which [`PreprocessChoice::guess`] lists.
///
/// `input_shape` has the sizes of the model's image input, `None` for open ones, which MLflow's `MLmodel` may have; `numbers` is
/// its element type.
///
/// # Errors
///
/// [`ImageErrorKind::Metadata`] for malformed metadata or files, naming file and key (nothing is skipped
/// silently), [`ImageErrorKind::Read`] for unreadable files, [`ImageErrorKind::Invalid`] for values that
/// contradict the input shape.
pub fn resolve(
    overrides: &Overrides,
    metadata: &[(String, String)],
    model_path: Option<&Path>,
    input_shape: &[Option<i64>],
    numbers: Numbers,
) -> Result<PreprocessChoice, ImageError> {
    resolve_in(&Disk, overrides, metadata, model_path, input_shape, numbers)
}

/// As [`resolve()`], with `files` in place of those on disk.
///
/// # Errors
///
/// Those of [`resolve()`].
pub fn resolve_in(
    files: &dyn Files,
    overrides: &Overrides,
    metadata: &[(String, String)],
    model_path: Option<&Path>,
    input_shape: &[Option<i64>],
    numbers: Numbers,
) -> Result<PreprocessChoice, ImageError> {
    let props = MetadataProps(metadata);
    let sidecars = Sidecars::read(files, model_path)?;
    let completed = match overrides.size {
        None => sidecars.completed(input_shape)?,
        Some(_) => input_shape.to_vec(),
    };
    let mut sources = vec![(SettingOrigin::Flag, flags(overrides))];
    sources.extend(props.gradcam()?.map(|p| (SettingOrigin::GradcamMetadata, p)));
    sources.extend(sidecars.hugging_face()?.map(|p| (SettingOrigin::PreprocessorConfig, p)));
    sources.extend(sidecars.triton().map(|p| (SettingOrigin::Triton, p)));
    // The settings of the sources below depend on the size, which depends on the layout. Of them only the shape sets
    // the layout.
    let shape = InputShape::read(&completed, first(&sources, |p| p.layout))?;
    let size = shape.size.or(overrides.size);
    let mut add =
        |origin, partial: Option<SourceSettings>| sources.extend(partial.map(|p| (origin, p)));
    add(SettingOrigin::TimmConfig, sidecars.timm(size)?);
    add(SettingOrigin::Ultralytics, props.ultralytics(size)?);
    add(SettingOrigin::OpenVino, props.openvino(size)?);
    add(SettingOrigin::OnnxImage, props.onnx_image()?);
    add(SettingOrigin::PaddleConfig, sidecars.paddle()?);
    let from_shape = SourceSettings {
        layout: shape.layout,
        channels: shape.channels,
        ..SourceSettings::default()
    };
    add(SettingOrigin::ModelShape, Some(from_shape));
    let raw = || SourceSettings {
        rescale: Some(1.0),
        mean: Some(vec![0.0]),
        std: Some(vec![1.0]),
        ..SourceSettings::default()
    };
    add(SettingOrigin::ModelType, (numbers == Numbers::Integers).then(raw));
    let channels = first(&sources, |p| p.channels).map_or(Channels::Rgb, |(_, channels)| channels);
    add_default(&mut sources, channels, size);

    let (geometry_origin, geometry) = pick("geometry", &sources, |p| p.geometry)?;
    let geometry = fit(geometry, overrides, shape.size);
    let flagged = overrides.fit.is_some() || overrides.short_side.is_some();
    let geometry_origin = if flagged { SettingOrigin::Flag } else { geometry_origin };
    // A line of text has a height and any length.
    let is_line = shape.sides.0.is_some() != shape.sides.1.is_some() && overrides.size.is_none();
    let geometry = match geometry_origin {
        SettingOrigin::ImagenetDefault if is_line => Geometry::aspect(shape.sides.0, shape.sides.1),
        _ => geometry,
    };
    let size_origin = match (shape.size, overrides.size) {
        (Some(_), _) => SettingOrigin::ModelShape,
        (None, Some(_)) => SettingOrigin::Flag,
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
    // Who gives mean and standard deviation knows the model.
    let known = overrides.imagenet || (overrides.mean.is_some() && overrides.std.is_some());
    let guess = if known { None } else { guess(&preprocess, &origins) };
    let task = match sidecars.task()? {
        Some(task) => Some(task),
        None => props.task(),
    };
    Ok(PreprocessChoice { preprocess, labels, origins, task, guess })
}

fn flags(overrides: &Overrides) -> SourceSettings {
    SourceSettings {
        geometry: None, // `fit` adds it, because it depends on the size.
        filter: overrides.filter,
        rescale: overrides.rescale.or_else(|| implied_rescale(overrides)),
        mean: overrides.mean.clone(),
        std: overrides.std.clone(),
        layout: overrides.layout,
        channels: overrides.channels,
    }
}

/// The factor that a mean and a standard deviation from the caller imply: those above 1 are of pixel values.
fn implied_rescale(overrides: &Overrides) -> Option<f64> {
    let mut values = overrides.mean.as_ref()?.iter().chain(overrides.std.as_ref()?);
    Some(if values.any(|value| value.abs() > 1.0) { 1.0 } else { 1.0 / 255.0 })
}

/// Adds the last source: ImageNet's center crop, mean and standard deviation. Networks of gray or with alpha take the whole
/// short side in 0..1, as MNIST models do.
fn add_default(
    sources: &mut Vec<(SettingOrigin, SourceSettings)>,
    channels: Channels,
    size: Option<(u32, u32)>,
) {
    let (width, height) = size.unwrap_or((224, 224));
    let (share, mean, std) = match channels {
        Channels::Rgb => (0.875, vec![0.485, 0.456, 0.406], vec![0.229, 0.224, 0.225]),
        Channels::Bgr => (0.875, vec![0.406, 0.456, 0.485], vec![0.225, 0.224, 0.229]),
        Channels::Gray | Channels::Rgba | Channels::GrayAlpha => (1.0, vec![0.0], vec![1.0]),
    };
    let default = SourceSettings {
        geometry: Some(Geometry::center(width, height, share)),
        filter: Some(Filter::Bilinear),
        rescale: Some(1.0 / 255.0),
        mean: Some(mean),
        std: Some(std),
        layout: Some(Layout::Nchw),
        channels: Some(channels),
    };
    sources.push((SettingOrigin::ImagenetDefault, default));
}

fn first<T>(
    sources: &[(SettingOrigin, SourceSettings)],
    get: impl Fn(&SourceSettings) -> Option<T>,
) -> Option<(SettingOrigin, T)> {
    sources.iter().find_map(|(origin, partial)| get(partial).map(|value| (*origin, value)))
}

/// The value of the first source that has it.
fn pick<T>(
    name: &str,
    sources: &[(SettingOrigin, SourceSettings)],
    get: impl Fn(&SourceSettings) -> Option<T>,
) -> Result<(SettingOrigin, T), ImageError> {
    first(sources, get)
        .ok_or_else(|| ImageError::new(ImageErrorKind::Invalid, format!("no source has {name}")))
}

/// The geometry, adapted to the caller's values and the model's size.
fn fit(geometry: Geometry, overrides: &Overrides, fixed: Option<(u32, u32)>) -> Geometry {
    let output = geometry.output();
    let size = fixed.or(overrides.size);
    let (width, height) = size.or(output).unwrap_or((224, 224));
    match (overrides.fit, overrides.short_side) {
        (Some(Fit::Squash), None) => return Geometry::squash(width, height),
        // Caffe's way: 256x256, then the center.
        (Some(Fit::Squash), Some(short)) => {
            let side = |side: u32| {
                let scaled =
                    u64::from(side) * u64::from(short) / u64::from(width.min(height).max(1));
                u32::try_from(scaled).unwrap_or(u32::MAX)
            };
            let resize = Resize::Exact { width: side(width), height: side(height) };
            return Geometry { resize, ..Geometry::center(width, height, 1.0) };
        }
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
        // The caller sets the size of a model of open size; the geometry scales with it.
        (Some(_), _) if fixed.is_none() => geometry.scaled_to(width, height),
        (Some(_), _) => geometry, // `check` reports the contradiction.
        (None, Resize::None) => Geometry::squash(width, height),
        (None, _) => {
            let crop = Geometry::center(width, height, 1.0).crop;
            Geometry { crop, ..geometry }
        }
    }
}

/// Refuses values that contradict each other or the model's input shape.
fn check(
    preprocess: &Preprocess,
    shape: &InputShape,
    overrides: &Overrides,
    geometry_origin: SettingOrigin,
) -> Result<(), ImageError> {
    let invalid = |message: String| Err(ImageError::new(ImageErrorKind::Invalid, message));
    if let (Some(Fit::Pad), Some(short)) = (overrides.fit, overrides.short_side) {
        let message =
            format!("a short side of {short} pixels was asked for; a photo with borders has none");
        return Err(ImageError::new(ImageErrorKind::Invalid, message).with_hint(ImageHint::Fit));
    }
    if let Some((w, h)) = overrides.size.filter(|(w, h)| *w.min(h) == 0 || *w.max(h) > MAX_SIDE) {
        return invalid(format!("size is {w}x{h}; expected sides between 1 and {MAX_SIDE}"));
    }
    let side = |side: Option<u32>| side.map_or("any".to_owned(), |side| side.to_string());
    let fits = |asked: u32, fixed: Option<u32>| fixed.is_none_or(|fixed| fixed == asked);
    if let (None, Some((w, h))) = (shape.size, overrides.size)
        && !(fits(w, shape.sides.0) && fits(h, shape.sides.1))
    {
        return invalid(format!(
            "size {w}x{h} was asked for, but the model takes a width of {} and a height of {}",
            side(shape.sides.0),
            side(shape.sides.1)
        ));
    }
    if let Some((width, height)) = shape.size {
        if let Some((w, h)) = overrides.size.filter(|size| *size != (width, height)) {
            return invalid(format!(
                "size {w}x{h} was asked for, but the model takes {width}x{height} only"
            ));
        }
        if let Some((w, h)) = preprocess.geometry.output().filter(|size| *size != (width, height)) {
            let message = format!(
                "{geometry_origin} prepares {w}x{h} pixels, but the model takes {width}x{height}"
            );
            let error = ImageError::new(ImageErrorKind::Invalid, message);
            return Err(error.with_hint(ImageHint::Fit));
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

/// The values that no source has, in words.
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
    let guessed =
        values.into_iter().filter(|(origin, _)| *origin == SettingOrigin::ImagenetDefault);
    let guessed: Vec<String> = guessed.map(|(_, text)| text).collect();
    (!guessed.is_empty()).then(|| guessed.join(", "))
}

fn geometry_text(geometry: &Geometry, filter: &str) -> String {
    let resize = match geometry.resize {
        Resize::ShortSide { size, .. } => format!("short side to {size}"),
        Resize::Outside { width, height } => format!("resize to cover {width}x{height}"),
        Resize::Aspect { width, height, .. } => match (width, height) {
            (Some(width), _) => format!("width to {width}, aspect ratio kept"),
            (None, Some(height)) => format!("height to {height}, aspect ratio kept"),
            (None, None) => "aspect ratio kept".to_owned(),
        },
        other => format!("{other:?}"),
    };
    let crop = geometry
        .crop
        .map_or_else(String::new, |crop| format!(", center crop {}x{}", crop.width, crop.height));
    format!("{resize} ({filter}){crop}")
}
