//! Small models of the image-model families, from both of PyTorch's exporters, with reference maps.

use std::{collections::BTreeMap, fs, path::PathBuf};

use serde::Deserialize;

use crate::{FixtureTensor, fixture, uniform};

/// A model, with references from PyTorch in float64.
#[derive(Clone, Debug, Deserialize)]
pub struct ZooModel {
    /// The file name without extension: model and exporter.
    #[serde(skip)]
    pub name: String,
    /// The models that it represents.
    pub family: String,
    /// The reason for its default layer.
    pub why: String,
    seed: u64,
    /// The shape of the input, [1, 3, H, W].
    pub input: Vec<usize>,
    /// The explained class.
    pub class: usize,
    /// The default layer.
    pub default: String,
    /// The raw map [1, h, w], by layer and method.
    pub layers: BTreeMap<String, BTreeMap<String, FixtureTensor>>,
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
/// If a fixture cannot be read.
#[expect(clippy::panic, reason = "only tests call this function")]
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
