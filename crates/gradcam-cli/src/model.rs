//! The model: a file, or the built-in one.

use std::{fs::File, io::Read, path::Path};

use gradcam::{ErrorKind, Explainer, ExplainerBuilder, Model};
use sha2::{Digest, Sha256};

use crate::{
    args::SignatureArgs,
    failure::{Failure, Result, failed},
    npy,
};

/// EfficientNet-Lite0 for the 1000 classes of ImageNet. Its metadata has the preprocessing and the labels.
const BUILT_IN: &[u8] = include_bytes!("../assets/efficientnet_lite0.onnx");

/// The name of the built-in model in the place of a path.
const BUILT_IN_NAME: &str = "efficientnet_lite0 (built in)";

/// The built-in model: EfficientNet-Lite0 for the 1000 classes of ImageNet, with its preprocessing and labels.
///
/// # Errors
/// `Model`, as [`Model::from_static`](gradcam::Model::from_static).
pub fn built_in() -> gradcam::Result<Model> {
    Ok(Model::from_static(BUILT_IN)?)
}

/// Opens a model file, or the built-in model.
pub(crate) fn open(path: Option<&Path>) -> Result<Model> {
    match path {
        Some(path) => Ok(Model::open(path)?),
        None => Ok(built_in()?),
    }
}

/// The name of the model in output.
pub(crate) fn name(path: Option<&Path>) -> String {
    path.map_or_else(|| BUILT_IN_NAME.to_owned(), |path| path.display().to_string())
}

/// A builder for an explainer of the model, with the user's inputs and outputs.
pub(crate) fn builder(model: Model, signature: &SignatureArgs) -> Result<ExplainerBuilder> {
    let mut builder = Explainer::builder(model);
    for (name, path) in &signature.inputs {
        builder = builder.input(name, npy::load(path).map_err(Failure::Failed)?);
    }
    if let Some(name) = &signature.output_name {
        builder = builder.output(name);
    }
    if let Some(head) = signature.head {
        builder = builder.head(head);
    }
    Ok(builder)
}

/// The SHA-256 of the model's file, in hexadecimal. External data is not part of it.
pub(crate) fn digest(path: Option<&Path>) -> Result<String> {
    let mut hasher = Sha256::new();
    match path {
        None => hasher.update(BUILT_IN),
        Some(path) => {
            let cannot = |e| failed(format!("cannot read {}: {e}", path.display()));
            let mut file = File::open(path).map_err(cannot)?;
            let mut window = vec![0; 1 << 16];
            loop {
                match file.read(&mut window).map_err(cannot)? {
                    0 => break,
                    count => hasher.update(&window[..count]),
                }
            }
        }
    }
    Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Whether an error is about one image, so that others may still be explained.
pub(crate) fn is_about_the_image(kind: ErrorKind) -> bool {
    !matches!(
        kind,
        ErrorKind::Model | ErrorKind::Unsupported | ErrorKind::Layer | ErrorKind::Method
    )
}
