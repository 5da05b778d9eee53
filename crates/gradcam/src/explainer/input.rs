//! The image input of a model: its name, its sizes, what fits it.

use onnx_grad::{
    DeclaredDim, Dim, Model,
    graph::{Graph, Sizes},
};

use crate::{
    Result,
    error::bail,
    image::{Preprocess, preprocess::Layout},
};

/// The one input that takes images.
#[derive(Clone, Debug)]
pub(crate) struct ImageInput {
    pub(crate) name: String,
    pub(crate) declared: Vec<Option<i64>>,
}

impl ImageInput {
    pub(crate) fn of(model: &Model) -> Result<Self> {
        let inputs = onnx_grad::inputs(model);
        match inputs.as_slice() {
            [(name, dims)] => {
                let size = |dim: &DeclaredDim| match dim {
                    DeclaredDim::Size(size) => Some(*size),
                    DeclaredDim::Name(_) | DeclaredDim::Unknown => None,
                };
                Ok(Self { name: name.clone(), declared: dims.iter().map(size).collect() })
            }
            [] => bail!(Input, "the model has no input"),
            several => {
                let names: Vec<_> = several.iter().map(|(name, _)| name.as_str()).collect();
                bail!(
                    Input,
                    "the model has several inputs ({}); one image input is supported",
                    names.join(", ")
                )
            }
        }
    }

    /// The shape for one image, prepared as `preprocess` says where the model takes photos.
    pub(crate) fn default_sizes(&self, preprocess: Option<&Preprocess>) -> Result<Sizes> {
        let mut sizes = Sizes::new();
        if self.declared.is_empty() {
            return Ok(sizes);
        }
        let prepared = preprocess.map(prepared_shape).unwrap_or([1, 1, 224, 224]);
        let dim = |(axis, declared): (usize, &Option<i64>)| -> Dim {
            let fallback = if axis == 0 { 1 } else { prepared.get(axis).copied().unwrap_or(1) };
            Dim::Fixed(declared.unwrap_or(fallback))
        };
        sizes.insert(self.name.clone(), self.declared.iter().enumerate().map(dim).collect());
        Ok(sizes)
    }

    /// Whether the shape is that of photos: four axes, with 1 or 3 channels, or an open number.
    pub(crate) fn takes_photos(&self) -> bool {
        let channels = |dim: &Option<i64>| dim.is_none_or(|size| size == 1 || size == 3);
        match self.declared.as_slice() {
            [_, first, _, last] => channels(first) || channels(last),
            dims => dims.is_empty(),
        }
    }

    pub(crate) fn rows_of(&self, graph: &Graph) -> Option<i64> {
        let sizes = graph.fact(graph.find(&self.name)?).sizes()?;
        // [N, H, W, C] where the last axis can only be channels, else [N, C, H, W].
        match sizes.as_slice() {
            [_, rows, _, channels] if *channels <= 4 && *rows > 4 => Some(*rows),
            [_, _, rows, ..] => Some(*rows),
            _ => None,
        }
    }

    /// Refuses inputs that take no floats; engines cast float32 to the other floats.
    pub(crate) fn check_type(&self, graph: &Graph) -> Result<()> {
        let elem = graph.fact(graph.value(&self.name)?).elem;
        if !elem.is_float() {
            bail!(
                Input,
                "the model's input \"{}\" takes {}; only inputs of floats can be explained: export the model \
                 so that it begins behind its cast to float32",
                self.name,
                elem.as_str_name().to_lowercase()
            );
        }
        Ok(())
    }

    /// Checks a tensor against what the model declares, and says how many images a run takes.
    pub(crate) fn check(&self, shape: &[usize]) -> Result<usize> {
        let shown = || -> String {
            let dims = self.declared.iter().enumerate().map(|(axis, dim)| match dim {
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
        if shape.len() != self.declared.len()
            || batch == 0
            || !shape.iter().zip(&self.declared).enumerate().all(fits)
        {
            bail!(
                Input,
                "the input has shape {shape:?}, the model's input \"{}\" takes [{}]",
                self.name,
                shown()
            );
        }
        match self.declared.first().copied().flatten() {
            Some(fixed) if i64::try_from(batch) == Ok(fixed) => Ok(batch),
            Some(1) => Ok(1),
            Some(fixed) => {
                bail!(Input, "the model takes batches of {fixed} images, the input has {batch}")
            }
            None => Ok(batch),
        }
    }
}

/// The shape of a prepared photo; sides of 224 where they depend on the photo.
fn prepared_shape(preprocess: &Preprocess) -> [i64; 4] {
    let (width, height) = preprocess.geometry.output().unwrap_or((224, 224));
    let (width, height) = (i64::from(width), i64::from(height));
    let channels = if preprocess.channels.count() == 1 { 1 } else { 3 };
    match preprocess.layout {
        Layout::Nchw => [1, channels, height, width],
        Layout::Nhwc => [1, height, width, channels],
    }
}
