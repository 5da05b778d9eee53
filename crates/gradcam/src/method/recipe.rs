//! Recipes: how methods make their maps, as nodes of the graph or on the host.

use onnx_grad::{GUIDED_BACKPROP, GradientForm, Override, builder::Builder, graph::ValueId};

use super::{
    passes::{ChannelMap, Passes},
    settings::MethodSettings,
};
use crate::Result;

/// How a method makes its map.
#[derive(Debug)]
pub(crate) enum Recipe {
    /// As nodes of the graph, so that one run gives scores and maps.
    Graph(GraphRecipe),
    /// By code on the host, which has the activation and runs parts of the network again.
    Passes(PassesRecipe),
}

/// A recipe that is code on the host.
#[derive(Debug)]
pub(crate) struct PassesRecipe {
    pub(crate) preparation: Preparation,
    pub(crate) run: fn(&mut dyn Passes) -> Result<ChannelMap>,
}

/// What the graph computes for a recipe on the host, beside the activation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Preparation {
    /// Nothing.
    Nothing,
    /// The gradient of the target with respect to the activation.
    Gradient,
    /// The gradient with respect to the activation, and that with respect to the image by the rules of guided backpropagation.
    Guided,
    /// The gradient with respect to the image, and the maps of the biases.
    Biases,
    /// Where the settings have a budget, the gradient, for the choice of channels.
    Budget,
    /// The values at which the channels meet and the gradient there, for scores without channels in closed form; and what
    /// `Budget` prepares.
    ClosedForm,
}

impl Preparation {
    /// The rules of the gradient with respect to the image, where it has that.
    pub(crate) fn input_rules(self) -> Option<&'static [Override]> {
        match self {
            Self::Guided => Some(&GUIDED_BACKPROP),
            Self::Biases => Some(&[]),
            _ => None,
        }
    }

    /// Whether it has the maps of the biases.
    pub(crate) fn has_biases(self) -> bool {
        self == Self::Biases
    }

    /// Whether the recipe runs the network once for each channel, or for as many as a budget says.
    pub(crate) fn takes_budget(self) -> bool {
        matches!(self, Self::Budget | Self::ClosedForm)
    }

    /// Whether it is, or has, the gradient with respect to the activation.
    pub(crate) fn has_gradient(self, settings: &MethodSettings) -> bool {
        matches!(self, Self::Gradient | Self::Guided)
            || self.takes_budget() && settings.budget.is_some()
    }
}

/// What a recipe in the graph takes as g.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Derivative {
    /// The gradient of the target.
    Gradient,
    /// The gradient of the target at a layer that only a global pooling and one linear layer follow: a row of this linear
    /// layer. Other layers are refused.
    Row,
    /// g − ½·H·A, H the Hessian of the target with respect to the activation A.
    Shapley,
    /// The gradient of the contrast: the score of the class against those of the nearest classes.
    Contrast,
}

/// A recipe whose map is a part of the graph.
#[derive(Debug)]
pub(crate) struct GraphRecipe {
    /// What it takes as g.
    pub(crate) of: Derivative,
    /// What it wants of the gradient.
    pub(crate) want: GradientForm,
    /// The rules that replace derivatives.
    pub(crate) overrides: &'static [Override],
    /// Emits weights and map from the activation A [N, K, …] and its gradient, or the gradient's sum over space, [N, K].
    pub(crate) emit: fn(&mut Builder<'_>, ValueId, ValueId) -> onnx_grad::Result<MapValues>,
}

/// The values of the graph that hold a method's result.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MapValues {
    /// Channel weights, [N, K], where the method has some.
    pub(crate) weights: Option<ValueId>,
    /// The raw map, signed: [N, …] of a layer, [N, K, …] of the input.
    pub(crate) map: ValueId,
    /// What the map is the sum of over the channels, [N, K, …], where that is [`Summand::Product`].
    pub(crate) product: Option<ValueId>,
}

/// What a raw map is the sum of over the channels, so that the principal component of it can stand for the sum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Summand {
    /// w_k·A_k.
    Weighted,
    /// A product with the activation that differs from place to place, which the graph gives.
    Product,
    /// The map is no such sum.
    Nothing,
}
