//! Values that exist only between nodes that engines run as one.

use std::collections::BTreeSet;

use super::{Graph, NodeId, Origin, ValueId};
use crate::{op, op::Kind};

/// The most nodes that count as a group: a LayerNormalization of single nodes has 9, a GELU by tanh 8.
const GROUP: usize = 32;

impl Graph {
    /// Whether a value of the model is within a group of nodes that engines run as one: x·Sigmoid(x), a GELU of five nodes, a
    /// LayerNormalization of nine.
    ///
    /// The nodes around it compute each element by itself, or reduce; whatever reads the value leads to one
    /// value through such nodes alone. What follows a single heavier node in a row, such as the bias and the activation of a
    /// convolution, does not count: it is fused into that node and can be read.
    pub(crate) fn is_inner(&self, value: ValueId) -> bool {
        let fact = self.fact(value);
        fact.elem.is_float()
            && fact.value.is_none()
            && !self.outputs.contains(&value)
            && self.light_producer(value).is_some()
            && (self.is_normalized_sum(value)
                || !self.follows_one(value) && self.meets_again(value))
    }

    /// Whether a value is a sum that nothing but a LayerNormalization reads, as one node or as nine.
    fn is_normalized_sum(&self, value: ValueId) -> bool {
        let is_sum = self.producer(value).is_some_and(|id| {
            let varying = self.node_reads(id).filter(|operand| self.varies(*operand));
            self.node(id).op() == "Add" && varying.count() == 2
        });
        let mut readers = self.own_consumers(value);
        let is_reduced = |id: NodeId| op::traits(self.node(id)).kind == Kind::Reduce;
        let is_read = match (readers.next(), readers.next()) {
            (Some(one), None) => self.node(one).op() == "LayerNormalization",
            _ => self.own_consumers(value).any(is_reduced) && self.meets_again(value),
        };
        is_sum && is_read
    }

    /// The producer of a value, if it is a node of the model that computes each element by itself, or reduces.
    fn light_producer(&self, value: ValueId) -> Option<NodeId> {
        self.producer(value).filter(|id| self.is_light(*id))
    }

    fn is_light(&self, id: NodeId) -> bool {
        let node = self.node(id);
        let traits = op::traits(node);
        let is_reduction = traits.kind == Kind::Reduce;
        // The shape of a copy has to be known.
        let mut shapes = self.node_reads(id).map(|value| &self.fact(value).shape);
        let mut others = self.node_inputs(id).iter().skip(1).flatten();
        !self.is_appended(id)
            && (traits.is_elementwise() || is_reduction)
            // A Dropout may be random.
            && node.op() != "Dropout"
            && matches!(self.node_outputs(id), [Some(_)])
            && shapes.all(Option::is_some)
            && others.all(|axes| !is_reduction || self.fact(*axes).value.is_some())
    }

    fn own_consumers(&self, value: ValueId) -> impl Iterator<Item = NodeId> {
        self.consumers(value).iter().copied().filter(|id| !self.is_appended(*id))
    }

    /// Whether a value is computed in a row from one node that is not light, or from constants alone.
    fn follows_one(&self, value: ValueId) -> bool {
        let mut open = vec![value];
        let mut branches = false;
        for _ in 0..GROUP {
            let Some(value) = open.pop() else { return !branches };
            let Some(id) = self.light_producer(value) else { return true };
            for operand in self.node_reads(id).filter(|operand| self.varies(*operand)) {
                match self.own_consumers(operand).nth(1) {
                    Some(_) => branches = true,
                    None => open.push(operand),
                }
            }
        }
        true
    }

    /// Whether a value is computed when the model runs.
    pub(crate) fn varies(&self, value: ValueId) -> bool {
        !matches!(self.origin(value), Origin::Initializer(_)) && self.fact(value).value.is_none()
    }

