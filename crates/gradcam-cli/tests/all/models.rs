//! Small ONNX models, made node by node.

use gradcam::onnx_grad::proto::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, StringStringEntryProto,
    TensorProto, TensorShapeProto, TypeProto, ValueInfoProto,
    attribute_proto::AttributeType,
    tensor_proto::{DataLocation, DataType},
    tensor_shape_proto::{Dimension, dimension},
    type_proto,
};
use prost::Message;

/// A graph under construction. Values are named by the caller.
#[derive(Default)]
pub(crate) struct Net(GraphProto);

/// An attribute with its value.
pub(crate) enum Attr {
    Int(i64),
    Ints(Vec<i64>),
}

impl Net {
    /// A graph with the input `x`; a size of 0 stays open.
    pub(crate) fn new(input: &[i64]) -> Self {
        let mut net = Self::default();
        net.0.name = Some("test".to_owned());
        net.0.input = vec![value("x", input)];
        net
    }

    /// Changes the element type of the input.
    pub(crate) fn takes(mut self, elem: DataType) -> Self {
        retype(&mut self.0.input[0], elem);
        self
    }

    /// Another input; a size of 0 stays open.
    pub(crate) fn also_takes(mut self, name: &str, elem: DataType, dims: &[i64]) -> Self {
        self.0.input.push(value(name, dims));
        self.0.input.last_mut().into_iter().for_each(|info| retype(info, elem));
        self
    }

    /// An output before that of [`Net::model`].
    pub(crate) fn also_gives(mut self, name: &str, elem: DataType, dims: &[i64]) -> Self {
        self.0.output.push(value(name, dims));
        self.0.output.last_mut().into_iter().for_each(|info| retype(info, elem));
        self
    }

    pub(crate) fn node(
        mut self,
        op: &str,
        inputs: &[&str],
        output: &str,
        attrs: &[(&str, Attr)],
    ) -> Self {
        let attribute = |(name, value): &(&str, Attr)| {
            let mut proto =
                AttributeProto { name: Some((*name).to_owned()), ..AttributeProto::default() };
            match value {
                Attr::Int(value) => {
                    proto.r#type = Some(AttributeType::Int as i32);
                    proto.i = Some(*value);
                }
                Attr::Ints(values) => {
                    proto.r#type = Some(AttributeType::Ints as i32);
                    proto.ints = values.clone();
                }
            }
            proto
        };
        self.0.node.push(NodeProto {
            op_type: Some(op.to_owned()),
            name: Some(format!("/{output}/{op}")),
            input: inputs.iter().map(|name| (*name).to_owned()).collect(),
            output: vec![output.to_owned()],
            attribute: attrs.iter().map(attribute).collect(),
            ..NodeProto::default()
        });
        self
    }

    /// A weight with values that go up and down.
    pub(crate) fn weight(mut self, name: &str, dims: &[i64]) -> Self {
        let count: i64 = dims.iter().product();
        let wave = |place: i64| ((place * 37 % 23) as f32 - 11.0) / 23.0;
        let bytes: Vec<u8> = (0..count).flat_map(|place| wave(place).to_le_bytes()).collect();
        let raw_data = Some(bytes.into());
        self.0.initializer.push(TensorProto { raw_data, ..tensor(name, dims, DataType::Float) });
        self
    }

    pub(crate) fn ints(mut self, name: &str, values: &[i64]) -> Self {
        let dims = [i64::try_from(values.len()).expect("few")];
        let int64_data = values.to_vec();
        self.0.initializer.push(TensorProto { int64_data, ..tensor(name, &dims, DataType::Int64) });
        self
    }

    /// A weight that lies in another file.
    pub(crate) fn external(mut self, name: &str, dims: &[i64], location: &str) -> Self {
        let entry = StringStringEntryProto {
            key: Some("location".to_owned()),
            value: Some(location.to_owned()),
        };
        self.0.initializer.push(TensorProto {
            data_location: Some(DataLocation::External as i32),
            external_data: vec![entry],
            ..tensor(name, dims, DataType::Float)
        });
        self
    }

    /// The bytes of a model whose output is that value, [1, 5].
    pub(crate) fn model(mut self, output: &str) -> Vec<u8> {
        self.0.output.push(value(output, &[1, 5]));
        let opset = OperatorSetIdProto { domain: Some(String::new()), version: Some(18) };
        let model = ModelProto {
            ir_version: Some(8),
            opset_import: vec![opset],
            graph: Some(self.0),
            ..ModelProto::default()
        };
        model.encode_to_vec()
    }

    /// Conv(3 → 4) and Relu from `x`, called `conv` and `act`.
    pub(crate) fn stem(self) -> Self {
        self.weight("w", &[4, 3, 3, 3]).node("Conv", &["x", "w"], "conv", &conv(1)).node(
            "Relu",
            &["conv"],
            "act",
            &[],
        )
    }

    /// Global pooling and a linear layer from a value [N, 4, H, W] to five scores, as a model.
    pub(crate) fn head(self, from: &str) -> Vec<u8> {
        self.weight("fc_w", &[5, 4])
            .node("GlobalAveragePool", &[from], "pool", &[])
            .node("Flatten", &["pool"], "flat", &[])
            .node("Gemm", &["flat", "fc_w"], "scores", &[("transB", Attr::Int(1))])
            .model("scores")
    }
}

/// The attributes of a convolution.
pub(crate) fn conv(pads: i64) -> [(&'static str, Attr); 3] {
    [
        ("dilations", Attr::Ints(vec![1; 2])),
        ("pads", Attr::Ints(vec![pads; 4])),
        ("strides", Attr::Ints(vec![1; 2])),
    ]
}

/// The usual small classifier of five classes, for images of 8x8 pixels.
pub(crate) fn classifier() -> Vec<u8> {
    Net::new(&[1, 3, 8, 8]).stem().head("act")
}

fn tensor(name: &str, dims: &[i64], elem: DataType) -> TensorProto {
    TensorProto {
        name: Some(name.to_owned()),
        dims: dims.to_vec(),
        data_type: Some(elem as i32),
        ..TensorProto::default()
    }
}

fn retype(info: &mut ValueInfoProto, elem: DataType) {
    let tensor = info.r#type.as_mut().and_then(|kind| kind.value.as_mut());
    if let Some(type_proto::Value::TensorType(tensor)) = tensor {
        tensor.elem_type = Some(elem as i32);
    }
}

fn value(name: &str, dims: &[i64]) -> ValueInfoProto {
    let dim = |size: &i64| Dimension {
        value: (*size > 0).then_some(dimension::Value::DimValue(*size)),
        ..Dimension::default()
    };
    let shape = TensorShapeProto { dim: dims.iter().map(dim).collect() };
    let tensor = type_proto::Tensor { elem_type: Some(DataType::Float as i32), shape: Some(shape) };
    ValueInfoProto {
        name: Some(name.to_owned()),
        r#type: Some(TypeProto {
            value: Some(type_proto::Value::TensorType(tensor)),
            ..TypeProto::default()
        }),
        ..ValueInfoProto::default()
    }
}
