//! The kind and the traits of each operator, as far as several modules need them.
//!
//! [`traits`] reads the table. Properties that only one rule needs (axes, gradient, shape) are in that rule.

mod table;

use crate::proto::NodeProto;
use table::{MICROSOFT, STANDARD, TraitsRow};

/// The effect of an operator on the elements of its first input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// Returns them unchanged.
    Identity,
    /// Converts each to another type.
    Convert,
    /// Preserves their order and changes the shape.
    Reshape,
    /// Reorders axes.
    Transpose,
    /// Moves them between channels and space.
    Shuffle,
    /// Takes contiguous parts, or joins several inputs or constants.
    Piece,
    /// Selects them by index.
    Index,
    /// Repeats them.
    Repeat,
    /// Interpolates them in space.
    Resample,
    /// Reduces each spatial window to one number, channel by channel.
    Pool,
    /// Reduces all spatial elements to one number, channel by channel.
    GlobalPool,
    /// Reduces all elements along some axes to one number.
    Reduce,
    /// Returns the index of an extreme element along an axis.
    Arg,
    /// An activation function of each element.
    Activation,
    /// Any other elementwise function, with broadcasting.
    Elementwise,
    /// Converts the elements along an axis to weights, like softmax.
    Softmax,
    /// Normalizes them by fixed or computed statistics.
    Normalize,
    /// A convolution: a window with a stride over space.
    Convolve,
    /// A transposed convolution.
    Deconvolve,
    /// A matrix product.
    MatMul,
    /// A product with any summation over indices (Einsum).
    Einsum,
    /// Complete attention: the softmax and both products.
    Attention,
    /// A recurrent network: LSTM, GRU or RNN.
    Recurrent,
    /// Anything else, including operators that are not in the table.
    Other,
}

/// The operands in which an operator is affine while the others are constant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Affine {
    /// None.
    No,
    /// The first.
    First,
    /// Each one separately, like a product.
    Each,
    /// All of them together, like a sum.
    Jointly,
}

/// Properties of an operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Traits {
    /// The kind.
    pub kind: Kind,
    /// The operands in which it is affine.
    pub affine: Affine,
    /// Whether every output element is an element of the first input, so scaling commutes with the operator.
    pub selects: bool,
    /// Whether, with channels on axis 1, an output channel depends only on the input channel of the same index.
    pub by_channel: bool,
    /// Whether the output may be much larger than the inputs.
    pub grows: bool,
    /// Whether run-time numbers may determine the output's shape; the derivative then uses the declared shape.
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

    /// Whether each element keeps its position, possibly in another type.
    pub fn carries(&self) -> bool {
        matches!(self.kind, Kind::Identity | Kind::Convert)
    }

    /// Whether it only moves elements, possibly converting their type.
    pub fn moves(&self) -> bool {
        self.carries()
            || matches!(
                self.kind,
                Kind::Reshape | Kind::Transpose | Kind::Shuffle | Kind::Piece | Kind::Index
            )
    }

    /// Whether each output element depends only on the elements at the same position.
    pub fn is_elementwise(&self) -> bool {
        self.carries() || matches!(self.kind, Kind::Activation | Kind::Elementwise)
    }

    /// Whether it is a convolution or a transposed convolution.
    pub fn is_convolution(&self) -> bool {
        matches!(self.kind, Kind::Convolve | Kind::Deconvolve)
    }
}

/// The traits of a node's operator, by domain and name.
///
/// ```
/// use onnx_grad::{op::{self, Kind}, proto::NodeProto};
///
/// let node = NodeProto { op_type: Some("Flatten".to_owned()), ..NodeProto::default() };
/// assert_eq!(op::traits(&node).kind, Kind::Reshape);
/// assert!(op::traits(&node).moves());
/// ```
pub fn traits(node: &NodeProto) -> &'static Traits {
    let rows: &[TraitsRow] = match (node.op_domain(), node.op().as_bytes().first()) {
        ("", Some(&letter)) => {
            let (from, to) = LETTERS[usize::from(letter)];
            STANDARD.get(from..to).unwrap_or_default()
        }
        ("com.microsoft", _) => MICROSOFT,
        _ => &[],
    };
    let at = rows.binary_search_by_key(&node.op(), |(op, _)| op);
    at.ok().and_then(|at| rows.get(at)).map_or(&Traits::UNKNOWN, |(_, traits)| traits)
}

/// From where to where the names of the standard begin with a letter: every node of a model is looked up several times.
const LETTERS: [(usize, usize); 256] = {
    let mut letters = [(0, 0); 256];
    let mut at = 0;
    while at < STANDARD.len() {
        let letter = STANDARD[at].0.as_bytes()[0] as usize;
        let from = if letters[letter].1 == 0 { at } else { letters[letter].0 };
        letters[letter] = (from, at + 1);
        at += 1;
    }
    letters
};

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
            let node = NodeProto { op_type: Some((*op).to_owned()), ..NodeProto::default() };
            assert_eq!(super::traits(&node), traits, "{op}");
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

    /// Every affine operator has a nonzero derivative in the table of gradients.
    #[test]
    fn affine_operators_have_a_derivative() {
        for (op, traits) in STANDARD {
            let zero = |rule: &crate::RuleInfo| rule.gradient == crate::Gradient::Zero;
            let is_zero = crate::rules().filter(|rule| rule.op == *op).any(|rule| zero(&rule));
            assert!(traits.affine == Affine::No || !is_zero, "{op}");
        }
    }
}
