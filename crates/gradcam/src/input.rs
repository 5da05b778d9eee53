//! The image input of a model: its name, its type and sizes, and the checks of tensors against them.

mod side;

use ndarray::{ArrayBase, ArrayD, ArrayViewD, ArrayViewMutD, Axis, IxDyn, RawData};
use onnx_grad::{
    DeclaredDim, Dim, Input,
    graph::{Graph, Sizes},
    proto::tensor_proto::DataType,
};

pub(crate) use side::{InputSettings, Inputs, image_of, usual_sizes};

use crate::{
    Result,
    error::bail,
    explanation::Augmentation,
    image::{Preprocess, preprocess::Layout},
    layer::ImageValue,
    method::Method,
};

/// The input of a model that takes the images.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ImageInput {
    /// Its name.
    pub name: String,
    /// Its element type.
    pub elem: DataType,
    /// Its sizes, such as [N, C, H, W]; `None` where the model leaves one open, empty where it says nothing.
    pub shape: Vec<Option<i64>>,
    /// The axis of the channels; `None` where every axis behind the first is one of positions, as in a spectrogram `[N, T, F]`.
    pub channel_axis: Option<usize>,
}

impl ImageInput {
    /// The input as the model declares it, with the channels where its shape implies them, else on axis 1. An input of an unknown
    /// number of axes has those of the example, or of a photo.
    pub(crate) fn of(input: &Input, example: Option<&[usize]>) -> Self {
        let size = |dim: &DeclaredDim| match dim {
            DeclaredDim::Size(size) => Some(*size),
            DeclaredDim::Name(_) | DeclaredDim::Unknown => None,
        };
        let shape: Vec<Option<i64>> = match &input.dims {
            Some(dims) => dims.iter().map(size).collect(),
            None => vec![None; example.map_or(4, <[usize]>::len)],
        };
        let layout = Layout::of_shape(&shape).unwrap_or(Layout::Nchw);
        let channel_axis = Some(layout.channel_axis(shape.len()));
        Self { name: input.name.clone(), elem: input.elem, shape, channel_axis }
    }

    /// One image, channels first: `[C, …]`, with one channel where the input has no axis for them.
    pub(crate) fn channels_first<S: RawData>(
        &self,
        image: ArrayBase<S, IxDyn>,
    ) -> ArrayBase<S, IxDyn> {
        match self.channel_axis.and_then(|axis| axis.checked_sub(1)) {
            Some(channels) => {
                let others = (0..image.ndim()).filter(|axis| *axis != channels);
                let order: Vec<usize> = std::iter::once(channels).chain(others).collect();
                image.permuted_axes(order)
            }
            None => image.insert_axis(Axis(0)),
        }
    }

    /// The batch size, where the model fixes it.
    pub fn batch(&self) -> Option<usize> {
        self.shape.first().copied().flatten().and_then(|batch| usize::try_from(batch).ok())
    }

    /// The shape for one image: of the size that `preprocess` gives where the model takes photos, or of the example's.
    pub(crate) fn default_sizes(
        &self,
        preprocess: Option<&Preprocess>,
        example: Option<&[usize]>,
    ) -> Sizes {
        let mut sizes = Sizes::new();
        let channels = preprocess.map_or(1, |preprocess| preprocess.channels.count());
        let channels = i64::try_from(channels).unwrap_or(1);
        let (width, height) =
            preprocess.and_then(|known| known.geometry.output()).unwrap_or((224, 224));
        // An image may lack the axis of the batch.
        let missing = self.shape.len().checked_sub(example.map_or(0, <[usize]>::len));
        let example = example.zip(missing.filter(|missing| *missing < 2));
        // An image of another form is refused where it is explained.
        let example = example.filter(|(example, missing)| {
            let mut pairs = self.shape.iter().skip(1).zip(example.iter().skip(1 - missing));
            pairs.all(|(declared, size)| {
                declared.is_none_or(|declared| i64::try_from(*size) == Ok(declared))
            })
        });
        let of_example = |axis: usize| {
            let (example, missing) = example?;
            i64::try_from(*example.get(axis.checked_sub(missing)?)?).ok()
        };
        let place = |axis| self.space().position(|space| space == axis);
        let fallback = |axis| match (axis, place(axis)) {
            (0, _) => 1,
            (axis, None) => of_example(axis).unwrap_or(channels),
            (axis, Some(0)) => of_example(axis).unwrap_or(i64::from(height)),
            (axis, Some(1)) => of_example(axis).unwrap_or(i64::from(width)),
            (axis, Some(_)) => of_example(axis).unwrap_or(1),
        };
        let dim = |(axis, declared): (usize, &Option<i64>)| -> Dim {
            Dim::Fixed(declared.unwrap_or_else(|| fallback(axis)))
        };
        sizes.insert(self.name.clone(), self.shape.iter().enumerate().map(dim).collect());
        sizes
    }

