//! How rules emit nodes.

use onnx_grad::{
    attrs,
    proto::{AttributeProto, NodeProto, TensorProto, tensor_proto::DataType},
};

use super::{Refusal, facts::Facts, refusal::RefusalText};

/// Collects the nodes that a rule emits in place of one node of the model.
pub(crate) struct Rewrite<'a> {
    pub(super) facts: &'a Facts<'a>,
    fresh: &'a mut usize,
    into: &'a mut Vec<NodeProto>,
}

impl<'a> Rewrite<'a> {
    pub(super) fn new(
        facts: &'a Facts<'a>,
        fresh: &'a mut usize,
        into: &'a mut Vec<NodeProto>,
    ) -> Self {
        Self { facts, fresh, into }
    }

    /// Emits a node as it is.
    pub(super) fn keep(&mut self, node: NodeProto) {
        self.into.push(node);
    }

    /// Emits a node that produces the first output of `of`.
    pub(super) fn last(
        &mut self,
        of: &NodeProto,
        op: &str,
        inputs: &[&str],
        attributes: Vec<AttributeProto>,
    ) {
        let output = of.output.first().cloned().unwrap_or_default();
        self.push(Some(of.label()), op, inputs, output, attributes);
    }

    /// Emits an intermediate node and returns the name of its output.
    pub(super) fn node(
        &mut self,
        op: &str,
        inputs: &[&str],
        attributes: Vec<AttributeProto>,
    ) -> String {
        let output = self.fresh_name();
        self.push(None, op, inputs, output.clone(), attributes);
        output
    }

    /// Emits a constant of 64-bit integers.
    pub(super) fn ints(&mut self, dims: &[i64], numbers: &[i64]) -> String {
        let raw = numbers.iter().flat_map(|n| n.to_le_bytes()).collect();
        self.tensor(dims, DataType::Int64, raw)
    }

    /// Emits a scalar constant, a 32-bit integer.
    pub(super) fn int32(&mut self, number: i32) -> String {
        self.tensor(&[], DataType::Int32, number.to_le_bytes().to_vec())
    }

    /// Emits a scalar constant, a float.
    pub(super) fn float(&mut self, number: f32) -> String {
        self.floats(&[], [number])
    }

    /// Emits a constant of floats.
    pub(super) fn floats(
        &mut self,
        dims: &[i64],
        numbers: impl IntoIterator<Item = f32>,
    ) -> String {
        let raw = numbers.into_iter().flat_map(f32::to_le_bytes).collect();
        self.tensor(dims, DataType::Float, raw)
    }

    fn tensor(&mut self, dims: &[i64], elem: DataType, raw: Vec<u8>) -> String {
        let value = TensorProto {
            dims: dims.to_vec(),
            data_type: Some(elem as i32),
            raw_data: Some(raw.into()),
            ..TensorProto::default()
        };
        self.node("Constant", &[], vec![attrs::tensor("value", value)])
    }

    fn fresh_name(&mut self) -> String {
        *self.fresh += 1;
        format!("gradcam.lower/{}", self.fresh)
    }

    fn push(
        &mut self,
        label: Option<&str>,
        op: &str,
        inputs: &[&str],
        output: String,
        attribute: Vec<AttributeProto>,
    ) {
        self.into.push(NodeProto {
            name: label.map(str::to_owned),
            op_type: Some(op.to_owned()),
            input: inputs.iter().map(|&name| name.to_owned()).collect(),
            output: vec![output],
            attribute,
            ..NodeProto::default()
        });
    }
}

/// The name of a required input.
pub(super) fn input(node: &NodeProto, at: usize) -> Result<&str, Refusal> {
    let name = node.input.get(at).map(String::as_str).filter(|name| !name.is_empty());
    name.ok_or_else(|| format!("input {at} is missing"))
}

/// Drops all outputs but the first, which must be unused.
pub(super) fn only_first_output(
    b: &Rewrite<'_>,
    node: &mut NodeProto,
    refusal: RefusalText,
) -> Result<(), Refusal> {
    if (1..node.output.len()).any(|at| b.facts.is_used(node, at)) {
        return Err(refusal.with(&[]));
    }
    node.output.truncate(1);
    Ok(())
}

/// Sets an attribute and replaces its earlier value.
pub(super) fn set(node: &mut NodeProto, attribute: AttributeProto) {
    unset(node, attribute.name.as_deref().unwrap_or_default());
    node.attribute.push(attribute);
}

/// Removes an attribute.
pub(super) fn unset(node: &mut NodeProto, name: &str) {
    node.attribute.retain(|a| a.name.as_deref() != Some(name));
}
