//! Writes models for the tests of the page, and what they give natively: `page_references FOLDER`.
//!
//! `references.json` has for each model its files, what is said of it, the target, and the raw map of [`PageState`] here, on the
//! same engine. The weights of the networks are drawn from a seed.

use std::{env, error::Error, fs, path::Path};

use gradcam::onnx_grad::{Files, MemoryFiles};
use gradcam_web::{DroppedFiles, ExplainRequest, ModelSettings, PageState};
use serde_json::{Value, json};
use testkit::{fixture, network, with_external_data};

const PHOTO: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/../gradcam-cli/assets/cat_over_coffee.png");
const BUILT_IN: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/../gradcam-cli/assets/efficientnet_lite0.onnx");

/// A model, its other files, and its targets.
struct PageModel {
    files: Vec<(&'static str, Vec<u8>)>,
    targets: Vec<&'static str>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let folder = env::args().nth(1).ok_or("usage: page_references FOLDER")?;
    let folder = Path::new(&folder);
    fs::create_dir_all(folder)?;
    let photo = fs::read(PHOTO)?;
    let mut references = Vec::new();
    for model in models()? {
        for (name, bytes) in &model.files {
            fs::write(folder.join(name), bytes)?;
        }
        references.push(reference(&model, &photo)?);
    }
    fs::write(folder.join("references.json"), serde_json::to_vec_pretty(&references)?)?;
    Ok(())
}

fn models() -> Result<Vec<PageModel>, Box<dyn Error>> {
    let (message, data) = with_external_data(&network("mobilenet_v2").0, "mobilenet.onnx.data");
    Ok(vec![
        PageModel {
            files: vec![("lite0.onnx", fs::read(BUILT_IN)?)],
            targets: vec!["Egyptian cat", "espresso"],
        },
        PageModel {
            files: vec![("resnet50.onnx", network("resnet50").0.to_bytes()?)],
            targets: vec!["argmax", "285"],
        },
        PageModel {
            files: vec![("mobilenet.onnx", message), ("mobilenet.onnx.data", data)],
            targets: vec!["argmax"],
        },
        PageModel {
            files: vec![("yolo.onnx", fs::read(fixture("exporters/yolo_detect.onnx"))?)],
            targets: vec!["argmax"],
        },
        PageModel {
            files: vec![("vit.onnx", fs::read(fixture("zoo/vit.dynamo.onnx"))?)],
            targets: vec!["argmax"],
        },
    ])
}

/// What a model gives natively.
fn reference(model: &PageModel, photo: &[u8]) -> Result<Value, Box<dyn Error>> {
    let mut files = DroppedFiles::default();
    for (name, bytes) in &model.files {
        files.add(*name, MemoryFiles::from([("it", bytes.clone())]).open(Path::new("it"))?);
    }
    let (name, _) = &model.files[0];
    let mut page = PageState::new(|_, _| {});
    let open = page.open(files, name, ModelSettings::default())?;
    let (photo, ..) = page.add_photo(photo)?;
    let mut maps = Vec::new();
    for target in &model.targets {
        let asked = json!({ "model": open.id, "photo": photo, "target": target });
        let asked: ExplainRequest = serde_json::from_value(asked)?;
        for one in page.explain(&asked)? {
            maps.push(json!({
                "target": target,
                "class": one.summary.class.index,
                "layer": one.summary.layers[0].layer,
                "shape": one.summary.layers[0].shape,
                "map": page.map(one.id, 0)?,
            }));
        }
    }
    let files: Vec<&str> = model.files.iter().map(|(name, _)| *name).collect();
    Ok(json!({ "files": files, "maps": maps }))
}
