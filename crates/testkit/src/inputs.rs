//! Small networks that take more than one float photo, with raw maps in float64.

use std::{collections::BTreeMap, fs};

use serde::Deserialize;

use crate::{Tensor, fixture};

/// The value of an input.
#[derive(Clone, Debug, Deserialize)]
pub struct InputValue {
    /// The type that the model declares, as numpy calls it.
    pub dtype: String,
    /// The size of each axis.
    pub shape: Vec<usize>,
    /// The numbers in row-major order; booleans are 0 and 1.
    pub data: Vec<f64>,
}

/// What is known of one file.
#[derive(Clone, Debug, Deserialize)]
pub struct InputCase {
    /// The value of each input, for a batch; `image` takes the images.
    pub inputs: BTreeMap<String, InputValue>,
    /// The class that is explained of each image.
    pub classes: Vec<usize>,
    /// The scores, [N, K].
    pub scores: Tensor,
    /// What maps must agree to, of their largest entry.
    pub bound: f64,
    /// Raw Grad-CAM maps by module path, [N, …].
    pub layers: BTreeMap<String, Tensor>,
}

/// All of them, by the name of the file in `fixtures/inputs`, without `.onnx`.
///
/// # Panics
/// Where the fixture cannot be read: tests cannot go on without it.
#[expect(clippy::panic, reason = "only tests call it")]
pub fn input_cases() -> BTreeMap<String, InputCase> {
    let read = || -> Result<BTreeMap<String, InputCase>, Box<dyn std::error::Error>> {
        Ok(serde_json::from_str(&fs::read_to_string(fixture("inputs/inputs.json"))?)?)
    };
    read().unwrap_or_else(|e| panic!("inputs.json: {e}"))
}
