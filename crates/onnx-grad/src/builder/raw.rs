//! Appends nodes exactly as given.

use super::{Builder, NODE_LIMIT};
use crate::{
    error::{Result, bail},
    graph::{NodeId, ValueId},
    inline::Body,
    proto::{AttributeProto, GraphProto, NodeProto, tensor_proto::DataType},
};

impl Builder<'_> {
    /// Appends a copy of a graph with these values as inputs, and returns its outputs.
    pub(crate) fn copy(&mut self, graph: &GraphProto, inputs: &[ValueId]) -> Result<Vec<ValueId>> {
        if inputs.len() != graph.input.len() {
            let (has, got) = (graph.input.len(), inputs.len());
            bail!(InvalidModel, "its body has {has} inputs and gets {got}");
        }
        let formal = graph.input.iter().map(|input| input.name.clone().unwrap_or_default());
        let actual = inputs.iter().map(|&input| self.graph.name(input).to_owned());
        let map = formal.zip(actual).collect();
        let scope = self.fresh("copy");
        let (body, outputs) = Body::copied(graph, map, &scope);
        for tensor in body.initializers {
            self.graph.push_initializer(tensor)?;
        }
        for node in body.nodes {
            self.check_count()?;
            let id = self.graph.push(node)?;
            self.graph.set_source(id, self.source);
        }
        outputs.iter().map(|name| self.graph.value(name)).collect()
    }

    /// Appends a copy of a node of the graph that reads these values instead of its inputs, and returns its outputs.
    ///
    /// # Errors
    ///
    /// `TooLarge` if the graph has too many nodes, `Shape` if the outputs have no shape.
    pub fn node_on(
        &mut self,
        id: NodeId,
        inputs: &[Option<ValueId>],
    ) -> Result<Vec<Option<ValueId>>> {
        let node = self.graph.node(id).clone();
        let made =
            self.raw_outputs(node.op(), inputs, node.output.len(), node.attribute.clone())?;
        let is_given = node.output.iter().map(|name| !name.is_empty());
        Ok(made.into_iter().zip(is_given).map(|(value, given)| given.then_some(value)).collect())
    }

    fn check_count(&self) -> Result<()> {
        if self.graph.node_count() >= NODE_LIMIT {
            bail!(TooLarge, "the graph would have more than {NODE_LIMIT} nodes");
        }
        Ok(())
    }

    /// Appends a node of the default domain with one output, exactly as given.
    pub(crate) fn raw(
        &mut self,
        op: &str,
        inputs: &[ValueId],
        attributes: Vec<AttributeProto>,
    ) -> Result<ValueId> {
        let inputs: Vec<_> = inputs.iter().map(|&input| Some(input)).collect();
        self.raw_optional(op, &inputs, attributes)
    }

    /// Like [`Builder::raw`], for operators with optional inputs.
    pub(crate) fn raw_optional(
        &mut self,
        op: &str,
        inputs: &[Option<ValueId>],
        attributes: Vec<AttributeProto>,
    ) -> Result<ValueId> {
        Ok(self.raw_outputs(op, inputs, 1, attributes)?[0])
    }

    /// Like [`Builder::raw_optional`], with several outputs.
    pub(crate) fn raw_outputs(
        &mut self,
        op: &str,
        inputs: &[Option<ValueId>],
        outputs: usize,
        attributes: Vec<AttributeProto>,
    ) -> Result<Vec<ValueId>> {
        let inputs = self.readable(inputs)?;
        self.raw_as_given(op, &inputs, outputs, attributes)
    }

    /// Like [`Builder::raw_outputs`], reading these very values.
    pub(super) fn raw_as_given(
        &mut self,
        op: &str,
        inputs: &[Option<ValueId>],
        outputs: usize,
        attributes: Vec<AttributeProto>,
    ) -> Result<Vec<ValueId>> {
        self.check_count()?;
        let names: Vec<String> = (0..outputs.max(1)).map(|_| self.fresh(op)).collect();
        let input = |id: &Option<ValueId>| id.map_or("", |id| self.graph.name(id)).to_owned();
        let node = NodeProto {
            input: inputs.iter().map(input).collect(),
            output: names.clone(),
            name: names.first().cloned(),
            op_type: Some(op.to_owned()),
            attribute: attributes,
            ..NodeProto::default()
        };
        let id = self.graph.push(node)?;
        self.graph.set_source(id, self.source);
        let values = names.iter().map(|name| self.graph.value(name)).collect::<Result<Vec<_>>>()?;
        let hole = |value: &ValueId| {
            let fact = self.fact(*value);
            fact.shape.is_none() || fact.elem == DataType::Undefined
        };
        if values.iter().any(hole) {
            // An untyped value would reach the engine.
            let shapes: Vec<String> =
                inputs.iter().flatten().map(|&input| self.fact(input).shown()).collect();
            bail!(Shape, "it needs a {op} of {}, which has no shape", shapes.join(" and "));
        }
        Ok(values)
    }
}
