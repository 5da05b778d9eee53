//! The reading of the image input: its layout, its size and the preparation of photos, from flags, files, shape and graph.

use std::{io, path::Path, sync::Arc};

use onnx_grad::{
    FileBytes, Model,
    graph::{Graph, Sizes},
};

use crate::{
    Error, Result,
    error::ErrorKind,
    head::{HeadSettings, head},
    hint::Hint,
    image::{
        self, ImageErrorKind, Overrides, Preprocess, PreprocessChoice,
        preprocess::{Layout, Numbers, SettingOrigin, Task},
    },
    input::{ImageInput, Inputs},
    layer::channel_axis,
};

use super::labels::Labels;

/// What the sources say of photos for a model.
pub(super) struct InputReading {
    /// The preprocessing of photos, or why the model takes none.
    pub(super) preprocess: Result<PreprocessChoice, String>,
    pub(super) labels: Option<Labels>,
    /// What the model was trained for, and which source says so.
    pub(super) task: Option<(Task, SettingOrigin)>,
}

/// Reads the image input, whose channels get their axis: from flags, metadata, an unambiguous shape, or the graph, in this order.
/// Also gives the graph for inputs of the `sizes`.
pub(super) fn reading(
    model: &Model,
    overrides: &Overrides,
    image: &mut ImageInput,
    sizes: &dyn Fn(&ImageInput, Option<&Preprocess>) -> Sizes,
) -> Result<(Graph, InputReading)> {
    let bound = |image: &ImageInput, reading: &InputReading| {
        let choice = reading.preprocess.as_ref().ok();
        Ok::<_, Error>(Graph::new(model, &sizes(image, choice.map(|choice| &choice.preprocess)))?)
    };
    let (first, layout) = resolved(model, overrides, image)?;
    if let Some(layout) = layout {
        image.set_layout(layout);
        return Ok((bound(image, &first)?, first));
    }
    let graph = bound(image, &first)?;
    let axis = image.in_graph(&graph).and_then(|image| channel_axis(&graph, image.value));
    let Some(axis) = axis.filter(|axis| *axis != image.channel_axis) else {
        return Ok((graph, first));
    };
    image.channel_axis = axis;
    let layouts = [Layout::Nchw, Layout::Nhwc];
    let layout = layouts.into_iter().find(|it| Some(it.channel_axis(image.shape.len())) == axis);
    let overrides = Overrides { layout, ..overrides.clone() };
    let (mut second, _) = resolved(model, &overrides, image)?;
    if let Ok(choice) = &mut second.preprocess {
        choice.origins.layout = SettingOrigin::ModelGraph;
    }
    Ok((bound(image, &second)?, second))
}

/// What the sources of preprocessing say, and the layout where one of them says it without doubt.
fn resolved(
    model: &Model,
    overrides: &Overrides,
    input: &ImageInput,
) -> Result<(InputReading, Option<Layout>)> {
    let metadata: Vec<(String, String)> =
        model.metadata().map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
    let resolve = |shape: &[Option<i64>]| {
        let numbers = if input.elem.is_float() { Numbers::Floats } else { Numbers::Integers };
        match model.files() {
            None => image::resolve(overrides, &metadata, model.path(), shape, numbers),
            Some(files) => {
                let files = Beside(files);
                image::resolve_in(&files, overrides, &metadata, model.path(), shape, numbers)
            }
        }
    };
    let told = |choice: &PreprocessChoice| match choice.origins.layout {
        SettingOrigin::ImagenetDefault => None,
        SettingOrigin::ModelShape if is_ambiguous(&input.shape) => None,
        _ => Some(choice.preprocess.layout),
    };
    match resolve(&input.shape) {
        Ok(choice) => {
            let (labels, layout) = (Labels::of_choice(&choice), told(&choice));
            let task = choice.task;
            Ok((InputReading { preprocess: Ok(choice), labels, task }, layout))
        }
        // Tensors can still be explained. Labels do not depend on the input, nor does a layout from another source than
        // the shape.
        Err(error) if error.kind() == ImageErrorKind::Invalid && !input.takes_photos() => {
            let choice = resolve(&[None; 4])?;
            let (labels, layout) = (Labels::of_choice(&choice), told(&choice));
            let (preprocess, task) = (Err(error.to_string()), choice.task);
            Ok((InputReading { preprocess, labels, task }, layout))
        }
        Err(error) => Err(error.into()),
    }
}

/// The files beside a model, for the part that reads photos and labels.
struct Beside<'a>(&'a dyn onnx_grad::Files);

impl image::Files for Beside<'_> {
    fn open(&self, path: &Path) -> io::Result<Box<dyn io::Read>> {
        let Self(files) = self;
        Ok(Box::new(Reader { bytes: files.open(path)?, at: 0 }))
    }
}

/// Reads a file from its beginning to its end.
struct Reader {
    bytes: Arc<dyn FileBytes>,
    at: u64,
}

impl io::Read for Reader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.bytes.len() - self.at).unwrap_or(usize::MAX);
        let count = into.len().min(left);
        self.bytes.read_at(self.at, &mut into[..count])?;
        self.at += count as u64;
        Ok(count)
    }
}

/// Whether the first axis behind the batch and the last one could both hold the channels of a photo.
fn is_ambiguous(shape: &[Option<i64>]) -> bool {
    let [_, second, .., last] = shape else { return true };
    [second, last].iter().all(|size| matches!(size, Some(1 | 3)))
}

/// An error with the size of the image, where the model leaves it open and does not fit it. `assumed` tells that no one gave it.
pub(super) fn with_size(error: Error, graph: &Graph, image: &ImageInput, assumed: bool) -> Error {
    let is_unknown = |value| graph.fact(value).shape.is_none() && graph.fact(value).elem.is_float();
    let about_shapes = matches!(
        error.kind(),
        ErrorKind::Engine | ErrorKind::Layer | ErrorKind::Target | ErrorKind::Unsupported
    );
    let sizes = graph.find(&image.name).and_then(|value| graph.fact(value).sizes());
    let fits = !about_shapes || !image.has_open_size() || !graph.values().any(is_unknown);
    let Some(sizes) = sizes.filter(|_| !fits) else { return error };
    let source = if assumed { "was assumed" } else { "is that of the image" };
    let name = &image.name;
    error
        .adding(&format!("the model leaves the size of \"{name}\" open, and {sizes:?} {source}"))
        .hinting(Hint::GiveSize)
}

/// Whether photos of any shape can be explained in their own: nothing says how they are prepared, and the network is known to
/// work at sizes other than the usual one.
pub(super) fn takes_any_size(
    model: &Model,
    inputs: &Inputs,
    image: &ImageInput,
    choice: &PreprocessChoice,
    settings: &HeadSettings,
) -> bool {
    let says_nothing = choice.origins.geometry == SettingOrigin::ImagenetDefault
        && choice.origins.size == SettingOrigin::ImagenetDefault;
    if !says_nothing || !image.space().all(|axis| image.shape[axis].is_none()) {
        return false;
    }
    let mut preprocess = choice.preprocess.clone();
    preprocess.geometry = image::preprocess::Geometry::squash(288, 160);
    let other = Graph::new(model, &inputs.sizes_for(image, Some(&preprocess)));
    other.is_ok_and(|graph| head(&graph, settings).is_ok_and(|head| head.form.is_dense()))
}
