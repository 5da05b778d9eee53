//! The table of methods. Each has a recipe that makes channel weights and a map.

mod budget;
mod covering;
mod full;
mod gradient;
mod passes;
mod path;
mod perturbation;
mod recipe;
mod settings;
mod spectral;
#[cfg(test)]
mod tiny;

use std::{fmt, str::FromStr};

use onnx_grad::{GUIDED_BACKPROP, GradientForm, Override};

pub(crate) use passes::{Change, ChannelMap, FillMask, Observe, Passes};
pub(crate) use recipe::{GraphRecipe, MapValues, PassesRecipe, Preparation, Recipe, Summand};
pub use settings::MethodSettings;
pub(crate) use spectral::principal_component;

use crate::{
    Result,
    error::{Error, ErrorKind, bail},
};

/// A method, by its row in [`METHODS`].
#[derive(Clone, Copy)]
pub struct Method(&'static MethodInfo);

impl Method {
    /// The method for targets that are a small part of the image: it keeps the places of the gradient.
    pub(crate) fn places() -> Self {
        METHODS.iter().find(|row| row.id == "hirescam").map_or_else(Self::default, Self)
    }
}

/// The place that a method explains, and how its maps become pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Site {
    /// At layers: raw maps [h, w], drawn as heatmaps over the photo.
    Layer,
    /// At layers, and then at the network's input: for each layer the raw map is [C, H, W], a picture of that size.
    LayerAtInput(PictureStyle),
    /// At the network's input, without a layer: the raw map is [C, H, W], a picture of that size.
    Input(PictureStyle),
    /// At the positions of the network's input, without a layer and without channels: the raw map is [H, W], drawn as a
    /// heatmap over the photo.
    Positions,
}

impl Site {
    /// Whether the maps are those of layers.
    pub fn takes_layer(self) -> bool {
        matches!(self, Self::Layer | Self::LayerAtInput(_))
    }

    /// How maps with the channels of the network's input become pictures; `None` for those without, which are heatmaps.
    pub fn picture(self) -> Option<PictureStyle> {
        match self {
            Self::LayerAtInput(style) | Self::Input(style) => Some(style),
            Self::Layer | Self::Positions => None,
        }
    }
}

/// How a map at the network's input becomes a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PictureStyle {
    /// Its magnitude, white on black.
    Magnitude,
    /// With its signs, in the colors of its channels.
    Colors,
}

/// One row of the table of methods.
#[derive(Debug)]
pub struct MethodInfo {
    /// The name on the command line and in JSON.
    pub id: &'static str,
    /// The name in papers.
    pub name: &'static str,
    /// The raw map, before relu: A the activation, g its gradient, w the channel weights.
    pub formula: &'static str,
    /// Where it was published.
    pub paper: &'static str,
    /// Where A is.
    pub site: Site,
    /// What the map is the sum of.
    pub(crate) summand: Summand,
    /// How the map is made.
    pub(crate) recipe: Recipe,
}

