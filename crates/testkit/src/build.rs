//! Builds small models from ONNX messages.

use onnx_grad::proto::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto,
    TensorShapeProto, TypeProto, ValueInfoProto,
    attribute_proto::AttributeType,
    tensor_proto::DataType,
    tensor_shape_proto::{Dimension, dimension::Value as DimValue},
    type_proto,
};

/// A declared value. A negative size is the open batch `n`, 0 is an open size without a name, and empty dims are an
/// unknown shape.
pub fn value(name: &str, elem: DataType, dims: Option<&[i64]>) -> ValueInfoProto {
    let dim = |&size: &i64| Dimension {
        value: match size {
            ..0 => Some(DimValue::DimParam("n".to_owned())),
            0 => None,
            1.. => Some(DimValue::DimValue(size)),
        },
        ..Dimension::default()
    };
    let tensor = type_proto::Tensor {
        elem_type: Some(elem as i32),
        shape: dims.map(|dims| TensorShapeProto { dim: dims.iter().map(dim).collect() }),
    };
    ValueInfoProto {
        name: Some(name.to_owned()),
        r#type: Some(TypeProto {
            value: Some(type_proto::Value::TensorType(tensor)),
            ..TypeProto::default()
        }),
        ..ValueInfoProto::default()
    }
}

/// A model with one graph. Its outputs are all values that no node reads.
pub fn model(
    opset: i64,
    inputs: &[(&str, DataType, &[i64])],
    outputs: &[(&str, DataType)],
    constants: Vec<TensorProto>,
    nodes: Vec<NodeProto>,
) -> ModelProto {
    ModelProto {
        ir_version: Some(8),
        opset_import: vec![OperatorSetIdProto {
            domain: Some(String::new()),
            version: Some(opset),
        }],
        graph: Some(GraphProto {
            name: Some("test".to_owned()),
            input: inputs.iter().map(|(n, elem, dims)| value(n, *elem, Some(dims))).collect(),
            output: outputs.iter().map(|(n, elem)| value(n, *elem, None)).collect(),
            initializer: constants,
            node: nodes,
            ..GraphProto::default()
        }),
        ..ModelProto::default()
    }
}

/// A node, named after its operator and output.
pub fn node(
    op: &str,
    inputs: &[&str],
    outputs: &[&str],
    attribute: Vec<AttributeProto>,
) -> NodeProto {
    NodeProto {
        name: Some(format!("{op}.{}", outputs[0])),
        op_type: Some(op.to_owned()),
        input: inputs.iter().map(|&n| n.to_owned()).collect(),
        output: outputs.iter().map(|&n| n.to_owned()).collect(),
        attribute,
        ..NodeProto::default()
    }
}

fn attribute(name: &str, kind: AttributeType) -> AttributeProto {
    AttributeProto {
        name: Some(name.to_owned()),
        r#type: Some(kind as i32),
        ..AttributeProto::default()
    }
}

/// An attribute with one integer.
pub fn int(name: &str, value: i64) -> AttributeProto {
    AttributeProto { i: Some(value), ..attribute(name, AttributeType::Int) }
}

/// An attribute with integers.
pub fn ints(name: &str, values: &[i64]) -> AttributeProto {
    AttributeProto { ints: values.to_vec(), ..attribute(name, AttributeType::Ints) }
}

/// An attribute with one float.
pub fn float(name: &str, value: f32) -> AttributeProto {
    AttributeProto { f: Some(value), ..attribute(name, AttributeType::Float) }
}

/// An attribute with floats.
pub fn floats(name: &str, values: &[f32]) -> AttributeProto {
    AttributeProto { floats: values.to_vec(), ..attribute(name, AttributeType::Floats) }
}

/// An attribute with text.
pub fn text(name: &str, value: &str) -> AttributeProto {
    AttributeProto {
        s: Some(value.as_bytes().to_vec().into()),
        ..attribute(name, AttributeType::String)
    }
}

/// An attribute with a graph that captures outer values and has one output.
pub fn graph(name: &str, nodes: Vec<NodeProto>, output: &str) -> AttributeProto {
    let graph = GraphProto {
        name: Some(name.to_owned()),
        node: nodes,
        output: vec![value(output, DataType::Float, None)],
        ..GraphProto::default()
    };
    AttributeProto { g: Some(graph), ..attribute(name, AttributeType::Graph) }
}

/// A constant of any type from its bytes.
pub fn constant(name: &str, elem: DataType, dims: &[i64], raw: Vec<u8>) -> TensorProto {
    TensorProto {
        name: Some(name.to_owned()),
        data_type: Some(elem as i32),
        dims: dims.to_vec(),
        raw_data: Some(raw.into()),
        ..TensorProto::default()
    }
}

/// A float32 constant.
pub fn f32s(name: &str, dims: &[i64], numbers: &[f32]) -> TensorProto {
    constant(name, DataType::Float, dims, numbers.iter().flat_map(|n| n.to_le_bytes()).collect())
}

/// An int64 constant.
pub fn i64s(name: &str, dims: &[i64], numbers: &[i64]) -> TensorProto {
    constant(name, DataType::Int64, dims, numbers.iter().flat_map(|n| n.to_le_bytes()).collect())
}

/// Numbers between -1.5 and 1.5 that are exact in float16.
pub fn ramp(count: usize) -> Vec<f32> {
    (0..count).map(|i| ((i * 7919) % 97) as f32 / 32.0 - 1.5).collect()
}

/// A constant with these dims, filled from the end of the ramp.
///
/// # Panics
/// If a size is negative.
#[expect(clippy::unwrap_used, reason = "only tests call this function")]
pub fn weights(name: &str, dims: &[i64]) -> TensorProto {
    let count = usize::try_from(dims.iter().product::<i64>()).unwrap();
    f32s(name, dims, &ramp(count + 31)[31..])
}
