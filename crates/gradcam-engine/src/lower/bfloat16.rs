//! bfloat16 as float32: ONNX Runtime has few CPU kernels for bfloat16, and float32 represents each of its numbers.

use onnx_grad::proto::{GraphProto, tensor_proto::DataType};

use super::nodes::retype;
use crate::tensor::type_of;

/// The attributes that name an element type.
const TYPES: [&str; 3] = ["dtype", "output_dtype", "to"];

/// Declares bfloat16 values as float32 and casts to float32 instead. Tensors are widened when they are read.
pub(crate) fn widen(graph: &mut GraphProto) {
    let values = graph.input.iter_mut().chain(&mut graph.output).chain(&mut graph.value_info);
    for value in values {
        if type_of(value).0 == DataType::Bfloat16 {
            retype(value, DataType::Float);
        }
    }
    for attribute in graph.node.iter_mut().flat_map(|node| &mut node.attribute) {
        let names_a_type = TYPES.iter().any(|name| attribute.name.as_deref() == Some(*name));
        if names_a_type && attribute.i == Some(DataType::Bfloat16 as i64) {
            attribute.i = Some(DataType::Float as i64);
        }
        attribute.g.iter_mut().chain(&mut attribute.graphs).for_each(widen);
    }
}
