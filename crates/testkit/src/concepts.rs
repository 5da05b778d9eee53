//! Fixtures of concepts, made by `tools/concept_cases.py`.

use std::{error::Error, fs};

use serde::Deserialize;

use crate::{FixtureTensor, fixture, uniform};

/// The cases of one network, and those of matrices.
#[derive(Clone, Debug, Deserialize)]
pub struct ConceptCases {
    seed: u64,
    /// The shape of the input, [N, C, H, W].
    pub input: Vec<usize>,
    /// All cases.
    pub cases: Vec<ConceptCase>,
    /// Matrices and their factors.
    pub matrices: Vec<MatrixCase>,
}

/// What a library finds in a layer.
#[derive(Clone, Debug, Deserialize)]
pub struct ConceptCase {
    /// The module path of the layer.
    pub layer: String,
    /// The number of images.
    pub images: usize,
    /// The number of components.
    pub components: usize,
    /// The concepts, [components, K].
    pub vectors: FixtureTensor,
    /// Where they are, [N, components, h, w].
    pub maps: FixtureTensor,
    /// The maps as the library shows them, [N, components, H, W].
    pub heatmaps: FixtureTensor,
    /// The share of each component.
    pub share: FixtureTensor,
    /// The share of each component in each image.
    pub shares: FixtureTensor,
    /// The scores of the concepts, [components, classes].
    pub scores: FixtureTensor,
    /// What the components leave out.
    pub error: f64,
    /// The deviation of the library's float32, relative to the largest entry.
    pub condition: f64,
}

/// A matrix and its factors.
#[derive(Clone, Debug, Deserialize)]
pub struct MatrixCase {
    /// The matrix, [rows, columns].
    pub x: FixtureTensor,
    /// The number of components.
    pub components: usize,
    /// From random numbers.
    pub random: FactorCase,
    /// From singular vectors.
    pub nndsvda: FactorCase,
}

/// Two factors: W, [rows, components], and the transpose of H, [columns, components].
#[derive(Clone, Debug, Deserialize)]
pub struct FactorCase {
    /// Before the first sweep.
    pub start: [FixtureTensor; 2],
    /// After the last.
    pub end: [FixtureTensor; 2],
    /// What they leave out of the matrix.
    pub error: f64,
}

impl ConceptCases {
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
pub fn concept_cases() -> ConceptCases {
    let read = || -> Result<ConceptCases, Box<dyn Error>> {
        Ok(serde_json::from_str(&fs::read_to_string(fixture("concepts/cases.json"))?)?)
    };
    read().unwrap_or_else(|e| panic!("concepts: {e}"))
}
