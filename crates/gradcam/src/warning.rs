//! Warnings about an explanation or its model.

use std::fmt;

use crate::hint::{Hint, worded};

/// How much a warning matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum WarningLevel {
    /// Usual; for those who want to know everything.
    Detail,
    /// Good to know.
    Note,
    /// The explanation may not be what it seems.
    Warning,
}

/// A warning about an explanation or its model.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Warning {
    /// The gradient of the score at a layer is zero.
    ZeroGradient {
        /// The layer.
        layer: String,
    },
    /// The gradient of the score at the network's input is zero.
    ZeroInputGradient {
        /// The input.
        input: String,
    },
    /// The map has the same value everywhere.
    Flat {
        /// The layer.
        layer: String,
    },
    /// No value of the map is positive, so the heatmap is empty.
    AllNegative {
        /// The layer.
        layer: String,
    },
    /// The map holds values that are not finite.
    NotFinite {
        /// The layer.
        layer: String,
    },
    /// No pixel of a segmentation, or no time step of a sequence, is of the class that is explained.
    EmptyMask {
        /// The class.
        class: usize,
        /// `pixel` or `time step`.
        position: &'static str,
    },
    /// The method's rules for rectifiers change nothing, for want of one.
    NoRelu,
    /// The model ends in an activation, and the logit under it is explained.
    ActivationOutput {
        /// The activation's operator.
        op: &'static str,
    },
    /// The target is a small part of the image, and the method takes the mean of its gradient over all positions.
    LocalTarget {
        /// The method.
        method: &'static str,
    },
    /// No method was named, and one was chosen that keeps positions apart.
    MethodChosen {
        /// The method.
        method: &'static str,
    },
    /// The target is a number, and the label of another class, which is explained.
    NumberIsLabel {
        /// The target.
        label: String,
        /// The class.
        class: usize,
    },
    /// The model has several outputs, and one was chosen.
    OutputChosen {
        /// The output.
        output: String,
        /// Why that one.
        why: String,
    },
    /// Nothing says how photos are prepared, so it was guessed.
    PreprocessingGuessed {
        /// What was guessed.
        guess: String,
    },
    /// There are not as many labels as classes.
    LabelsLeftOut {
        /// Where the labels are from.
        source: String,
        /// How many there are.
        labels: usize,
        /// The classes of the model.
        classes: usize,
    },
    /// The exporter folded a batch norm into the convolution that is explained.
    FoldedNorm {
        /// The convolution.
        convolution: String,
    },
    /// The batch norm that was asked for is not in the file: the exporter folded it into a convolution.
    MissingNorm {
        /// The norm that was asked for.
        norm: String,
        /// The convolution.
        convolution: String,
    },
    /// The scores of a layer's concepts are not known.
    NoConceptScores {
        /// The layer.
        layer: String,
        /// Why not.
        why: String,
    },
    /// ONNX Runtime's defaults give other scores on this processor.
    SaturatingKernels {
        /// The name of the first node whose products can overflow.
        first: String,
        /// How many there are.
        nodes: usize,
    },
}

