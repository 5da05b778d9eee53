//! Heatmaps of other libraries, run in float64.

use std::fs;

use serde::Deserialize;

use crate::{FixtureTensor, fixture, uniform};

/// The images of the network `heatmaps/cnn.onnx`, and what libraries make of them.
#[derive(Clone, Debug, Deserialize)]
pub struct HeatmapCases {
    seed: u64,
    /// The shape of the input, [N, C, H, W].
    pub input: Vec<usize>,
    /// The class of each image.
    pub classes: Vec<usize>,
    /// All cases.
    pub cases: Vec<HeatmapCase>,
}

/// What a library makes of the images.
#[derive(Clone, Debug, Deserialize)]
pub struct HeatmapCase {
    /// The id of the library's profile.
    pub profile: String,
    /// The id of the method.
    pub method: String,
    /// The module paths of the layers; none for a method at the input.
    pub layers: Vec<String>,
    /// The id of the fusion.
    #[serde(default = "no_fusion")]
    pub fusion: String,
    /// Whether the library averages over changed images.
    #[serde(default)]
    pub aug_smooth: bool,
    /// Whether it takes principal components.
    #[serde(default)]
    pub eigen_smooth: bool,
    /// One heatmap for each image: [N, h, w], or [N, C, H, W] for a method at the input.
    pub heatmaps: FixtureTensor,
    /// The deviation of the library's float32, relative to the largest entry.
    pub condition: f64,
}

fn no_fusion() -> String {
    "none".to_owned()
}

impl HeatmapCases {
    /// The input, in row-major order.
    pub fn images(&self) -> Vec<f32> {
        let count: usize = self.input.iter().product();
        (0u64..).take(count).map(|index| uniform(self.seed, "input", index)).collect()
    }
}

/// All cases.
///
/// # Panics
/// If the fixture cannot be read.
#[expect(clippy::panic, reason = "only tests call this function")]
pub fn heatmap_cases() -> HeatmapCases {
    let read = || -> Result<HeatmapCases, Box<dyn std::error::Error>> {
        Ok(serde_json::from_str(&fs::read_to_string(fixture("heatmaps/cases.json"))?)?)
    };
    read().unwrap_or_else(|e| panic!("heatmaps: {e}"))
}