    /// The axes of positions.
    pub(crate) fn space(&self) -> impl Iterator<Item = usize> + '_ {
        (1..self.shape.len()).filter(|axis| Some(*axis) != self.channel_axis)
    }

    /// Whether the model leaves the size of the image open.
    pub(crate) fn has_open_size(&self) -> bool {
        self.space().any(|axis| self.shape[axis].is_none())
    }

    /// Puts the channels where a layout has them.
    pub(crate) fn set_layout(&mut self, layout: Layout) {
        self.channel_axis = Some(layout.channel_axis(self.shape.len()));
    }

    /// Whether the shape is that of photos: four axes, 1 or 3 channels or an open number, and sides of more than one pixel.
    pub(crate) fn takes_photos(&self) -> bool {
        let [_, second, third, fourth] = self.shape.as_slice() else { return false };
        let (channels, sides) = match Layout::of_shape(&self.shape) {
            Some(Layout::Nhwc) => (fourth, [second, third]),
            Some(Layout::Nchw) | None => (second, [third, fourth]),
        };
        channels.is_none_or(|size| size == 1 || size == 3)
            && sides.iter().all(|side| **side != Some(1))
    }

    /// The input as a value of a graph.
    pub(crate) fn in_graph(&self, graph: &Graph) -> Option<ImageValue> {
        Some(ImageValue { value: graph.find(&self.name)?, channel_axis: self.channel_axis })
    }

    /// The height of the images.
    pub(crate) fn rows_of(&self, graph: &Graph) -> Option<i64> {
        let sizes = graph.fact(graph.find(&self.name)?).sizes()?;
        sizes.get(self.space().next()?).copied().filter(|_| sizes.len() > 2)
    }

    /// Refuses inputs that hold neither floats nor integers.
    pub(crate) fn check_type(&self) -> Result<()> {
        if !self.elem.is_float() && (self.elem == DataType::Bool || self.elem.range().is_none()) {
            bail!(
                Input,
                "the model's input \"{}\" takes {}; only inputs of floats or integers can be explained",
                self.name,
                self.elem.numpy_name()
            );
        }
        Ok(())
    }

    /// Refuses inputs that have no gradient.
    pub(crate) fn check_gradient(&self, method: Method) -> Result<()> {
        if !self.elem.is_float() {
            bail!(
                Method,
                "method {method} explains the network's input, and \"{}\" takes {}, which has no gradient; \
                 choose a method that explains layers, or export the model so that it begins behind its cast \
                 to float32",
                self.name,
                self.elem.numpy_name()
            );
        }
        Ok(())
    }

    /// The images as integers, where the model takes integers.
    ///
    /// # Errors
    /// `Input` where a number is not a whole number in the range of the type.
    #[expect(clippy::cast_possible_truncation, reason = "checked: what is not exact is refused")]
    #[expect(clippy::cast_precision_loss, reason = "checked likewise")]
    pub(crate) fn integers(&self, x: &ArrayViewD<'_, f32>) -> Result<Option<ArrayD<i64>>> {
        let Some((least, most)) = self.elem.range() else { return Ok(None) };
        let fits = |number: f32| {
            let whole = number as i64;
            whole as f32 == number && (least..=most).contains(&whole)
        };
        if let Some(number) = x.iter().find(|number| !fits(**number)) {
            bail!(
                Input, KeepPixels;
                "the images hold {number}, and the model's input \"{}\" takes {}: whole numbers from {least} to \
                 {most}",
                self.name,
                self.elem.numpy_name()
            );
        }
        Ok(Some(x.mapv(|number| number as i64)))
    }

    /// Changes one image, without the axis of the batch, for a further pass.
    pub(crate) fn augment(&self, mut image: ArrayViewMutD<'_, f32>, how: Augmentation) {
        let across = self.space().last().and_then(|axis| axis.checked_sub(1));
        if let (true, Some(across)) = (how.flipped, across) {
            let mut flipped = image.to_owned();
            flipped.invert_axis(Axis(across));
            image.assign(&flipped);
        }
        if how.factor != 1.0 {
            image.mapv_inplace(|value| value * how.factor);
        }
    }

    /// Checks a shape against the one that the model declares, and gives the number of images.
    pub(crate) fn check(&self, shape: &[usize]) -> Result<usize> {
        let shown = || -> String {
            let dims = self.shape.iter().enumerate().map(|(axis, dim)| match dim {
                Some(size) => size.to_string(),
                None if axis == 0 => "N".to_owned(),
                None => "?".to_owned(),
            });
            dims.collect::<Vec<_>>().join(", ")
        };
        let fits = |(axis, (size, declared)): (usize, (&usize, &Option<i64>))| {
            axis == 0 || declared.is_none_or(|declared| i64::try_from(*size) == Ok(declared))
        };
        let batch = shape.first().copied().unwrap_or(0);
        if shape.len() != self.shape.len()
            || batch == 0
            || !shape.iter().zip(&self.shape).enumerate().all(fits)
        {
            bail!(
                Input,
                "the input has shape {shape:?}, the model's input \"{}\" takes [{}]",
                self.name,
                shown()
            );
        }
        Ok(batch)
    }
}

/// An input in messages: name, type and shape.
pub(crate) fn signature(input: &Input) -> String {
    let elem = match input.elem {
        DataType::Undefined => "of an unknown type".to_owned(),
        elem => elem.numpy_name(),
    };
    let dim = |dim: &DeclaredDim| match dim {
        DeclaredDim::Size(size) => size.to_string(),
        DeclaredDim::Name(name) => name.clone(),
        DeclaredDim::Unknown => "?".to_owned(),
    };
    let shape = input.dims.as_ref().map_or("of an unknown shape".to_owned(), |dims| {
        format!("[{}]", dims.iter().map(dim).collect::<Vec<_>>().join(", "))
    });
    format!("\"{}\" ({elem} {shape})", input.name)
}
