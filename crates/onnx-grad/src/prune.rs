//! The other pass that rewrites, on the way to an engine: what nobody asked for is left out, and a
//! node whose value is known becomes an initializer of the same name.

use std::collections::HashSet;

use crate::{
    error::Result,
    facts::{Fact, Value},
    graph::{Graph, Origin, ValueId, declare},
    model::Model,
    proto::{GraphProto, TensorProto, ValueInfoProto, tensor_proto::DataType},
    verify::verify_emitted,
};

/// The part of a graph that computes the given outputs, as a model. Every value is declared with its
/// type and shape.
///
/// # Errors
/// `InvalidModel` in debug builds, where a pass broke what must hold.
pub fn prune(graph: &Graph, outputs: &[ValueId]) -> Result<Model> {
    let mut needed = HashSet::new();
    let mut folded = HashSet::new();
    let mut open: Vec<ValueId> = outputs.to_vec();
    while let Some(value) = open.pop() {
        if !needed.insert(value) {
            continue;
        }
        let Some(node) = graph.producer(value) else { continue };
        if !outputs.contains(&value) && as_tensor(graph.name(value), graph.fact(value)).is_some() {
            folded.insert(value);
            continue;
        }
        open.extend(graph.node_inputs(node).iter().flatten());
        open.extend(graph.node_captures(node));
    }
    let body = graph.body();
    let kept = |id: &ValueId| needed.contains(id);
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
            // A value that a cut made an input has lost its producer.
            let made = |out: &&ValueId| graph.origin(**out) == Origin::Node(*id);
            let mut outputs = graph.node_outputs(*id).iter().flatten().filter(made);
            outputs.any(|out| needed.contains(out) && !folded.contains(out))
        })
        .map(|(_, node)| node.clone())
        .collect();
    let info = |id: ValueId| -> ValueInfoProto { declare(graph.name(id), graph.fact(id)) };
    let input = graph.inputs().iter().filter(|id| needed.contains(id)).map(|&id| info(id));
    let inner = graph.values().filter(|id| {
        needed.contains(id)
            && !folded.contains(id)
            && !outputs.contains(id)
            && matches!(graph.origin(*id), Origin::Node(_))
            && graph.fact(*id).elem != DataType::Undefined
    });
    let pruned = GraphProto {
        node,
        initializer,
        input: input.collect(),
        output: outputs.iter().map(|&id| info(id)).collect(),
        value_info: inner.map(info).collect(),
        ..body.clone_header()
    };
    let mut proto = graph.model().proto().clone();
    proto.graph = Some(pruned);
    let pruned = graph.model().with_proto(proto);
    if cfg!(debug_assertions) {
        verify_emitted(&pruned)?;
    }
    Ok(pruned)
}

impl GraphProto {
    /// Name, documentation and metadata without nodes and tensors.
    fn clone_header(&self) -> Self {
        Self {
            name: self.name.clone(),
            doc_string: self.doc_string.clone(),
            metadata_props: self.metadata_props.clone(),
            ..Self::default()
        }
    }
}

/// A known value as a tensor message; `None` where the value is not known in numbers.
fn as_tensor(name: &str, fact: &Fact) -> Option<TensorProto> {
    let value = fact.value.as_ref()?;
    let dims = fact.sizes()?;
    let raw: Vec<u8> = match (value, fact.elem) {
        (Value::Ints(_), elem) => {
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
        (Value::Floats(floats), DataType::Float) => {
            floats.iter().flat_map(|&n| (n as f32).to_le_bytes()).collect()
        }
        (Value::Floats(floats), DataType::Double) => {
            floats.iter().flat_map(|n| n.to_le_bytes()).collect()
        }
        (Value::Floats(_), _) => return None,
    };
    Some(TensorProto {
        name: Some(name.to_owned()),
        data_type: Some(fact.elem as i32),
        dims,
        raw_data: Some(raw.into()),
        ..TensorProto::default()
    })
}
