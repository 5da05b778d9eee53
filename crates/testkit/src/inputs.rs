//! Small networks with inputs other than a single float photo, with float64 raw maps.

use std::{collections::BTreeMap, fs};

use serde::Deserialize;

use crate::{FixtureTensor, fixture};

/// The value of an input.
#[derive(Clone, Debug, Deserialize)]
pub struct InputValue {
    /// The declared type, as numpy names it.
    pub dtype: String,
    /// The size of each axis.
    pub shape: Vec<usize>,
    /// The numbers in row-major order; booleans are 0 and 1.
    pub data: Vec<f64>,
}

/// The references of one file.
#[derive(Clone, Debug, Deserialize)]
pub struct InputCase {
    /// The value of each input, for a batch; `image` receives the images.
    pub inputs: BTreeMap<String, InputValue>,
    /// The explained class of each image.
    pub classes: Vec<usize>,
    /// The scores, [N, K].
    pub scores: FixtureTensor,
    /// The tolerance of the maps, relative to their largest entry.
    pub bound: f64,
    /// Raw Grad-CAM maps by module path, [N, …].
    pub layers: BTreeMap<String, FixtureTensor>,
}

/// All references, by file name in `fixtures/inputs`, without `.onnx`.
///
/// # Panics
/// If the fixture cannot be read.
#[expect(clippy::panic, reason = "only tests call this function")]
pub fn input_cases() -> BTreeMap<String, InputCase> {
    let read = || -> Result<BTreeMap<String, InputCase>, Box<dyn std::error::Error>> {
        Ok(serde_json::from_str(&fs::read_to_string(fixture("inputs/inputs.json"))?)?)
    };
    read().unwrap_or_else(|e| panic!("inputs.json: {e}"))
}
