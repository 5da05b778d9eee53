//! Makes signed 8-bit operands unsigned if ONNX Runtime's products of u8 and i8 saturate.
//!
//! ONNX Runtime fuses quantized regions into integer kernels. The kernel for u8·u8 adds in 32 bits, so the rules add 128
//! to x and to its zero point, which keeps the difference x − z. With the entry `session.x64quantprecision` ONNX
//! Runtime does the same for weights, but then 1.32 fails to load a graph in which two nodes read one weight, as the
//! forward and the backward pass do.

use std::collections::HashMap;

use onnx_grad::{
    Model,
    attrs::int,
    proto::{GraphProto, NodeProto, TensorProto, tensor_proto::DataType},
};

use super::{
    Refusal,
    rewrite::{Rewrite, input},
};

/// The operators that multiply 8-bit integers, with the input positions of operands that saturate if they are signed, and of
/// their zero points. The operands are the weights; for ConvInteger the images, because its kernel has the weights on the
/// left.
const PRODUCTS: &[(&str, &[(usize, usize)])] = &[
    ("ConvInteger", &[(0, 2)]),
    ("DynamicQuantizeLSTM", &[(1, 9), (2, 11)]),
    ("DynamicQuantizeMatMul", &[(1, 3)]),
    ("MatMulInteger", &[(1, 3)]),
    ("MatMulIntegerToFloat", &[(1, 5)]),
    ("QAttention", &[(1, 7)]),
    ("QGemm", &[(3, 5)]),
    ("QLinearConv", &[(3, 5)]),
];

fn operands_of(op: &str) -> &'static [(usize, usize)] {
    PRODUCTS.iter().find(|(product, _)| *product == op).map_or(&[], |(_, operands)| operands)
}

/// Makes the output of a QuantizeLinear unsigned if only DequantizeLinear nodes read it.
pub(crate) fn quantize(b: &mut Rewrite<'_>, mut node: NodeProto) -> Result<(), Refusal> {
    let output = node.output.first().cloned().unwrap_or_default();
    if b.facts.saturates && b.facts.is_signed_pair(&output) {
        node.input[2] = unsigned(b, input(&node, 2)?);
        node.output[0] = unsigned_name(&output);
    }
    b.keep(node);
    Ok(())
}

/// A model without QuantizeLinear multiplies floats.
pub(crate) fn dequantize(b: &mut Rewrite<'_>, mut node: NodeProto) -> Result<(), Refusal> {
    if b.facts.saturates && b.facts.quantizes {
        operand(b, &mut node, (0, 2), Some(1))?;
    }
    b.keep(node);
    Ok(())
}

/// Rewrites an operator of [`PRODUCTS`]. A product of two signed operands is exact; most operators have no kernel for a
/// product that is signed only on the left.
pub(crate) fn product(b: &mut Rewrite<'_>, mut node: NodeProto) -> Result<(), Refusal> {
    let signed = b.facts.elem(&node, 0) == DataType::Int8 && node.op() != "ConvInteger";
    if b.facts.saturates && !signed {
        for &places in operands_of(node.op()) {
            operand(b, &mut node, places, None)?;
        }
    }
    b.keep(node);
    Ok(())
}

/// Makes an operand and its zero point unsigned. An operand without a zero point gets one of 128 per scale.
fn operand(
    b: &mut Rewrite<'_>,
    node: &mut NodeProto,
    (at, zero): (usize, usize),
    scale: Option<usize>,
) -> Result<(), Refusal> {
    let has_zero = node.input.get(zero).is_some_and(|name| !name.is_empty());
    let typed = if has_zero { zero } else { at };
    if b.facts.elem(node, typed) != DataType::Int8 {
        return Ok(());
    }
    let x = input(node, at)?.to_owned();
    let moved_zero = match (has_zero, scale) {
        (true, _) => unsigned(b, input(node, zero)?),
        (false, None) => middle(b, None),
        (false, Some(scale)) => middle(b, Some(input(node, scale)?)),
    };
    node.input[at] = match b.facts.is_signed_pair(&x) {
        true => unsigned_name(&x),
        false => unsigned(b, &x),
    };
    node.input.resize(node.input.len().max(zero + 1), String::new());
    node.input[zero] = moved_zero;
    Ok(())
}

