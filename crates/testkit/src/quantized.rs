//! A small network quantized by ONNX Runtime, with straight-through maps and gradients in float64.

use std::{collections::BTreeMap, fs};

use serde::Deserialize;

use crate::{FixtureTensor, fixture};

/// The references of one quantized file.
#[derive(Clone, Debug, Deserialize)]
pub struct QuantizedCase {
    /// The logits before quantization, [N, K].
    pub scores: FixtureTensor,
    /// The gradient of the sum of the explained logits with respect to the images.
    pub image: FixtureTensor,
    /// The raw Grad-CAM map of each layer, [N, h, w].
    pub maps: BTreeMap<String, FixtureTensor>,
}

/// The files and their common references.
#[derive(Clone, Debug, Deserialize)]
pub struct QuantizedCases {
    /// The images, [N, C, H, W].
    pub input: FixtureTensor,
    /// The explained class of each image.
    pub classes: Vec<usize>,
    /// By file name in `fixtures/quantized`, without `.onnx`.
    pub models: BTreeMap<String, QuantizedCase>,
}

/// All quantized files.
///
/// # Panics
/// If the fixture cannot be read.
#[expect(clippy::panic, reason = "only tests call this function")]
pub fn quantized() -> QuantizedCases {
    let read = || -> Result<QuantizedCases, Box<dyn std::error::Error>> {
        Ok(serde_json::from_str(&fs::read_to_string(fixture("quantized/quantized.json"))?)?)
    };
    read().unwrap_or_else(|e| panic!("quantized.json: {e}"))
}
