//! From a node to the path of the module that it belongs to.

use std::collections::HashMap;

use onnx_grad::{
    graph::{Graph, NodeId},
    proto::NodeProto,
};

use super::{node_name::written_name, tensorflow::Names};

/// The module paths of the nodes of a graph.
#[derive(Debug)]
pub(super) struct Scopes {
    paths: Vec<Option<String>>,
    /// Convolutions that a norm was folded into, by node, where the file tells of both.
    folded: HashMap<NodeId, String>,
}

impl Scopes {
    pub(super) fn new(graph: &Graph) -> Self {
        let names = Names::of(graph);
        let path = |(id, node)| match names.filter(|_| of_metadata(node).is_none()) {
            // A constant is no part of a layer.
            Some(names) => names.of_node(graph, id).filter(|_| node.op() != "Constant"),
            None => of_node(node),
        };
        let folded = |(id, _)| Some((id, names?.folded(graph, id)?));
        Self {
            paths: graph.nodes().map(path).collect(),
            folded: graph.nodes().filter_map(folded).collect(),
        }
    }

    /// The module that a node belongs to; none for a node of the network itself.
    pub(super) fn of(&self, id: NodeId) -> Option<&str> {
        self.paths.get(id.index())?.as_deref()
    }

    /// The convolution that a node is too, which belongs to the norm that was folded into it.
    pub(super) fn folded(&self, id: NodeId) -> Option<&str> {
        self.folded.get(&id).map(String::as_str)
    }
}

/// The module path of a node, from its metadata or else from its name; none for a node of the network itself.
fn of_node(node: &NodeProto) -> Option<String> {
    match of_metadata(node) {
        Some(path) => Some(path).filter(|path| !path.is_empty()),
        None => of_name(node),
    }
}

fn of_metadata(node: &NodeProto) -> Option<String> {
    let scopes = metadata(node, "pkg.torch.onnx.name_scopes").and_then(of_name_scopes);
    scopes.or_else(|| metadata(node, "namespace").and_then(of_namespace))
}

/// What a node's metadata says under a key.
pub(super) fn metadata<'a>(node: &'a NodeProto, key: &str) -> Option<&'a str> {
    let entry = node.metadata_props.iter().find(|entry| entry.key.as_deref() == Some(key))?;
    entry.value.as_deref()
}

/// The path in a list of scopes as torch's newer exporter writes it, the innermost of them being the
/// operator: `['', 'layer4', 'layer4.1', 'relu_16']` is in `layer4.1`.
fn of_name_scopes(list: &str) -> Option<String> {
    let inside = list.trim().strip_prefix('[')?.strip_suffix(']')?;
    let scope = inside.rsplit(", ").nth(1)?;
    Some(scope.trim_matches(['\'', '"']).to_owned())
}

/// The same path in the form `: ResNet/layer4: Sequential/layer4.1: BasicBlock/relu_16: aten.relu.default`.
fn of_namespace(text: &str) -> Option<String> {
    let (name, _) = text.rsplit('/').nth(1)?.split_once(": ")?;
    Some(name.to_owned())
}

/// The module path in a node's name: `/layer4/layer4.1/conv2/Conv` is in `layer4.1.conv2`.
///
/// Names that torch's exporter writes begin with `/`, and the last segment is the operator. A segment
/// that begins with the one before it and a dot replaces that, any other is appended with a dot.
fn of_name(node: &NodeProto) -> Option<String> {
    // A constant is no part of a layer.
    let name = written_name(node).filter(|_| node.op() != "Constant")?;
    let (scope, _) = name.strip_prefix('/')?.rsplit_once('/')?;
    let mut path = String::new();
    let mut last = "";
    for segment in scope.split('/').filter(|segment| !segment.is_empty()) {
        let nested =
            segment.strip_prefix(last).filter(|rest| !last.is_empty() && rest.starts_with('.'));
        match nested {
            Some(rest) => path.push_str(rest),
            None if path.is_empty() => path.push_str(segment),
            None => {
                path.push('.');
                path.push_str(segment);
            }
        }
        last = segment;
    }
    (!path.is_empty()).then_some(path)
}

/// A path and the paths of the modules around it, the outermost first. Paths with slashes keep dots
/// inside names, such as `mobilenetv2_1.00_160`.
pub(super) fn with_parents(path: &str) -> impl Iterator<Item = &str> {
    let separator = if path.contains('/') { '/' } else { '.' };
    let ends = path.match_indices(separator).map(|(at, _)| at);
    ends.chain([path.len()]).map(|end| &path[..end])
}

#[cfg(test)]
mod tests {
    use onnx_grad::proto::StringStringEntryProto;

    use super::*;

    #[test]
    fn paths_of_exporters() {
        let rows = [
            ("/layer4/layer4.1/conv2/Conv", Some("layer4.1.conv2")),
            ("/features/features.1/block/block.0/block.0.0/Conv", Some("features.1.block.0.0")),
            (
                "/vit/encoder/layer.0/attention/attention/query/MatMul",
                Some("vit.encoder.layer.0.attention.attention.query"),
            ),
            ("/model.8/m.0/cv2/act/Mul", Some("model.8.m.0.cv2.act")),
            ("/conv1/Conv", Some("conv1")),
            ("/Flatten", None),
            ("Conv_0", None),
        ];
        for (name, path) in rows {
            let node = NodeProto { name: Some(name.to_owned()), ..NodeProto::default() };
            assert_eq!(of_node(&node).as_deref(), path, "{name}");
        }
    }

    #[test]
    fn paths_in_metadata() {
        let scopes = "pkg.torch.onnx.name_scopes";
        let rows = [
            (
                scopes,
                "['', 'layer4', 'layer4.1', 'layer4.1.relu', 'relu_16']",
                Some("layer4.1.relu"),
            ),
            (scopes, "['', 'view']", None),
            (scopes, "['', 'encoder.layers.0', 'add']", Some("encoder.layers.0")),
            (
                "namespace",
                ": torchvision.ResNet/layer1: torch.Sequential/layer1.0: ResNet.Block/add: aten.add.Tensor",
                Some("layer1.0"),
            ),
            ("namespace", ": torchvision.ResNet/view: aten.view.default", None),
            // Not of this form: the name counts.
            ("namespace", "somewhere", Some("conv1")),
        ];
        for (key, value, path) in rows {
            let entry =
                StringStringEntryProto { key: Some(key.to_owned()), value: Some(value.to_owned()) };
            let node = NodeProto {
                name: Some("/conv1/Conv".to_owned()),
                metadata_props: vec![entry],
                ..NodeProto::default()
            };
            assert_eq!(of_node(&node).as_deref(), path, "{value}");
        }
    }

    #[test]
    fn parents_come_first() {
        let all: Vec<_> = with_parents("layer4.1.conv2").collect();
        assert_eq!(all, ["layer4", "layer4.1", "layer4.1.conv2"]);
        let all: Vec<_> = with_parents("net_1.00/block").collect();
        assert_eq!(all, ["net_1.00", "net_1.00/block"]);
    }
}
