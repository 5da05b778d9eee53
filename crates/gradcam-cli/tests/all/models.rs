//! Small ONNX models, made node by node.

use gradcam::onnx_grad::proto::{
    AttributeProto, NodeProto, StringStringEntryProto, TensorProto,
    tensor_proto::{DataLocation, DataType},
};
use prost::Message;
use testkit::build::{self, constant, f32s, i64s, int, ints};

/// A model under construction. Values are named by the caller.
#[derive(Default)]
pub(crate) struct Net {
    inputs: Vec<Value>,
    outputs: Vec<Value>,
    constants: Vec<TensorProto>,
    nodes: Vec<NodeProto>,
}

/// Name, type and sizes; a size of 0 stays open.
type Value = (String, DataType, Vec<i64>);

impl Net {
    /// A model with the input `x` of floats.
    pub(crate) fn new(input: &[i64]) -> Self {
        Self::default().also_takes("x", DataType::Float, input)
    }

    /// Changes the element type of the input.
    pub(crate) fn takes(mut self, elem: DataType) -> Self {
        self.inputs[0].1 = elem;
        self
    }

    /// Another input.
    pub(crate) fn also_takes(mut self, name: &str, elem: DataType, dims: &[i64]) -> Self {
        self.inputs.push((name.to_owned(), elem, dims.to_vec()));
        self
    }

    /// An output before that of [`Net::model`].
    pub(crate) fn also_gives(mut self, name: &str, elem: DataType, dims: &[i64]) -> Self {
        self.outputs.push((name.to_owned(), elem, dims.to_vec()));
        self
    }

    /// A node that is called as PyTorch calls it in a module of its output's name.
    pub(crate) fn node(
        mut self,
        op: &str,
        inputs: &[&str],
        output: &str,
        attributes: &[AttributeProto],
    ) -> Self {
        let node = build::node(op, inputs, &[output], attributes.to_vec());
        self.nodes.push(NodeProto { name: Some(format!("/{output}/{op}")), ..node });
        self
    }

    /// A weight with values that go up and down.
    pub(crate) fn weight(mut self, name: &str, dims: &[i64]) -> Self {
        let count: i64 = dims.iter().product();
        let wave = |place: i64| ((place * 37 % 23) as f32 - 11.0) / 23.0;
        self.constants.push(f32s(name, dims, &(0..count).map(wave).collect::<Vec<_>>()));
        self
    }

    pub(crate) fn ints(mut self, name: &str, values: &[i64]) -> Self {
        let dims = [i64::try_from(values.len()).expect("few")];
        self.constants.push(i64s(name, &dims, values));
        self
    }

    /// A weight that lies in another file.
    pub(crate) fn external(mut self, name: &str, dims: &[i64], location: &str) -> Self {
        let entry = StringStringEntryProto {
            key: Some("location".to_owned()),
            value: Some(location.to_owned()),
        };
        self.constants.push(TensorProto {
            data_location: Some(DataLocation::External as i32),
            external_data: vec![entry],
            raw_data: None,
            ..constant(name, DataType::Float, dims, vec![])
        });
        self
    }

    /// The bytes of a model whose output is that value, [1, 5].
    pub(crate) fn model(self, output: &str) -> Vec<u8> {
        let net = self.also_gives(output, DataType::Float, &[1, 5]);
        let mut model = build::model(18, &[], &[], net.constants, net.nodes);
        let value = |(name, elem, dims): &Value| build::value(name, *elem, Some(dims));
        let graph = model.graph.as_mut().expect("a graph");
        graph.input = net.inputs.iter().map(value).collect();
        graph.output = net.outputs.iter().map(value).collect();
        model.encode_to_vec()
    }

    /// Conv(3 → 4) and Relu from `x`, called `conv` and `act`.
    pub(crate) fn stem(self) -> Self {
        let net = self.weight("w", &[4, 3, 3, 3]).node("Conv", &["x", "w"], "conv", &conv(1));
        net.node("Relu", &["conv"], "act", &[])
    }

    /// Global pooling and a linear layer from a value [N, 4, H, W] to five scores, as a model.
    pub(crate) fn head(self, from: &str) -> Vec<u8> {
        self.weight("fc_w", &[5, 4])
            .node("GlobalAveragePool", &[from], "pool", &[])
            .node("Flatten", &["pool"], "flat", &[])
            .node("Gemm", &["flat", "fc_w"], "scores", &[int("transB", 1)])
            .model("scores")
    }
}

/// The attributes of a convolution.
pub(crate) fn conv(pads: i64) -> [AttributeProto; 3] {
    [ints("dilations", &[1; 2]), ints("pads", &[pads; 4]), ints("strides", &[1; 2])]
}

/// The usual small classifier of five classes, for images of 8x8 pixels.
pub(crate) fn classifier() -> Vec<u8> {
    Net::new(&[1, 3, 8, 8]).stem().head("act")
}
