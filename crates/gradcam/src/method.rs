//! Methods: each has a recipe that makes channel weights and a map.

mod budget;
mod costs;
mod covering;
mod derivative;
mod factorization;
mod full;
mod gradient;
mod lanczos;
mod passes;
mod path;
mod perturbation;
mod recipe;
mod settings;
mod spectral;
mod statistics;
mod table;
#[cfg(test)]
mod tiny;

use std::{fmt, str::FromStr};

use onnx_grad::Override;

pub(crate) use factorization::Factors;
pub(crate) use passes::{Change, ChangedGradient, ChannelMap, FillMask, Observe, Passes};
pub(crate) use recipe::{
    Derivative, GraphRecipe, MapValues, PassesRecipe, Preparation, Recipe, Summand,
};
pub(crate) use settings::Formulas;
pub use settings::MethodSettings;
pub(crate) use spectral::principal_component;
pub use table::METHODS;

use crate::{
    Result,
    error::{Error, ErrorKind, bail},
    image::Fusion,
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
    /// At several layers: raw maps as those of `Layer`, of which one heatmap is made.
    Layers(Fusion),
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
        matches!(self, Self::Layer | Self::Layers(_) | Self::LayerAtInput(_))
    }

    /// Whether the maps are drawn as heatmaps of layers.
    pub(crate) fn is_layer_heatmap(self) -> bool {
        self.takes_layer() && self.picture().is_none()
    }

    /// How maps with the channels of the network's input become pictures; `None` for those without, which are heatmaps.
    pub fn picture(self) -> Option<PictureStyle> {
        match self {
            Self::LayerAtInput(style) | Self::Input(style) => Some(style),
            Self::Layer | Self::Layers(_) | Self::Positions => None,
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
    /// What it is good for, and what to mind.
    pub use_for: &'static str,
    /// Where it was published.
    pub paper: &'static str,
    /// Where A is.
    pub site: Site,
    /// What the map is the sum of.
    pub(crate) summand: Summand,
    /// How the map is made.
    pub(crate) recipe: Recipe,
}

impl MethodInfo {
    /// The rules that replace derivatives.
    pub(crate) fn overrides(&self) -> &'static [Override] {
        match &self.recipe {
            Recipe::Graph(recipe) => recipe.overrides,
            Recipe::Passes(recipe) => recipe.preparation.input_rules().unwrap_or(&[]),
        }
    }

    /// The time of an explanation over that of a plain inference, as it was measured with the method's own settings at the
    /// last stage of ResNet-50, one image, in ONNX Runtime; `None` where it was not measured.
    pub fn inferences(&self) -> Option<f32> {
        costs::COSTS.iter().find(|(id, _)| *id == self.id).map(|(_, cost)| *cost)
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
