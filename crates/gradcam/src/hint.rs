//! What a caller can do about an error or a warning.

use std::fmt;

/// What a caller can do about an error or a warning.
///
/// `Display` names items of this crate. Other interfaces, such as a command line, use their own words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Hint {
    /// Name a layer.
    NameLayer,
    /// List the layers.
    ListLayers,
    /// Name several layers.
    NameLayers,
    /// Name no layer, or choose another method.
    DropLayers,
    /// Give the grid of a transformer's tokens, `[N, T, K]`.
    GiveGrid,
    /// Give the labels of the classes.
    GiveLabels,
    /// Raise the limit on memory, if the run is meant to be so large.
    RaiseMemoryLimit,
    /// Name the output that holds the scores.
    NameOutput,
    /// Choose a method that keeps places apart.
    NameMethod,
    /// Give a photo or a vector that an embedding is compared with.
    GiveReference,
    /// Give the inputs beside the image their values.
    GiveInputs,
    /// Prepare photos without a mean and a standard deviation, so that pixels stay whole numbers.
    KeepPixels,
    /// Say how the model's photos are prepared.
    GivePreprocessing,
    /// Say how photos fit into the network's input.
    GiveFit,
    /// Say the size of the network's input, or give a tensor of it.
    GiveSize,
    /// Give the sizes that the model's inputs leave open.
    GiveSizes,
}

/// A message, and behind it a hint as `words` writes it.
pub(crate) fn worded(
    message: impl Into<String>,
    hint: Option<Hint>,
    words: impl Fn(&Hint) -> String,
) -> String {
    let message = message.into();
    match hint {
        Some(hint) => format!("{message}; {}", words(&hint)),
        None => message,
    }
}

impl fmt::Display for Hint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NameLayer => "name a layer with `ExplainerBuilder::layer`",
            Self::ListLayers => "list them with `ExplainerBuilder::layer_list`",
            Self::NameLayers => "name several with `ExplainerBuilder::layers`",
            Self::DropLayers => "name no layer, or choose another method",
            Self::GiveGrid => "or give the grid of tokens [N, T, K] with `ExplainerBuilder::grid`",
            Self::GiveLabels => "give a label for each class with `Overrides::labels`",
            Self::RaiseMemoryLimit => {
                "raise it with `ExplainerBuilder::max_memory` if that is right"
            }
            Self::NameOutput => "name the output that holds the scores with `ExplainerBuilder::output`",
            Self::NameMethod => "choose the method hirescam",
            Self::GiveReference => "give its vector with `Target::Similar`",
            Self::GiveInputs => "give each input beside the images its value with `ExplainerBuilder::input`",
            Self::KeepPixels => {
                "prepare photos with a rescale of 1, a mean of 0 and a standard deviation of 1 (`Overrides`)"
            }
            Self::GivePreprocessing => {
                "say it with `Overrides`, or put a preprocessor_config.json beside the model"
            }
            Self::GiveFit => "say how photos fit with `Overrides::geometry`",
            Self::GiveSize => {
                "say another with `Overrides::size`, or with `ExplainerBuilder::image_shape` and explain a tensor of it"
            }
            Self::GiveSizes => "give the sizes of its inputs with `GradientSettings::sizes`",
        })
    }
}
