//! Rewrites operators on quantized numbers as standard operators: dequantize the inputs, apply the float operator,
//! quantize the output.
//!
//! Sources: <https://onnx.ai/onnx/operators/>,
//! <https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md>

use std::{
    collections::{HashMap, HashSet},
    slice,
};

use super::{
    body::{NameTable, rename_nodes},
    captured_names,
    writer::{Constants, Writer, kept},
};
use crate::{
    attrs::{self, AttributeReader},
    op,
    proto::{NodeProto, TensorProto, tensor_proto::DataType},
};

/// The standard operators; the others are from ONNX Runtime.
pub(super) const STANDARD: &[&str] = &["QLinearConv", "QLinearMatMul"];

/// Whether a node computes with quantized numbers and their scales.
pub(super) fn is_quantized(node: &NodeProto) -> bool {
    STANDARD.contains(&node.op())
        || node.op_domain() == "com.microsoft"
            && (node.op().starts_with("QLinear") || node.op() == "QGemm")
}

/// Writes the definition of a node, with the output `y`; `None` for other operators and for nodes that standard
/// operators cannot express.
pub(super) fn write(
    w: &mut Writer,
    node: &NodeProto,
    a: &AttributeReader,
    constants: &Constants<'_>,
) -> Option<()> {
    let mut q = QuantizedWriter { w, node, constants };
    match node.op() {
        "QLinearConv" => {
            let mut inputs = vec![q.read(0, None)?, q.read(3, Some(0))?];
            inputs.extend(q.bias(8, (1, 4), 1.0));
            let conv = ["auto_pad", "dilations", "group", "kernel_shape", "pads", "strides"];
            q.w.node("Conv", &strs(&inputs), &["float"], kept(node, a, &conv));
            q.give(6)
        }
        "QLinearMatMul" => {
            let inputs = [q.read(0, None)?, q.read(3, Some(-1))?];
            q.w.node("MatMul", &strs(&inputs), &["float"], vec![]);
            q.give(6)
        }
        "QLinearAdd" | "QLinearMul" => {
            let inputs = [q.read(0, None)?, q.read(3, None)?];
            q.w.node(&node.op()["QLinear".len()..], &strs(&inputs), &["float"], vec![]);
            q.give(6)
        }
        "QLinearAveragePool" | "QLinearGlobalAveragePool" if !a.flag("channels_last") => {
            let x = q.read(0, None)?;
            let pool =
                ["auto_pad", "ceil_mode", "count_include_pad", "kernel_shape", "pads", "strides"];
            let op = &node.op()["QLinear".len()..];
            q.w.node(op, &[&x], &["float"], kept(node, a, &pool));
            q.give(3)
        }
        "QLinearSigmoid" | "QLinearLeakyRelu" => {
            let x = q.read(0, None)?;
            let op = &node.op()["QLinear".len()..];
            q.w.node(op, &[&x], &["float"], kept(node, a, &["alpha"]));
            q.give(3)
        }
        // The meaning of the axis depends on the attribute `opset`.
        "QLinearSoftmax" if (a.int_or("opset", 0) >= 13) == (q.w.opset >= 13) => {
            let x = q.read(0, None)?;
            q.w.node("Softmax", &[&x], &["float"], kept(node, a, &["axis"]));
            q.give(3)
        }
        "QLinearConcat" => {
            let triples = (2..node.input.len()).step_by(3);
            let inputs = triples.map(|at| q.read(at, None)).collect::<Option<Vec<_>>>()?;
            q.w.node("Concat", &strs(&inputs), &["float"], kept(node, a, &["axis"]));
            q.give(0)
        }
        "QLinearWhere" => {
            let inputs = [q.read(1, None)?, q.read(4, None)?];
            q.w.node("Where", &["0", &inputs[0], &inputs[1]], &["float"], vec![]);
            q.give(7)
        }
        "QGemm" => {
            let columns = if a.flag("transB") { 0 } else { 1 };
            let mut inputs = vec![q.read(0, None)?, q.read(3, Some(columns))?];
            inputs.extend(q.bias(6, (1, 4), a.float_or("alpha", 1.0)));
            let with = kept(node, a, &["alpha", "transA", "transB"]);
            let gives_floats = !q.has(7);
            let to = if gives_floats { "y" } else { "float" };
            q.w.node("Gemm", &strs(&inputs), &[to], with);
            if gives_floats { Some(()) } else { q.give(7) }
        }
        // The standard operators with types from later opsets.
        "QuantizeLinear" | "DequantizeLinear" => {
            let with = kept(node, a, &["axis"]);
            let oldest = match q.constant(2)?.elem() {
                DataType::Int16 | DataType::Uint16 => 21,
                DataType::Int8 | DataType::Uint8 | DataType::Int32 if with.is_empty() => 10,
                DataType::Int8 | DataType::Uint8 | DataType::Int32 => 13,
                _ => return None,
            };
            if q.w.opset < oldest {
                return None;
            }
            q.w.node(node.op(), &["0", "1", "2"], &["y"], with);
            Some(())
        }
        "MatMulIntegerToFloat" => {
            let inputs = [q.read_with((0, 2, 4), None)?, q.read_with((1, 3, 5), Some(-1))?];
            q.product(&inputs, 6);
            Some(())
        }
        "DynamicQuantizeMatMul" => {
            q.w.node("DynamicQuantizeLinear", &["0"], &["numbers", "scale", "zero"], vec![]);
            q.w.node("DequantizeLinear", &["numbers", "scale", "zero"], &["float_0"], vec![]);
            let inputs = ["float_0".to_owned(), q.read_with((1, 2, 3), Some(-1))?];
            q.product(&inputs, 4);
            Some(())
        }
        _ => None,
    }
}

