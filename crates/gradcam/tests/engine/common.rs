//! Both engines, and small models written in ONNX messages.

use std::{
    fs,
    num::NonZeroUsize,
    path::{Path, PathBuf},
};

use gradcam::engine::{Engine, EngineKind, EngineOptions, engine, library_places};

/// An engine with this many threads.
pub(crate) fn engine_with(kind: EngineKind, threads: usize) -> Box<dyn Engine> {
    let mut options = EngineOptions::default();
    options.threads = NonZeroUsize::new(threads);
    if kind == EngineKind::OnnxRuntime {
        options.library = library();
    }
    engine(kind, &options).unwrap()
}

/// Both engines with one thread.
pub(crate) fn engines() -> Vec<Box<dyn Engine>> {
    EngineKind::ALL.into_iter().map(|kind| engine_with(kind, 1)).collect()
}

/// Where the library of ONNX Runtime is: what `ORT_DYLIB_PATH` says, or the unpacked wheel.
pub(crate) fn library() -> Vec<PathBuf> {
    if let Some(path) = std::env::var_os("ORT_DYLIB_PATH") {
        return library_places(Some(&path), None);
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/onnxruntime");
    let mut folders = vec![root];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().filter_map(Result::ok) {
            let name = entry.file_name().to_string_lossy().into_owned();
            if entry.path().is_dir() {
                folders.push(entry.path());
            } else if name.starts_with("libonnxruntime.") || name == "onnxruntime.dll" {
                return vec![entry.path()];
            }
        }
    }
    panic!(
        "the engine tests need ONNX Runtime: run `cargo xtask ci` once, it installs the wheel into \
         target/onnxruntime, or set ORT_DYLIB_PATH"
    );
}

/// The model that the command line carries.
pub(crate) fn demo_model() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../gradcam-cli/assets/efficientnet_lite0.onnx")
}

/// Numbers without a pattern that a network could miss, between -2 and 2.
pub(crate) fn wave(index: usize) -> f32 {
    let x = index as f32;
    (x * 0.37).sin() + (x * 0.011).cos()
}
