//! The naming conventions of exporters, in one table: where a file keeps module paths, and what it keeps of a
//! norm that was folded into a convolution.

mod dynamo;
mod paths;
mod tensorflow;
mod torchscript;
mod weights;
mod written_name;

use std::fmt;

use onnx_grad::graph::{Graph, NodeId};

pub(super) use paths::ModulePaths;

/// The naming convention of one exporter.
pub(super) struct Exporter {
    /// The exporter's name, for debugging.
    name: &'static str,
    /// Whether the convention applies to the graph. A convention that marks single nodes applies to every graph.
    pub(super) applies_to: fn(&Graph) -> bool,
    /// The module path of a node: empty where the node belongs to the network itself, `None` where the node
    /// does not follow the convention, so that the next one is asked.
    pub(super) module: fn(&Graph, NodeId) -> Option<String>,
    /// The path of a convolution that absorbed a norm, if the node is one.
    pub(super) folded: fn(&Graph, &ModulePaths, NodeId) -> Option<String>,
    /// The node that absorbed a module of this path, of which the file keeps no node.
    pub(super) absorbed: fn(&Graph, &ModulePaths, &str) -> Option<NodeId>,
    /// Whether a convolution that absorbed a norm is listed as a module beside the norm.
    pub(super) lists_folded: bool,
}

/// The conventions. For each node, the first that applies gives the module path.
pub(super) const EXPORTERS: &[Exporter] = &[
    // Module paths: node metadata, `pkg.torch.onnx.name_scopes` or `namespace`.
    // Folded norms: the convolution has the norm's scope, and its weights keep their name. The metadata notes the
    // rewrite rule.
    Exporter {
        name: "torch.onnx (dynamo)",
        applies_to: |_| true,
        module: |graph, id| dynamo::module(graph.node(id)),
        folded: |graph, _, id| dynamo::folded(graph, id),
        absorbed: |graph, _, path| dynamo::absorbed(graph, path),
        lists_folded: false,
    },
    // Module paths: node names, `resnet50_1/conv5_block3_out_1/Relu`, where each layer's name ends in the number of
    // its call.
    // Folded norms: the convolution has the norm's scope, and its weights keep their name.
    Exporter {
        name: "tf2onnx (Keras 3)",
        applies_to: tensorflow::is_keras,
        module: tensorflow::keras_module,
        folded: |graph, _, id| tensorflow::keras_folded(graph, id),
        absorbed: |_, _, _| None,
        lists_folded: true,
    },
    // Module paths: node names, `MobilenetV2/expanded_conv_9/project/Conv2D`.
    // Folded norms: no trace.
    Exporter {
        name: "tf2onnx (TensorFlow)",
        applies_to: tensorflow::is_scoped_graph,
        module: tensorflow::plain_module,
        folded: |_, _, _| None,
        absorbed: |_, _, _| None,
        lists_folded: false,
    },
    // Module paths: node names, `/layer4/layer4.1/conv2/Conv`.
    // Folded norms: the convolution keeps its scope, and gets weights with a new name, `onnx::Conv_193`.
    Exporter {
        name: "torch.onnx (TorchScript)",
        applies_to: |_| true,
        module: |graph, id| torchscript::module(graph.node(id)),
        folded: torchscript::folded,
        absorbed: torchscript::absorbed,
        lists_folded: false,
    },
];

impl fmt::Debug for Exporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

#[cfg(test)]
mod tests {
    use onnx_grad::{
        Model,
        graph::Sizes,
        proto::{NodeProto, StringStringEntryProto, tensor_proto::DataType},
    };
    use prost::Message;
    use testkit::build;

    use super::*;

    /// The first convention that applies to a node and names it, and the path.
    fn read(node: NodeProto) -> Option<(String, String)> {
        let inputs = [("x", DataType::Float, &[1, 3, 4, 4][..])];
        let proto = build::model(17, &inputs, &[("y", DataType::Float)], vec![], vec![node]);
        let graph = Graph::new(&Model::from_bytes(proto.encode_to_vec()).unwrap(), &Sizes::new());
        let graph = graph.unwrap();
        let (id, _) = graph.nodes().next().unwrap();
        let mut rows = EXPORTERS.iter().filter(|row| (row.applies_to)(&graph));
        rows.find_map(|row| Some((format!("{row:?}"), (row.module)(&graph, id)?)))
    }

    #[test]
    fn each_convention_reads_its_own_names() {
        let scopes = ("pkg.torch.onnx.name_scopes", "['', 'layer4', 'layer4.1', 'relu']");
        let namespace = ("namespace", ": Net/layer4: Block/relu: aten.relu.default");
        let rows = [
            ("node_relu", Some(scopes), Some(("torch.onnx (dynamo)", "layer4.1"))),
            ("node_relu", Some(namespace), Some(("torch.onnx (dynamo)", "layer4"))),
            ("net_1/bn_1/convolution", None, Some(("tf2onnx (Keras 3)", "bn"))),
            ("net/bn/Relu", None, Some(("tf2onnx (TensorFlow)", "net/bn"))),
            ("net/bn/Relu", Some(scopes), Some(("torch.onnx (dynamo)", "layer4.1"))),
            ("/layer4/layer4.1/Relu", None, Some(("torch.onnx (TorchScript)", "layer4.1"))),
            ("Relu_12", None, None),
        ];
        for (name, metadata, expected) in rows {
            let metadata = metadata.map(|(key, value)| StringStringEntryProto {
                key: Some(key.to_owned()),
                value: Some(value.to_owned()),
            });
            let node = NodeProto {
                name: Some(name.to_owned()),
                metadata_props: metadata.into_iter().collect(),
                ..build::node("Relu", &["x"], &["y"], vec![])
            };
            let expected = expected.map(|(row, path)| (row.to_owned(), path.to_owned()));
            assert_eq!(read(node), expected, "{name}");
        }
    }
}
