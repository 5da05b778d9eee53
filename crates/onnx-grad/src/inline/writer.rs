//! Writes the body of a function that replaces an operator: its nodes and constants.

use std::collections::HashMap;

use crate::{
    attrs::{self, AttributeReader},
    proto::{AttributeProto, NodeProto, TensorProto, tensor_proto::DataType},
};

/// The initializers of a graph by name.
pub(super) type Constants<'a> = HashMap<&'a str, &'a TensorProto>;

/// The body of a function. Its inputs are named by index, and its first output is `y`.
pub(super) struct Writer {
    pub(super) opset: i64,
    pub(super) nodes: Vec<NodeProto>,
}

impl Writer {
    pub(super) fn new(opset: i64) -> Self {
        Self { opset, nodes: Vec::new() }
    }

    pub(super) fn node(
        &mut self,
        op: &str,
        inputs: &[&str],
        outputs: &[&str],
        with: Vec<AttributeProto>,
    ) {
        self.nodes.push(NodeProto {
            // The output distinguishes nodes with the same operator.
            name: outputs.first().map(|&name| name.to_owned()),
            op_type: Some(op.to_owned()),
            input: inputs.iter().map(|&name| name.to_owned()).collect(),
            output: outputs.iter().map(|&name| name.to_owned()).collect(),
            attribute: with,
            ..NodeProto::default()
        });
    }

    /// A constant in the type of input 0; before opset 15, which lacks CastLike, in float32.
    pub(super) fn number(&mut self, number: f64) -> String {
        let plain = self.single(number);
        if self.opset < 15 {
            return plain;
        }
        let typed = format!("typed_{}", self.nodes.len());
        self.node("CastLike", &[&plain, "0"], &[&typed], vec![]);
        typed
    }

    /// A constant in float32.
    pub(super) fn single(&mut self, number: f64) -> String {
        #[expect(clippy::cast_possible_truncation, reason = "rounds to a 32-bit float")]
        let raw = (number as f32).to_le_bytes().to_vec();
        self.constant(TensorProto {
            data_type: Some(DataType::Float as i32),
            raw_data: Some(raw.into()),
            ..TensorProto::default()
        })
    }

    /// A list of integers.
    pub(super) fn ints(&mut self, numbers: &[i64]) -> String {
        let raw: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        self.constant(TensorProto {
            data_type: Some(DataType::Int64 as i32),
            dims: i64::try_from(numbers.len()).into_iter().collect(),
            raw_data: Some(raw.into()),
            ..TensorProto::default()
        })
    }

    fn constant(&mut self, value: TensorProto) -> String {
        let name = format!("number_{}", self.nodes.len());
        self.node("Constant", &[], &[&name], vec![attrs::tensor("value", value)]);
        name
    }
}

/// The named attributes, which the standard operator has too.
pub(super) fn kept(node: &NodeProto, a: &AttributeReader, names: &[&str]) -> Vec<AttributeProto> {
    a.ignore(names);
    let is_kept = |attribute: &&AttributeProto| {
        attribute.name.as_deref().is_some_and(|name| names.contains(&name))
    };
    node.attribute.iter().filter(is_kept).cloned().collect()
}
