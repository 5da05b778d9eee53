//! Test fixtures and comparison helpers.
//!
//! The generators in `tools/` create the fixtures in `fixtures/`, see `fixtures/README.md`.

pub mod build;
mod concepts;
mod exporters;
mod guided;
mod heads;
mod heatmaps;
mod hooks;
mod inputs;
mod methods;
mod networks;
mod operators;
mod passes;
mod quantized;
#[cfg(feature = "suite")]
mod suite;
mod weights;
mod zoo;

use std::{collections::BTreeMap, fs, path::PathBuf};

use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde::{Deserialize, Deserializer};

pub use concepts::{ConceptCase, ConceptCases, FactorCase, MatrixCase, concept_cases};
pub use exporters::{ExporterReference, exported};
pub use guided::{GUIDED_NETWORKS, GuidedNetwork, InputReference, guided};
pub use heads::{HeadCase, HeadTarget, head_cases};
pub use heatmaps::{HeatmapCase, HeatmapCases, heatmap_cases};
pub use hooks::{HookCase, HookCases, Sample, TensorReplacement, hook_cases};
pub use inputs::{InputCase, InputValue, input_cases};
pub use methods::{METHODS_WITH_MAPS, MethodCase, OF_SMOOTH, method_cases};
pub use networks::{
    ImageGradient, KinkMoves, LayerReference, Lite0Reference, NETWORKS, ReferenceNetwork, lite0,
    network,
};
pub use operators::{OperatorCase, OperatorCases, operator_cases};
pub use passes::{PassCase, pass_cases};
pub use quantized::{QuantizedCase, QuantizedCases, quantized};
#[cfg(feature = "suite")]
pub use suite::Suite;
pub use weights::{splitmix64, uniform, weights, with_external_data};
pub use zoo::{ZooModel, zoo};

/// A fixture tensor in float64.
#[derive(Clone, Debug, Deserialize)]
pub struct FixtureTensor {
    /// The size of each axis.
    pub shape: Vec<usize>,
    /// The numbers in row-major order.
    pub data: Vec<f64>,
}

impl FixtureTensor {
    /// The numbers, rounded to float32.
    #[expect(clippy::cast_possible_truncation, reason = "rounding is the purpose")]
    pub fn to_f32(&self) -> Vec<f32> {
        self.data.iter().map(|&number| number as f32).collect()
    }
}

/// One use of an operator, with float64 results from PyTorch.
#[derive(Clone, Debug, Deserialize)]
pub struct RuleCase {
    /// The case's name.
    pub name: String,
    /// The tested operator.
    pub op: String,
    /// Models of the case for ranges of opsets.
    pub variants: Vec<Variant>,
    /// The inputs with respect to which the case is differentiated.
    pub wrt: Vec<String>,
    /// The values of all inputs.
    pub inputs: BTreeMap<String, FixtureTensor>,
    /// The cotangent of the output `y`.
    pub seed: FixtureTensor,
    /// The output.
    pub forward: FixtureTensor,
    /// The gradient of ⟨seed, y⟩ with respect to each input.
    pub grads: BTreeMap<String, FixtureTensor>,
}

/// A model of a case.
#[derive(Clone, Debug, Deserialize)]
pub struct Variant {
    /// The first and last opset in which it is valid.
    pub opsets: (i64, i64),
    /// The serialized model, at the first opset.
    #[serde(deserialize_with = "from_base64")]
    pub model: Vec<u8>,
}

fn from_base64<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    let text = String::deserialize(deserializer)?;
    BASE64_STANDARD.decode(&text).map_err(serde::de::Error::custom)
}

/// The path of a fixture.
pub fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)
}

/// All cases of the gradient rules.
///
/// # Panics
/// If a fixture cannot be read.
#[expect(clippy::panic, reason = "only tests call this function")]
pub fn rule_cases() -> Vec<RuleCase> {
    let families = [
        "activation",
        "attention",
        "contrib",
        "control",
        "elementwise",
        "index",
        "layout",
        "linear",
        "norm",
        "pool",
        "quantize",
        "recurrent",
        "reduce",
        "resize",
        "together",
        "zero",
    ];
    let read = |family: &str| -> Vec<RuleCase> {
        let path = fixture(&format!("rules/{family}.json"));
        let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
    };
    families.into_iter().flat_map(read).collect()
}

/// The ONNX Runtime library: `ORT_DYLIB_PATH`, or the unpacked wheel below `target/`.
///
/// # Panics
/// If there is none.
#[expect(clippy::panic, reason = "only tests call this function")]
pub fn onnxruntime() -> PathBuf {
    if let Some(path) = std::env::var_os("ORT_DYLIB_PATH") {
        return path.into();
    }
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../target/onnxruntime");
    let mut folders = vec![root];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().filter_map(Result::ok) {
            let name = entry.file_name().to_string_lossy().into_owned();
            if entry.path().is_dir() {
                folders.push(entry.path());
            } else if name.starts_with("libonnxruntime.") || name == "onnxruntime.dll" {
                return entry.path();
            }
        }
    }
    panic!(
        "the engine tests need ONNX Runtime: run `cargo xtask ci` once, it installs the wheel into \
         target/onnxruntime, or set ORT_DYLIB_PATH"
    );
}

/// The largest difference, relative to the largest entry of `want`; absolute if `want` is all zero, infinite if
/// lengths differ or a number is NaN.
pub fn largest_error(got: &[f32], want: &[f64]) -> f64 {
    if got.len() != want.len() || got.iter().any(|number| number.is_nan()) {
        return f64::INFINITY;
    }
    let pairs = got.iter().zip(want);
    let difference = pairs.fold(0.0, |max: f64, (g, w)| max.max((f64::from(*g) - w).abs()));
    let largest = want.iter().fold(0.0, |max: f64, w| max.max(w.abs()));
    if largest > 0.0 { difference / largest } else { difference }
}
