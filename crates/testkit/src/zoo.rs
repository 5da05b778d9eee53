//! Small members of the families of image models, from both of torch's exporters, with reference maps.

use std::{collections::BTreeMap, fs, path::PathBuf};

use serde::Deserialize;

use crate::{Tensor, fixture, uniform};

/// A model, and what float64 PyTorch says of it.
#[derive(Clone, Debug, Deserialize)]
pub struct ZooModel {
    /// The file's name without its ending: model and exporter.
    #[serde(skip)]
    pub name: String,
    /// What the model stands for.
    pub family: String,
    /// Why its default layer is what it is.
    pub why: String,
    seed: u64,
    /// The shape of the input, [1, 3, H, W].
    pub input: Vec<usize>,
    /// The class that is explained.
    pub class: usize,
    /// The layer that is taken where none is named.
    pub default: String,
    /// By layer and method: the raw map, [1, h, w].
    pub layers: BTreeMap<String, BTreeMap<String, Tensor>>,
}

impl ZooModel {
    /// The image, in row-major order.
    pub fn image(&self) -> Vec<f32> {
        let count: usize = self.input.iter().product();
        (0u64..).take(count).map(|index| uniform(self.seed, "input", index)).collect()
    }

    /// The model's file.
    pub fn path(&self) -> PathBuf {
        fixture(&format!("zoo/{}.onnx", self.name))
    }
}

/// All models, by name.
///
/// # Panics
/// Where a fixture cannot be read.
#[expect(clippy::panic, reason = "only tests call it")]
pub fn zoo() -> Vec<ZooModel> {
    let read = || -> Result<Vec<ZooModel>, Box<dyn std::error::Error>> {
        let mut models = Vec::new();
        for entry in fs::read_dir(fixture("zoo"))? {
            let path = entry?.path();
            if path.extension().is_some_and(|ending| ending == "json") {
                let mut model: ZooModel = serde_json::from_str(&fs::read_to_string(&path)?)?;
                let name = path.file_stem().unwrap_or_default();
                model.name = name.to_string_lossy().into_owned();
                models.push(model);
            }
        }
        models.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(models)
    };
    read().unwrap_or_else(|e| panic!("zoo: {e}"))
}
