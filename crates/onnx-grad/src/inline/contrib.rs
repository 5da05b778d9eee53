//! Rewrites the operators from ONNX Runtime's optimizer as standard operators. An optimized file can then be
//! differentiated and runs on every engine, like the original file.
//!
//! Source: <https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md>

use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI};

use super::{
    quantized,
    writer::{Constants, Writer, kept},
};
use crate::{
    attrs::{self, AttributeReader},
    proto::{FunctionProto, NodeProto},
};

/// The operators of the domain `com.microsoft` that are rewritten as standard operators.
pub const MICROSOFT: &[&str] = &[
    "BiasGelu",
    "DequantizeLinear",
    "DynamicQuantizeMatMul",
    "FastGelu",
    "FusedConv",
    "FusedGemm",
    "FusedMatMul",
    "Gelu",
    "MatMulIntegerToFloat",
    "QGemm",
    "QLinearAdd",
    "QLinearAveragePool",
    "QLinearConcat",
    "QLinearGlobalAveragePool",
    "QLinearLeakyRelu",
    "QLinearMul",
    "QLinearSigmoid",
    "QLinearSoftmax",
    "QLinearWhere",
    "QuantizeLinear",
    "QuickGelu",
    "SkipLayerNormalization",
    "SkipSimplifiedLayerNormalization",
];

/// The definition of such an operator as a function. `None` for other nodes, and for attributes that standard
/// operators cannot express; that node remains and is refused by name.
pub(super) fn function(
    node: &NodeProto,
    opset: i64,
    constants: &Constants<'_>,
) -> Option<FunctionProto> {
    match node.op_domain() {
        "com.microsoft" if MICROSOFT.contains(&node.op()) => {}
        "" if quantized::STANDARD.contains(&node.op()) => {}
        _ => return None,
    }
    let has = |input: usize| node.input.get(input).is_some_and(|name| !name.is_empty());
    let a = AttributeReader::new(node);
    let mut w = Writer::new(opset);
    match node.op() {
        "BiasGelu" => {
            w.node("Add", &["0", "1"], &["sum"], vec![]);
            w.gelu("sum", false);
        }
        "FastGelu" if has(1) => {
            w.node("Add", &["0", "1"], &["sum"], vec![]);
            w.gelu("sum", true);
        }
        "FastGelu" => w.gelu("0", true),
        "FusedConv" => {
            let activation = a.text("activation")?;
            let params = a.floats("activation_params");
            let conv = ["auto_pad", "dilations", "group", "kernel_shape", "pads", "strides"];
            let inputs = if has(2) { vec!["0", "1", "2"] } else { vec!["0", "1"] };
            w.node("Conv", &inputs, &["product"], kept(node, &a, &conv));
            if has(3) {
                w.node("Add", &["product", "3"], &["sum"], vec![]);
            }
            w.activation(activation, params, if has(3) { "sum" } else { "product" })?;
        }
        "FusedGemm" => {
            let activation = a.text("activation")?;
            let params = [a.float_or("activation_alpha", 0.01)];
            let gemm = ["alpha", "beta", "transA", "transB"];
            let inputs = if has(2) { vec!["0", "1", "2"] } else { vec!["0", "1"] };
            w.node("Gemm", &inputs, &["product"], kept(node, &a, &gemm));
            #[expect(clippy::cast_possible_truncation, reason = "it was a 32-bit float")]
            let params = params.map(|param| param as f32);
            let takes_params = activation == "LeakyRelu";
            w.activation(activation, if takes_params { &params } else { &[] }, "product")?;
        }
        "FusedMatMul" => {
            if a.flag("transBatchA") || a.flag("transBatchB") {
                return None;
            }
            match (a.flag("transA"), a.flag("transB")) {
                (false, false) => w.node("MatMul", &["0", "1"], &["product"], vec![]),
                _ if opset < 12 => return None,
                (left, right) => {
                    let left = if left { "...ji" } else { "...ij" };
                    let right = if right { "...kj" } else { "...jk" };
                    let equation = format!("{left},{right}->...ik");
                    let equation = vec![attrs::text("equation", &equation)];
                    w.node("Einsum", &["0", "1"], &["product"], equation);
                }
            }
            let alpha = w.number(a.float_or("alpha", 1.0));
            w.node("Mul", &["product", &alpha], &["y"], vec![]);
        }
        "Gelu" => w.gelu("0", false),
        "QuickGelu" => {
            let alpha = w.number(a.float_or("alpha", f64::from(1.702f32)));
            w.node("Mul", &["0", &alpha], &["scaled"], vec![]);
            w.node("Sigmoid", &["scaled"], &["gate"], vec![]);
            w.node("Mul", &["0", "gate"], &["y"], vec![]);
        }
        "SkipLayerNormalization" | "SkipSimplifiedLayerNormalization" => {
            let simple = node.op() == "SkipSimplifiedLayerNormalization";
            // Scale, shift and bias; the simplified operator has no shift.
            let (shift, bias) = if simple { (usize::MAX, 3) } else { (3, 4) };
            let sum = if has(bias) { "part" } else { "sum" };
            w.node("Add", &["0", "1"], &[sum], vec![]);
            if has(bias) {
                w.node("Add", &["part", &bias.to_string()], &["sum"], vec![]);
            }
            #[expect(clippy::cast_possible_truncation, reason = "it was a 32-bit float")]
            let epsilon = a.float_or("epsilon", f64::from(1e-12f32)) as f32;
            let attributes = vec![attrs::int("axis", -1), attrs::float("epsilon", epsilon)];
            let inputs = if has(shift) { vec!["sum", "2", "3"] } else { vec!["sum", "2"] };
            let statistics = (1..3).any(|at| node.output.get(at).is_some_and(|o| !o.is_empty()));
            if simple && statistics {
                return None;
            }
            let outputs: &[&str] = if statistics { &["y", "mean", "inverse"] } else { &["y"] };
            let op = node.op().trim_start_matches("Skip");
            w.node(op, &inputs, outputs, attributes);
        }
        _ => quantized::write(&mut w, node, &a, constants)?,
    }
    if !a.unread().is_empty() {
        return None;
    }
    let outputs = ["y", "mean", "inverse", "sum"];
    let made = |name: &str| w.nodes.iter().any(|node| node.output.iter().any(|made| made == name));
    let mut asked = node.output.iter().enumerate().filter(|(_, name)| !name.is_empty());
    if asked.any(|(at, _)| outputs.get(at).is_none_or(|name| !made(name))) {
        return None;
    }
    Some(FunctionProto {
        domain: node.domain.clone(),
        name: node.op_type.clone(),
        input: (0..node.input.len()).map(|at| at.to_string()).collect(),
        output: outputs.iter().take(node.output.len()).map(|&name| name.to_owned()).collect(),
        node: w.nodes,
        ..FunctionProto::default()
    })
}

