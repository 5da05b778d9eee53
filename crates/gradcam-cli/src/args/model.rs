//! The flags of models and engines.

use std::num::NonZeroUsize;

use clap::Args;
use gradcam::{Grid, engine::Provider};

use super::values;
use crate::{
    Host,
    engine::{EngineChoice, EngineSetup},
    failure::Result,
};

/// The arguments about the tokens of transformers.
#[derive(Debug, Args)]
pub(crate) struct TokenArgs {
    /// The grid of a transformer's tokens, where the model does not say it: 14x20, rows x columns
    #[arg(long, value_name = "HxW", value_parser = values::grid)]
    grid: Option<(i64, i64)>,

    /// The number of tokens before those of the picture, where the model does not say it: 1 for a class token
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(0..=1_000_000))]
    prefix_tokens: Option<i64>,
}

impl TokenArgs {
    /// The same for the library.
    pub(crate) fn grid(&self) -> Grid {
        Grid { size: self.grid, prefix: self.prefix_tokens }
    }
}

/// The arguments about what runs the network.
#[derive(Debug, Args)]
pub(crate) struct EngineArgs {
    /// What runs the network
    ///
    /// rten is built in. onnxruntime is a shared library: the one that ORT_DYLIB_PATH names, else
    /// that of the active Python environment (VIRTUAL_ENV) or of the system's folders. auto is
    /// onnxruntime where ORT_DYLIB_PATH is set or the active environment has the package, and rten
    /// otherwise and for the built-in model; `gradcam explain --verbose` says which it was and why.
    #[arg(long, value_name = "ENGINE", default_value = "auto", value_parser = values::engines())]
    engine: EngineChoice,

    /// What ONNX Runtime computes on, such as cuda or coreml [default: the processor]
    ///
    /// The library must have been built with it and find its device: if not, that is an error, which
    /// lists what the library has. Operators that the provider lacks run on the processor.
    #[arg(long, value_name = "NAME", value_parser = values::providers())]
    provider: Option<Provider>,

    /// An entry of ONNX Runtime's session configuration, such as session.x64quantprecision=1
    ///
    /// May be given several times. ONNX Runtime ignores keys that it does not know.
    #[arg(long = "session-config", value_name = "KEY=VALUE", value_parser = values::entry)]
    session_config: Vec<(String, String)>,

    /// Threads of the engine [default: as many as cores]
    ///
    /// A run uses all of them. `gradcam explain` explains several images at once, one thread each, which is faster than
    /// one after the other.
    #[arg(long, value_name = "N", value_parser = values::number)]
    pub(crate) threads: Option<NonZeroUsize>,

    /// Refuse what would need more memory than this, such as 2GiB or 500MB: a run, a photo, a sheet or a factorization
    /// [default: half of what the process may use]
    ///
    /// Runs, and photos that are decoded and drawn, take it together; those of `gradcam explain` wait for each other.
    /// Weights do not count.
    #[arg(long, value_name = "BYTES", value_parser = values::bytes)]
    pub(crate) max_memory: Option<u64>,
}

impl EngineArgs {
    /// The engine of a model, which may be the built-in one.
    pub(crate) fn setup(&self, built_in_model: bool, host: &Host) -> Result<EngineSetup> {
        EngineSetup::new(self.engine, self.provider, &self.session_config, built_in_model, host)
    }
}