    /// Whether all that reads a value leads to one value, through light nodes alone. No group ends in a reduction: a pooling
    /// behind a group is none of it.
    fn meets_again(&self, value: ValueId) -> bool {
        let mut open: BTreeSet<NodeId> = self.own_consumers(value).collect();
        for _ in 0..GROUP {
            let Some(id) = open.pop_first().filter(|id| self.is_light(*id)) else { return false };
            let Some(made) = self.node_outputs(id).first().copied().flatten() else { return false };
            if open.is_empty() && op::traits(self.node(id)).kind != Kind::Reduce {
                return true;
            }
            if self.outputs.contains(&made) {
                return false;
            }
            open.extend(self.own_consumers(made));
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Sizes, testing::model};

    /// The names of the inner values of nodes on x and z, [1, 8, 8], and the number n, which give y.
    fn inner(nodes: &[(&str, &[&str], &str)]) -> String {
        let inputs: [(&str, &[i64]); 3] = [("x", &[1, 8, 8]), ("z", &[1, 8, 8]), ("n", &[1])];
        let graph = Graph::new(&model(&inputs, nodes, "y"), &Sizes::new()).expect("a graph");
        let inner = graph.values().filter(|value| graph.is_inner(*value));
        inner.map(|value| graph.name(value)).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn groups_have_inner_values() {
        let silu = [
            ("Sigmoid", ["a"].as_slice(), "s"),
            ("Mul", &["a", "s"], "b"),
            ("MatMul", &["b", "b"], "y"),
        ];
        let with = |before: (&'static str, &'static [&'static str], &'static str)| {
            inner(&[&[before], silu.as_slice()].concat())
        };
        assert_eq!(with(("Softmax", &["x"], "a")), "s");
        // A bias is a part of the product in front of it.
        let biased = [("MatMul", ["x", "z"].as_slice(), "m"), ("Add", &["m", "n"], "a")];
        assert_eq!(inner(&[biased.as_slice(), &silu].concat()), "s");
        let gelu = [
            ("Softmax", ["x"].as_slice(), "a"),
            ("Div", &["a", "n"], "u"),
            ("Erf", &["u"], "e"),
            ("Add", &["e", "n"], "o"),
            ("Mul", &["a", "o"], "m"),
            ("Mul", &["m", "n"], "b"),
            ("Softmax", &["b"], "y"),
        ];
        assert_eq!(inner(&gelu), "u e o m");
    }

    /// A sum, and its LayerNormalization as nine nodes or as one.
    #[test]
    fn normalized_sums_are_inner() {
        let sum = ("Add", ["p", "q"].as_slice(), "a");
        let before = [("Softmax", ["x"].as_slice(), "p"), ("Softmax", &["z"], "q"), sum];
        let of_nodes = [
            ("ReduceMean", ["a"].as_slice(), "mean"),
            ("Sub", &["a", "mean"], "d"),
            ("Pow", &["d", "n"], "squares"),
            ("ReduceMean", &["squares"], "variance"),
            ("Add", &["variance", "n"], "more"),
            ("Sqrt", &["more"], "deviation"),
            ("Div", &["d", "deviation"], "r"),
            ("Mul", &["r", "n"], "scaled"),
            ("Add", &["scaled", "n"], "b"),
            ("Softmax", &["b"], "y"),
        ];
        let all = "a mean d squares variance more deviation r scaled";
        assert_eq!(inner(&[before.as_slice(), &of_nodes].concat()), all);
        let one = [("LayerNormalization", ["a", "n"].as_slice(), "y")];
        assert_eq!(inner(&[before.as_slice(), &one].concat()), "a");
        // The sum is also the next residual.
        let residual = [
            ("LayerNormalization", ["a", "n"].as_slice(), "b"),
            ("MatMul", &["b", "b"], "m"),
            ("Add", &["a", "m"], "c"),
            ("Softmax", &["c"], "y"),
        ];
        assert_eq!(inner(&[before.as_slice(), &residual].concat()), "");
    }

    #[test]
    fn what_engines_compute_anyway_is_not_inner() {
        // The activations of a product, in a row.
        let row: [(&str, &[&str], &str); 4] = [
            ("MatMul", &["x", "z"], "m"),
            ("Relu", &["m"], "a"),
            ("Mul", &["a", "n"], "b"),
            ("Softmax", &["b"], "y"),
        ];
        assert_eq!(inner(&row), "");
        // One reader leads elsewhere.
        let elsewhere: [(&str, &[&str], &str); 6] = [
            ("Softmax", &["x"], "a"),
            ("Sigmoid", &["a"], "s"),
            ("Mul", &["a", "s"], "b"),
            ("MatMul", &["s", "z"], "c"),
            ("MatMul", &["b", "c"], "d"),
            ("Softmax", &["d"], "y"),
        ];
        assert_eq!(inner(&elsewhere), "");
        // A pooling behind a group.
        let pooled: [(&str, &[&str], &str); 5] = [
            ("Softmax", &["x"], "a"),
            ("Sigmoid", &["a"], "s"),
            ("Mul", &["a", "s"], "b"),
            ("ReduceMean", &["b"], "c"),
            ("Softmax", &["c"], "y"),
        ];
        assert_eq!(inner(&pooled), "s");
        // Outputs.
        assert_eq!(
            inner(&[("Softmax", &["x"], "a"), ("Sigmoid", &["a"], "y"), ("Mul", &["a", "y"], "b")]),
            ""
        );
    }
}
