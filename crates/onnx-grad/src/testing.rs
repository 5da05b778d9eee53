//! Small models for unit tests.

use crate::{
    Model,
    facts::Fact,
    graph::declare,
    proto::{GraphProto, ModelProto, NodeProto, OperatorSetIdProto, tensor_proto::DataType},
};

/// A model at opset 17: float inputs with their sizes, nodes as (operator, inputs, output), one output.
pub(crate) fn model(
    inputs: &[(&str, &[i64])],
    nodes: &[(&str, &[&str], &str)],
    output: &str,
) -> Model {
    let node = |(op, inputs, output): &(&str, &[&str], &str)| NodeProto {
        name: Some((*output).to_owned()),
        op_type: Some((*op).to_owned()),
        input: inputs.iter().map(|&name| name.to_owned()).collect(),
        output: vec![(*output).to_owned()],
        ..NodeProto::default()
    };
    let input = |(name, sizes): &(&str, &[i64])| {
        let dims: Vec<_> = sizes.iter().map(|&size| size.into()).collect();
        declare(name, &Fact::new(DataType::Float, dims))
    };
    let graph = GraphProto {
        input: inputs.iter().map(input).collect(),
        node: nodes.iter().map(node).collect(),
        output: vec![declare(output, &Fact { elem: DataType::Float, ..Fact::default() })],
        ..GraphProto::default()
    };
    wrap(graph)
}

/// A model at opset 17 of one graph.
pub(crate) fn wrap(graph: GraphProto) -> Model {
    let proto = ModelProto {
        ir_version: Some(8),
        opset_import: vec![OperatorSetIdProto { domain: None, version: Some(17) }],
        graph: Some(graph),
        ..ModelProto::default()
    };
    Model::from_bytes(prost::Message::encode_to_vec(&proto)).expect("a model")
}
