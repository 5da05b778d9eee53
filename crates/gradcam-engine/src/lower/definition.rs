//! Conditions under which the definition of an operator replaces a node, for the tables of the engines.

use onnx_grad::proto::NodeProto;

use super::facts::Facts;

pub(crate) fn always(_: &Facts<'_>, _: &NodeProto) -> bool {
    true
}

pub(crate) fn is_saturating(facts: &Facts<'_>, _: &NodeProto) -> bool {
    facts.saturates
}

/// Attention with a window.
pub(crate) fn has_window(_: &Facts<'_>, node: &NodeProto) -> bool {
    ["left_window_size", "right_window_size"].iter().any(|name| node.attr_int(name).is_some())
}

pub(crate) fn is_training(_: &Facts<'_>, node: &NodeProto) -> bool {
    node.attr_int("training_mode") == Some(1)
}

/// Einsum with an ellipsis, which engines read differently.
pub(crate) fn has_dots(_: &Facts<'_>, node: &NodeProto) -> bool {
    node.attr_str("equation").is_some_and(|text| text.contains("..."))
}

/// GridSample that is not linear, two-dimensional and padded with zeros.
pub(crate) fn is_not_linear_2d(facts: &Facts<'_>, node: &NodeProto) -> bool {
    let one_of =
        |name: &str, known: &[&str]| node.attr_str(name).is_none_or(|text| known.contains(&text));
    !one_of("mode", &["linear", "bilinear"])
        || !one_of("padding_mode", &["zeros"])
        || facts.rank(node, 0) != Some(4)
}

/// LRN with a window of even size.
pub(crate) fn has_even_size(_: &Facts<'_>, node: &NodeProto) -> bool {
    node.attr_int("size").is_some_and(|size| size % 2 == 0)
}

/// A normalization whose statistics are used.
pub(crate) fn has_statistics(facts: &Facts<'_>, node: &NodeProto) -> bool {
    (1..node.output.len()).any(|at| facts.is_used(node, at))
}
