//! Small networks from several exporters, with float64 maps at layers named by the framework.

use std::{collections::BTreeMap, fs};

use serde::Deserialize;

use crate::{FixtureTensor, fixture};

/// The references of a network, the same for each exporter.
#[derive(Clone, Debug, Deserialize)]
pub struct ExporterReference {
    /// One image, in the layout of the exported file's input.
    pub input: FixtureTensor,
    /// The explained class.
    pub class: usize,
    /// The logits, `[K]`.
    pub scores: FixtureTensor,
    /// Raw maps [h, w], by layer and method.
    pub maps: BTreeMap<String, BTreeMap<String, FixtureTensor>>,
}

/// The references of a network in `fixtures/exporters`.
///
/// # Panics
/// If the fixture cannot be read.
#[expect(clippy::panic, reason = "only tests call this function")]
pub fn exported(network: &str) -> ExporterReference {
    let path = fixture(&format!("exporters/{network}.json"));
    let read = || -> Result<ExporterReference, Box<dyn std::error::Error>> {
        Ok(serde_json::from_str(&fs::read_to_string(&path)?)?)
    };
    read().unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}
