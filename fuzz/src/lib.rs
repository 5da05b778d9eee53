//! Mutates ONNX models for the fuzzer. Flipped bytes rarely form a valid message or graph. These
//! mutations keep the message valid and create unusual graphs, as in users' models.

use libfuzzer_sys::fuzzer_mutate;
use onnx_grad::{
    attrs,
    proto::{
        AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto,
        TensorProto, ValueInfoProto, tensor_proto::DataType, tensor_shape_proto::dimension,
        type_proto,
    },
    rules,
};
use prost::Message;
use testkit::splitmix64;

/// Common sizes, axes and counts, and the extremes of the message's types.
const INTS: &[i64] = &[
    0,
    1,
    -1,
    2,
    3,
    4,
    5,
    7,
    8,
    16,
    -2,
    -3,
    -4,
    64,
    255,
    1023,
    65_536,
    1 << 20,
    1 << 31,
    -1 << 31,
    1 << 40,
    1 << 62,
    i64::MAX,
    i64::MIN,
];

const FLOATS: &[f32] =
    &[0.0, 1.0, -1.0, 0.5, 1e-5, 6.0, 1e38, f32::INFINITY, f32::NEG_INFINITY, f32::NAN];

/// Operators other than those with a gradient rule.
const OPS: &[&str] = &[
    "ArgMax",
    "Compress",
    "Constant",
    "ConstantOfShape",
    "ConvTranspose",
    "CumSum",
    "DepthToSpace",
    "Einsum",
    "If",
    "LayerNormalization",
    "Loop",
    "Mod",
    "NonZero",
    "OneHot",
    "QuantizeLinear",
    "Range",
    "Resize",
    "Scan",
    "ScatterND",
    "Shape",
    "Size",
    "Tile",
    "TopK",
    "Upsample",
    "Where",
];

const ATTRIBUTES: &[&str] = &[
    "allowzero",
    "alpha",
    "auto_pad",
    "axes",
    "axis",
    "beta",
    "ceil_mode",
    "count_include_pad",
    "dilations",
    "else_branch",
    "ends",
    "epsilon",
    "group",
    "keepdims",
    "kernel_shape",
    "max",
    "min",
    "mode",
    "noop_with_empty_axes",
    "num_outputs",
    "output_padding",
    "output_shape",
    "pads",
    "perm",
    "split",
    "starts",
    "steps",
    "storage_order",
    "strides",
    "then_branch",
    "to",
    "training_mode",
    "transA",
    "transB",
    "value",
    "value_ints",
];

/// Mutates a model in the first `size` bytes of `data` and returns the new size. If the bytes are
/// not a model, and sometimes otherwise, mutates bytes instead.
pub fn mutate(data: &mut [u8], size: usize, max_size: usize, seed: u32) -> usize {
    let mut dice = Dice { seed: seed.into(), thrown: 0 };
    if !dice.one_in(8)
        && let Ok(mut model) = ModelProto::decode(&data[..size])
        && model.graph.is_some()
    {
        for _ in 0..=dice.below(3) {
            edit(&mut model, &mut dice);
        }
        let bytes = model.encode_to_vec();
        if bytes.len() <= max_size {
            data[..bytes.len()].copy_from_slice(&bytes);
            return bytes.len();
        }
    }
    fuzzer_mutate(data, size, max_size)
}

/// Reproducible choices from a seed.
struct Dice {
    seed: u64,
    thrown: u64,
}

impl Dice {
    /// A number below `count`; 0 if `count` is 0.
    fn below(&mut self, count: usize) -> usize {
        self.thrown += 1;
        (splitmix64(self.seed, self.thrown) >> 32) as usize % count.max(1)
    }

    fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }

    fn of<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    fn any<'t, T>(&mut self, from: &'t mut [T]) -> Option<&'t mut T> {
        let place = self.below(from.len());
        from.get_mut(place)
    }
}

fn edit(model: &mut ModelProto, dice: &mut Dice) {
    let kind = dice.below(16);
    if kind == 0 {
        if let Some(import) = dice.any(&mut model.opset_import) {
            // Numbers close to existing ones.
            import.version = Some(dice.below(30) as i64);
        }
        return;
    }
    if kind == 1 {
        return into_function(model, dice);
    }
    if kind == 2
        && let Some(function) = dice.any(&mut model.functions)
    {
        let names = function.input.iter().chain(function.node.iter().flat_map(|n| &n.output));
        let names: Vec<String> = names.cloned().collect();
        if let Some(node) = dice.any(&mut function.node) {
            edit_node(node, &names, dice);
        }
        return;
    }
    let Some(graph) = &mut model.graph else { return };
    edit_graph(graph, kind, dice);
}

