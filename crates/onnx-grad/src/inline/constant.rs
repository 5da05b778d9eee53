//! Converts `Constant` nodes to initializers.

use crate::proto::{NodeProto, TensorProto, tensor_proto::DataType};

/// Whether a node is a numeric `Constant`.
pub(super) fn is_constant(node: &NodeProto) -> bool {
    node.op() == "Constant" && node.op_domain().is_empty()
}

/// The tensor of a `Constant`, with the name of its output; `None` for other nodes, text and sparse
/// tensors. <https://onnx.ai/onnx/operators/onnx__Constant.html>
pub(super) fn tensor(node: &NodeProto) -> Option<TensorProto> {
    let ([output], [attribute]) = (node.output.as_slice(), node.attribute.as_slice()) else {
        return None;
    };
    if !is_constant(node) {
        return None;
    }
    let numbers = |elem: DataType, dims: Vec<i64>, raw: Vec<u8>| TensorProto {
        data_type: Some(elem as i32),
        dims,
        raw_data: Some(raw.into()),
        ..TensorProto::default()
    };
    let list = |count: usize| i64::try_from(count).ok().map(|count| vec![count]);
    let bytes = |floats: &[f32]| floats.iter().flat_map(|f| f.to_le_bytes()).collect();
    let tensor = match attribute.name.as_deref()? {
        "value" => attribute.t.clone()?,
        "value_float" => numbers(DataType::Float, vec![], bytes(&[attribute.f?])),
        "value_floats" => {
            numbers(DataType::Float, list(attribute.floats.len())?, bytes(&attribute.floats))
        }
        "value_int" => numbers(DataType::Int64, vec![], attribute.i?.to_le_bytes().into()),
        "value_ints" => {
            let raw = attribute.ints.iter().flat_map(|n| n.to_le_bytes()).collect();
            numbers(DataType::Int64, list(attribute.ints.len())?, raw)
        }
        _ => return None,
    };
    Some(TensorProto { name: Some(output.clone()), ..tensor })
}