/// All methods, the default first.
pub const METHODS: &[MethodInfo] = &[
    MethodInfo {
        id: "gradcam",
        name: "Grad-CAM",
        formula: "w_k = mean over space of g_k; map = Σ_k w_k A_k",
        paper: "Selvaraju et al. 2017, arXiv:1610.02391",
        site: Site::Layer,
        summand: Summand::Weighted,
        recipe: Recipe::Graph(GraphRecipe {
            want: GradientForm::SpatialSum,
            overrides: &[],
            emit: gradient::grad_cam,
        }),
    },
    MethodInfo {
        id: "hirescam",
        name: "HiResCAM",
        formula: "map = Σ_k g_k A_k",
        paper: "Draelos and Carin 2020, arXiv:2011.08891",
        site: Site::Layer,
        summand: Summand::Product,
        recipe: Recipe::Graph(GraphRecipe {
            want: GradientForm::Full,
            overrides: &[],
            emit: gradient::hires_cam,
        }),
    },
    MethodInfo {
        id: "gradcam++",
        name: "Grad-CAM++",
        formula: "w_k = Σ over space of relu(g_k) · g_k² / (2 g_k² + g_k³ Σ A_k + 1e-6); map = Σ_k w_k A_k",
        paper: "Chattopadhyay et al. 2018, arXiv:1710.11063",
        site: Site::Layer,
        summand: Summand::Weighted,
        recipe: Recipe::Graph(GraphRecipe {
            want: GradientForm::Full,
            overrides: &[],
            emit: gradient::grad_cam_plus_plus,
        }),
    },
    MethodInfo {
        id: "smoothgradcam++",
        name: "Smooth Grad-CAM++",
        formula: "as Grad-CAM++ with the means of g_k, g_k² and g_k³ over 4 images x + noise, and 1e-8; noise normal, 0.3",
        paper: "Omeiza et al. 2019, arXiv:1908.01224",
        site: Site::Layer,
        summand: Summand::Weighted,
        recipe: Recipe::Passes(PassesRecipe {
            preparation: Preparation::Nothing,
            run: path::smooth_grad_cam_plus_plus,
        }),
    },
    MethodInfo {
        id: "layercam",
        name: "LayerCAM",
        formula: "map = Σ_k relu(g_k) A_k",
        paper: "Jiang et al. 2021, doi:10.1109/TIP.2021.3089943",
        site: Site::Layer,
        summand: Summand::Product,
        recipe: Recipe::Graph(GraphRecipe {
            want: GradientForm::Full,
            overrides: &[],
            emit: gradient::layer_cam,
        }),
    },
    MethodInfo {
        id: "eigencam",
        name: "EigenCAM",
        formula: "map = (A - mean over space) v, v the first right singular vector; no gradient, no target",
        paper: "Muhammad and Yeasin 2020, arXiv:2008.00299",
        site: Site::Layer,
        summand: Summand::Nothing,
        recipe: Recipe::Passes(PassesRecipe {
            preparation: Preparation::Nothing,
            run: spectral::eigen_cam,
        }),
    },
    MethodInfo {
        id: "eigengradcam",
        name: "Eigen-Grad-CAM",
        formula: "X = g · A; map = (X - mean over space) v, v the first right singular vector of it",
        paper: "Gildenblat et al. 2021, github.com/jacobgil/pytorch-grad-cam",
        site: Site::Layer,
        summand: Summand::Nothing,
        recipe: Recipe::Passes(PassesRecipe {
            preparation: Preparation::Gradient,
            run: spectral::eigen_grad_cam,
        }),
    },
    MethodInfo {
        id: "ablationcam",
        name: "AblationCAM",
        formula: "w_k = (y - y_k) / y, y_k the score without channel k; map = Σ_k w_k A_k",
        paper: "Desai and Ramaswamy 2020, doi:10.1109/WACV45572.2020.9093360",
        site: Site::Layer,
        summand: Summand::Weighted,
        recipe: Recipe::Passes(PassesRecipe {
            preparation: Preparation::ClosedForm,
            run: perturbation::ablation_cam,
        }),
    },
    MethodInfo {
        id: "scorecam",
        name: "ScoreCAM",
        formula: "w = softmax over k of the score of the image times A_k, resized and scaled to 0..1; map = Σ_k w_k A_k",
        paper: "Wang et al. 2020, arXiv:1910.01279",
        site: Site::Layer,
        summand: Summand::Weighted,
        recipe: Recipe::Passes(PassesRecipe {
            preparation: Preparation::Budget,
            run: perturbation::score_cam,
        }),
    },
    MethodInfo {
        id: "reciprocam",
        name: "Recipro-CAM",
        formula: "map at a position = the score where A is multiplied by a 3 × 3 Gaussian there and by 0 elsewhere; no gradient",
        paper: "Byun and Lee 2022, arXiv:2209.14074",
        site: Site::Layer,
        summand: Summand::Nothing,
        recipe: Recipe::Passes(PassesRecipe {
            preparation: Preparation::Nothing,
            run: perturbation::recipro_cam,
        }),
    },
    MethodInfo {
        id: "rise",
        name: "RISE",
        formula: "map = Σ_i y_i M_i / (N p), y_i the score of the image times the random mask M_i, p = 0.5 of it shown; no gradient",
        paper: "Petsiuk et al. 2018, arXiv:1806.07421",
        site: Site::Positions,
        summand: Summand::Nothing,
        recipe: Recipe::Passes(PassesRecipe {
            preparation: Preparation::Nothing,
            run: covering::rise,
        }),
    },
    MethodInfo {
        id: "occlusion",
        name: "Occlusion",
        formula: "map = y - y_i, y_i the score with zeros in a window; the mean over the windows at a position; no gradient",
        paper: "Zeiler and Fergus 2013, arXiv:1311.2901",
        site: Site::Positions,
        summand: Summand::Nothing,
        recipe: Recipe::Passes(PassesRecipe {
            preparation: Preparation::Nothing,
            run: covering::occlusion,
        }),
    },
    MethodInfo {
        id: "saliency",
        name: "Saliency",
        formula: "map = g at the input, [C, H, W]; heatmap = max over channels of |g|",
        paper: "Simonyan et al. 2013, arXiv:1312.6034",
        site: Site::Input(PictureStyle::Magnitude),
        summand: Summand::Nothing,
        recipe: Recipe::Graph(GraphRecipe {
            want: GradientForm::Full,
            overrides: &[],
            emit: gradient::at_input,
        }),
    },
    MethodInfo {
        id: "smoothgrad",
        name: "SmoothGrad",
        formula: "map = mean over 50 images x + noise of g at the input; noise normal, 0.15 of the range of x",
        paper: "Smilkov et al. 2017, arXiv:1706.03825",
        site: Site::Input(PictureStyle::Magnitude),
        summand: Summand::Nothing,
        recipe: Recipe::Passes(PassesRecipe {
            preparation: Preparation::Nothing,
            run: path::smooth_grad,
        }),
    },
    MethodInfo {
        id: "integrated-gradients",
        name: "Integrated gradients",
        formula: "map = x · the mean of g at α x, α over 50 nodes of Gauss and Legendre between 0 and 1",
        paper: "Sundararajan et al. 2017, arXiv:1703.01365",
        site: Site::Input(PictureStyle::Magnitude),
        summand: Summand::Nothing,
        recipe: Recipe::Passes(PassesRecipe {
            preparation: Preparation::Nothing,
            run: path::integrated_gradients,
        }),
    },
    MethodInfo {
        id: "guided-backprop",
        name: "Guided backprop",
        formula: "as saliency, where each relu passes g·[g > 0]·[A > 0]",
        paper: "Springenberg et al. 2014, arXiv:1412.6806",
        site: Site::Input(PictureStyle::Colors),
        summand: Summand::Nothing,
        recipe: Recipe::Graph(GraphRecipe {
            want: GradientForm::Full,
            overrides: GUIDED_BACKPROP,
            emit: gradient::at_input,
        }),
    },
    MethodInfo {
        id: "guided-gradcam",
        name: "Guided Grad-CAM",
        formula: "map = the heatmap of Grad-CAM at the layer, resized to the input, times guided backprop",
        paper: "Selvaraju et al. 2017, arXiv:1610.02391",
        site: Site::LayerAtInput(PictureStyle::Colors),
        summand: Summand::Nothing,
        recipe: Recipe::Passes(PassesRecipe {
            preparation: Preparation::Guided,
            run: full::guided_grad_cam,
        }),
    },
    MethodInfo {
        id: "fullgrad",
        name: "FullGrad",
        formula: "map = Σ over channels of |x · g| and, of each bias, |bias · g|; each scaled to 0..1 and resized to the input",
        paper: "Srinivas and Fleuret 2019, arXiv:1905.00780",
        site: Site::Positions,
        summand: Summand::Nothing,
        recipe: Recipe::Passes(PassesRecipe {
            preparation: Preparation::Biases,
            run: full::full_grad,
        }),
    },
];

