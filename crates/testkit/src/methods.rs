//! Raw maps of methods that need more than one gradient, from float64 PyTorch.

use std::{collections::BTreeMap, fs};

use serde::Deserialize;

use crate::{Tensor, fixture};

/// One image at one layer of a model, and what the reference says of it.
///
/// The models are those of other fixtures: a name of [`NETWORKS`](crate::NETWORKS), whose images and classes
/// [`network`](crate::network) gives; a name of the [`zoo`](crate::zoo()); or `lite0`, the built-in model, on the photo
/// `networks/cat_over_coffee_224.png`.
#[derive(Clone, Debug, Deserialize)]
pub struct MethodCase {
    /// The model.
    pub network: String,
    /// The module path.
    pub layer: String,
    /// The value's name.
    pub value: String,
    /// Which image of the model's batch; a reference takes it alone.
    pub image: usize,
    /// The class, which is not always that of the model's other references.
    pub class: usize,
    /// By method: the raw map, [1, h, w]. The first image has all methods; others have `gradcam++` and,
    /// where float32 can tell it, `eigencam`.
    ///
    /// Where the layer is tokens [1, T, K], `ablationcam` replaces the channel of all tokens, the class
    /// token's too, and the least activation is that of all. `eigencam` has the sign with which the entry of
    /// the largest magnitude is positive.
    pub maps: BTreeMap<String, Tensor>,
    /// By method: how far torch's float32 is from the map, over its largest entry.
    pub condition: BTreeMap<String, f64>,
}

/// All cases, by model, layer and image.
///
/// # Panics
/// Where a fixture cannot be read: tests cannot go on without it.
#[expect(clippy::panic, reason = "only tests call it")]
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
            let methods: &[&str] = match case.image {
                0 => &["ablationcam", "eigencam", "gradcam++", "scorecam"],
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
