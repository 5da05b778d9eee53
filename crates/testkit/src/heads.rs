//! Small networks of each kind of head, with what targets of them are.

use std::{collections::BTreeMap, fs, path::PathBuf};

use serde::Deserialize;

use crate::{FixtureTensor, fixture, uniform};

/// A network, with references from PyTorch in float64.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeadCase {
    /// The name of the network.
    pub name: String,
    file: String,
    /// What the scores are: `softmax`, `sigmoid`, `binary`, `regression`, `segmentation`, `detection`, `sequence` or `embedding`.
    pub kind: String,
    /// What the network stands for.
    pub why: String,
    seed: u64,
    /// The shape of the images, [N, 3, H, W].
    pub input: Vec<usize>,
    /// The names of the file's outputs.
    pub outputs: Vec<String>,
    /// The module path of the layer of all maps.
    pub layer: String,
    /// The name of the layer's value.
    pub value: String,
    /// The class of each image without a target. Regressors and embeddings have none.
    pub default: Option<Vec<usize>>,
    /// The probabilities, [N, K]: of a detector those of the best anchor of each class, without a last class that stands for
    /// nothing and with 0 for a first one. Heads without probabilities have none.
    pub probabilities: Option<FixtureTensor>,
    /// The blank of a sequence.
    pub blank: Option<usize>,
    /// The classes that a sequence spells for each image: runs are one, blanks are left out.
    pub greedy: Option<Vec<Vec<usize>>>,
    /// The targets.
    pub targets: Vec<HeadTarget>,
}

/// One target of all images of a network.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeadTarget {
    /// The text: `argmax`, `3`, `1-4`, `p:3`, `neg:3`, `2@2`, `value` or `-value`.
    pub target: Option<String>,
    /// A mask of the size of the output: 1 in these rectangles, as x, y, width, height.
    pub mask: Option<Vec<[usize; 4]>>,
    /// The place of a box: x, y, width, height in pixels of the input.
    #[serde(rename = "box")]
    pub place: Option<[f32; 4]>,
    /// The name of a value, with an index such as `[:,3]`.
    pub output: Option<String>,
    /// The vector whose cosine with the embedding is the target.
    pub similar_to: Option<Vec<f32>>,
    /// The value of the target, for each image.
    pub values: Vec<f64>,
    /// The explained class of each image.
    pub classes: Option<Vec<usize>>,
    /// The explained box of each image: x, y, width, height in pixels of the input.
    pub boxes: Option<Vec<[f64; 4]>>,
    /// The probability of the class at the anchor, for each image.
    pub probabilities: Option<Vec<f64>>,
    /// The explained anchor of each image.
    pub anchors: Option<Vec<usize>>,
    /// The module whose feature map the detector reads for the explained anchor, for each image.
    pub scale_layers: Option<Vec<String>>,
    /// The raw maps [N, h, w] of `gradcam` and `hirescam`.
    pub maps: BTreeMap<String, FixtureTensor>,
}

impl HeadCase {
    /// The images, in row-major order.
    pub fn images(&self) -> Vec<f32> {
        let count: usize = self.input.iter().product();
        (0u64..).take(count).map(|index| uniform(self.seed, "input", index)).collect()
    }

    /// The network's file.
    pub fn path(&self) -> PathBuf {
        fixture(&format!("heads/{}", self.file))
    }
}

/// All networks.
///
/// # Panics
/// If the fixture cannot be read.
#[expect(clippy::panic, reason = "only tests call this function")]
pub fn head_cases() -> Vec<HeadCase> {
    let read = || -> Result<Vec<HeadCase>, Box<dyn std::error::Error>> {
        Ok(serde_json::from_str(&fs::read_to_string(fixture("heads/heads.json"))?)?)
    };
    read().unwrap_or_else(|e| panic!("heads.json: {e}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_has_a_value_and_maps_for_each_image() {
        let cases = head_cases();
        assert!(cases.len() >= 30, "{} cases", cases.len());
        for case in &cases {
            assert!(case.path().is_file() && !case.targets.is_empty(), "{}", case.name);
            let images = case.input[0];
            for target in &case.targets {
                assert_eq!(target.values.len(), images, "{}", case.name);
                assert!(target.maps.keys().eq(["gradcam", "hirescam"]), "{}", case.name);
                for map in target.maps.values() {
                    assert_eq!(map.shape[0], images, "{}", case.name);
                    assert_eq!(
                        map.shape.iter().product::<usize>(),
                        map.data.len(),
                        "{}",
                        case.name
                    );
                }
                assert_eq!(target.boxes.is_some(), case.kind == "detection", "{}", case.name);
            }
        }
    }
}