fn edit_graph(graph: &mut GraphProto, kind: usize, dice: &mut Dice) {
    let mut inner = graph.node.iter_mut().flat_map(|node| &mut node.attribute);
    if dice.one_in(2)
        && let Some(subgraph) = inner.find_map(|attribute| attribute.g.as_mut())
    {
        return edit_graph(subgraph, kind, dice);
    }
    match kind {
        3 => into_branch(graph, dice),
        4 | 5 => edit_initializer(graph, dice),
        6 | 7 => {
            let GraphProto { input, output, value_info, .. } = graph;
            let lists = [input, output, value_info];
            let place = dice.below(lists.len());
            let list = lists.into_iter().nth(place);
            if let Some(info) = list.and_then(|list| dice.any(list)) {
                edit_declared(info, dice);
            }
        }
        8 => {
            let (one, other) = (dice.below(graph.node.len()), dice.below(graph.node.len()));
            match dice.below(3) {
                _ if graph.node.is_empty() => {}
                0 => graph.node.swap(one, other),
                1 => drop(graph.node.remove(one)),
                _ => graph.node.insert(other, graph.node[one].clone()),
            }
        }
        9 => add_list(graph, dice),
        _ => {
            let names = names(graph);
            if let Some(node) = dice.any(&mut graph.node) {
                edit_node(node, &names, dice);
            }
        }
    }
}

/// The values of a graph.
fn names(graph: &GraphProto) -> Vec<String> {
    let inputs = graph.input.iter().filter_map(|input| input.name.clone());
    let constants = graph.initializer.iter().filter_map(|tensor| tensor.name.clone());
    let outputs = graph.node.iter().flat_map(|node| node.output.iter().cloned());
    inputs.chain(constants).chain(outputs).collect()
}

fn edit_node(node: &mut NodeProto, names: &[String], dice: &mut Dice) {
    let name =
        |dice: &mut Dice| names.get(dice.below(names.len() + 1)).cloned().unwrap_or_default();
    match dice.below(12) {
        0 => {
            let known: Vec<&str> = rules().map(|rule| rule.op).collect();
            let ops = if dice.one_in(3) { OPS } else { &known };
            node.op_type = Some(dice.of(ops).to_owned());
        }
        1 | 2 => {
            let new = name(dice);
            if let Some(input) = dice.any(&mut node.input) {
                *input = new;
            }
        }
        3 => node.input.push(name(dice)),
        4 => drop(node.input.pop()),
        5 => node.input.reverse(),
        6 if dice.one_in(2) => drop(node.output.pop()),
        6 => node.output.push(format!("more{}", dice.below(1000))),
        7 => {
            let name = dice.of(ATTRIBUTES);
            let ints: Vec<i64> = (0..dice.below(5)).map(|_| dice.of(INTS)).collect();
            node.attribute.push(match dice.below(4) {
                0 => attrs::ints(name, &ints),
                1 => attrs::float(name, dice.of(FLOATS)),
                2 => attrs::text(name, dice.of(&["SAME_UPPER", "SAME_LOWER", "VALID", ""])),
                _ => attrs::int(name, dice.of(INTS)),
            });
        }
        8 => {
            let place = dice.below(node.attribute.len());
            if !node.attribute.is_empty() {
                node.attribute.remove(place);
            }
        }
        _ => {
            if let Some(attribute) = dice.any(&mut node.attribute) {
                edit_attribute(attribute, dice);
            }
        }
    }
}

fn edit_attribute(attribute: &mut AttributeProto, dice: &mut Dice) {
    if let Some(tensor) = attribute.t.as_mut().filter(|_| dice.one_in(2)) {
        return edit_tensor(tensor, dice);
    }
    match dice.below(8) {
        0 => attribute.name = Some(dice.of(ATTRIBUTES).to_owned()),
        1 => attribute.r#type = Some(dice.below(16) as i32),
        2 => attribute.f = Some(dice.of(FLOATS)),
        3 => drop(attribute.ints.pop()),
        4 => attribute.ints.push(dice.of(INTS)),
        5 => attribute.s = Some(b"VALID".as_slice().into()),
        _ => match dice.any(&mut attribute.ints) {
            Some(int) => *int = dice.of(INTS),
            None => attribute.i = Some(dice.of(INTS)),
        },
    }
}

fn edit_initializer(graph: &mut GraphProto, dice: &mut Dice) {
    if let Some(tensor) = dice.any(&mut graph.initializer) {
        edit_tensor(tensor, dice);
    }
}

