//! Networks with float64 reference maps at their input: guided backpropagation by pytorch-grad-cam,
//! and the gradient.

use std::{collections::BTreeMap, fs};

use onnx_grad::Model;
use serde::Deserialize;

use crate::{fixture, uniform, weights::weighed};

/// The maps of one method, for each image of the batch.
#[derive(Clone, Debug, Deserialize)]
pub struct InputReference {
    /// The largest absolute entry.
    pub largest: Vec<f64>,
    /// Every [`GuidedNetwork::step`]-th entry of [C, H, W] in row-major order.
    pub entries: Vec<Vec<f64>>,
    /// The same entries of the image from pytorch-grad-cam's `deprocess_image`.
    pub picture: Vec<Vec<u8>>,
}

/// A network with weights from a seed, and its references.
#[derive(Clone, Debug, Deserialize)]
pub struct GuidedNetwork {
    seed: u64,
    /// The shape of the input, [N, C, H, W].
    pub input: Vec<usize>,
    /// The class of each image.
    pub classes: Vec<usize>,
    scales: BTreeMap<String, f32>,
    /// The distance between stored entries.
    pub step: usize,
    /// By method.
    pub methods: BTreeMap<String, InputReference>,
}

/// The names of the networks for [`guided`].
pub const GUIDED_NETWORKS: [&str; 2] = ["resnet18", "vgg16"];

/// A network with its weights filled in, and its references.
///
/// # Panics
/// If a fixture cannot be read.
#[expect(clippy::panic, reason = "only tests call this function")]
pub fn guided(name: &str) -> (Model, GuidedNetwork) {
    let path = |ending: &str| fixture(&format!("guided/{name}.{ending}"));
    let read = || -> Result<(Model, GuidedNetwork), Box<dyn std::error::Error>> {
        let known: GuidedNetwork = serde_json::from_str(&fs::read_to_string(path("json"))?)?;
        Ok((weighed(&path("onnx"), known.seed, &known.scales)?, known))
    };
    read().unwrap_or_else(|e| panic!("network {name}: {e}"))
}

impl GuidedNetwork {
    /// The input of the reference, in row-major order.
    pub fn image(&self) -> Vec<f32> {
        let count: usize = self.input.iter().product();
        (0u64..).take(count).map(|index| uniform(self.seed, "input", index)).collect()
    }
}
