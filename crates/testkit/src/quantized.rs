//! A small network as ONNX Runtime quantises it, with maps and gradients straight through in float64.

use std::{collections::BTreeMap, fs};

use serde::Deserialize;

use crate::{Tensor, fixture};

/// What is known of one quantised file.
#[derive(Clone, Debug, Deserialize)]
pub struct Quantized {
    /// The logits before they are quantised, [N, K].
    pub scores: Tensor,
    /// The gradient of the sum of the explained logits with respect to the images.
    pub image: Tensor,
    /// The raw Grad-CAM map of each layer, [N, h, w].
    pub maps: BTreeMap<String, Tensor>,
}

/// The files, and what they have in common.
#[derive(Clone, Debug, Deserialize)]
pub struct QuantizedCases {
    /// The images, [N, C, H, W].
    pub input: Tensor,
    /// The class that is explained of each image.
    pub classes: Vec<usize>,
    /// By the name of the file in `fixtures/quantized`, without `.onnx`.
    pub models: BTreeMap<String, Quantized>,
}

/// All quantised files.
///
/// # Panics
/// Where the fixture cannot be read: tests cannot go on without it.
#[expect(clippy::panic, reason = "only tests call it")]
pub fn quantized() -> QuantizedCases {
    let read = || -> Result<QuantizedCases, Box<dyn std::error::Error>> {
        Ok(serde_json::from_str(&fs::read_to_string(fixture("quantized/quantized.json"))?)?)
    };
    read().unwrap_or_else(|e| panic!("quantized.json: {e}"))
}
