//! The inputs of a model: the image input, and side inputs, whose values the user gives.

use ndarray::Axis;
use onnx_grad::{
    DeclaredDim, Dim, Input, Model,
    graph::{Sizes, outputs_of},
    proto::tensor_proto::DataType,
};

use super::{ImageInput, signature};
use crate::{Result, engine::Tensor, error::bail, image::Preprocess};

/// The inputs of a model.
#[derive(Clone, Debug)]
pub(crate) struct Inputs {
    /// The input that takes the images.
    pub(crate) image: ImageInput,
    /// The side inputs, with their values.
    pub(crate) given: Vec<SideInput>,
    /// The sizes of inputs that no output depends on.
    unused: Sizes,
    /// The shape of the images, as far as the user said it before.
    example: Option<Vec<usize>>,
}

/// An input beside the image, and its value.
#[derive(Clone, Debug)]
pub(crate) struct SideInput {
    pub(crate) name: String,
    value: Tensor,
    /// Whether the first axis is the batch of the images.
    per_image: bool,
}

/// What a user says of the inputs of a model.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InputSettings<'a> {
    /// The values of inputs, by name.
    pub(crate) values: &'a [(String, Tensor)],
    /// The output that holds the scores.
    pub(crate) output: Option<&'a str>,
    /// The shape of the images.
    pub(crate) example: Option<&'a [usize]>,
}

impl Inputs {
    /// Gives the inputs of these names their values; the input that remains takes the images.
    ///
    /// # Errors
    /// `Input` where a name is unknown or given twice, a value does not fit what the model declares, or not exactly one input
    /// remains.
    pub(crate) fn of(model: &Model, settings: InputSettings<'_>) -> Result<Self> {
        let InputSettings { values, output, example } = settings;
        let inputs = onnx_grad::inputs(model);
        for (at, (name, _)) in values.iter().enumerate() {
            if !inputs.iter().any(|input| input.name == *name) {
                bail!(Input, "the model has no input \"{name}\"; it has: {}", list(&inputs));
            }
            if values[..at].iter().any(|(earlier, _)| earlier == name) {
                bail!(Input, "the input \"{name}\" is given twice");
            }
        }
        let is_given = |input: &&Input| values.iter().any(|(name, _)| *name == input.name);
        let (given, mut open): (Vec<&Input>, Vec<&Input>) = inputs.iter().partition(is_given);
        let mut unused = Sizes::new();
        if open.len() > 1 {
            // Exporters that fold constants may leave unused inputs behind.
            let is_used = |input: &&Input| !outputs_of(model, &input.name).is_empty();
            let (used, others): (Vec<_>, Vec<_>) = open.into_iter().partition(is_used);
            (open, unused) = (used, usual_sizes(others));
        }
        let Some(image) = image_of(model, &open, output) else {
            match (inputs.as_slice(), open.as_slice()) {
                ([], _) => bail!(Input, "the model has no input"),
                (_, []) => bail!(
                    Input,
                    "every input of the model is given, and none is left for the images; it has: {}",
                    list(&inputs)
                ),
                _ => bail!(
                    Input, GiveInputs;
                    "the model has several inputs that may take the images: {}",
                    list(open)
                ),
            }
        };
        let missing: Vec<&Input> = open.into_iter().filter(|input| *input != image).collect();
        if !missing.is_empty() {
            bail!(
                Input, GiveInputs;
                "the images are for {}, and the model takes more: {}",
                signature(image),
                list(missing)
            );
        }
        let value = |input: &Input| {
            let (_, value) = values.iter().find(|(name, _)| *name == input.name)?;
            Some(SideInput::new(input, image, value.clone()))
        };
        let given = given.into_iter().filter_map(value).collect::<Result<_>>()?;
        let image = ImageInput::of(image, example);
        Ok(Self { image, given, unused, example: example.map(<[usize]>::to_vec) })
    }

    /// These inputs with another value for one.
    ///
    /// # Errors
    /// As [`Inputs::of`].
    pub(crate) fn with(&self, model: &Model, name: &str, value: Tensor) -> Result<Self> {
        let others = self.given.iter().filter(|given| given.name != name);
        let others = others.map(|given| (given.name.clone(), given.value.clone()));
        let values: Vec<_> = others.chain([(name.to_owned(), value)]).collect();
        let example = self.example.as_deref();
        let mut new = Self::of(model, InputSettings { values: &values, output: None, example })?;
        new.image.channel_axis = self.image.channel_axis;
        Ok(new)
    }

    /// Whether an input beside the image has a row for each image.
    pub(crate) fn is_per_image(&self, name: &str) -> bool {
        self.given.iter().any(|given| given.name == name && given.per_image)
    }

