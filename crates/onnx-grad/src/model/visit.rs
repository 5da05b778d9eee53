//! Every place of a model's message where tensors and texts can be.

use crate::{
    error::Result,
    proto::{AttributeProto, GraphProto, ModelProto, NodeProto, SparseTensorProto, TensorProto},
};

/// What is visited.
enum Visit<'v> {
    Tensors(&'v mut dyn FnMut(&mut TensorProto) -> Result<()>),
    Texts(&'v mut dyn FnMut(&mut Vec<u8>) -> Result<()>),
}

/// Calls `visit` for every tensor of the message: initializers, attributes, subgraphs, functions.
pub(super) fn visit_tensors(
    proto: &mut ModelProto,
    visit: &mut dyn FnMut(&mut TensorProto) -> Result<()>,
) -> Result<()> {
    Visit::Tensors(visit).model(proto)
}

/// Calls `visit` for every text of the message that is bytes: attributes and tensors of text.
pub(super) fn visit_texts(
    proto: &mut ModelProto,
    visit: &mut dyn FnMut(&mut Vec<u8>) -> Result<()>,
) -> Result<()> {
    Visit::Texts(visit).model(proto)
}

impl Visit<'_> {
    fn model(&mut self, proto: &mut ModelProto) -> Result<()> {
        for function in &mut proto.functions {
            self.nodes(&mut function.node)?;
            function.attribute_proto.iter_mut().try_for_each(|a| self.attribute(a))?;
        }
        let training = proto.training_info.iter_mut();
        let graphs = training.flat_map(|t| t.initialization.iter_mut().chain(&mut t.algorithm));
        proto.graph.iter_mut().chain(graphs).try_for_each(|graph| self.graph(graph))
    }

    fn graph(&mut self, graph: &mut GraphProto) -> Result<()> {
        graph.initializer.iter_mut().try_for_each(|t| self.tensor(t))?;
        graph.sparse_initializer.iter_mut().try_for_each(|s| self.sparse(s))?;
        self.nodes(&mut graph.node)
    }

    fn nodes(&mut self, nodes: &mut [NodeProto]) -> Result<()> {
        let mut attributes = nodes.iter_mut().flat_map(|node| &mut node.attribute);
        attributes.try_for_each(|attribute| self.attribute(attribute))
    }

    fn attribute(&mut self, attribute: &mut AttributeProto) -> Result<()> {
        if let Self::Texts(visit) = self {
            attribute.s.iter_mut().chain(&mut attribute.strings).try_for_each(&mut **visit)?;
        }
        let (t, g) = (&mut attribute.t, &mut attribute.g);
        t.iter_mut().chain(&mut attribute.tensors).try_for_each(|t| self.tensor(t))?;
        let sparse = attribute.sparse_tensor.iter_mut().chain(&mut attribute.sparse_tensors);
        sparse.into_iter().try_for_each(|s| self.sparse(s))?;
        g.iter_mut().chain(&mut attribute.graphs).try_for_each(|g| self.graph(g))
    }

    fn sparse(&mut self, sparse: &mut SparseTensorProto) -> Result<()> {
        let mut tensors = sparse.values.iter_mut().chain(&mut sparse.indices);
        tensors.try_for_each(|tensor| self.tensor(tensor))
    }

    fn tensor(&mut self, tensor: &mut TensorProto) -> Result<()> {
        match self {
            Self::Tensors(visit) => visit(tensor),
            Self::Texts(visit) => tensor.string_data.iter_mut().try_for_each(&mut **visit),
        }
    }
}
