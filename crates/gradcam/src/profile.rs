//! The table of profiles: libraries whose heatmaps can be had.

use std::{fmt, str::FromStr};

use crate::{
    Result,
    error::{Error, ErrorKind, bail},
    image::{Fusion, HeatmapRules},
    method::{Formulas, Method},
};

/// The library whose numbers heatmaps have, by its row in [`PROFILES`].
#[derive(Clone, Copy)]
pub struct Profile(&'static ProfileInfo);

/// One row of the table of profiles.
#[derive(Debug)]
pub struct ProfileInfo {
    /// The name on the command line and in JSON.
    pub id: &'static str,
    /// The library and its version.
    pub library: &'static str,
    /// How it makes heatmaps of raw maps.
    pub about: &'static str,
    /// The ids of the methods that have its numbers; `None` for all.
    pub methods: Option<&'static [&'static str]>,
    /// The ways in which it makes one map of those of several layers.
    pub fusions: &'static [Fusion],
    /// Whether it smooths maps: by test-time augmentation, and by principal components.
    pub smooths: bool,
    /// How raw maps become heatmaps.
    pub rules: HeatmapRules,
    /// The formulas of the methods for which libraries have different ones.
    pub(crate) formulas: Formulas,
}

/// All profiles, the default first.
pub const PROFILES: &[ProfileInfo] = &[
    ProfileInfo {
        id: "pytorch-grad-cam",
        library: "pytorch-grad-cam 1.5.7",
        about: "rectified, normalized, resized to the network's input (bilinear), normalized again",
        methods: None,
        fusions: &[Fusion::None, Fusion::Mean, Fusion::Max, Fusion::Product],
        smooths: true,
        rules: HeatmapRules::PytorchGradCam,
        formulas: Formulas::Usual,
    },
    ProfileInfo {
        id: "torchcam",
        library: "TorchCAM 0.5.0",
        about: "rectified and normalized at the layer's size; resized (bicubic) and squared in pictures",
        // Its Grad-CAM++ drops the division by the sum.
        methods: Some(&["gradcam", "smoothgradcam++", "xgradcam", "layercam", "scorecam"]),
        fusions: &[Fusion::None, Fusion::Max, Fusion::Product],
        smooths: false,
        rules: HeatmapRules::TorchCam,
        formulas: Formulas::TorchCam,
    },
    ProfileInfo {
        id: "captum",
        library: "Captum 0.9.0",
        about: "neither rectified nor normalized, resized to the network's input (nearest)",
        methods: Some(&["gradcam", "saliency", "integrated-gradients", "guided-backprop"]),
        fusions: &[Fusion::None],
        smooths: false,
        rules: HeatmapRules::Captum,
        formulas: Formulas::Usual,
    },
];

impl Profile {
    /// pytorch-grad-cam, the default.
    pub const PYTORCH_GRAD_CAM: Self = Self(&PROFILES[0]);

    /// The profile's row.
    pub fn info(self) -> &'static ProfileInfo {
        self.0
    }

    /// The profile's name on the command line.
    pub fn id(self) -> &'static str {
        self.0.id
    }

    /// Whether a method has the library's numbers.
    pub(crate) fn has(self, method: Method) -> bool {
        self.0.methods.is_none_or(|methods| methods.contains(&method.id()))
    }

    /// Refuses a method whose numbers are not the library's.
    pub(crate) fn check_method(self, method: Method) -> Result<()> {
        match self.0.methods {
            Some(methods) if !self.has(method) => bail!(
                Method,
                "profile {} has no method {method}; with the numbers of {} there are: {}",
                self.id(),
                self.0.library,
                methods.join(", ")
            ),
            _ => Ok(()),
        }
    }

    /// Refuses a fusion that the library lacks.
    pub(crate) fn check_fusion(self, fusion: Fusion) -> Result<()> {
        if self.0.fusions.contains(&fusion) {
            return Ok(());
        }
        let names: Vec<&str> = self.0.fusions.iter().map(|fusion| fusion.id()).collect();
        bail!(
            Method,
            "profile {} has no fusion {fusion}; with the numbers of {} there are: {}",
            self.id(),
            self.0.library,
            names.join(", ")
        )
    }
}

impl Default for Profile {
    fn default() -> Self {
        Self::PYTORCH_GRAD_CAM
    }
}

impl PartialEq for Profile {
    fn eq(&self, other: &Self) -> bool {
        self.id() == other.id()
    }
}

impl Eq for Profile {}

impl fmt::Debug for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.id())
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.id())
    }
}

impl FromStr for Profile {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        PROFILES.iter().find(|row| row.id == text).map(Self).ok_or_else(|| {
            let names: Vec<_> = PROFILES.iter().map(|row| row.id).collect();
            let message = format!("no profile named \"{text}\"; there are: {}", names.join(", "));
            Error::new(ErrorKind::Method, message)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profiles_name_methods_of_the_table() {
        for row in PROFILES {
            assert_eq!(row.id.parse::<Profile>().unwrap().info().library, row.library);
            for method in row.methods.unwrap_or_default() {
                method.parse::<Method>().unwrap();
            }
        }
    }
}
