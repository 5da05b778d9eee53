//! Models of a fixed batch.

use std::fs;

use gradcam::Model;
use onnx_grad::proto::{ModelProto, tensor_shape_proto::dimension, type_proto};
use prost::Message;
use testkit::fixture;

/// The model of a fixture, which takes this number of images at once.
pub(crate) fn with_batch(name: &str, batch: i64) -> Model {
    let bytes = fs::read(fixture(name)).expect("a file");
    let mut proto = ModelProto::decode(bytes.as_slice()).expect("a model");
    let graph = proto.graph.as_mut().expect("a graph");
    for value in graph.input.iter_mut().chain(&mut graph.output) {
        let kind = value.r#type.as_mut().and_then(|kind| kind.value.as_mut());
        let Some(type_proto::Value::TensorType(tensor)) = kind else { panic!("no tensor") };
        let shape = tensor.shape.as_mut().expect("a shape");
        shape.dim[0].value = Some(dimension::Value::DimValue(batch));
    }
    Model::from_bytes(proto.encode_to_vec()).expect("a model")
}
