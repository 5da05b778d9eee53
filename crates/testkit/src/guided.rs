//! Networks with references of maps at their input: guided backpropagation by pytorch-grad-cam, and the
//! gradient, both in float64.

use std::{collections::BTreeMap, fs};

use onnx_grad::Model;
use serde::Deserialize;

use crate::{fixture, uniform, weights::weighed};

/// The maps of one method, for each image of the batch.
#[derive(Clone, Debug, Deserialize)]
pub struct InputReference {
    /// The largest absolute entry.
    pub largest: Vec<f64>,
    /// Every [`Guided::step`]-th entry of [C, H, W] in row-major order.
    pub entries: Vec<Vec<f64>>,
    /// The same entries of the picture that pytorch-grad-cam's `deprocess_image` makes.
    pub picture: Vec<Vec<u8>>,
}

/// A network whose weights come from a seed, and what is known of it.
#[derive(Clone, Debug, Deserialize)]
pub struct Guided {
    seed: u64,
    /// The shape of the input, [N, C, H, W].
    pub input: Vec<usize>,
    /// The class of each image.
    pub classes: Vec<usize>,
    scales: BTreeMap<String, f32>,
    /// Which entries are kept.
    pub step: usize,
    /// By method.
    pub methods: BTreeMap<String, InputReference>,
}

/// The networks that [`guided`] knows.
pub const GUIDED_NETWORKS: [&str; 2] = ["resnet18", "vgg16"];

/// A network with its weights filled in, and its references.
///
/// # Panics
/// Where a fixture cannot be read: tests cannot go on without it.
#[expect(clippy::panic, reason = "only tests call it")]
pub fn guided(name: &str) -> (Model, Guided) {
    let path = |ending: &str| fixture(&format!("guided/{name}.{ending}"));
    let read = || -> Result<(Model, Guided), Box<dyn std::error::Error>> {
        let known: Guided = serde_json::from_str(&fs::read_to_string(path("json"))?)?;
        Ok((weighed(&path("onnx"), known.seed, &known.scales)?, known))
    };
    read().unwrap_or_else(|e| panic!("network {name}: {e}"))
}

impl Guided {
    /// The input of the reference, in row-major order.
    pub fn image(&self) -> Vec<f32> {
        let count: usize = self.input.iter().product();
        (0u64..).take(count).map(|index| uniform(self.seed, "input", index)).collect()
    }
}
