//! Rules that replace those of the table, to propagate something other than the derivative.

use std::collections::HashMap;

use super::{
    RuleCall, Symbols, Terms,
    elementwise::{clip, relu},
    rule::{Rule, formula},
    table::{NEWEST_OPSET, OLDEST_OPSET},
};
use crate::{
    builder::Term,
    graph::{Graph, NodeId},
};

/// A rule that replaces that of the table for all or some nodes of one operator.
///
/// It has no pushed form, because it may be nonlinear: the sum over space is computed afterward.
#[derive(Debug)]
pub struct Override {
    rule: Rule,
    /// Selects the nodes of the operator.
    when: fn(&Graph, &RuleCall) -> bool,
}

impl Override {
    /// Whether the override applies to a node.
    pub fn is_for(&self, graph: &Graph, id: NodeId) -> bool {
        let node = graph.node(id);
        node.op_domain().is_empty()
            && node.op() == self.rule.op
            && self.rule.opsets.contains(&graph.opset())
            && (self.when)(graph, &RuleCall::new(graph, id, HashMap::new(), vec![]))
    }

    pub(super) fn rule_for(&'static self, graph: &Graph, id: NodeId) -> Option<&'static Rule> {
        self.is_for(graph, id).then_some(&self.rule)
    }
}

/// Guided backpropagation: a rectifier propagates `g·[y > 0]·[g > 0]`, so only positive contributions through active
/// units remain. Every Relu is a rectifier, and every Clip whose minimum is the constant 0, such as relu6; other
/// activations keep their derivative.
///
/// Springenberg et al. 2014, arXiv:1412.6806, section 3.4. pytorch-grad-cam applies it only to `torch.nn.ReLU`
/// modules; relu6 and functional calls keep their derivative there.
///
/// It has one address, by which it is told from other overrides; a constant may have several.
pub static GUIDED_BACKPROP: [Override; 2] = [
    Override { rule: formula("Clip", OLDEST_OPSET..=NEWEST_OPSET, guided_clip), when: from_zero },
    Override { rule: formula("Relu", OLDEST_OPSET..=NEWEST_OPSET, guided_relu), when: |_, _| true },
];

/// Relu, y = max(x, 0). dx = g·[y > 0]·[g > 0]; 0 at x = 0.
/// <https://onnx.ai/onnx/operators/onnx__Relu.html>
fn guided_relu(n: Symbols<'_>) -> Terms<'_> {
    Ok(positive(relu(n)?))
}

/// Clip, y = min(max(x, 0), hi). dx = g·[0 < y]·[y < hi]·[g > 0]; 0 at both bounds.
/// <https://onnx.ai/onnx/operators/onnx__Clip.html>
fn guided_clip(n: Symbols<'_>) -> Terms<'_> {
    Ok(positive(clip(n)?))
}

/// g·[g > 0]. The masks of the derivative are 0 and 1, so they commute with this mask.
fn positive(plain: Vec<Term<'_>>) -> Vec<Term<'_>> {
    plain.into_iter().map(Term::relu).collect()
}

fn from_zero(graph: &Graph, clip: &RuleCall) -> bool {
    match clip.optional(1) {
        Some(minimum) => graph.fact(minimum).floats() == Some(&[0.0]),
        None => clip.attrs().float_or("min", f64::MIN) == 0.0,
    }
}
