//! Engines run ONNX graphs: rten, embedded, and ONNX Runtime, loaded from a shared library.
//!
//! An engine knows nothing of images or of class-activation maps. It gets a [`Model`], writes in
//! other words what it lacks or computes wrongly, refuses the rest by name before anything runs, and
//! gives a [`Session`] that any number of threads may call at once.
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
    allow(dead_code, reason = "a build with one engine leaves the parts of the other unused")
)]
mod lower;
mod onnxruntime;
#[cfg_attr(
    not(all(feature = "rten", feature = "onnxruntime")),
    allow(dead_code, reason = "a build with one engine leaves the parts of the other unused")
)]
mod places;
#[cfg_attr(
    not(all(feature = "rten", feature = "onnxruntime")),
    allow(dead_code, reason = "a build with one engine leaves the parts of the other unused")
)]
mod processor;
mod provider;
mod rten;
#[cfg_attr(
    not(all(feature = "rten", feature = "onnxruntime")),
    allow(dead_code, reason = "a build with one engine leaves the parts of the other unused")
)]
mod tensor;
#[cfg_attr(
    not(all(feature = "rten", feature = "onnxruntime")),
    allow(dead_code, reason = "a build with one engine leaves the parts of the other unused")
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

/// How an engine is set up.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct EngineOptions {
    /// Threads that one run may use; `None` leaves the choice to the engine (the physical cores). Where that is every core that
    /// the process may use, each thread stays on one.
    pub threads: Option<NonZeroUsize>,
    /// Where to look for the library of ONNX Runtime, in this order: files, folders that hold it,
    /// or Python environments. [`library_places`] gives the usual list.
    pub library: Vec<PathBuf>,
    /// What ONNX Runtime computes on; `None` is the processor. Other engines have no providers.
    pub provider: Option<Provider>,
    /// Entries of ONNX Runtime's session configuration, key and value, such as `session.intra_op.allow_spinning` and `0`.
    /// Other engines have none.
    pub session_config: Vec<(String, String)>,
}

/// Something that runs ONNX graphs.
pub trait Engine: Send + Sync {
    /// The engine's name, as in [`EngineKind::name`].
    fn name(&self) -> &'static str;

    /// Makes a graph ready to run.
    ///
    /// Graphs that share weights with a model compiled before do not cost their memory again.
    /// Everything that the engine cannot run is refused here.
    ///
    /// # Errors
    /// `Unsupported` with all nodes that this engine cannot run, `Model` where the model is broken or
    /// its weights cannot be read.
    fn compile(&self, model: &Model) -> Result<Box<dyn Session>>;

    /// As [`Engine::compile`], with the products of 8-bit integers that the engine takes by default, which saturate on
    /// some processors: what a program computes that gives the file to the engine.
    ///
    /// # Errors
    /// As [`Engine::compile`].
    fn compile_as_deployed(&self, model: &Model) -> Result<Box<dyn Session>> {
        self.compile(model)
    }

    /// The nodes whose products of 8-bit integers can saturate in a program that gives the file to the engine, on this
    /// processor.
    fn saturating_nodes(&self, model: &Model) -> Vec<String> {
        let _ = model;
        Vec::new()
    }
}

/// A graph that is ready to run, by any number of callers at once.
pub trait Session: Send + Sync {
    /// Runs the graph on its inputs, by name, and gives the named outputs in that order.
    ///
    /// Only outputs that the model declares can be asked for. Integers of all widths and booleans
    /// are [`Tensor::I64`], floats of all widths [`Tensor::F32`].
    ///
    /// # Errors
    /// `InvalidInput` where an input is missing, unknown, or has the wrong type or shape;
    /// `UnknownOutput`; `Run` where the engine fails.
    fn run(&self, inputs: &[(&str, TensorView<'_>)], outputs: &[&str]) -> Result<Vec<Tensor>>;
}

/// Sets up an engine of a kind.
type EngineConstructor = fn(&EngineOptions) -> Result<Box<dyn Engine>>;