fn unsigned_name(value: &str) -> String {
    format!("gradcam.unsigned/{value}")
}

/// Emits x + 128. ONNX Runtime folds it for constants when it loads the graph.
fn unsigned(b: &mut Rewrite<'_>, x: &str) -> String {
    let wide = cast(b, x, DataType::Int32);
    let moved = {
        let by = b.int32(128);
        b.node("Add", &[&wide, &by], vec![])
    };
    cast(b, &moved, DataType::Uint8)
}

/// Emits the zero point 128, one per scale.
fn middle(b: &mut Rewrite<'_>, scales: Option<&str>) -> String {
    let mut zero = b.int32(128);
    if let Some(scales) = scales {
        let shape = b.node("Shape", &[scales], vec![]);
        zero = b.node("Expand", &[&zero, &shape], vec![]);
    }
    cast(b, &zero, DataType::Uint8)
}

fn cast(b: &mut Rewrite<'_>, x: &str, to: DataType) -> String {
    b.node("Cast", &[x], vec![int("to", to as i64)])
}

/// The labels of the nodes of a model whose products of 8-bit integers can saturate in the kernels that ONNX Runtime
/// takes by default, on processors where those saturate.
///
/// Such a node has constant weights outside −64…64, because 2·255·64 fits into 16 bits. Depthwise convolutions have an exact
/// kernel of their own.
pub(crate) fn saturating_nodes(model: &Model) -> Vec<String> {
    let graph = model.graph();
    let sources = ValueSources::of(graph);
    let mut large: HashMap<&str, bool> = HashMap::new();
    let is_large = |tensor: &TensorProto| {
        let bytes = model.tensor_bytes(tensor).unwrap_or_default();
        bytes.into_iter().any(|byte| !(-64..=64).contains(&byte.cast_signed()))
    };
    let mut saturates = |node: &&NodeProto| {
        let mut weights = sources.weights(node).into_iter();
        weights.any(|tensor| *large.entry(tensor.label()).or_insert_with(|| is_large(tensor)))
    };
    let found = graph.node.iter().filter(|node| saturates(node));
    found.map(|node| node.label().to_owned()).collect()
}

/// The constants and the DequantizeLinear nodes that produce values.
struct ValueSources<'a> {
    constants: HashMap<&'a str, &'a TensorProto>,
    dequantized: HashMap<&'a str, &'a NodeProto>,
}

impl<'a> ValueSources<'a> {
    fn of(graph: &'a GraphProto) -> Self {
        let mut constants: HashMap<&str, &TensorProto> =
            graph.initializer.iter().map(|tensor| (tensor.label(), tensor)).collect();
        let mut dequantized = HashMap::new();
        for node in &graph.node {
            let Some(output) = node.output.first() else { continue };
            match node.op() {
                "Constant" => {
                    let value = node.attr("value").and_then(|value| value.t.as_ref());
                    constants.extend(value.map(|value| (output.as_str(), value)));
                }
                "DequantizeLinear" => drop(dequantized.insert(output.as_str(), node)),
                _ => {}
            }
        }
        Self { constants, dequantized }
    }

    /// The constant signed 8-bit operands that a node multiplies by 8-bit integers.
    fn weights(&self, node: &NodeProto) -> Vec<&'a TensorProto> {
        let signed = |name: Option<&String>| {
            let tensor = self.constants.get(name?.as_str()).copied();
            tensor.filter(|tensor| tensor.elem() == DataType::Int8)
        };
        let source = |at: usize| self.dequantized.get(node.input.get(at)?.as_str()).copied();
        match node.op() {
            "Conv" | "Gemm" | "MatMul" => {
                let is_quantized = source(0).is_some_and(|x| signed(x.input.first()).is_none());
                let weights = source(1).filter(|_| is_quantized);
                let weights = weights.and_then(|weights| signed(weights.input.first()));
                let depthwise =
                    |tensor: &&TensorProto| node.op() == "Conv" && tensor.dims.get(1) == Some(&1);
                weights.filter(|tensor| !depthwise(tensor)).into_iter().collect()
            }
            op => {
                operands_of(op).iter().filter_map(|(at, _)| signed(node.input.get(*at))).collect()
            }
        }
    }
}
