//! Chooses the engine, by the interpreter's environment.

use std::{
    collections::HashMap,
    env,
    ffi::OsString,
    path::{Path, PathBuf},
};

use gradcam::engine::{self, EngineKind, Provider};
use pyo3::prelude::*;

use crate::errors::OrRaise;

/// An engine, and where ONNX Runtime is looked for.
pub(crate) struct EngineSetup {
    pub(crate) kind: EngineKind,
    pub(crate) provider: Option<Provider>,
    pub(crate) places: Vec<PathBuf>,
    pub(crate) session_config: HashMap<String, String>,
}

impl EngineSetup {
    /// The engine that is named; `auto` is ONNX Runtime where `ORT_DYLIB_PATH` names it or the interpreter has the package
    /// `onnxruntime`, which is not imported, else rten, and rten for the built-in model, which starts at once there.
    pub(crate) fn new(
        py: Python<'_>,
        name: &str,
        provider: Option<&str>,
        session_config: HashMap<String, String>,
        built_in_model: bool,
    ) -> PyResult<Self> {
        let provider = provider.map(str::parse::<Provider>).transpose().or_raise(py)?;
        let path = env::var_os("ORT_DYLIB_PATH").filter(|path| !path.is_empty());
        let of_interpreter = match path {
            None => packages(py)?,
            Some(_) => Vec::new(),
        };
        let is_here =
            path.is_some() || of_interpreter.iter().any(|place| engine::holds_library(place));
        let kind = match name {
            "auto" if provider.is_some() || !session_config.is_empty() => EngineKind::OnnxRuntime,
            "auto" if is_here && !built_in_model => EngineKind::OnnxRuntime,
            "auto" => EngineKind::Rten,
            name => name.parse().or_raise(py)?,
        };
        let prefix = environment(py)?;
        let environments = of_interpreter.iter().map(PathBuf::as_path).chain(prefix.as_deref());
        let environments: Vec<&Path> = environments.collect();
        let places = engine::library_places(path.as_deref(), &environments);
        Ok(Self { kind, provider, places, session_config })
    }
}

/// The folders of the package `onnxruntime` of this interpreter.
fn packages(py: Python<'_>) -> PyResult<Vec<PathBuf>> {
    let spec = py.import("importlib.util")?.call_method1("find_spec", ("onnxruntime",))?;
    if spec.is_none() {
        return Ok(Vec::new());
    }
    let folders = spec.getattr("submodule_search_locations")?;
    if folders.is_none() {
        return Ok(Vec::new());
    }
    folders.try_iter()?.map(|folder| folder?.extract()).collect()
}

/// The folder of the interpreter's environment.
pub(crate) fn environment(py: Python<'_>) -> PyResult<Option<PathBuf>> {
    let prefix: Option<OsString> = py.import("sys")?.getattr("prefix")?.extract()?;
    Ok(prefix.map(PathBuf::from))
}