    /// The shapes of all inputs for a run of images of the size that `preprocess` gives.
    pub(crate) fn default_sizes(&self, preprocess: Option<&Preprocess>) -> Sizes {
        self.sizes_for(&self.image, preprocess)
    }

    /// As [`Inputs::default_sizes`], with another reading of the image input.
    pub(crate) fn sizes_for(&self, image: &ImageInput, preprocess: Option<&Preprocess>) -> Sizes {
        let mut sizes = image.default_sizes(preprocess, self.example.as_deref());
        sizes.extend(self.unused.clone());
        let batch = image.batch().unwrap_or(1);
        sizes.extend(self.given.iter().map(|given| (given.name.clone(), given.sizes(batch))));
        sizes
    }

    /// The shapes of all inputs for a run of images of that shape.
    pub(crate) fn sizes(&self, shape: &[usize]) -> Sizes {
        let batch = shape.first().copied().unwrap_or(1);
        let given = self.given.iter().map(|given| (given.name.clone(), given.sizes(batch)));
        let images = [(self.image.name.clone(), dims(shape))];
        given.chain(images).chain(self.unused.clone()).collect()
    }
}

impl Inputs {
    /// As [`Inputs::sizes`], with the number of images left open.
    pub(crate) fn open_sizes(&self, shape: &[usize]) -> Sizes {
        let mut sizes = self.sizes(shape);
        let per_image = self.given.iter().filter(|given| given.per_image).map(|given| &given.name);
        for name in per_image.chain([&self.image.name]) {
            if let Some(first) = sizes.get_mut(name).and_then(|sizes| sizes.first_mut()) {
                *first = Dim::Batch(1);
            }
        }
        sizes
    }
}

/// What speaks for an input to be the one that takes the images, the strongest reason first.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct ImageEvidence {
    /// The scores depend on it.
    reaches_scores: bool,
    /// Its shape is that of photos.
    is_photo: bool,
    /// It has numbers: floats, or pixels.
    has_numbers: bool,
    /// It has more axes than rows of features.
    has_positions: bool,
    is_called_image: bool,
    /// The elements of one image, as far as the model says them.
    size: i64,
}

impl ImageEvidence {
    /// `None` for an input that cannot take images.
    fn of(model: &Model, input: &Input, output: Option<&str>) -> Option<Self> {
        let image = ImageInput::of(input, None);
        let is_number = input.elem.is_float() || matches!(input.elem, DataType::Uint8);
        let sizes = || image.shape.iter().skip(1);
        let rank = image.shape.len();
        if rank < 2 || image.check_type().is_err() {
            return None;
        }
        let outputs = outputs_of(model, &input.name);
        let name = input.name.to_lowercase();
        Some(Self {
            reaches_scores: output.is_none_or(|output| outputs.contains(&output)),
            is_photo: input.dims.is_some() && image.takes_photos(),
            has_numbers: is_number,
            has_positions: rank > 2,
            is_called_image: ["image", "img", "photo", "picture", "pixel"]
                .iter()
                .any(|word| name.contains(word) && !name.contains("mask")),
            size: sizes().flatten().fold(1, |all: i64, size| all.saturating_mul(*size)),
        })
    }
}

/// The input that takes the images: the only one, or the one that more speaks for than for any other.
pub(crate) fn image_of<'a>(
    model: &Model,
    inputs: &[&'a Input],
    output: Option<&str>,
) -> Option<&'a Input> {
    if let [only] = inputs {
        return Some(only);
    }
    let evidence = |input: &&'a Input| Some((ImageEvidence::of(model, input, output)?, *input));
    let mut found: Vec<(ImageEvidence, &Input)> = inputs.iter().filter_map(evidence).collect();
    found.sort_by(|(a, _), (b, _)| b.cmp(a));
    match found.as_slice() {
        [(best, input), rest @ ..] if rest.first().is_none_or(|(next, _)| next < best) => {
            Some(*input)
        }
        _ => None,
    }
}

/// Sizes for all inputs, 1 where the model leaves them open: enough to find layers.
pub(crate) fn usual_sizes<'a>(inputs: impl IntoIterator<Item = &'a Input>) -> Sizes {
    let size = |dim: &DeclaredDim| match dim {
        DeclaredDim::Size(size) => Dim::Fixed(*size),
        DeclaredDim::Name(_) | DeclaredDim::Unknown => Dim::Fixed(1),
    };
    let each = inputs.into_iter().filter_map(|input| {
        Some((input.name.clone(), input.dims.as_ref()?.iter().map(size).collect()))
    });
    each.collect()
}

