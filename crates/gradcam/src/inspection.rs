//! The nodes of a model as a list: which belong to its explanation, and what each costs.

use std::collections::HashSet;

use onnx_grad::{
    Cost, DeclaredDim, Dim, Model, Sizes, cost,
    graph::{Graph, NodeId, ValueId},
};

use crate::{
    Result,
    explainer::{EXPORTED_CLASS, EXPORTED_HEATMAP, EXPORTED_MAP},
};

/// A node of a model.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct InspectedNode {
    /// Its name, or that of its first output.
    pub name: String,
    /// Its operator.
    pub op: String,
    /// The values that it reads and that it makes.
    pub values: (Vec<String>, Vec<String>),
    /// The shape of its first output, for one image; empty where it is not known.
    pub shape: Vec<i64>,
    /// Whether only the outputs of [`Explainer::export`](crate::Explainer::export) need it.
    pub is_explanation: bool,
    /// Whether it is on the way from the layer that is explained to the scores.
    pub is_on_path: bool,
    /// What its doc string says, such as the node that it differentiates.
    pub about: Option<String>,
    /// What it costs for one image; `None` where a shape is not known.
    pub cost: Option<Cost>,
}

/// The nodes of a model in their order, for one image. Sizes that the model leaves open are 1 on the first axis.
///
/// # Errors
/// `Model`, also where the model leaves other sizes open.
pub fn inspect(model: &Model) -> Result<Vec<InspectedNode>> {
    let graph = Graph::new(model, &one_image(model))?;
    let of_explanation = |name: &str| {
        [EXPORTED_MAP, EXPORTED_HEATMAP, EXPORTED_CLASS].iter().any(|own| name.starts_with(own))
    };
    let (explained, own): (Vec<ValueId>, Vec<ValueId>) =
        graph.outputs().iter().partition(|value| of_explanation(graph.name(**value)));
    let idle = graph.upstream(explained, |_| true);
    let needed = graph.upstream(own, |_| true);
    let is_explanation = |id: NodeId| {
        let made = || graph.node_outputs(id).iter().flatten();
        made().any(|value| idle.contains(value)) && !made().any(|value| needed.contains(value))
    };
    // What the explanation reads of the model: the layer, and values behind it.
    let read: HashSet<ValueId> = graph
        .nodes()
        .filter(|(id, _)| is_explanation(*id))
        .flat_map(|(id, _)| graph.node_reads(id).collect::<Vec<_>>())
        .filter(|value| graph.producer(*value).is_some_and(|node| !is_explanation(node)))
        .collect();
    let behind = graph.downstream(read.iter().copied(), |_| true);
    let before = graph.upstream(read.iter().copied(), |_| true);
    let nodes = graph.nodes().map(|(id, node)| {
        let names = |values: &[Option<ValueId>]| -> Vec<String> {
            values.iter().flatten().map(|value| graph.name(*value).to_owned()).collect()
        };
        let outputs = graph.node_outputs(id);
        let mut made = outputs.iter().flatten();
        let first = outputs.first().copied().flatten();
        let explains = is_explanation(id);
        InspectedNode {
            name: node.label().to_owned(),
            op: node.op().to_owned(),
            values: (names(graph.node_inputs(id)), names(outputs)),
            shape: first.and_then(|value| graph.fact(value).sizes()).unwrap_or_default(),
            is_explanation: explains,
            is_on_path: !explains
                && made.any(|value| behind.contains(value) && before.contains(value)),
            about: node.doc_string.clone().filter(|about| !about.is_empty()),
            cost: cost(&graph, id),
        }
    });
    Ok(nodes.collect())
}

/// The sizes of the inputs for one image.
fn one_image(model: &Model) -> Sizes {
    let mut sizes = Sizes::new();
    for input in onnx_grad::inputs(model) {
        let Some(dims) = input.dims else { continue };
        if !matches!(dims.first(), Some(DeclaredDim::Name(_) | DeclaredDim::Unknown)) {
            continue;
        }
        let known: Option<Vec<Dim>> = dims
            .iter()
            .enumerate()
            .map(|(axis, dim)| match dim {
                DeclaredDim::Size(size) => Some(Dim::Fixed(*size)),
                _ if axis == 0 => Some(Dim::Fixed(1)),
                _ => None,
            })
            .collect();
        sizes.extend(known.map(|known| (input.name, known)));
    }
    sizes
}
