//! From a node to the path of the module that it belongs to, by the convention of the file's exporter.

use std::collections::HashMap;

use onnx_grad::graph::{Graph, NodeId, ValueId};

use super::{
    exporter::{EXPORTERS, Exporter, ModulePaths},
    quantized,
};
use crate::warning::Warning;

/// The module paths of the nodes of a graph.
#[derive(Debug)]
pub(super) struct Scopes {
    /// The conventions that apply to the graph.
    exporters: Vec<&'static Exporter>,
    paths: ModulePaths,
    /// The paths of convolutions that absorbed a norm and are listed beside it, by node.
    folded: HashMap<NodeId, String>,
}

impl Scopes {
    pub(super) fn new(graph: &Graph) -> Self {
        let exporters: Vec<&Exporter> =
            EXPORTERS.iter().filter(|exporter| (exporter.applies_to)(graph)).collect();
        let path = |(id, node)| {
            if quantized::finds_scales(node) {
                return None;
            }
            let path = exporters.iter().find_map(|exporter| (exporter.module)(graph, id));
            path.filter(|path| !path.is_empty())
        };
        let paths = ModulePaths::new(graph.nodes().map(path).collect());
        let listed = exporters.iter().filter(|exporter| exporter.lists_folded);
        let folded = listed.flat_map(|exporter| {
            let folded = |(id, _)| Some((id, (exporter.folded)(graph, &paths, id)?));
            graph.nodes().filter_map(folded)
        });
        let folded = folded.collect();
        Self { exporters, paths, folded }
    }

    /// The path of the module that a node belongs to; `None` for a node of the network itself.
    pub(super) fn of(&self, id: NodeId) -> Option<&str> {
        self.paths.of(id)
    }

    /// The path of the convolution at a node whose own module is a norm, where both are listed.
    pub(super) fn folded(&self, id: NodeId) -> Option<&str> {
        self.folded.get(&id).map(String::as_str)
    }

    /// The node that absorbed a module of this path, and its output.
    pub(super) fn absorbed(&self, graph: &Graph, path: &str) -> Option<(NodeId, ValueId)> {
        self.exporters.iter().find_map(|exporter| {
            let id = (exporter.absorbed)(graph, &self.paths, path)?;
            Some((id, graph.node_outputs(id).first().copied().flatten()?))
        })
    }

    /// The warning for a layer of this path and value: the path is that of a convolution, and the value that of the norm
    /// folded into it; or the path is that of a norm without a node, and the value that of the convolution that seems
    /// to have absorbed it.
    pub(super) fn folded_norm(&self, graph: &Graph, path: &str, value: ValueId) -> Option<Warning> {
        let id = graph.producer(value)?;
        let (exporter, convolution) = self
            .exporters
            .iter()
            .find_map(|exporter| Some((exporter, (exporter.folded)(graph, &self.paths, id)?)))?;
        if convolution == path {
            return Some(Warning::FoldedNorm { convolution });
        }
        let absorbed = (exporter.absorbed)(graph, &self.paths, path) == Some(id);
        absorbed.then(|| Warning::MissingNorm { norm: path.to_owned(), convolution })
    }
}

/// A path and the paths of the modules around it, the outermost first. In paths with slashes a dot separates nothing, as in
/// `mobilenetv2_1.00_160`.
pub(super) fn with_parents(path: &str) -> impl Iterator<Item = &str> {
    let separator = if path.contains('/') { '/' } else { '.' };
    let ends = path.match_indices(separator).map(|(at, _)| at);
    ends.chain([path.len()]).map(|end| &path[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parents_come_first() {
        let all: Vec<_> = with_parents("layer4.1.conv2").collect();
        assert_eq!(all, ["layer4", "layer4.1", "layer4.1.conv2"]);
        let all: Vec<_> = with_parents("net_1.00/block").collect();
        assert_eq!(all, ["net_1.00", "net_1.00/block"]);
    }
}
