//! Small networks from several exporters, with float64 maps at layers named by the framework.

use std::{collections::BTreeMap, fs};

use serde::Deserialize;

use crate::{Tensor, fixture};

/// The references of a network, the same for each exporter.
#[derive(Clone, Debug, Deserialize)]
pub struct Exported {
    /// One image, in the layout of the exported file's input.
    pub input: Tensor,
    /// The explained class.
    pub class: usize,
    /// The logits, `[K]`.
    pub scores: Tensor,
    /// Raw maps [h, w], by layer and method.
    pub maps: BTreeMap<String, BTreeMap<String, Tensor>>,
}

/// The references of a network in `fixtures/exporters`.
///
/// # Panics
/// If the fixture cannot be read.
#[expect(clippy::panic, reason = "only tests call it")]
pub fn exported(network: &str) -> Exported {
    let path = fixture(&format!("exporters/{network}.json"));
    let read = || -> Result<Exported, Box<dyn std::error::Error>> {
        Ok(serde_json::from_str(&fs::read_to_string(&path)?)?)
    };
    read().unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}
