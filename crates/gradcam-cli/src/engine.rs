//! Chooses the engine from flags and environment, with the reason.

use std::{
    env, fmt,
    num::NonZeroUsize,
    path::{Path, PathBuf},
};

use gradcam::{
    ExplainerBuilder,
    engine::{self, EngineInfo, EngineKind, Provider},
};

use crate::{
    Host,
    failure::{Failure, Result},
};

/// The engine as a user writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EngineChoice {
    /// ONNX Runtime where it is installed, else the built-in engine.
    Auto,
    /// This engine.
    Named(EngineKind),
}

impl fmt::Display for EngineChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Named(kind) => kind.fmt(f),
        }
    }
}

/// The chosen engine and its options.
#[derive(Clone, Debug)]
pub(crate) struct EngineSetup {
    pub(crate) kind: EngineKind,
    /// The reason for the choice.
    pub(crate) why: &'static str,
    /// The execution provider of ONNX Runtime, where the user names one.
    pub(crate) provider: Option<Provider>,
    /// Entries of ONNX Runtime's session configuration.
    session_config: Vec<(String, String)>,
    library: Vec<PathBuf>,
}

impl EngineSetup {
    /// Chooses the engine. A provider or a configuration entry implies ONNX Runtime. The built-in model runs on the built-in
    /// engine, which starts at once.
    pub(crate) fn new(
        asked: EngineChoice,
        provider: Option<Provider>,
        session_config: &[(String, String)],
        built_in_model: bool,
        host: &Host,
    ) -> Result<Self> {
        if let EngineChoice::Named(kind) = asked {
            let EngineInfo { id, providers, session_config: configurable, .. } = kind.info();
            if let (false, Some(provider)) = (providers, provider) {
                return Err(Failure::Usage(format!(
                    "--provider {provider} is one of ONNX Runtime's, and --engine {id} has none; choose \
                     --engine onnxruntime, or leave --provider out"
                )));
            }
            if let (false, Some((key, _))) = (configurable, session_config.first()) {
                return Err(Failure::Usage(format!(
                    "--session-config {key} is an entry of ONNX Runtime's, and --engine {id} has none; choose --engine \
                     onnxruntime, or leave --session-config out"
                )));
            }
        }
        let path = env::var_os("ORT_DYLIB_PATH").filter(|path| !path.is_empty());
        let active = env::var_os("VIRTUAL_ENV").filter(|path| !path.is_empty());
        let active = active.as_deref().map(Path::new);
        let own = host.environment.as_deref();
        let (kind, why) = match asked {
            EngineChoice::Named(kind) => (kind, "asked for with --engine"),
            EngineChoice::Auto if provider.is_some() => {
                (EngineKind::OnnxRuntime, "--provider names one of its providers")
            }
            EngineChoice::Auto if !session_config.is_empty() => {
                (EngineKind::OnnxRuntime, "--session-config is one of its entries")
            }
            EngineChoice::Auto if built_in_model => {
                (EngineKind::Rten, "the model is the built-in one")
            }
            EngineChoice::Auto if path.is_some() => {
                (EngineKind::OnnxRuntime, "ORT_DYLIB_PATH is set")
            }
            EngineChoice::Auto if own.is_some_and(engine::holds_library) => {
                (EngineKind::OnnxRuntime, "this Python has the package onnxruntime")
            }
            EngineChoice::Auto if active.is_some_and(engine::holds_library) => (
                EngineKind::OnnxRuntime,
                "the active virtual environment has the package onnxruntime",
            ),
            EngineChoice::Auto if own.is_some() => (
                EngineKind::Rten,
                "ORT_DYLIB_PATH is not set, and neither this Python nor an active virtual environment has the package \
                 onnxruntime",
            ),
            EngineChoice::Auto => (
                EngineKind::Rten,
                "ORT_DYLIB_PATH is not set, and no active virtual environment has the package onnxruntime",
            ),
        };
        let environments: Vec<&Path> = own.into_iter().chain(active).collect();
        let library = engine::library_places(path.as_deref(), &environments);
        Ok(Self { kind, why, provider, session_config: session_config.to_vec(), library })
    }

    /// Sets the engine of an explainer and its options.
    pub(crate) fn set(
        &self,
        builder: ExplainerBuilder,
        threads: Option<NonZeroUsize>,
    ) -> ExplainerBuilder {
        let mut builder = builder.engine(self.kind).library_places(self.library.clone());
        if let Some(provider) = self.provider {
            builder = builder.provider(provider);
        }
        if let Some(threads) = threads {
            builder = builder.threads(threads);
        }
        for (key, value) in &self.session_config {
            builder = builder.session_config(key, value);
        }
        builder
    }
}
