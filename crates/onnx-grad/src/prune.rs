//! Dead-code elimination and constant folding, before lowering. A folded node becomes an
//! initializer with the same name.

use std::collections::HashSet;

use crate::{
    error::Result,
    facts::{ConstantValue, Fact},
    graph::{Graph, NodeId, Origin, ValueId, declare},
    inline::captured_names,
    model::Model,
    proto::{GraphProto, NodeProto, TensorProto, ValueInfoProto, tensor_proto::DataType},
};

/// The part of a graph that computes the given outputs, as a model. It declares the type and shape
/// of every value.
///
/// # Errors
/// In debug builds, `InvalidModel` if the result breaks the standard.
pub fn prune(graph: &Graph, outputs: &[ValueId]) -> Result<Model> {
    let part = GraphPart::find(graph, outputs, &|_| false);
    let inputs = graph.inputs().iter().copied().filter(|id| part.needed.contains(id));
    part.model(graph, &inputs.collect::<Vec<_>>(), outputs)
}

/// The model without the outputs of other names, and without the nodes, tensors and inputs that only these needed. Nothing is
/// folded, and what stays is as it was.
#[must_use]
pub fn with_outputs(model: &Model, is_kept: impl Fn(&str) -> bool) -> Model {
    let mut proto = model.proto().clone();
    let Some(graph) = &mut proto.graph else { return model.clone() };
    let (kept, dropped): (Vec<_>, Vec<_>) =
        std::mem::take(&mut graph.output).into_iter().partition(|info| is_kept(info.name()));
    // The nodes are in topological order, so that one walk from the last finds all that is needed.
    let needed_from = |outputs: &[ValueInfoProto]| -> HashSet<String> {
        let mut needed: HashSet<String> =
            outputs.iter().map(|info| info.name().to_owned()).collect();
        for node in graph.node.iter().rev() {
            if node.output.iter().any(|name| needed.contains(name)) {
                let mut read: HashSet<&str> = node.input.iter().map(String::as_str).collect();
                captured_names(node, &mut read);
                needed.extend(read.into_iter().map(str::to_owned));
            }
        }
        needed
    };
    let (needed, idle) = (needed_from(&kept), needed_from(&dropped));
    let stays = |name: &str| needed.contains(name) || !idle.contains(name);
    graph.node.retain(|node| node.output.iter().any(|name| stays(name)));
    graph.initializer.retain(|tensor| stays(tensor.label()));
    graph.input.retain(|info| stays(info.name()));
    graph.value_info.retain(|info| stays(info.name()));
    graph.output = kept;
    model.with_proto(proto)
}

/// The values from which outputs are computed.
pub(crate) struct GraphPart {
    /// The outputs and everything from which they are computed.
    pub(crate) needed: HashSet<ValueId>,
    /// Those of the values that become constants, so their sources are not needed.
    pub(crate) folded: HashSet<ValueId>,
}

impl GraphPart {
    /// Walks back from the outputs to the inputs, or to values for which `stop` is true.
    pub(crate) fn find(graph: &Graph, outputs: &[ValueId], stop: &dyn Fn(ValueId) -> bool) -> Self {
        let folds = |value: ValueId| {
            !stop(value) && !outputs.contains(&value) && Self::is_known(graph, value)
        };
        let needed = graph.upstream(outputs.iter().copied(), |value| !stop(value) && !folds(value));
        let folded = needed.iter().copied().filter(|value| folds(*value)).collect();
        Self { needed, folded }
    }

    /// Whether a node's output is a known constant.
    pub(crate) fn is_known(graph: &Graph, value: ValueId) -> bool {
        let from_node = matches!(graph.origin(value), Origin::Node(_));
        from_node && as_tensor(graph.name(value), graph.fact(value)).is_some()
    }

