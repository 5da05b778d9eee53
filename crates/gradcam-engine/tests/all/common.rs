//! Both engines, and small models written in ONNX messages.

use std::{
    num::NonZeroUsize,
    path::{Path, PathBuf},
    sync::LazyLock,
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

/// An engine with one thread for each caller, the same one for all tests.
pub(crate) fn shared(kind: EngineKind) -> &'static dyn Engine {
    static ENGINES: LazyLock<[Box<dyn Engine>; EngineKind::ALL.len()]> =
        LazyLock::new(|| EngineKind::ALL.map(|kind| engine_with(kind, 1)));
    let place = EngineKind::ALL.iter().position(|one| *one == kind).unwrap();
    &*ENGINES[place]
}

/// Where the library of ONNX Runtime is.
pub(crate) fn library() -> Vec<PathBuf> {
    library_places(Some(testkit::onnxruntime().as_os_str()), &[])
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