fn strs(names: &[String]) -> Vec<&str> {
    names.iter().map(String::as_str).collect()
}

struct QuantizedWriter<'a> {
    w: &'a mut Writer,
    node: &'a NodeProto,
    constants: &'a Constants<'a>,
}

impl QuantizedWriter<'_> {
    fn has(&self, input: usize) -> bool {
        self.node.input.get(input).is_some_and(|name| !name.is_empty())
    }

    fn constant(&self, input: usize) -> Option<&TensorProto> {
        self.constants.get(self.node.input.get(input)?.as_str()).copied()
    }

    /// The floats of the quantized numbers at an input; the next two inputs are scale and zero point.
    fn read(&mut self, at: usize, axis: Option<i64>) -> Option<String> {
        self.read_with((at, at + 1, at + 2), axis)
    }

    /// Like [`QuantizedWriter::read`], with quantized numbers, scale and zero point at three inputs. Several scales
    /// apply along `axis`.
    fn read_with(
        &mut self,
        (at, scale, zero): (usize, usize, usize),
        axis: Option<i64>,
    ) -> Option<String> {
        let count = self.constant(scale).map(|scale| scale.dims.iter().product::<i64>());
        let float = format!("float_{at}");
        let mut inputs = vec![at.to_string(), scale.to_string()];
        inputs.extend(self.has(zero).then(|| zero.to_string()));
        let with = match (axis, count) {
            (_, Some(1)) | (None, None) => vec![],
            (Some(axis), _) if self.w.opset >= 13 => vec![attrs::int("axis", axis)],
            (Some(axis), Some(_)) => {
                self.along_axis(at, &inputs, axis, &float)?;
                return Some(float);
            }
            _ => return None,
        };
        self.w.node("DequantizeLinear", &strs(&inputs), &[&float], with);
        Some(float)
    }

    /// Before opset 13 DequantizeLinear has one scale, so this writes (x − z)·s explicitly.
    fn along_axis(&mut self, at: usize, inputs: &[String], axis: i64, float: &str) -> Option<()> {
        let rank = i64::try_from(self.constant(at)?.dims.len()).ok()?;
        let axis = if axis < 0 { axis + rank } else { axis };
        let shape: Vec<i64> = (0..rank).map(|at| if at == axis { -1 } else { 1 }).collect();
        let shape = self.w.ints(&shape);
        let numbers = format!("{float}_numbers");
        self.cast_to_float(&inputs[0], &numbers);
        let scale = format!("{float}_scale");
        self.w.node("Reshape", &[&inputs[1], &shape], &[&scale], vec![]);
        let Some(zero) = inputs.get(2) else {
            self.w.node("Mul", &[&numbers, &scale], &[float], vec![]);
            return Some(());
        };
        let [plain, placed, moved] =
            ["zero", "zeros", "moved"].map(|name| format!("{float}_{name}"));
        self.cast_to_float(zero, &plain);
        self.w.node("Reshape", &[&plain, &shape], &[&placed], vec![]);
        self.w.node("Sub", &[&numbers, &placed], &[&moved], vec![]);
        self.w.node("Mul", &[&moved, &scale], &[float], vec![]);
        Some(())
    }

    fn cast_to_float(&mut self, from: &str, to: &str) {
        let float = vec![attrs::int("to", i64::from(DataType::Float as i32))];
        self.w.node("Cast", &[from], &[to], float);
    }

    /// A bias of 32-bit integers. Its scale is the product of two scales and a factor.
    fn bias(&mut self, at: usize, scales: (usize, usize), factor: f64) -> Option<String> {
        if !self.has(at) {
            return None;
        }
        self.cast_to_float(&at.to_string(), "bias_numbers");
        let [left, right] = [scales.0.to_string(), scales.1.to_string()];
        self.w.node("Mul", &[&left, &right], &["bias_scale"], vec![]);
        self.w.node("Mul", &["bias_numbers", "bias_scale"], &["bias"], vec![]);
        if factor == 1.0 {
            return Some("bias".to_owned());
        }
        let factor = self.w.single(factor);
        self.w.node("Mul", &["bias", &factor], &["bias_scaled"], vec![]);
        Some("bias_scaled".to_owned())
    }

    /// The matrix product, plus a float bias if there is one.
    fn product(&mut self, inputs: &[String], bias: usize) {
        if self.has(bias) {
            self.w.node("MatMul", &strs(inputs), &["product"], vec![]);
            self.w.node("Add", &["product", &bias.to_string()], &["y"], vec![]);
        } else {
            self.w.node("MatMul", &strs(inputs), &["y"], vec![]);
        }
    }

    /// Quantizes `float` with the scale at an input. The next input is the zero point, which determines the type.
    fn give(&mut self, scale: usize) -> Option<()> {
        let (scale, zero) = (scale.to_string(), self.has(scale + 1).then(|| scale + 1)?);
        self.w.node("QuantizeLinear", &["float", &scale, &zero.to_string()], &["y"], vec![]);
        Some(())
    }
}

