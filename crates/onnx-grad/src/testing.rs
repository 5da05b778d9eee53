//! Small models for unit tests.

use crate::{
    Model,
    facts::Fact,
    graph::declare,
    proto::{
        AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto,
        ValueInfoProto, attribute_proto::AttributeType, tensor_proto::DataType,
    },
};

/// A model at opset 17: float inputs with sizes, nodes as (operator, inputs, output), one output.
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

/// A model at opset 17 with one graph.
pub(crate) fn wrap(graph: GraphProto) -> Model {
    let proto = ModelProto {
        ir_version: Some(8),
        opset_import: vec![OperatorSetIdProto { domain: None, version: Some(17) }],
        graph: Some(graph),
        ..ModelProto::default()
    };
    Model::from_bytes(prost::Message::encode_to_vec(&proto)).expect("a model")
}

/// A node with the name of its first output.
pub(crate) fn node(op: &str, inputs: &[&str], outputs: &[&str]) -> NodeProto {
    let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
    NodeProto {
        op_type: Some(op.to_owned()),
        name: outputs.first().map(|&name| name.to_owned()),
        input: names(inputs),
        output: names(outputs),
        ..NodeProto::default()
    }
}

/// An attribute with a subgraph of those nodes and outputs.
pub(crate) fn subgraph(name: &str, nodes: Vec<NodeProto>, outputs: &[&str]) -> AttributeProto {
    let output =
        |&name: &&str| ValueInfoProto { name: Some(name.to_owned()), ..ValueInfoProto::default() };
    AttributeProto {
        name: Some(name.to_owned()),
        r#type: Some(AttributeType::Graph as i32),
        g: Some(GraphProto {
            node: nodes,
            output: outputs.iter().map(output).collect(),
            ..GraphProto::default()
        }),
        ..AttributeProto::default()
    }
}

/// A one-dimensional float tensor.
pub(crate) fn floats(name: &str, numbers: &[f32]) -> TensorProto {
    let raw: Vec<u8> = numbers.iter().flat_map(|n| n.to_le_bytes()).collect();
    TensorProto {
        name: Some(name.to_owned()),
        data_type: Some(DataType::Float as i32),
        dims: vec![i64::try_from(numbers.len()).expect("few numbers")],
        raw_data: Some(raw.into()),
        ..TensorProto::default()
    }
}

/// A boolean scalar.
pub(crate) fn truth(name: &str, value: bool) -> TensorProto {
    TensorProto {
        name: Some(name.to_owned()),
        data_type: Some(DataType::Bool as i32),
        raw_data: Some(vec![u8::from(value)].into()),
        ..TensorProto::default()
    }
}
