//! torch's TorchScript exporter (`torch.onnx.export(dynamo=False)`): module paths in node names.
//!
//! A convolution that a norm was folded into keeps its name, and gets weights with a name such as `onnx::Conv_193`.

use onnx_grad::{
    graph::{Graph, NodeId},
    proto::NodeProto,
};

use super::{paths::ModulePaths, weights::weights, written_name::written_name};

/// The module path in a node's name: `/layer4/layer4.1/conv2/Conv` is in `layer4.1.conv2`.
///
/// Names begin with `/`, and the last segment is the operator. A segment that begins with the segment before it and a
/// dot replaces that segment; any other is appended with a dot.
pub(super) fn module(node: &NodeProto) -> Option<String> {
    // A constant belongs to no layer.
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

/// The path of the convolution, if a norm was folded into it.
pub(super) fn folded(graph: &Graph, paths: &ModulePaths, id: NodeId) -> Option<String> {
    paths.of(id).filter(|_| has_new_weights(graph, id)).map(str::to_owned)
}

/// The convolution that absorbed the norm of this path: the convolution before it in a sequence, the one with its number
/// (`conv2`, `bn2`), or the only one beside it that no other norm follows.
pub(super) fn absorbed(graph: &Graph, paths: &ModulePaths, path: &str) -> Option<NodeId> {
    let (parent, name) = path.rsplit_once('.').unwrap_or(("", path));
    let beside = |scope: &str| {
        let (outer, name) = scope.rsplit_once('.').unwrap_or(("", scope));
        (outer == parent).then(|| name.to_owned())
    };
    let candidates: Vec<(NodeId, String)> = graph
        .nodes()
        .filter(|(id, _)| has_new_weights(graph, *id))
        .filter_map(|(id, _)| Some((id, beside(paths.of(id)?)?)))
        .collect();
    if let Some(place) = name.parse::<usize>().ok().and_then(|place| place.checked_sub(1)) {
        return candidates.iter().find(|(_, name)| *name == place.to_string()).map(|(id, _)| *id);
    }
    if !is_norm(name) {
        return None;
    }
    let number = |name: &str| name.trim_start_matches(|c: char| !c.is_ascii_digit()).to_owned();
    let same =
        |(_, conv): &&(NodeId, String)| conv.contains("conv") && number(conv) == number(name);
    if let [(id, _)] = candidates.iter().filter(same).collect::<Vec<_>>().as_slice() {
        return Some(*id);
    }
    // A norm with an activation has the activation in its scope.
    let is_followed_by_norm = |id: NodeId| {
        let outputs = graph.node_outputs(id).iter().flatten();
        let mut readers = outputs.flat_map(|value| graph.consumers(*value));
        readers.any(|reader| {
            let scope = paths.of(*reader).unwrap_or_default();
            let below = scope.strip_prefix(parent).unwrap_or_default().trim_start_matches('.');
            is_norm(below.split('.').next().unwrap_or_default())
        })
    };
    let mut alone = candidates.iter().filter(|(id, _)| !is_followed_by_norm(*id));
    alone.next().filter(|_| alone.next().is_none()).map(|(id, _)| *id)
}

fn is_norm(name: &str) -> bool {
    name.contains("bn") || name.contains("norm")
}

/// Whether the exporter gave a convolution new weights, as it does to fold a norm.
fn has_new_weights(graph: &Graph, id: NodeId) -> bool {
    weights(graph, id).is_some_and(|weights| weights.starts_with("onnx::Conv"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_in_names() {
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
            assert_eq!(module(&node).as_deref(), path, "{name}");
        }
    }
}
