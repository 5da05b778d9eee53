//! Reads text as the sources of preprocessing: metadata of the model, and neighboring files. The
//! first byte, a digit, selects the source.

#![no_main]

use std::{fs, path::PathBuf, sync::LazyLock};

use gradcam::image::{Overrides, Photo, preprocess::Numbers, resolve};
use libfuzzer_sys::fuzz_target;

/// Metadata keys with the entries that they require; then file names.
const KEYS: &[&str] =
    &["gradcam.preprocess", "gradcam.labels", "names", "imgsz", "Image.NominalPixelRange"];
const FILES: &[&str] = &[
    "preprocessor_config.json",
    "processor_config.json",
    "config.json",
    "model.labels.txt",
    "given",
];

static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
    let folder = std::env::temp_dir().join(format!("gradcam-fuzz-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a temporary folder");
    folder
});

fuzz_target!(|bytes: &[u8]| {
    let Some((kind, text)) = bytes.split_first() else { return };
    let kind = usize::from(*kind & 15) % (KEYS.len() + FILES.len());
    let mut overrides = Overrides::default();
    let mut metadata = Vec::new();
    let mut written = None;
    match KEYS.get(kind) {
        Some(key) => {
            let Ok(text) = std::str::from_utf8(text) else { return };
            metadata.extend(["task", "names"].map(|key| (key.to_owned(), "{0: 'cat'}".to_owned())));
            metadata.retain(|(name, _)| name != key);
            metadata.push(((*key).to_owned(), text.to_owned()));
        }
        None => {
            let file = FOLDER.join(FILES[kind - KEYS.len()]);
            fs::write(&file, text).expect("a temporary file");
            overrides.labels = file.ends_with("given").then(|| file.clone());
            written = Some(file);
        }
    }
    let model = FOLDER.join("model.onnx");
    for shape in
        [[None; 4], [Some(1), Some(3), Some(8), Some(8)], [None, Some(9), Some(9), Some(1)]]
    {
        let Ok(resolved) = resolve(&overrides, &metadata, Some(&model), &shape, Numbers::Floats)
        else {
            continue;
        };
        let photo = Photo::from_rgb8(5, 4, vec![7; 60]).expect("a photo");
        // A large requested size is slow but not an error.
        let output = resolved.preprocess.geometry.output().unwrap_or((1 << 16, 1 << 16));
        if u64::from(output.0) * u64::from(output.1) <= 1 << 16 {
            let _ = resolved.preprocess.apply(&photo);
        }
    }
    if let Some(file) = written {
        fs::remove_file(file).expect("removed");
    }
});
