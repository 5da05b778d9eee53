//! The built-in model and a photo, for examples.

use std::{error::Error, path::PathBuf};

use gradcam::{
    Explainer, Model,
    image::{Limits, Photo},
    ndarray::Array4,
};

/// The classifier that the command line carries, and a photo as it wants it, [1, 3, 224, 224].
pub(crate) fn load() -> Result<(Model, Array4<f32>), Box<dyn Error>> {
    let assets = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../gradcam-cli/assets");
    let model = Model::open(assets.join("efficientnet_lite0.onnx"))?;
    let photo = Photo::open(assets.join("cat_over_coffee.png"), &Limits::default())?;
    let explainer = Explainer::builder(model.clone()).build()?;
    let (x, _) = explainer.prepare(&photo)?;
    Ok((model, x))
}