impl MethodInfo {
    /// The rules that replace derivatives.
    pub(crate) fn overrides(&self) -> &'static [Override] {
        match &self.recipe {
            Recipe::Graph(recipe) => recipe.overrides,
            Recipe::Passes(recipe) => recipe.preparation.input_rules().unwrap_or(&[]),
        }
    }

    /// Whether its map is a sum over channels, which their principal component can stand for
    /// ([`ExplainerBuilder::eigen_smooth`](crate::ExplainerBuilder::eigen_smooth)).
    pub fn is_sum(&self) -> bool {
        self.summand != Summand::Nothing
    }

    /// Whether the method runs the network once for each channel, or for as many as a budget says.
    pub fn takes_budget(&self) -> bool {
        matches!(&self.recipe, Recipe::Passes(recipe) if recipe.preparation.takes_budget())
    }

    /// Whether the method reads the gradient at the network's input.
    pub(crate) fn differentiates_input(&self) -> bool {
        let prepared = match &self.recipe {
            Recipe::Passes(recipe) => recipe.preparation.input_rules().is_some(),
            Recipe::Graph(_) => false,
        };
        prepared || self.site.picture().is_some()
    }

    /// Whether the method explains the network's input and takes no layer.
    pub fn is_of_input(&self) -> bool {
        !self.site.takes_layer()
    }
}

impl Method {
    /// Grad-CAM, the default.
    pub const GRAD_CAM: Self = Self(&METHODS[0]);

    /// The method's row.
    pub fn info(self) -> &'static MethodInfo {
        self.0
    }

    /// The method's name on the command line.
    pub fn id(self) -> &'static str {
        self.0.id
    }
}

/// Refuses a budget that no method takes.
pub(crate) fn check_budget(settings: &MethodSettings, methods: &[Method]) -> Result<()> {
    let Some(budget) = settings.budget else { return Ok(()) };
    if methods.iter().any(|method| method.info().takes_budget()) {
        return Ok(());
    }
    let names: Vec<_> = methods.iter().map(|method| method.id()).collect();
    let taking = METHODS.iter().filter(|row| row.takes_budget()).map(|row| row.id);
    bail!(
        Method,
        "a budget of {budget} inferences is for methods that run the network once for each channel, {}, and not for {}",
        taking.collect::<Vec<_>>().join(" and "),
        names.join(", ")
    )
}

impl Default for Method {
    fn default() -> Self {
        Self::GRAD_CAM
    }
}

impl PartialEq for Method {
    fn eq(&self, other: &Self) -> bool {
        self.id() == other.id()
    }
}

impl Eq for Method {}

impl std::hash::Hash for Method {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.id().hash(state);
    }
}

impl fmt::Debug for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.id())
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.id())
    }
}

impl FromStr for Method {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        METHODS.iter().find(|row| row.id == text).map(Self).ok_or_else(|| {
            let names: Vec<_> = METHODS.iter().map(|row| row.id).collect();
            let message = format!("no method named \"{text}\"; there are: {}", names.join(", "));
            Error::new(ErrorKind::Method, message)
        })
    }
}
