//! How the maps of several layers become one heatmap.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

use super::{ImageError, ImageErrorKind};

/// How the maps of several layers become one heatmap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Fusion {
    /// Each layer keeps a heatmap of its own.
    #[default]
    None,
    /// The mean of the normalized maps.
    Mean,
    /// At each position the largest of the normalized maps.
    Max,
    /// The product of the normalized maps.
    Product,
}

/// One row of the table of fusions.
#[derive(Debug)]
pub struct FusionInfo {
    /// The fusion.
    pub fusion: Fusion,
    /// The name on the command line and in JSON.
    pub id: &'static str,
    /// What it computes.
    pub about: &'static str,
    /// Whose it is.
    pub source: &'static str,
}

/// All fusions, the default first.
pub const FUSIONS: &[FusionInfo] = &[
    FusionInfo { fusion: Fusion::None, id: "none", about: "a heatmap for each layer", source: "" },
    FusionInfo {
        fusion: Fusion::Mean,
        id: "mean",
        about: "each map normalized and resized to the network's input, their mean normalized again",
        source: "pytorch-grad-cam with several target_layers",
    },
    FusionInfo {
        fusion: Fusion::Max,
        id: "max",
        about: "each map normalized and resized to the largest one, the maximum at each position; of LayerCAM that of tanh(2·map)",
        source: "TorchCAM, fuse_cams; Jiang et al. 2021, equation 9",
    },
    FusionInfo {
        fusion: Fusion::Product,
        id: "product",
        about: "the heatmaps of the layers multiplied, the product normalized",
        source: "RefineCAM of pytorch-grad-cam and TorchCAM, arXiv:2605.14641",
    },
];

impl Fusion {
    /// The name on the command line and in JSON.
    pub fn id(self) -> &'static str {
        FUSIONS.iter().find(|row| row.fusion == self).map_or("", |row| row.id)
    }
}

impl fmt::Display for Fusion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.id())
    }
}

impl FromStr for Fusion {
    type Err = ImageError;

    fn from_str(text: &str) -> Result<Self, ImageError> {
        FUSIONS.iter().find(|row| row.id == text).map(|row| row.fusion).ok_or_else(|| {
            let names: Vec<&str> = FUSIONS.iter().map(|row| row.id).collect();
            let message = format!("no fusion named \"{text}\"; there are: {}", names.join(", "));
            ImageError::new(ImageErrorKind::Invalid, message)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_and_an_unknown_one_is_told_the_others() {
        for row in FUSIONS {
            assert_eq!(row.id.parse::<Fusion>().expect("a name of the table"), row.fusion);
        }
        let error = "sum".parse::<Fusion>().expect_err("no fusion");
        assert_eq!(
            error.to_string(),
            "no fusion named \"sum\"; there are: none, mean, max, product"
        );
    }
}
