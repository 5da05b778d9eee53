//! Which weights a graph uses.

use onnx_grad::proto::{GraphProto, ModelProto, TensorProto};

use super::error::Result;

/// Calls `visit` for every tensor of the message: initializers, attributes, subgraphs.
pub(super) fn visit_tensors(
    proto: &mut ModelProto,
    visit: &mut dyn FnMut(&mut TensorProto) -> Result<()>,
) -> Result<()> {
    proto.graph.as_mut().map_or(Ok(()), |graph| visit_graph(graph, visit))
}

fn visit_graph(
    graph: &mut GraphProto,
    visit: &mut dyn FnMut(&mut TensorProto) -> Result<()>,
) -> Result<()> {
    graph.initializer.iter_mut().try_for_each(&mut *visit)?;
    for attribute in graph.node.iter_mut().flat_map(|node| &mut node.attribute) {
        attribute.t.iter_mut().chain(&mut attribute.tensors).try_for_each(&mut *visit)?;
        for graph in attribute.g.iter_mut().chain(&mut attribute.graphs) {
            visit_graph(graph, visit)?;
        }
    }
    Ok(())
}

/// Says in the message where the bytes of an external tensor lie.
pub(super) fn set_location(tensor: &mut TensorProto, location: &str, offset: u64, len: usize) {
    let values = [location.to_owned(), offset.to_string(), len.to_string()];
    tensor.external_data = ["location", "offset", "length"]
        .into_iter()
        .zip(values)
        .map(|(key, value)| onnx_grad::proto::StringStringEntryProto {
            key: Some(key.to_owned()),
            value: Some(value),
        })
        .collect();
}
