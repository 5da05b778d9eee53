//! Reference maps of methods that run the network again, or need gradients at several places.

use std::{collections::BTreeMap, fs};

use serde::Deserialize;

use crate::fixture;

/// One method on one network, with its first image.
#[derive(Clone, Debug, Deserialize)]
pub struct PassCase {
    /// The folder of the network's fixture: `networks` ([`network`](crate::network)), `guided` ([`guided`](crate::guided)), or
    /// `passes` for a file beside the maps.
    pub folder: String,
    /// The network.
    pub network: String,
    /// The method.
    pub method: String,
    /// The module path of the layer; `None` for a method at the input.
    pub layer: Option<String>,
    /// The class.
    pub class: usize,
    /// Whether the probability of the class is explained, and not its score.
    #[serde(default)]
    pub probability: bool,
    /// The id of the profile, where it is not the usual one.
    pub profile: Option<String>,
    /// The settings that are not the method's own, by name.
    pub settings: BTreeMap<String, serde_json::Number>,
    /// The shape of the raw map.
    pub shape: Vec<usize>,
    /// The distance between stored entries.
    pub step: usize,
    /// Every `step`-th entry of the raw map in row-major order.
    pub entries: Vec<f64>,
    /// The largest absolute entry.
    pub largest: f64,
    /// Of integrated gradients.
    pub completeness_error: Option<f64>,
}

/// All cases, by network.
///
/// # Panics
/// If the fixture cannot be read.
#[expect(clippy::panic, reason = "only tests call this function")]
pub fn pass_cases() -> Vec<PassCase> {
    let read = || -> Result<Vec<PassCase>, Box<dyn std::error::Error>> {
        let mut cases = Vec::new();
        for name in ["ecg", "guided", "resnet18", "vgg11_bn"] {
            let text = fs::read_to_string(fixture(&format!("passes/{name}.json")))?;
            cases.extend(serde_json::from_str::<Vec<PassCase>>(&text)?);
        }
        let place = |case: &PassCase| (case.folder.clone(), case.network.clone());
        cases.sort_by_key(place);
        Ok(cases)
    };
    read().unwrap_or_else(|e| panic!("passes: {e}"))
}
