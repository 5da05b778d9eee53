//! Both engines, and small models written in ONNX messages.

use std::{
    num::NonZeroUsize,
    path::{Path, PathBuf},
};

use gradcam_engine::{Engine, EngineKind, EngineOptions, engine, library_places};

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

/// Where the library of ONNX Runtime is.
pub(crate) fn library() -> Vec<PathBuf> {
    library_places(Some(testkit::onnxruntime().as_os_str()), None)
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