fn edit_tensor(tensor: &mut TensorProto, dice: &mut Dice) {
    match dice.below(6) {
        0 => tensor.dims.push(dice.of(INTS)),
        1 => drop(tensor.dims.pop()),
        2 => tensor.data_type = Some(dice.below(28) as i32),
        3 if tensor.elem() == DataType::Int64 => {
            let count = tensor.dims.first().map_or(1, |dim| (*dim).clamp(0, 8));
            let numbers = (0..count).flat_map(|_| dice.of(INTS).to_le_bytes());
            tensor.raw_data = Some(numbers.collect::<Vec<u8>>().into());
            tensor.int64_data.clear();
        }
        _ => {
            if let Some(dim) = dice.any(&mut tensor.dims) {
                *dim = dice.of(INTS);
            }
        }
    }
    // Usually as many bytes as the shape requires; otherwise this fault would hide all others.
    let bits = i64::try_from(tensor.elem().bits()).unwrap_or(0);
    let bits = tensor.dims.iter().try_fold(bits, |bits, dim| bits.checked_mul(*dim));
    if let Some(bits @ 0..=65_536) = bits.filter(|_| !dice.one_in(8)) {
        let mut bytes = tensor.raw_data.take().unwrap_or_default().to_vec();
        bytes.resize((bits as usize).div_ceil(8), 1);
        tensor.raw_data = Some(bytes.into());
    }
}

fn edit_declared(info: &mut ValueInfoProto, dice: &mut Dice) {
    let Some(type_proto::Value::TensorType(tensor)) =
        info.r#type.as_mut().and_then(|t| t.value.as_mut())
    else {
        return;
    };
    if dice.one_in(8) {
        tensor.elem_type = Some(dice.below(28) as i32);
    }
    let dims = &mut tensor.shape.get_or_insert_default().dim;
    match dice.below(6) {
        0 => drop(dims.pop()),
        1 => dims.push(Default::default()),
        kind => {
            if let Some(dim) = dice.any(dims) {
                dim.value = match kind {
                    2 => None,
                    3 => Some(dimension::Value::DimParam("N".to_owned())),
                    _ => Some(dimension::Value::DimValue(dice.of(INTS))),
                };
            }
        }
    }
}

/// A new list of numbers that some node reads as a shape, axes or pads.
fn add_list(graph: &mut GraphProto, dice: &mut Dice) {
    let numbers: Vec<i64> = (0..dice.below(6)).map(|_| dice.of(INTS)).collect();
    let name = format!("list{}", dice.below(1000));
    if let Some(input) = dice.any(&mut graph.node).and_then(|node| dice.any(&mut node.input)) {
        input.clone_from(&name);
        graph.initializer.push(TensorProto {
            name: Some(name),
            dims: vec![numbers.len() as i64],
            data_type: Some(DataType::Int64 as i32),
            int64_data: numbers,
            ..TensorProto::default()
        });
    }
}

/// Replaces a node by a call of a function that contains only this node.
fn into_function(model: &mut ModelProto, dice: &mut Dice) {
    let imports = model.opset_import.clone();
    let name = format!("F{}", dice.below(20));
    let Some(node) = model.graph.as_mut().and_then(|graph| dice.any(&mut graph.node)) else {
        return;
    };
    model.functions.push(FunctionProto {
        name: Some(name.clone()),
        domain: Some("own".to_owned()),
        input: node.input.clone(),
        output: node.output.clone(),
        node: vec![node.clone()],
        opset_import: imports,
        ..FunctionProto::default()
    });
    *node = NodeProto {
        op_type: Some(name),
        domain: Some("own".to_owned()),
        input: node.input.clone(),
        output: node.output.clone(),
        ..NodeProto::default()
    };
    if !model.opset_import.iter().any(|import| import.domain() == "own") {
        let own = OperatorSetIdProto { domain: Some("own".to_owned()), version: Some(1) };
        model.opset_import.push(own);
    }
}

/// Moves a node into a branch of an `If`.
fn into_branch(graph: &mut GraphProto, dice: &mut Dice) {
    let condition = names(graph);
    let condition = condition.get(dice.below(condition.len())).cloned().unwrap_or_default();
    let Some(node) = dice.any(&mut graph.node) else { return };
    let mut inner = node.clone();
    let rename = |name: &String| format!("inner_{name}");
    inner.output = node.output.iter().map(rename).collect();
    let outputs = inner.output.iter().cloned();
    let output = outputs.map(|name| ValueInfoProto { name: Some(name), ..Default::default() });
    let branch = GraphProto { output: output.collect(), node: vec![inner], ..Default::default() };
    let branch = |name: &str| AttributeProto { g: Some(branch.clone()), ..attrs::int(name, 0) };
    *node = NodeProto {
        op_type: Some("If".to_owned()),
        input: vec![condition],
        output: node.output.clone(),
        attribute: vec![branch("then_branch"), branch("else_branch")],
        ..NodeProto::default()
    };
}