impl Warning {
    /// The id, such as `all-negative`.
    pub fn id(&self) -> &'static str {
        match self {
            Self::ZeroGradient { .. } | Self::ZeroInputGradient { .. } => "zero-gradient",
            Self::Flat { .. } => "flat",
            Self::AllNegative { .. } => "all-negative",
            Self::NotFinite { .. } => "not-finite",
            Self::EmptyMask { .. } => "empty-mask",
            Self::NoRelu => "no-relu",
            Self::ActivationOutput { op: "Sigmoid" } => "sigmoid-output",
            Self::ActivationOutput { op: "LogSoftmax" } => "log-softmax-output",
            Self::ActivationOutput { .. } => "softmax-output",
            Self::LocalTarget { .. } => "local-target",
            Self::MethodChosen { .. } => "method-chosen",
            Self::NumberIsLabel { .. } => "number-is-label",
            Self::OutputChosen { .. } => "output-chosen",
            Self::PreprocessingGuessed { .. } => "preprocessing-guessed",
            Self::LabelsLeftOut { .. } => "labels-left-out",
            Self::FoldedNorm { .. } | Self::MissingNorm { .. } => "folded-norm",
            Self::NoConceptScores { .. } => "no-concept-scores",
            Self::SaturatingKernels { .. } => "saturating-kernels",
        }
    }

    /// How much it matters.
    pub fn level(&self) -> WarningLevel {
        match self {
            Self::ActivationOutput { .. } => WarningLevel::Detail,
            Self::MethodChosen { .. }
            | Self::NumberIsLabel { .. }
            | Self::OutputChosen { .. }
            | Self::NoConceptScores { .. } => WarningLevel::Note,
            _ => WarningLevel::Warning,
        }
    }

    /// Whether it is about the model, and so the same for every image.
    pub fn is_about_model(&self) -> bool {
        match self {
            Self::ZeroGradient { .. }
            | Self::ZeroInputGradient { .. }
            | Self::Flat { .. }
            | Self::AllNegative { .. }
            | Self::NotFinite { .. }
            | Self::EmptyMask { .. } => false,
            Self::NoRelu
            | Self::ActivationOutput { .. }
            | Self::LocalTarget { .. }
            | Self::MethodChosen { .. }
            | Self::NumberIsLabel { .. }
            | Self::OutputChosen { .. }
            | Self::PreprocessingGuessed { .. }
            | Self::LabelsLeftOut { .. }
            | Self::FoldedNorm { .. }
            | Self::MissingNorm { .. }
            | Self::NoConceptScores { .. }
            | Self::SaturatingKernels { .. } => true,
        }
    }

    /// What a caller can do about it, where that depends on the interface.
    pub fn hint(&self) -> Option<Hint> {
        match self {
            Self::LocalTarget { .. } => Some(Hint::NameMethod),
            Self::OutputChosen { .. } => Some(Hint::NameOutput),
            Self::PreprocessingGuessed { .. } => Some(Hint::GivePreprocessing),
            Self::LabelsLeftOut { .. } => Some(Hint::GiveLabels),
            _ => None,
        }
    }

    /// The message, and the hint as `words` writes it, such as with the name of a flag.
    pub fn worded(&self, words: impl Fn(&Hint) -> String) -> String {
        worded(self.message(), self.hint(), words)
    }

    /// The message, without the hint.
    pub fn message(&self) -> String {
        match self {
            Self::ZeroGradient { layer } => format!(
                "the score does not depend on layer \"{layer}\" here: its gradient is zero; choose another layer"
            ),
            Self::ZeroInputGradient { input } => format!(
                "the score does not depend on the input \"{input}\" here: its gradient is zero everywhere"
            ),
            Self::Flat { layer } => {
                format!("the map at layer \"{layer}\" has the same value everywhere")
            }
            Self::AllNegative { layer } => format!(
                "every value of the map at layer \"{layer}\" is negative: all of it speaks against the target, and \
                 the heatmap is empty; the raw map has the values"
            ),
            Self::NotFinite { layer } => {
                format!("the map at layer \"{layer}\" holds values that are not finite")
            }
            Self::EmptyMask { class, position } => {
                format!("no {position} is of class {class}; its score is summed over all of them")
            }
            Self::NoRelu => "the model holds no Relu, and no Clip from 0, so this is the plain gradient, that of \
                             saliency"
                .to_owned(),
            Self::ActivationOutput { op } => {
                format!("the model ends in {op}; the score that is explained is the logit under it")
            }
            Self::LocalTarget { method } => format!(
                "the target is a small part of the image; {method} takes the mean of its gradient over the whole layer, which \
                 is mostly noise"
            ),
            Self::MethodChosen { method } => format!(
                "the target is a small part of the image, so the method is {method}, which keeps the places of the gradient"
            ),
            Self::NumberIsLabel { label, class } => {
                format!("{label} is the label of class {class}, which is explained")
            }
            Self::OutputChosen { output, why } => {
                format!("the model has several outputs, and \"{output}\" is explained: {why}")
            }
            Self::PreprocessingGuessed { guess } => format!(
                "guessed how photos are prepared, because neither the model nor a file beside it says: {guess}; if \
                 the model was trained differently its answers are wrong"
            ),
            Self::LabelsLeftOut { source, labels, classes } => format!(
                "{source} has {labels} labels, but the model has {classes} classes, so classes are shown by number"
            ),
            Self::FoldedNorm { convolution } => format!(
                "the exporter folded a batch norm into the convolution \"{convolution}\", so the map is of the norm's \
                 output; export with the norms kept to see the convolution's own"
            ),
            Self::MissingNorm { norm, convolution } => format!(
                "nothing in the file is called \"{norm}\"; the map is of the output of the convolution \
                 \"{convolution}\", into which the exporter folded a batch norm"
            ),
            Self::NoConceptScores { layer, why } => {
                format!("the concepts of layer \"{layer}\" have no classes: {why}")
            }
            Self::SaturatingKernels { first, nodes } => {
                let which = match nodes {
                    1 => format!("node \"{first}\""),
                    count => format!("{count} nodes, \"{first}\" first,"),
                };
                format!(
                    "a program that runs this file in ONNX Runtime gets other scores on this processor: by default its \
                     kernels add pairs of 8-bit products in 16 bits, which {which} can overflow; the scores here are \
                     those that the file says. Quantize with reduce_range=True or to uint8 weights, or set the \
                     session entry session.x64quantprecision to 1"
                )
            }
        }
    }
}

/// The message, and the hint in the words of this crate.
impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.worded(Hint::to_string))
    }
}
