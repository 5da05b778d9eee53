//! What PyTorch's own hooks see and do in a resnet18.

use std::{collections::BTreeMap, fs};

use onnx_grad::Model;
use serde::Deserialize;

use crate::{fixture, uniform, weights::weighed};

/// A tensor of which every `step`-th number is kept.
#[derive(Clone, Debug, Deserialize)]
pub struct Sample {
    /// The size of each axis.
    pub shape: Vec<usize>,
    /// From one number that is kept to the next, in row-major order.
    pub step: usize,
    /// The largest magnitude of all numbers.
    pub largest: f64,
    /// The numbers that are kept.
    pub data: Vec<f64>,
}

impl Sample {
    /// The largest difference of the numbers that are kept, over the largest magnitude of all; infinite
    /// where shapes differ or a number is NaN.
    pub fn error(&self, shape: &[usize], got: &[f32]) -> f64 {
        if shape != self.shape || got.iter().any(|number| number.is_nan()) {
            return f64::INFINITY;
        }
        let pairs = got.iter().step_by(self.step).zip(&self.data);
        pairs.fold(0.0, |max: f64, (g, w)| max.max((f64::from(*g) - w).abs())) / self.largest
    }
}

/// A hook that puts `factor`·t + `addend` in the place of each tensor t that it is told of.
#[derive(Clone, Debug, Deserialize)]
pub struct Replace {
    /// `forward_pre`, `forward`, `backward` or `full_backward`.
    pub kind: String,
    /// The module's path.
    pub layer: String,
    /// See above.
    pub factor: f32,
    /// See above.
    pub addend: f32,
}

/// Hooks, and what others see behind them.
#[derive(Clone, Debug, Deserialize)]
pub struct HookCase {
    /// The case's name.
    pub name: String,
    /// How many images of the input are in the batch.
    pub batch: usize,
    /// The hooks that replace something, in the order in which they are registered.
    pub hooks: Vec<Replace>,
    /// The scores.
    pub scores: Sample,
    /// What modules make, by path.
    pub outputs: BTreeMap<String, Sample>,
    /// The gradients of that.
    pub grad_outputs: BTreeMap<String, Sample>,
    /// The gradients of what modules read, through the module alone.
    pub grad_inputs: BTreeMap<String, Sample>,
}

/// All cases, of one network.
#[derive(Clone, Debug, Deserialize)]
pub struct HookCases {
    seed: u64,
    /// The shape of the input, [N, C, H, W].
    pub input: Vec<usize>,
    /// The class of each image; the seed of a backward pass is 1 there.
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

    /// The case of that name.
    ///
    /// # Panics
    /// Where there is none.
    #[expect(clippy::panic, reason = "only tests call it")]
    pub fn case(&self, name: &str) -> &HookCase {
        self.cases.iter().find(|case| case.name == name).unwrap_or_else(|| panic!("case {name}"))
    }
}

/// The network of the cases, and the cases.
///
/// # Panics
/// Where a fixture cannot be read: tests cannot go on without it.
#[expect(clippy::panic, reason = "only tests call it")]
pub fn hook_cases() -> (Model, HookCases) {
    let read = || -> Result<(Model, HookCases), Box<dyn std::error::Error>> {
        let text = fs::read_to_string(fixture("hooks/hooks.json"))?;
        let known: HookCases = serde_json::from_str(&text)?;
        Ok((weighed(&fixture("hooks/resnet18.onnx"), known.seed, &known.scales)?, known))
    };
    read().unwrap_or_else(|e| panic!("hooks: {e}"))
}
