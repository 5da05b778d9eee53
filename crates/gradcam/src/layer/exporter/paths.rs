//! The module path of each node of a graph.

use onnx_grad::graph::NodeId;

/// The module paths of the nodes of a graph, by node index.
#[derive(Debug)]
pub(in crate::layer) struct ModulePaths(Vec<Option<String>>);

impl ModulePaths {
    /// The paths, in node order.
    pub(in crate::layer) fn new(paths: Vec<Option<String>>) -> Self {
        Self(paths)
    }

    /// The path of the module that a node belongs to; `None` for a node of the network itself.
    pub(in crate::layer) fn of(&self, id: NodeId) -> Option<&str> {
        self.0.get(id.index())?.as_deref()
    }
}
