//! The settings of a network, and their checks.

use std::{num::NonZeroUsize, path::PathBuf, sync::Arc};

use onnx_grad::{Model, graph::Graph};

use super::{Hooks, Network, NetworkState, Shared, exclusive::Exclusive};
use crate::{
    Result,
    engine::{self, EngineKind, EngineOptions, Provider, Tensor},
    error::bail,
    input::{InputSettings, Inputs},
    layer::{Grid, Layers, ScoreValue},
    memory,
    program::Runtime,
};

/// The settings of a network; [`Network::builder`] makes one.
#[derive(Debug)]
pub struct NetworkBuilder {
    model: Model,
    engine: EngineKind,
    options: EngineOptions,
    max_memory: Option<u64>,
    inputs: Vec<(String, Tensor)>,
}

impl NetworkBuilder {
    pub(super) fn new(model: Model) -> Self {
        Self {
            model,
            engine: EngineKind::default(),
            options: EngineOptions::default(),
            max_memory: None,
            inputs: Vec::new(),
        }
    }

    /// Sets the engine. The default is rten.
    #[must_use]
    pub fn engine(mut self, engine: EngineKind) -> Self {
        self.engine = engine;
        self
    }

    /// Sets the number of threads of a run. The default is the engine's.
    #[must_use]
    pub fn threads(mut self, threads: NonZeroUsize) -> Self {
        self.options.threads = Some(threads);
        self
    }

    /// Sets the places where the library of ONNX Runtime is looked for, in order.
    #[must_use]
    pub fn library_places(mut self, places: Vec<PathBuf>) -> Self {
        self.options.library = places;
        self
    }

    /// Sets ONNX Runtime's execution provider. The default is the processor.
    #[must_use]
    pub fn provider(mut self, provider: Provider) -> Self {
        self.options.provider = Some(provider);
        self
    }

    /// Sets the memory limit in bytes: what a forward and a backward pass may take together, weights not counted. The default
    /// is half of the memory that the process may use.
    #[must_use]
    pub fn max_memory(mut self, bytes: u64) -> Self {
        self.max_memory = Some(bytes);
        self
    }

    /// Adds an entry to ONNX Runtime's session configuration, as [`ExplainerBuilder::session_config`](crate::ExplainerBuilder::session_config).
    #[must_use]
    pub fn session_config(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.options.session_config.push((key.into(), value.into()));
        self
    }

    /// Gives an input of the model beside the image its value, as [`ExplainerBuilder::input`](crate::ExplainerBuilder::input).
    #[must_use]
    pub fn input(mut self, name: impl Into<String>, value: impl Into<Tensor>) -> Self {
        self.inputs.push((name.into(), value.into()));
        self
    }

    /// Checks the settings and makes the network. Nothing is compiled yet.
    ///
    /// # Errors
    /// `Input` where an input beside the image has no value or one that does not fit, or the images are no floats; `Engine`, `Model`.
    pub fn build(self) -> Result<Network> {
        let settings = InputSettings { values: &self.inputs, output: None, example: None };
        let inputs = Inputs::of(&self.model, settings)?;
        let image = &inputs.image;
        if !image.elem.is_float() {
            let elem = image.elem.numpy_name();
            bail!(
                Input,
                "the model's input \"{}\" takes {elem}; a network takes floats",
                image.name
            )
        }
        let graph = Graph::new(&self.model, &inputs.default_sizes(None))?;
        let Some(&scores) = graph.outputs().first() else {
            bail!(Model, "the model has no output")
        };
        let layers =
            Layers::new(&graph, image.in_graph(&graph), ScoreValue::plain(scores), Grid::default());
        let paths = layers.paths().map(str::to_owned).collect();
        let engine = engine::engine(self.engine, &self.options)?;
        let limit = self.max_memory.unwrap_or_else(memory::default_limit);
        let shared = Shared {
            runtime: Runtime::new(engine, limit),
            model: self.model,
            graph,
            layers,
            paths,
            state: Exclusive::new(NetworkState { hooks: Hooks::new(), plans: Vec::new() }),
        };
        Ok(Network { shared: Arc::new(shared), inputs: Arc::new(inputs) })
    }
}
