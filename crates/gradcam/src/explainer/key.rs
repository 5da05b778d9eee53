//! The keys of an explainer's programs, and the meaning of their outputs.

use std::{fmt, ops::Range};

use ndarray::ArrayD;

use crate::{program::Program, targets::TargetKind};

/// The key of a program: the shape of the images, and what else the graph depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Key {
    /// Scores and maps, for targets of these kinds, at these of the explainer's layers.
    Explanation(Vec<usize>, Vec<TargetKind>, Range<usize>),
    /// The value of a layer as a picture.
    Activation(Vec<usize>, usize),
    /// From the value of a layer to the scores.
    Rest(Vec<usize>, usize),
    /// The scores, and what a detector or a sequence says of each place.
    Prediction(Vec<usize>),
    /// The scores that the file gives with the engine's defaults.
    Deployed(Vec<usize>),
    /// The target of one kind.
    Target(Vec<usize>, TargetKind),
    /// The value of a layer, and the other values that the suffix reads.
    Cut(Vec<usize>, usize, TargetKind),
    /// The suffix: from the value of a layer to the target.
    Suffix(Vec<usize>, usize, TargetKind),
    /// The gradient at a layer, and its activation, or the gradient at the input.
    Gradients(Vec<usize>, Option<usize>, TargetKind),
    /// From the value of a layer to the values at which its channels meet.
    Channels(Vec<usize>, usize),
}

impl Key {
    pub(super) fn shape(&self) -> &[usize] {
        match self {
            Self::Explanation(shape, ..)
            | Self::Prediction(shape)
            | Self::Deployed(shape)
            | Self::Target(shape, _)
            | Self::Cut(shape, ..)
            | Self::Suffix(shape, ..)
            | Self::Gradients(shape, ..)
            | Self::Activation(shape, _)
            | Self::Rest(shape, _)
            | Self::Channels(shape, _) => shape,
        }
    }

    pub(super) fn kinds(&self) -> Vec<TargetKind> {
        match self {
            Self::Explanation(_, kinds, _) => kinds.clone(),
            Self::Target(_, kind)
            | Self::Cut(_, _, kind)
            | Self::Suffix(_, _, kind)
            | Self::Gradients(_, _, kind) => vec![kind.clone()],
            Self::Activation(..)
            | Self::Rest(..)
            | Self::Prediction(_)
            | Self::Deployed(_)
            | Self::Channels(..) => Vec::new(),
        }
    }
}

/// Which map: its target, its method and its layer, each by its place among those of the explainer and the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct MapPlace {
    /// The place of the target.
    pub target: usize,
    /// The place of the method.
    pub method: usize,
    /// The place of the layer.
    pub layer: usize,
}

/// What an output of a graph holds. `Display` gives the name of the output.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OutputMeaning {
    /// The score of every class.
    Scores,
    /// The class that a target explains.
    Class(usize),
    /// The pixels or time steps of that class, of a segmentation or a sequence.
    Pixels(usize),
    /// The class that wins each time step of a sequence.
    Winners,
    /// The score of every class at every anchor of a detector.
    AnchorScores,
    /// The four numbers of the box of every anchor.
    AnchorBoxes,
    /// The scalar that a target is.
    Target(usize),
    /// The raw map of a method.
    Map(MapPlace),
    /// Its channel weights.
    Weights(MapPlace),
    /// What it is the sum of over the channels, [N, K, …].
    Product(MapPlace),
    /// A layer as a picture [N, K, …].
    Activation(usize),
    /// The gradient of a target with respect to the layer, as a picture: target and layer.
    Gradient(usize, usize),
    /// The gradient of a target with respect to the image, by the rules of a method, as a picture: target and method.
    InputGradient(usize, usize),
    /// The sum of the maps of the biases of one size, [N, …]: target and place.
    Biases(usize, usize),
    /// A value at which the channels of a layer meet: layer and place.
    Meeting(usize, usize),
    /// The gradient of a target there: target, layer and place.
    MeetingGradient(usize, usize, usize),
    /// A value of the model, by its name.
    Value(String),
}

impl fmt::Display for OutputMeaning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scores => write!(f, "gradcam.scores"),
            Self::Class(target) => write!(f, "gradcam.explained.{target}"),
            Self::Pixels(target) => write!(f, "gradcam.pixels.{target}"),
            Self::Winners => write!(f, "gradcam.winners"),
            Self::AnchorScores => write!(f, "gradcam.anchors.scores"),
            Self::AnchorBoxes => write!(f, "gradcam.anchors.boxes"),
            Self::Target(target) => write!(f, "gradcam.target.{target}"),
            Self::Map(MapPlace { target, method, layer }) => {
                write!(f, "gradcam.map.{target}.{method}.{layer}")
            }
            Self::Weights(MapPlace { target, method, layer }) => {
                write!(f, "gradcam.weights.{target}.{method}.{layer}")
            }
            Self::Product(MapPlace { target, method, layer }) => {
                write!(f, "gradcam.product.{target}.{method}.{layer}")
            }
            Self::Activation(layer) => write!(f, "gradcam.activation.{layer}"),
            Self::Gradient(target, layer) => write!(f, "gradcam.gradient.{target}.{layer}"),
            Self::InputGradient(target, method) => {
                write!(f, "gradcam.gradient.{target}.input.{method}")
            }
            Self::Biases(target, place) => write!(f, "gradcam.biases.{target}.{place}"),
            Self::Meeting(layer, place) => write!(f, "gradcam.meeting.{layer}.{place}"),
            Self::MeetingGradient(target, layer, place) => {
                write!(f, "gradcam.meeting.{target}.{layer}.{place}.grad")
            }
            Self::Value(name) => f.write_str(name),
        }
    }
}

/// A program of an explainer, and the meaning of its outputs, in their order.
pub(super) struct ExplainerProgram {
    pub(super) program: Program,
    pub(super) outputs: Vec<OutputMeaning>,
    /// Of a program of [`Key::Channels`] or [`Key::Rest`].
    pub(super) channels: Option<ChannelPlaces>,
    /// Of a program of [`Key::Cut`].
    pub(super) layer: Option<LayerPlaces>,
    /// The shape of the input that says where a target is, for each target that has one, images included.
    pub(super) place_shapes: Vec<(usize, Vec<usize>)>,
}

impl ExplainerProgram {
    /// The shape of the input that says where a target is.
    pub(super) fn place_shape(&self, target: usize) -> Option<&[usize]> {
        let found = self.place_shapes.iter().find(|(of, _)| *of == target);
        found.map(|(_, shape)| shape.as_slice())
    }
}

/// Where the images and the picture of a layer are in its value.
pub(super) struct LayerPlaces {
    /// Whether the images of a batch are one behind the other.
    pub(super) images_first: bool,
    /// The place of each element of the picture [K, …] among those of the value, of one image. `None` where it has none.
    pub(super) elements: Option<ArrayD<usize>>,
    /// Whether the picture is all that the suffix reads, so that nothing of it has to be computed again.
    pub(super) is_picture: bool,
}

/// The places of a layer's channels, where they meet or in the layer.
pub(super) struct ChannelPlaces {
    /// The shape of the layer's value, images included.
    pub(super) shape: Vec<usize>,
    /// For each value at which they meet, or for the layer's, the channel of each element of one image, or of all.
    pub(super) of_elements: Vec<Vec<usize>>,
}
