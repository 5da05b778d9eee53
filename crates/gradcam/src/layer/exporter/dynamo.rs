//! torch's newer exporter (`torch.onnx.export(dynamo=True)`): module paths in node metadata.
//!
//! Of a convolution and the norm that was folded into it one node is left, in the norm's scope. Its weights keep the
//! name `conv1.weight`, and the metadata notes the rewrite rule.

use onnx_grad::{
    graph::{Graph, NodeId},
    proto::NodeProto,
};

use super::weights::weights;

/// What the exporter writes as the path of nodes that it adds itself, such as those that read the size of a batch.
const NO_MODULE: &str = "_empty_nn_module_stack_from_metadata_hook";

/// The module path in a node's metadata: empty for a node of the network itself, `None` without metadata of this form.
pub(super) fn module(node: &NodeProto) -> Option<String> {
    let scopes = metadata(node, "pkg.torch.onnx.name_scopes").and_then(of_name_scopes);
    let path = scopes.or_else(|| metadata(node, "namespace").and_then(of_namespace))?;
    Some(if path == NO_MODULE { String::new() } else { path })
}

/// The path of the convolution, by its weights, if a norm was folded into it.
pub(super) fn folded(graph: &Graph, id: NodeId) -> Option<String> {
    let output = graph.node_outputs(id).first().copied().flatten()?;
    // Simplified files lose the metadata. The norm's output keeps its name, that of a tuple's item.
    let rules = metadata(graph.node(id), "pkg.onnxscript.rewriter.rule_name");
    let is_folded = rules
        .map_or(graph.name(output).starts_with("getitem"), |rules| rules.contains("FuseBatchNorm"));
    module_of_weights(graph, id).filter(|_| is_folded).map(str::to_owned)
}

/// The convolution that lost its scope to a norm, by the path that its weights keep.
pub(super) fn absorbed(graph: &Graph, path: &str) -> Option<NodeId> {
    let mut nodes = graph.nodes();
    let (id, _) = nodes.find(|(id, _)| module_of_weights(graph, *id) == Some(path))?;
    Some(id)
}

/// The value of a key in a node's metadata.
fn metadata<'a>(node: &'a NodeProto, key: &str) -> Option<&'a str> {
    let entry = node.metadata_props.iter().find(|entry| entry.key.as_deref() == Some(key))?;
    entry.value.as_deref()
}

/// The path in a list of scopes, whose last element is the operator: `['', 'layer4', 'layer4.1', 'relu_16']` is in
/// `layer4.1`.
fn of_name_scopes(list: &str) -> Option<String> {
    let inside = list.trim().strip_prefix('[')?.strip_suffix(']')?;
    let scope = inside.rsplit(", ").nth(1)?;
    Some(scope.trim_matches(['\'', '"']).to_owned())
}

/// The path in a namespace: `: ResNet/layer4: Sequential/layer4.1: BasicBlock/relu_16: aten.relu.default` is in
/// `layer4.1`.
fn of_namespace(text: &str) -> Option<String> {
    let (name, _) = text.rsplit('/').nth(1)?.split_once(": ")?;
    Some(name.to_owned())
}

/// The module that a node's weights belong to, by their name.
fn module_of_weights(graph: &Graph, id: NodeId) -> Option<&str> {
    weights(graph, id)?.strip_suffix(".weight")
}

#[cfg(test)]
mod tests {
    use onnx_grad::proto::StringStringEntryProto;

    use super::*;

    #[test]
    fn paths_in_metadata() {
        let scopes = "pkg.torch.onnx.name_scopes";
        let rows = [
            (
                scopes,
                "['', 'layer4', 'layer4.1', 'layer4.1.relu', 'relu_16']",
                Some("layer4.1.relu"),
            ),
            (scopes, "['', 'view']", Some("")),
            (scopes, "['_empty_nn_module_stack_from_metadata_hook', 'sym_size_int_1']", Some("")),
            (scopes, "['', 'encoder.layers.0', 'add']", Some("encoder.layers.0")),
            (
                "namespace",
                ": torchvision.ResNet/layer1: torch.Sequential/layer1.0: ResNet.Block/add: aten.add.Tensor",
                Some("layer1.0"),
            ),
            ("namespace", ": torchvision.ResNet/view: aten.view.default", Some("")),
            ("namespace", "somewhere", None),
        ];
        for (key, value, path) in rows {
            let entry =
                StringStringEntryProto { key: Some(key.to_owned()), value: Some(value.to_owned()) };
            let node = NodeProto { metadata_props: vec![entry], ..NodeProto::default() };
            assert_eq!(module(&node).as_deref(), path, "{value}");
        }
    }
}
