//! The settings of an explainer, as Python gives them.

use std::{collections::HashMap, num::NonZeroUsize, path::PathBuf};

use gradcam::{
    ExplainerBuilder, Grid, HeadKind, Method, MethodSettings, Model, Profile,
    image::{
        Filter, Fusion, Overrides,
        preprocess::{Channels, Fit, Layout},
    },
};
use pyo3::{prelude::*, sync::PyOnceLock, types::PyBytes};

use crate::{
    arrays,
    engine::EngineSetup,
    errors::{self, OrRaise},
};

/// The arguments of `Explainer`, by their names in Python.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub(crate) struct Settings<'py> {
    layers: Vec<String>,
    methods: Vec<String>,
    engine: String,
    provider: Option<String>,
    session_config: HashMap<String, String>,
    threads: Option<usize>,
    max_memory: Option<u64>,
    size: Option<(u32, u32)>,
    fit: Option<String>,
    short_side: Option<u32>,
    filter: Option<String>,
    rescale: Option<f64>,
    mean: Option<Numbers>,
    std: Option<Numbers>,
    layout: Option<String>,
    channels: Option<String>,
    imagenet: bool,
    labels: Option<PathBuf>,
    grid: Option<(i64, i64)>,
    prefix_tokens: Option<i64>,
    image_shape: Option<Vec<usize>>,
    inputs: HashMap<String, Bound<'py, PyAny>>,
    output: Option<String>,
    head: Option<String>,
    compat: Option<String>,
    fuse: Option<String>,
    aug_smooth: bool,
    eigen_smooth: bool,
    seed: u64,
    samples: Option<usize>,
    noise: Option<f32>,
    window: Option<usize>,
    stride: Option<usize>,
    budget: Option<usize>,
}

/// One number for all channels, or one for each.
#[derive(FromPyObject)]
enum Numbers {
    All(f32),
    Each(Vec<f32>),
}

impl From<Numbers> for Vec<f32> {
    fn from(numbers: Numbers) -> Self {
        match numbers {
            Numbers::All(number) => vec![number],
            Numbers::Each(numbers) => numbers,
        }
    }
}

/// A model from a path, from the bytes of a file, or from an `onnx.ModelProto`; the built-in one from None.
pub(crate) fn model(value: &Bound<'_, PyAny>) -> PyResult<Model> {
    static MODEL: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let py = value.py();
    if value.is_none() {
        return gradcam_cli::built_in().or_raise(py);
    }
    let value = arrays::helper(&MODEL, "model", value)?;
    if let Ok(bytes) = value.cast::<PyBytes>() {
        let bytes = bytes.as_bytes().to_vec();
        return py.detach(|| Model::from_bytes(bytes)).or_raise(py);
    }
    let path: PathBuf = value.extract()?;
    py.detach(|| Model::open(path)).or_raise(py)
}

/// A number above 0.
pub(crate) fn positive(py: Python<'_>, name: &str, value: usize) -> PyResult<NonZeroUsize> {
    NonZeroUsize::new(value).ok_or_else(|| {
        let message = format!("{name} is 0; give a number of at least 1, or leave it out");
        errors::new(py, "InputError", &message, None)
    })
}

/// A value by its name in a table.
pub(crate) fn named<T: Copy>(
    py: Python<'_>,
    name: &str,
    value: &str,
    all: &[(&str, T)],
) -> PyResult<T> {
    let found = all.iter().find(|(known, _)| *known == value);
    found.map(|(_, value)| *value).ok_or_else(|| {
        let names: Vec<&str> = all.iter().map(|(name, _)| *name).collect();
        let message = format!("{name} is \"{value}\"; there are: {}", names.join(", "));
        errors::new(py, "InputError", &message, None)
    })
}

impl Settings<'_> {
    /// Sets all of them.
    pub(crate) fn set(
        self,
        py: Python<'_>,
        built_in_model: bool,
        builder: ExplainerBuilder,
    ) -> PyResult<ExplainerBuilder> {
        let numbers = |name: &str, value: Option<usize>| {
            value.map(|value| positive(py, name, value)).transpose()
        };
        let provider = self.provider.as_deref();
        let setup =
            EngineSetup::new(py, &self.engine, provider, self.session_config, built_in_model)?;
        let methods = self.methods.iter().map(|method| method.parse::<Method>());
        let mut builder = builder
            .layers(self.layers)
            .methods(methods.collect::<Result<Vec<_>, _>>().or_raise(py)?)
            .engine(setup.kind)
            .library_places(setup.places)
            .aug_smooth(self.aug_smooth)
            .eigen_smooth(self.eigen_smooth)
            .grid(Grid { size: self.grid, prefix: self.prefix_tokens })
            .method_settings(MethodSettings {
                seed: self.seed,
                samples: numbers("samples", self.samples)?,
                noise: self.noise,
                window: numbers("window", self.window)?,
                stride: numbers("stride", self.stride)?,
                budget: numbers("budget", self.budget)?,
            })
            .preprocess(Overrides {
                size: self.size,
                fit: self.fit.map(|fit| named(py, "fit", &fit, &Fit::ALL)).transpose()?,
                short_side: self.short_side,
                filter: self
                    .filter
                    .map(|filter| filter.parse::<Filter>().or_raise(py))
                    .transpose()?,
                rescale: self.rescale,
                mean: self.mean.map(Into::into),
                std: self.std.map(Into::into),
                layout: self
                    .layout
                    .map(|name| named(py, "layout", &name, &Layout::ALL))
                    .transpose()?,
                channels: self
                    .channels
                    .map(|name| named(py, "channels", &name, &Channels::ALL))
                    .transpose()?,
                imagenet: self.imagenet,
                labels: self.labels,
            });
        if let Some(provider) = setup.provider {
            builder = builder.provider(provider);
        }
        for (key, value) in setup.session_config {
            builder = builder.session_config(key, value);
        }
        if let Some(shape) = self.image_shape {
            builder = builder.image_shape(&shape);
        }
        if let Some(threads) = numbers("threads", self.threads)? {
            builder = builder.threads(threads);
        }
        if let Some(bytes) = self.max_memory {
            builder = builder.max_memory(bytes);
        }
        if let Some(output) = self.output {
            builder = builder.output(output);
        }
        if let Some(head) = self.head {
            builder = builder.head(head.parse::<HeadKind>().or_raise(py)?);
        }
        if let Some(profile) = self.compat {
            builder = builder.profile(profile.parse::<Profile>().or_raise(py)?);
        }
        if let Some(fusion) = self.fuse {
            builder = builder.fusion(fusion.parse::<Fusion>().or_raise(py)?);
        }
        for (name, value) in self.inputs {
            builder = builder.input(name, arrays::tensor(&value)?);
        }
        Ok(builder)
    }
}
