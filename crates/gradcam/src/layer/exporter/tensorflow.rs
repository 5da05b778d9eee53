//! tf2onnx: TensorFlow's scopes in the names of nodes and values, and in the scopes the layers of Keras.
//!
//! A convolution that a norm was folded into is in the norm's scope. In files of Keras its weights keep the name of the
//! convolution.

use onnx_grad::{
    graph::{Graph, NodeId, ValueId},
    op::{self, Kind},
};

use super::written_name::written_name;

/// The prefixes that TensorFlow adds to the graph of a SavedModel.
const CALLS: [&str; 2] = ["StatefulPartitionedCall/", "PartitionedCall/"];

/// Whether node names have TensorFlow's form.
pub(super) fn is_scoped_graph(graph: &Graph) -> bool {
    graph.nodes().any(|(_, node)| node.name.as_deref().is_some_and(is_scoped))
}

/// Whether the scopes are those of Keras 3.
pub(super) fn is_keras(graph: &Graph) -> bool {
    if !is_scoped_graph(graph) {
        return false;
    }
    let nodes = graph.nodes().filter_map(|(_, node)| node.name.as_deref());
    let names = nodes.chain(graph.values().map(|value| graph.name(value)));
    // Only Keras 3 has an operator's scope called `convolution`, and casts the weights of linear layers.
    let numbered = names.filter_map(|name| {
        let name = outside_calls(name);
        let of_linear = || name.find("/Cast/ReadVariableOp");
        let layer = &name[..name.find("/convolution").or_else(of_linear)?];
        Some(layer.split('/').all(|segment| without_call(segment).is_some()))
    });
    let (all, any) = numbered.fold((true, false), |(all, _), numbered| (all && numbered, true));
    all && any
}

/// The module path of a node in a file of Keras; empty for a node of the network itself.
pub(super) fn keras_module(graph: &Graph, id: NodeId) -> Option<String> {
    Some(Scoping::Keras.module(graph, id))
}

/// The module path of a node in another file of TensorFlow; empty for a node of the network itself.
pub(super) fn plain_module(graph: &Graph, id: NodeId) -> Option<String> {
    Some(Scoping::Plain.module(graph, id))
}

/// The path of the convolution, by its weights, if a norm was folded into it.
pub(super) fn keras_folded(graph: &Graph, id: NodeId) -> Option<String> {
    let weights = graph.node_inputs(id).get(1).copied().flatten();
    let weights = weights.filter(|_| is_convolution(graph, id))?;
    let own = Scoping::Keras.of_node(graph, id)?;
    Scoping::Keras.of_weights(graph, weights).filter(|path| *path != own)
}

/// How scopes name layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scoping {
    /// A scope is a layer: `MobilenetV2/expanded_conv_9/project`.
    Plain,
    /// The first scope is the model, and each layer has an additional number: `resnet50_1/conv5_block3_out_1/Relu`.
    /// Keras 3 opens the scope of each layer twice, and TensorFlow makes the name unique the second time: `conv2d`
    /// becomes `conv2d_1`, and the layer `conv2d_1` becomes `conv2d_1_2`.
    Keras,
}

impl Scoping {
    fn module(self, graph: &Graph, id: NodeId) -> String {
        // A constant belongs to no layer.
        let path = self.of_node(graph, id).filter(|_| graph.node(id).op() != "Constant");
        path.unwrap_or_default()
    }

    /// The path of the layer in the name of a node or value, whose last segment is the operator; `None` for the network
    /// itself.
    fn path(self, name: &str) -> Option<String> {
        let (scope, _) = outside_calls(name).rsplit_once('/')?;
        match self {
            Self::Plain => Some(scope.to_owned()),
            Self::Keras => {
                let layers: Vec<_> = scope.split('/').skip(1).map_while(without_call).collect();
                (!layers.is_empty()).then(|| layers.join("/"))
            }
        }
    }

    /// The path of the layer that a node belongs to.
    fn of_node(self, graph: &Graph, id: NodeId) -> Option<String> {
        let node = graph.node(id);
        let name = node.name.as_deref()?;
        if is_helper(name)
            && (op::traits(node).kind == Kind::Transpose || name.starts_with("Transpose__"))
        {
            // tf2onnx moves transposes and names them after their readers.
            return None;
        }
        if let Some(name) = written_name(node).filter(|name| is_scoped(name)) {
            return self.path(name);
        }
        let input = |place: usize| graph.node_inputs(id).get(place).copied().flatten();
        match op::traits(node).kind {
            // The bias of a norm takes precedence: the norm is folded into the convolution, and the output is the norm's.
            Kind::Convolve => {
                [2, 1].iter().find_map(|place| self.of_weights(graph, input(*place)?))
            }
            // Files converted from TFLite have the activation's name on the convolution before it.
            Kind::Activation if is_helper(name) => {
                let before = graph.producer(input(0)?)?;
                let alone = graph.consumers(input(0)?) == [id];
                self.of_node(graph, before).filter(|_| alone && is_convolution(graph, before))
            }
            _ => None,
        }
    }