impl SideInput {
    /// Checks a value against what the model declares.
    ///
    /// The first axis is the batch of the images where the model declares both open, or with the same size. A value without
    /// this axis, or with 1 row, is used for each image; else it has one row for each image. Where the model gives the two
    /// axes different names, any number of rows is used as it is.
    fn new(input: &Input, image: &Input, value: Tensor) -> Result<Self> {
        let refuse = |got: String| -> Result<Self> {
            bail!(Input, "the model's input {} is given {got}", signature(input))
        };
        match (&value, input.elem.range()) {
            (Tensor::F32(_), _) if input.elem.is_float() => {}
            (Tensor::I64(array), Some((least, most))) => {
                if let Some(number) = array.iter().find(|n| !(least..=most).contains(*n)) {
                    return refuse(format!("the number {number}; it takes {least} to {most}"));
                }
            }
            (Tensor::F32(_), _) => return refuse(format!("floats {:?}", value.shape())),
            (Tensor::I64(_), _) => return refuse(format!("integers {:?}", value.shape())),
        }
        let Some(declared) = &input.dims else {
            return Ok(Self { name: input.name.clone(), value, per_image: false });
        };
        let batches = (declared.first(), image.dims.as_ref().and_then(|dims| dims.first()));
        let per_image = match batches {
            (Some(DeclaredDim::Size(own)), Some(DeclaredDim::Size(images))) => own == images,
            (Some(DeclaredDim::Size(_)), _) | (_, Some(DeclaredDim::Size(_))) => false,
            (own, images) => own.is_some() && images.is_some(),
        };
        let value = match per_image && value.shape().len() + 1 == declared.len() {
            true => with_axis(value),
            false => value,
        };
        let shape = value.shape();
        let fits = |(axis, (size, dim)): (usize, (&usize, &DeclaredDim))| match dim {
            _ if axis == 0 && per_image => *size > 0,
            DeclaredDim::Size(dim) => i64::try_from(*size) == Ok(*dim),
            DeclaredDim::Name(_) | DeclaredDim::Unknown => *size > 0,
        };
        if shape.len() != declared.len() || !shape.iter().zip(declared).enumerate().all(fits) {
            return refuse(format!("a tensor of shape {shape:?}"));
        }
        // Two names are two sizes. One row fits any number of images.
        let rows = shape.first() != Some(&1);
        let apart = match batches {
            (Some(DeclaredDim::Name(own)), Some(DeclaredDim::Name(images))) => own != images,
            _ => false,
        };
        Ok(Self { name: input.name.clone(), value, per_image: per_image && !(rows && apart) })
    }

    /// The shape for a run of `images` images.
    fn sizes(&self, batch: usize) -> Vec<Dim> {
        let mut sizes = dims(self.value.shape());
        if let Some(first) = sizes.first_mut().filter(|_| self.per_image) {
            *first = dims(&[batch])[0];
        }
        sizes
    }

    /// The part of a run's value that belongs to one image.
    pub(crate) fn row_of(&self, tensor: &Tensor, image: usize) -> Tensor {
        let rows = image..image + 1;
        match tensor {
            tensor if !self.per_image => tensor.clone(),
            Tensor::F32(array) => Tensor::F32(array.slice_axis(Axis(0), rows.into()).to_owned()),
            Tensor::I64(array) => Tensor::I64(array.slice_axis(Axis(0), rows.into()).to_owned()),
        }
    }

    /// The value for some of `count` images, by their numbers.
    ///
    /// # Errors
    /// `Input` where the number of rows is not that of the images.
    pub(crate) fn rows(&self, images: &[usize], count: usize) -> Result<Tensor> {
        if !self.per_image {
            return Ok(self.value.clone());
        }
        let rows = match self.value.shape().first() {
            Some(1) => vec![0; images.len()],
            Some(rows) if *rows == count => images.to_vec(),
            _ => bail!(
                Input,
                "the input \"{}\" is given for {} images, and there are {count}; give it for one, which is \
                 used for each, or for all of them",
                self.name,
                self.value.shape().first().copied().unwrap_or(0)
            ),
        };
        Ok(match &self.value {
            Tensor::F32(array) => Tensor::F32(array.select(Axis(0), &rows)),
            Tensor::I64(array) => Tensor::I64(array.select(Axis(0), &rows)),
        })
    }
}

fn with_axis(value: Tensor) -> Tensor {
    match value {
        Tensor::F32(array) => Tensor::F32(array.insert_axis(Axis(0))),
        Tensor::I64(array) => Tensor::I64(array.insert_axis(Axis(0))),
    }
}

fn dims(shape: &[usize]) -> Vec<Dim> {
    // An array of more elements than 63 bits count does not exist.
    shape.iter().map(|size| Dim::Fixed(i64::try_from(*size).unwrap_or(i64::MAX))).collect()
}

fn list<'a>(inputs: impl IntoIterator<Item = &'a Input>) -> String {
    inputs.into_iter().map(signature).collect::<Vec<_>>().join(", ")
}
