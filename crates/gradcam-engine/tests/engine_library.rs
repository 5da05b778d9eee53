//! A library that is not there. A process loads ONNX Runtime once, so this test has its own.

use gradcam_engine::{EngineErrorKind, EngineKind, EngineOptions, engine};

#[test]
fn a_missing_library_says_where_it_was_looked_for_and_how_to_get_it() {
    let folder = std::env::temp_dir().join("gradcam-engine-library");
    std::fs::create_dir_all(&folder).unwrap();
    let broken = folder.join("broken.so");
    std::fs::write(&broken, "no library").unwrap();
    let mut options = EngineOptions::default();
    options.library = vec![folder.join("nowhere"), broken.clone()];
    let error = engine(EngineKind::OnnxRuntime, &options).map(|_| ()).unwrap_err();
    assert_eq!(error.kind(), EngineErrorKind::Unavailable);
    let message = error.to_string();
    for part in ["pip install onnxruntime", "ORT_DYLIB_PATH", "nowhere", "could not be loaded"] {
        assert!(message.contains(part), "{message}");
    }
    std::fs::remove_dir_all(&folder).unwrap();
}
