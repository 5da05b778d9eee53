//! PyTorch's hooks on a resnet18: what they see and how they change a pass.

use std::{collections::BTreeMap, fs};

use onnx_grad::Model;
use serde::Deserialize;

use crate::{fixture, uniform, weights::weighed};

/// A tensor sampled at every `step`-th number.
#[derive(Clone, Debug, Deserialize)]
pub struct Sample {
    /// The size of each axis.
    pub shape: Vec<usize>,
    /// The distance between sampled numbers, in row-major order.
    pub step: usize,
    /// The largest magnitude of all numbers.
    pub largest: f64,
    /// The sampled numbers.
    pub data: Vec<f64>,
}

impl Sample {
    /// The largest difference of the sampled numbers, relative to the largest magnitude of all;
    /// infinite if shapes differ or a number is NaN.
    pub fn error(&self, shape: &[usize], got: &[f32]) -> f64 {
        if shape != self.shape || got.iter().any(|number| number.is_nan()) {
            return f64::INFINITY;
        }
        let pairs = got.iter().step_by(self.step).zip(&self.data);
        pairs.fold(0.0, |max: f64, (g, w)| max.max((f64::from(*g) - w).abs())) / self.largest
    }
}

/// A hook that replaces each tensor t by `factor`·t + `addend`.
#[derive(Clone, Debug, Deserialize)]
pub struct TensorReplacement {
    /// `forward_pre`, `forward`, `backward` or `full_backward`.
    pub kind: String,
    /// The module's path.
    pub layer: String,
    /// The factor.
    pub factor: f32,
    /// The addend.
    pub addend: f32,
}

/// Hooks that replace tensors, and the observed values.
#[derive(Clone, Debug, Deserialize)]
pub struct HookCase {
    /// The case's name.
    pub name: String,
    /// The number of images in the batch.
    pub batch: usize,
    /// The replacing hooks in order of registration.
    pub hooks: Vec<TensorReplacement>,
    /// The scores.
    pub scores: Sample,
    /// The outputs of modules, by path.
    pub outputs: BTreeMap<String, Sample>,
    /// The gradients of these outputs.
    pub grad_outputs: BTreeMap<String, Sample>,
    /// The gradients of the modules' inputs, through each module only.
    pub grad_inputs: BTreeMap<String, Sample>,
}

/// All cases of one network.
#[derive(Clone, Debug, Deserialize)]
pub struct HookCases {
    seed: u64,
    /// The shape of the input, [N, C, H, W].
    pub input: Vec<usize>,
    /// The class of each image; the seed of a backward pass is 1 at this class.
    pub classes: Vec<usize>,
    scales: BTreeMap<String, f32>,
    /// The cases.
    pub cases: Vec<HookCase>,
}

impl HookCases {
    /// The input of the references, in row-major order.
    pub fn image(&self) -> Vec<f32> {
        let count: usize = self.input.iter().product();
        (0u64..).take(count).map(|index| uniform(self.seed, "input", index)).collect()
    }

    /// The case with that name.
    ///
    /// # Panics
    /// If there is no such case.
    #[expect(clippy::panic, reason = "only tests call this function")]
    pub fn case(&self, name: &str) -> &HookCase {
        self.cases.iter().find(|case| case.name == name).unwrap_or_else(|| panic!("case {name}"))
    }
}

/// The network and its cases.
///
/// # Panics
/// If a fixture cannot be read.
#[expect(clippy::panic, reason = "only tests call this function")]
pub fn hook_cases() -> (Model, HookCases) {
    let read = || -> Result<(Model, HookCases), Box<dyn std::error::Error>> {
        let text = fs::read_to_string(fixture("hooks/hooks.json"))?;
        let known: HookCases = serde_json::from_str(&text)?;
        Ok((weighed(&fixture("hooks/resnet18.onnx"), known.seed, &known.scales)?, known))
    };
    read().unwrap_or_else(|e| panic!("hooks: {e}"))
}