    fn of_weights(self, graph: &Graph, value: ValueId) -> Option<String> {
        graph.initializer(value)?;
        self.path(graph.name(value)).filter(|_| is_scoped(graph.name(value)))
    }
}

fn is_convolution(graph: &Graph, id: NodeId) -> bool {
    op::traits(graph.node(id)).kind == Kind::Convolve
}

/// Whether a name has TensorFlow's form; torch's names begin with a slash.
fn is_scoped(name: &str) -> bool {
    !name.starts_with('/') && name.contains('/')
}

/// Whether tf2onnx generated a node's name: `Conv__341`.
fn is_helper(name: &str) -> bool {
    name.rsplit_once("__").is_some_and(|(_, number)| is_number(number))
}

fn outside_calls(mut name: &str) -> &str {
    while let Some(inside) = CALLS.iter().find_map(|call| name.strip_prefix(call)) {
        name = inside;
    }
    name
}

/// The name of a layer without the number of its call.
fn without_call(segment: &str) -> Option<&str> {
    let (layer, number) = segment.rsplit_once('_')?;
    (!layer.is_empty() && is_number(number)).then_some(layer)
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use onnx_grad::{
        Model,
        graph::Sizes,
        proto::{NodeProto, tensor_proto::DataType},
    };
    use prost::Message;
    use testkit::build;

    use super::*;

    #[test]
    fn paths_of_keras_and_of_tensorflow() {
        let rows = [
            (Scoping::Keras, "resnet50_1/conv5_block3_out_1/Relu", Some("conv5_block3_out")),
            (Scoping::Keras, "net_1/conv2d_1_2/convolution/merged_input:0", Some("conv2d_1")),
            (
                Scoping::Keras,
                "StatefulPartitionedCall/f_1/mobilenetv2_1.00_160_1/out_relu_1/Relu6",
                Some("mobilenetv2_1.00_160/out_relu"),
            ),
            (Scoping::Keras, "net_1/bn_1/batchnorm/mul_1", Some("bn")),
            (Scoping::Keras, "net_1/twice_3/Relu", Some("twice")),
            (Scoping::Keras, "net_1/Relu", None),
            (Scoping::Keras, "Conv__341", None),
            (
                Scoping::Plain,
                "MobilenetV1/Conv2d_1_pointwise/Relu6",
                Some("MobilenetV1/Conv2d_1_pointwise"),
            ),
            (
                Scoping::Plain,
                "StatefulPartitionedCall/model/conv2d_1/Conv2D",
                Some("model/conv2d_1"),
            ),
        ];
        for (names, name, path) in rows {
            assert_eq!(names.path(name).as_deref(), path, "{name}");
        }
    }

    /// Files converted from TFLite have the name of any activation on the convolution before it.
    #[test]
    fn an_activation_without_a_name_belongs_to_its_convolution() {
        for (op, belongs) in [("Relu", true), ("Tanh", true), ("Softmax", false)] {
            let named = |name: &str, node| NodeProto { name: Some(name.to_owned()), ..node };
            let conv = build::node("Conv", &["x", "w"], &["c"], vec![]);
            let nodes = vec![
                named("net/conv1/Conv2D", conv),
                named("Act__12", build::node(op, &["c"], &["y"], vec![])),
            ];
            let inputs = [("x", DataType::Float, &[1, 3, 4, 4][..])];
            let weights = vec![build::weights("w", &[5, 3, 1, 1])];
            let proto = build::model(17, &inputs, &[("y", DataType::Float)], weights, nodes);
            let model = Model::from_bytes(proto.encode_to_vec()).unwrap();
            let graph = Graph::new(&model, &Sizes::new()).unwrap();
            let ids: Vec<NodeId> = graph.nodes().map(|(id, _)| id).collect();
            let path = Scoping::Plain.of_node(&graph, ids[1]);
            assert_eq!(path.as_deref(), belongs.then_some("net/conv1"), "{op}");
        }
    }
}