impl Writer {
    /// y = ½x(1 + erf(x/√2)), or ½x(1 + tanh(√(2/π)(x + 0.044715x³))).
    fn gelu(&mut self, x: &str, tanh: bool) {
        if self.opset >= 20 {
            let form = if tanh { "tanh" } else { "none" };
            self.node("Gelu", &[x], &["y"], vec![attrs::text("approximate", form)]);
            return;
        }
        if tanh {
            let steep = FRAC_2_SQRT_PI * FRAC_1_SQRT_2;
            let (steep, cubic) = (self.number(steep), self.number(steep * 0.044715));
            self.node("Mul", &[x, x], &["square"], vec![]);
            self.node("Mul", &["square", &cubic], &["curved"], vec![]);
            self.node("Add", &["curved", &steep], &["factor"], vec![]);
            self.node("Mul", &[x, "factor"], &["inner"], vec![]);
            self.node("Tanh", &["inner"], &["share"], vec![]);
        } else {
            let root = self.number(FRAC_1_SQRT_2);
            self.node("Mul", &[x, &root], &["inner"], vec![]);
            self.node("Erf", &["inner"], &["share"], vec![]);
        }
        let (one, half) = (self.number(1.0), self.number(0.5));
        self.node("Add", &["share", &one], &["twice"], vec![]);
        self.node("Mul", &[x, &half], &["halved"], vec![]);
        self.node("Mul", &["halved", "twice"], &["y"], vec![]);
    }

    /// y = the activation function of x.
    fn activation(&mut self, op: &str, params: &[f32], x: &str) -> Option<()> {
        let named = |names: &[&str]| {
            names.iter().zip(params).map(|(name, &param)| attrs::float(name, param)).collect()
        };
        match (op, params) {
            ("Relu" | "Sigmoid" | "Tanh", []) => self.node(op, &[x], &["y"], vec![]),
            ("LeakyRelu", [_]) => self.node(op, &[x], &["y"], named(&["alpha"])),
            ("HardSigmoid", [_, _]) => self.node(op, &[x], &["y"], named(&["alpha", "beta"])),
            ("Clip", [_, _]) if self.opset < 11 => {
                self.node(op, &[x], &["y"], named(&["min", "max"]));
            }
            ("Clip", [low, high]) => {
                let (low, high) = (self.number((*low).into()), self.number((*high).into()));
                self.node(op, &[x, &low, &high], &["y"], vec![]);
            }
            _ => return None,
        }
        Some(())
    }
}