    /// The part as a model with those inputs.
    pub(crate) fn model(
        &self,
        graph: &Graph,
        inputs: &[ValueId],
        outputs: &[ValueId],
    ) -> Result<Model> {
        let Self { needed, folded } = self;
        let body = graph.body();
        let given: HashSet<ValueId> = inputs.iter().copied().collect();
        let kept = |id: &ValueId| needed.contains(id) && !given.contains(id);
        let mut initializer: Vec<TensorProto> = body
            .initializer
            .iter()
            .filter(|tensor| graph.find(tensor.label()).as_ref().is_some_and(kept))
            .cloned()
            .collect();
        let mut constants: Vec<ValueId> = folded.iter().copied().collect();
        constants.sort_unstable();
        initializer
            .extend(constants.iter().filter_map(|&id| as_tensor(graph.name(id), graph.fact(id))));
        let node = graph
            .nodes()
            .filter(|(id, _)| {
                let outputs = graph.node_outputs(*id).iter().flatten();
                outputs.clone().any(|out| kept(out) && !folded.contains(out))
            })
            .map(|(id, node)| {
                let apart = |out: ValueId| given.contains(&out) || folded.contains(&out);
                without(graph, id, node, &apart)
            })
            .collect();
        let info = |id: ValueId| -> ValueInfoProto { declare(graph.name(id), graph.fact(id)) };
        let inner = graph.values().filter(|id| {
            needed.contains(id)
                && !folded.contains(id)
                && !outputs.contains(id)
                && !given.contains(id)
                && matches!(graph.origin(*id), Origin::Node(_))
                && graph.fact(*id).elem != DataType::Undefined
        });
        let pruned = GraphProto {
            node,
            initializer,
            input: inputs.iter().map(|&id| info(id)).collect(),
            output: outputs.iter().map(|&id| info(id)).collect(),
            value_info: inner.map(info).collect(),
            ..body.clone_header()
        };
        let mut proto = graph.model().proto().clone();
        proto.graph = Some(pruned);
        // Before IR version 4, the inputs had to include each initializer.
        proto.ir_version = proto.ir_version.max(Some(4));
        let pruned = graph.model().with_proto(proto);
        if cfg!(debug_assertions) {
            crate::verify::verify(&pruned)?;
            crate::verify::verify_appended(graph, &|id| kept(&id) && !folded.contains(&id))?;
        }
        Ok(pruned)
    }
}

/// The node without the given outputs: they get unused names.
fn without(
    graph: &Graph,
    id: NodeId,
    node: &NodeProto,
    apart: &dyn Fn(ValueId) -> bool,
) -> NodeProto {
    let mut node = node.clone();
    for (name, value) in node.output.iter_mut().zip(graph.node_outputs(id)) {
        if value.is_some_and(apart) {
            while graph.find(name).is_some() {
                name.push_str("/unused");
            }
        }
    }
    node
}

impl GraphProto {
    /// Name, documentation and metadata, without nodes and tensors.
    pub(crate) fn clone_header(&self) -> Self {
        Self {
            name: self.name.clone(),
            doc_string: self.doc_string.clone(),
            metadata_props: self.metadata_props.clone(),
            ..Self::default()
        }
    }
}

/// A known value as a tensor message; `None` if its numbers are unknown.
pub(crate) fn as_tensor(name: &str, fact: &Fact) -> Option<TensorProto> {
    let value = fact.value.as_ref()?;
    let dims = fact.sizes()?;
    let raw: Vec<u8> = match (value, fact.elem) {
        (ConstantValue::Ints(_), elem) => {
            let ints = fact.ints()?;
            match elem {
                DataType::Int64 => ints.iter().flat_map(|n| n.to_le_bytes()).collect(),
                DataType::Int32 => {
                    let narrow: Option<Vec<i32>> =
                        ints.iter().map(|&n| i32::try_from(n).ok()).collect();
                    narrow?.iter().flat_map(|n| n.to_le_bytes()).collect()
                }
                DataType::Bool => ints.iter().map(|&n| u8::from(n != 0)).collect(),
                _ => return None,
            }
        }
        #[expect(clippy::cast_possible_truncation, reason = "the value is a float32")]
        (ConstantValue::Floats(floats), DataType::Float) => {
            floats.iter().flat_map(|&n| (n as f32).to_le_bytes()).collect()
        }
        (ConstantValue::Floats(floats), DataType::Double) => {
            floats.iter().flat_map(|n| n.to_le_bytes()).collect()
        }
        (ConstantValue::Floats(_), _) => return None,
    };
    Some(TensorProto {
        name: Some(name.to_owned()),
        data_type: Some(fact.elem as i32),
        dims,
        raw_data: Some(raw.into()),
        ..TensorProto::default()
    })
}
