//! What operators do, said once: their kind, and what else holds of them that more than one part of the code asks.
//!
//! [`traits`] reads the table. What one operator means to one rule alone (its axes, its gradient, its shape) is that rule's
//! own, and stands there.

mod table;

use crate::proto::NodeProto;
use table::{MICROSOFT, Row, STANDARD};

/// What an operator does to the elements of its first input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// Gives them as they are.
    Identity,
    /// Gives them in another type, one by one.
    Convert,
    /// Gives them in the same order in another shape.
    Reshape,
    /// Reorders axes.
    Transpose,
    /// Moves them between channels and space.
    Shuffle,
    /// Takes runs of them, or puts several inputs or constants beside them.
    Piece,
    /// Picks them by index.
    Index,
    /// Repeats them.
    Repeat,
    /// Interpolates them in space.
    Resample,
    /// Makes one number of each window in space, channel by channel.
    Pool,
    /// Makes one number of all of space, channel by channel.
    GlobalPool,
    /// Makes one number of all elements along some axes.
    Reduce,
    /// Finds the place of an extreme element along an axis.
    Arg,
    /// An activation function of each element.
    Activation,
    /// Any other function of the elements in one place, broadcasting.
    Elementwise,
    /// Makes weights of the elements along an axis, as the softmax does.
    Softmax,
    /// Normalizes them by statistics, fixed or their own.
    Normalize,
    /// A convolution, which slides a window over space with a stride.
    Convolve,
    /// A transposed convolution.
    Deconvolve,
    /// A product of matrices.
    MatMul,
    /// A product with any summation over indices.
    Einsum,
    /// Attention as a whole: the softmax and both products.
    Attention,
    /// Anything else, and operators that the table does not know.
    Other,
}

/// In which operands an operator is affine, the others held constant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Affine {
    /// In none.
    No,
    /// In the first.
    First,
    /// In each, as a product is.
    Each,
    /// In all of them together, as a sum is.
    Jointly,
}

/// What holds of an operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Traits {
    /// What it does.
    pub kind: Kind,
    /// The operands that it is affine in.
    pub affine: Affine,
    /// Whether every element of its output is one of its first input's: numbers may be scaled before or behind it.
    pub selects: bool,
    /// Whether an output channel depends on the input channel of its number alone, where axis 1 is that of the channels.
    pub by_channel: bool,
    /// Whether its output may be far larger than what it reads.
    pub grows: bool,
    /// Whether the shape of its output may stand in numbers that are computed when the model runs; its derivative takes what
    /// the model declares for it.
    pub shape_by_numbers: bool,
}

impl Traits {
    pub(crate) const UNKNOWN: Self = Self {
        kind: Kind::Other,
        affine: Affine::No,
        selects: false,
        by_channel: false,
        grows: false,
        shape_by_numbers: false,
    };

    /// Whether each element goes on to the same place, as it is or in another type.
    pub fn carries(&self) -> bool {
        matches!(self.kind, Kind::Identity | Kind::Convert)
    }

    /// Whether it moves elements about and does no more, but for their type.
    pub fn moves(&self) -> bool {
        self.carries()
            || matches!(
                self.kind,
                Kind::Reshape | Kind::Transpose | Kind::Shuffle | Kind::Piece | Kind::Index
            )
    }

    /// Whether each element of the output is computed from the elements in the same place.
    pub fn is_elementwise(&self) -> bool {
        self.carries() || matches!(self.kind, Kind::Activation | Kind::Elementwise)
    }

    /// Whether it is a convolution or a transposed one.
    pub fn is_convolution(&self) -> bool {
        matches!(self.kind, Kind::Convolve | Kind::Deconvolve)
    }
}

/// What the operator of a node does, by its domain and name.
///
/// ```
/// use onnx_grad::{op::{self, Kind}, proto::NodeProto};
///
/// let node = NodeProto { op_type: Some("Flatten".to_owned()), ..NodeProto::default() };
/// assert_eq!(op::traits(&node).kind, Kind::Reshape);
/// assert!(op::traits(&node).moves());
/// ```
pub fn traits(node: &NodeProto) -> &'static Traits {
    let rows: &[Row] = match node.op_domain() {
        "" => STANDARD,
        "com.microsoft" => MICROSOFT,
        _ => &[],
    };
    let at = rows.binary_search_by_key(&node.op(), |(op, _)| op);
    at.ok().and_then(|at| rows.get(at)).map_or(&Traits::UNKNOWN, |(_, traits)| traits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_sorted_and_name_operators_of_the_standard() {
        for rows in [STANDARD, MICROSOFT] {
            for pair in rows.windows(2) {
                assert!(pair[0].0 < pair[1].0, "{} and {}", pair[0].0, pair[1].0);
            }
        }
        for (op, traits) in STANDARD {
            assert!(crate::rules().any(|rule| rule.op == *op), "{op} is no operator");
            assert_ne!(*traits, Traits::UNKNOWN, "{op} has a row that says nothing");
        }
    }

    #[test]
    fn the_domain_counts() {
        let node = |op: &str, domain: &str| NodeProto {
            op_type: Some(op.to_owned()),
            domain: Some(domain.to_owned()),
            ..NodeProto::default()
        };
        let rows = [
            ("Relu", "", Kind::Activation),
            ("Relu", "ai.onnx", Kind::Activation),
            ("Relu", "com.example", Kind::Other),
            ("QuantizeLinear", "com.microsoft", Kind::Convert),
            ("MultiHeadAttention", "com.microsoft", Kind::Attention),
            ("MultiHeadAttention", "", Kind::Other),
        ];
        for (op, domain, kind) in rows {
            assert_eq!(traits(&node(op, domain)).kind, kind, "{domain}.{op}");
        }
    }

    /// What an operator without a derivative that passes through does, the table of gradients says too.
    #[test]
    fn what_is_affine_has_a_derivative() {
        for (op, traits) in STANDARD {
            let zero = |rule: &crate::RuleInfo| rule.gradient == crate::Gradient::Zero;
            let is_zero = crate::rules().filter(|rule| rule.op == *op).any(|rule| zero(&rule));
            assert!(traits.affine == Affine::No || !is_zero, "{op}");
        }
    }
}
