//! Engines run ONNX graphs: rten, embedded, and ONNX Runtime, loaded from a shared library.
//!
//! An engine knows nothing of images or of class activation maps. It takes a [`Model`], rewrites what it lacks or
//! computes wrongly, refuses by name what it cannot rewrite, before anything runs, and returns a [`Session`] that
//! any number of threads may call at once.
//!
//! ```no_run
//! use gradcam_engine::{EngineKind, EngineOptions, TensorView, engine};
//!
//! let model = onnx_grad::Model::open("resnet50.onnx")?;
//! let session = engine(EngineKind::Rten, &EngineOptions::default())?.compile(&model)?;
//! let photo = ndarray::Array4::<f32>::zeros((1, 3, 224, 224)).into_dyn();
//! let outputs = session.run(&[("input", TensorView::from(&photo))], &["logits"])?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod engines;
mod error;
#[cfg_attr(
    not(all(feature = "rten", feature = "onnxruntime")),
    allow(dead_code, reason = "a build with one engine does not use the parts of the other")
)]
mod lower;
mod onnxruntime;
#[cfg_attr(
    not(all(feature = "rten", feature = "onnxruntime")),
    allow(dead_code, reason = "a build with one engine does not use the parts of the other")
)]
mod places;
#[cfg_attr(
    not(all(feature = "rten", feature = "onnxruntime")),
    allow(dead_code, reason = "a build with one engine does not use the parts of the other")
)]
mod processor;
mod provider;
mod rten;
#[cfg_attr(
    not(all(feature = "rten", feature = "onnxruntime")),
    allow(dead_code, reason = "a build with one engine does not use the parts of the other")
)]
mod tensor;
#[cfg_attr(
    not(all(feature = "rten", feature = "onnxruntime")),
    allow(dead_code, reason = "a build with one engine does not use the parts of the other")
)]
mod weights;

use std::{num::NonZeroUsize, path::PathBuf};

use onnx_grad::Model;

pub use engines::{ENGINES, EngineInfo, EngineKind, engine, support};
pub use error::{EngineError, EngineErrorKind, Result};
pub use lower::{REFUSED_FORMS, Support};
pub use places::{holds_library, library_places};
pub use provider::Provider;
pub use tensor::{Tensor, TensorView};
pub use weights::half;

/// The settings of an engine.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct EngineOptions {
    /// The number of threads that one run may use. With `None` the engine chooses (the physical cores). If the run has a
    /// thread for every core that the process may use, each thread is bound to one core.
    pub threads: Option<NonZeroUsize>,
    /// Where to look for the library of ONNX Runtime, in this order: files, folders that contain it,
    /// or Python environments. [`library_places`] returns the usual list.
    pub library: Vec<PathBuf>,
    /// The execution provider of ONNX Runtime; `None` is the processor. Other engines have no providers.
    pub provider: Option<Provider>,
    /// Entries of ONNX Runtime's session configuration, key and value, such as `session.intra_op.allow_spinning` and `0`.
    /// Other engines have no such configuration.
    pub session_config: Vec<(String, String)>,
}

/// A runtime for ONNX graphs.
pub trait Engine: Send + Sync {
    /// The engine's id, [`EngineInfo::id`].
    fn name(&self) -> &'static str;

    /// Compiles a graph for this engine.
    ///
    /// A graph that shares weights with a model compiled before does not hold them again.
    /// The engine refuses here whatever it cannot run.
    ///
    /// # Errors
    /// `Unsupported` with all nodes that this engine cannot run; `Model` if the model is invalid or
    /// its weights cannot be read.
    fn compile(&self, model: &Model) -> Result<Box<dyn Session>>;

    /// As [`Engine::compile`], with the engine's default kernels for products of 8-bit integers, which saturate on some
    /// processors. The session computes what any program does that passes the file to the engine.
    ///
    /// # Errors
    /// As [`Engine::compile`].
    fn compile_as_deployed(&self, model: &Model) -> Result<Box<dyn Session>> {
        self.compile(model)
    }

    /// The labels of the nodes whose products of 8-bit integers can saturate on this processor, in a program that passes
    /// the file to the engine.
    fn saturating_nodes(&self, model: &Model) -> Vec<String> {
        let _ = model;
        Vec::new()
    }
}

/// A compiled graph, which any number of callers may run at once.
pub trait Session: Send + Sync {
    /// Runs the graph on inputs by name and returns the named outputs in that order.
    ///
    /// The outputs must be outputs of the model. Integers of all widths and booleans
    /// are [`Tensor::I64`], floats of all widths [`Tensor::F32`].
    ///
    /// # Errors
    /// `InvalidInput` if an input is missing, unknown, or has the wrong type or shape;
    /// `UnknownOutput` if the model has no such output; `Run` if the engine fails.
    fn run(&self, inputs: &[(&str, TensorView<'_>)], outputs: &[&str]) -> Result<Vec<Tensor>>;
}

/// Constructs an engine of one kind.
type EngineConstructor = fn(&EngineOptions) -> Result<Box<dyn Engine>>;