/// The inputs of a DequantizeLinear without attributes: quantized numbers, scale and zero point.
type DequantizeInputs = Vec<String>;

/// Shares one float value for each quantized value. Readers with the same scale and zero point share the first
/// DequantizeLinear. Operators that only move or select numbers are copied to operate on the floats; readers of the
/// integers keep the original.
pub(super) fn share(nodes: &mut Vec<NodeProto>, outputs: &HashSet<String>, names: &mut NameTable) {
    let mut scales: HashMap<String, Vec<String>> = HashMap::new();
    let mut floats: HashMap<DequantizeInputs, String> = HashMap::new();
    let mut renamed: HashMap<String, String> = HashMap::new();
    let mut copied: HashSet<String> = HashSet::new();
    for node in std::mem::take(nodes) {
        let plain = node.op_domain().is_empty() && node.attribute.is_empty();
        match (node.op(), node.input.as_slice(), node.output.as_slice()) {
            ("QuantizeLinear", [_, scale @ ..], [output]) if plain => {
                scales.insert(output.clone(), scale.to_vec());
            }
            ("DequantizeLinear", read, [output]) if plain => match floats.get(read) {
                Some(float) if !outputs.contains(output) => {
                    renamed.insert(output.clone(), float.clone());
                    continue;
                }
                Some(_) => {}
                None => {
                    floats.insert(read.to_vec(), output.clone());
                }
            },
            (op, [first, ..], made) if !scales.is_empty() && op::traits(&node).selects => {
                // Another output would be indices or a mask.
                let whole = made.len() == 1 || op == "Split";
                if let Some(scale) = scales.get(first).filter(|_| whole).cloned() {
                    let read = [slice::from_ref(first), &scale].concat();
                    let from = floats.entry(read.clone()).or_insert_with(|| {
                        let float = names.fresh(first, "DequantizeLinear");
                        nodes.push(dequantize(&node, read, &float));
                        float
                    });
                    let mut copy = node.clone();
                    copy.input[0].clone_from(from);
                    for (output, moved) in made.iter().zip(&mut copy.output) {
                        *moved = names.fresh(node.label(), "DequantizeLinear");
                        floats.insert([slice::from_ref(output), &scale].concat(), moved.clone());
                        scales.insert(output.clone(), scale.clone());
                        copied.insert(output.clone());
                    }
                    nodes.push(copy);
                }
            }
            _ => {}
        }
        nodes.push(node);
    }
    rename_nodes(nodes, &renamed);
    let mut read: HashSet<String> = outputs.clone();
    nodes.reverse();
    nodes.retain(|node| {
        let is_read = node.output.iter().any(|output| read.contains(output));
        if !is_read && node.output.iter().any(|output| copied.contains(output)) {
            return false;
        }
        let mut captured = HashSet::new();
        captured_names(node, &mut captured);
        read.extend(captured.into_iter().map(str::to_owned));
        read.extend(node.input.iter().cloned());
        true
    });
    nodes.reverse();
}

