//! Raw maps of methods, by PyTorch in float64.

use std::{collections::BTreeMap, fs};

use serde::Deserialize;

use crate::{FixtureTensor, fixture};

/// One image at one layer of a model, with its reference maps.
///
/// The models belong to other fixtures: a name of [`NETWORKS`](crate::NETWORKS), with images and classes from
/// [`network`](crate::network); a name of the [`zoo`](crate::zoo()); or `lite0`, the built-in model, with the photo
/// `networks/cat_over_coffee_224.png`.
#[derive(Clone, Debug, Deserialize)]
pub struct MethodCase {
    /// The model.
    pub network: String,
    /// The module path.
    pub layer: String,
    /// The value's name.
    pub value: String,
    /// The index of the image in the model's batch; the reference runs it alone.
    pub image: usize,
    /// The class, which can differ from that of the model's other references.
    pub class: usize,
    /// The raw map [1, h, w] by method. The first image has those of [`METHODS_WITH_MAPS`], except of [`OF_SMOOTH`]; others
    /// have `gradcam++` and, if float32 determines it, `eigencam`.
    ///
    /// If the layer is tokens [1, T, K], `ablationcam` replaces the channel of all tokens including the class token,
    /// by the minimum over all activations. The signs of `eigencam`, `eigengradcam`, `segeigencam` and `kpcacam` make the
    /// entry with the largest magnitude positive.
    pub maps: BTreeMap<String, FixtureTensor>,
    /// The deviation of PyTorch's float32 from the map, relative to its largest entry, by method.
    pub condition: BTreeMap<String, f64>,
}

/// The methods of which the cases have maps.
pub const METHODS_WITH_MAPS: [&str; 15] = [
    "ablationcam",
    "eigencam",
    "eigengradcam",
    "fem",
    "finercam",
    "gradcam",
    "gradcam++",
    "gradcam-elementwise",
    "hirescam",
    "kpcacam",
    "layercam",
    "scorecam",
    "segeigencam",
    "shapleycam",
    "xgradcam",
];

/// The network with smooth activations, whose case has maps of `gradcam` and `shapleycam` alone: with relus they are the same.
pub const OF_SMOOTH: &str = "efficientnet_b0";

/// All cases, by model, layer and image.
///
/// # Panics
/// If the fixture cannot be read.
#[expect(clippy::panic, reason = "only tests call this function")]
pub fn method_cases() -> Vec<MethodCase> {
    let read = || -> Result<Vec<MethodCase>, Box<dyn std::error::Error>> {
        let mut cases = Vec::new();
        for entry in fs::read_dir(fixture("methods"))? {
            let text = fs::read_to_string(entry?.path())?;
            cases.extend(serde_json::from_str::<Vec<MethodCase>>(&text)?);
        }
        let place = |case: &MethodCase| (case.network.clone(), case.layer.clone(), case.image);
        cases.sort_by_key(place);
        Ok(cases)
    };
    read().unwrap_or_else(|e| panic!("methods: {e}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_layer_has_a_map_of_each_method() {
        let cases = method_cases();
        assert!(!cases.is_empty());
        for case in &cases {
            let place = format!("{} {} image {}", case.network, case.layer, case.image);
            let methods: &[&str] = match (case.network.as_str(), case.image) {
                (OF_SMOOTH, _) => &["gradcam", "shapleycam"],
                (_, 0) => &METHODS_WITH_MAPS,
                _ => &["gradcam++"],
            };
            assert!(methods.iter().all(|method| case.maps.contains_key(*method)), "{place}");
            assert!(case.condition.keys().eq(case.maps.keys()), "{place}");
            for map in case.maps.values() {
                assert_eq!(map.shape.iter().product::<usize>(), map.data.len(), "{place}");
            }
        }
    }
}