/// A DequantizeLinear for a node.
fn dequantize(of: &NodeProto, read: DequantizeInputs, output: &str) -> NodeProto {
    NodeProto {
        name: Some(format!("{}.DequantizeLinear", of.label())),
        op_type: Some("DequantizeLinear".to_owned()),
        input: read,
        output: vec![output.to_owned()],
        metadata_props: of.metadata_props.clone(),
        ..NodeProto::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{proto::GraphProto, testing::node};

    /// Between a QuantizeLinear and a DequantizeLinear, operators that preserve the numbers read floats. The others
    /// read integers: the border of Pad and the inputs of Concat have no scale here.
    #[test]
    fn operators_that_preserve_numbers_read_floats() {
        let rows = [
            ("Transpose", true),
            ("MaxPool", true),
            ("Expand", true),
            ("Tile", true),
            ("GatherND", true),
            ("ReduceMax", true),
            ("ReduceSum", false),
            ("Pad", false),
            ("Concat", false),
            ("Relu", false),
        ];
        for (op, moves) in rows {
            let mut nodes = vec![
                node("QuantizeLinear", &["x", "s", "z"], &["q"]),
                node(op, &["q"], &["m"]),
                node("DequantizeLinear", &["m", "s", "z"], &["y"]),
            ];
            let mut names =
                NameTable::of(&GraphProto { node: nodes.clone(), ..GraphProto::default() });
            share(&mut nodes, &HashSet::from(["y".to_owned()]), &mut names);
            let reads = |node: &&NodeProto| node.op() == op && node.input[0] != "q";
            assert_eq!(nodes.iter().any(|node| reads(&node)), moves, "{op}: {nodes:?}");
        }
    }

    /// A Split reads floats where all of its parts are read as floats.
    #[test]
    fn a_split_gives_floats() {
        let mut nodes = vec![
            node("QuantizeLinear", &["x", "s", "z"], &["q"]),
            node("Split", &["q"], &["a", "b"]),
            node("DequantizeLinear", &["a", "s", "z"], &["c"]),
            node("DequantizeLinear", &["b", "s", "z"], &["y"]),
            node("Neg", &["c"], &["w"]),
        ];
        let mut names = NameTable::of(&GraphProto { node: nodes.clone(), ..GraphProto::default() });
        let outputs = HashSet::from(["y".to_owned(), "w".to_owned()]);
        share(&mut nodes, &outputs, &mut names);
        let ops: Vec<&str> = nodes.iter().map(NodeProto::op).collect();
        assert_eq!(ops.iter().filter(|op| **op == "Split").count(), 2, "{nodes:?}");
        let float = nodes.iter().find(|node| node.op() == "Split" && node.input[0] != "q");
        let neg = nodes.iter().find(|node| node.op() == "Neg").map(|node| &node.input[0]);
        assert_eq!(neg, float.map(|node| &node.output[0]), "{nodes:?}");
    }
}
