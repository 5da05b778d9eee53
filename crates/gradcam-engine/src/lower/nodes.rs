//! Rewrite rules outside the families.

use std::{collections::HashMap, iter::successors};

use onnx_grad::proto::{
    GraphProto, NodeProto, ValueInfoProto, tensor_proto::DataType, type_proto::Value as TypeValue,
};

use onnx_grad::attrs::int;

use super::{
    Refusal,
    refusal::RefusalText,
    rewrite::{Rewrite, input, only_first_output, set, unset},
};
use crate::tensor::type_of;

pub(crate) const TRAINING_OUTPUT: RefusalText =
    RefusalText::new("its training output is not supported");
pub(crate) const TRAINING_RANK: RefusalText =
    RefusalText::new("in training mode the rank of its input must be known");
pub(crate) const TRAINING_MODE: RefusalText = RefusalText::new("it is in training mode");
pub(crate) const STATISTICS_OUTPUT: RefusalText =
    RefusalText::new("its statistics output is not supported");
pub(crate) const MASK_OUTPUT: RefusalText = RefusalText::new("its mask output is not supported");
pub(crate) const NO_AXES: RefusalText =
    RefusalText::new("attribute noop_with_empty_axes is 1, and it has no axes");
pub(crate) const PARTIAL_INDICES: RefusalText =
    RefusalText::new("its indices do not cover another axis completely");
pub(crate) const EVEN_SIZE: RefusalText = RefusalText::new("attribute size is …; it must be odd");

/// rten removes Identity nodes and merges constants, then fails if one is two outputs. For the later of two such outputs
/// Expand is a copy that it keeps.
pub(crate) fn identity(b: &mut Rewrite<'_>, node: NodeProto) -> Result<(), Refusal> {
    let graph = b.facts.model.graph();
    let outputs = graph.output.iter().filter_map(|value| value.name.as_deref());
    let mine = node.output.first().map(String::as_str).unwrap_or_default();
    let outputs: Vec<&str> = outputs.collect();
    let place = outputs.iter().position(|output| *output == mine).unwrap_or(0);
    let copied = |name: &str| {
        let mut copies = graph.node.iter().filter(|copy| copy.op() == "Identity");
        let copy = copies.find(|copy| copy.output.first().is_some_and(|output| output == name))?;
        copy.input.first().map(String::as_str)
    };
    // At most one step per node, so that the search ends in cyclic graphs.
    let origin = |name: &str| {
        let steps = successors(copied(name), |name: &&str| copied(name));
        steps.take(graph.node.len()).last().unwrap_or(name).to_owned()
    };
    let constant = |name: &String| graph.initializer.iter().any(|tensor| tensor.label() == name);
    let own = origin(mine);
    let same = |other: String| other == own || constant(&other) && constant(&own);
    if outputs[..place].iter().any(|earlier| same(origin(earlier))) {
        let shape = b.ints(&[0], &[]);
        b.last(&node, "Expand", &[input(&node, 0)?, &shape], vec![]);
    } else {
        b.keep(node);
    }
    Ok(())
}

/// rten returns the last of equal extrema; the standard requires the first unless `select_last_index` is set. The rule
/// reverses the axis, and index i of the reversed axis is index n − 1 − i.
pub(crate) fn arg_extreme(b: &mut Rewrite<'_>, mut node: NodeProto) -> Result<(), Refusal> {
    let select_last = node.attr_int("select_last_index").unwrap_or(0) != 0;
    unset(&mut node, "select_last_index");
    if select_last {
        b.keep(node);
        return Ok(());
    }
    let x = input(&node, 0)?;
    let axis = node.attr_int("axis").unwrap_or(0);
    let (minus_one, start) = (b.ints(&[1], &[-1]), b.ints(&[1], &[i64::MIN]));
    let axes = b.ints(&[1], &[axis]);
    let turned = b.node("Slice", &[x, &minus_one, &start, &axes, &minus_one], vec![]);
    let at = b.node(node.op(), &[&turned], node.attribute.clone());
    let shape = b.node("Shape", &[x], vec![]);
    let axis = b.ints(&[], &[axis]);
    let size = b.node("Gather", &[&shape, &axis], vec![]);
    let one = b.ints(&[], &[1]);
    let end = b.node("Sub", &[&size, &one], vec![]);
    b.last(&node, "Sub", &[&end, &at], vec![]);
    Ok(())
}

/// A node in training mode that is left after expansion is one to which the definition does not apply.
pub(crate) fn batch_norm(b: &mut Rewrite<'_>, mut node: NodeProto) -> Result<(), Refusal> {
    if node.attr_int("training_mode") == Some(1) {
        return Err(TRAINING_RANK.with(&[]));
    }
    only_first_output(b, &mut node, TRAINING_OUTPUT)?;
    b.keep(node);
    Ok(())
}

pub(crate) fn layer_norm(b: &mut Rewrite<'_>, mut node: NodeProto) -> Result<(), Refusal> {
    only_first_output(b, &mut node, STATISTICS_OUTPUT)?;
    b.keep(node);
    Ok(())
}

/// rten stores all floats as float32, so casts between them do nothing. Its booleans are integers, so a cast to bool is a
/// comparison: 0.5 becomes true, and 2 becomes 1.
pub(crate) fn cast(b: &mut Rewrite<'_>, mut node: NodeProto) -> Result<(), Refusal> {
    let from = b.facts.elem(&node, 0);
    let to = node.attr_int("to").and_then(|to| DataType::try_from(i32::try_from(to).ok()?).ok());
    match to {
        Some(to) if to.is_float() => {
            if from.is_float() {
                b.last(&node, "Identity", &[input(&node, 0)?], vec![]);
                return Ok(());
            }
            set(&mut node, int("to", DataType::Float as i64));
        }
        Some(DataType::Bool) if from == DataType::Bool => {
            b.last(&node, "Identity", &[input(&node, 0)?], vec![]);
            return Ok(());
        }
        Some(DataType::Bool) => {
            let number = vec![int("to", DataType::Float as i64)];
            let number = b.node("Cast", &[input(&node, 0)?], number);
            let zero = b.float(0.0);
            let is_zero = b.node("Equal", &[&number, &zero], vec![]);
            b.last(&node, "Not", &[&is_zero], vec![]);
            return Ok(());
        }
        _ => {}
    }
    b.keep(node);
    Ok(())
}

/// In the product of a stack of matrices and a vector, rten keeps an axis of size 1, which the standard drops.
pub(crate) fn matmul(b: &mut Rewrite<'_>, node: NodeProto) -> Result<(), Refusal> {
    if b.facts.rank(&node, 1) != Some(1) || b.facts.rank(&node, 0).is_none_or(|rank| rank < 3) {
        b.keep(node);
        return Ok(());
    }
    let column = b.ints(&[2], &[-1, 1]);
    let column = b.node("Reshape", &[input(&node, 1)?, &column], vec![]);
    let product = b.node("MatMul", &[input(&node, 0)?, &column], vec![]);
    let rank = b.facts.rank(&node, 0).and_then(|rank| i64::try_from(rank).ok()).unwrap_or(3);
    let shape: Vec<i64> = vec![0; b.facts.rank(&node, 0).unwrap_or(3) - 1];
    let shape = b.ints(&[rank - 1], &shape);
    b.last(&node, "Reshape", &[&product, &shape], vec![]);
    Ok(())
}

/// If one operand has a single element, rten gives the result the rank of the other operand, even if the single element has
/// more axes. This affects quotients, powers, and sums and products that its optimizer simplifies as x + 0 or x · 1.
pub(crate) fn arithmetic(b: &mut Rewrite<'_>, mut node: NodeProto) -> Result<(), Refusal> {
    add_leading_axes(b, &mut node)?;
    b.keep(node);
    Ok(())
}

fn add_leading_axes(b: &mut Rewrite<'_>, node: &mut NodeProto) -> Result<(), Refusal> {
    for (at, other) in [(0, 1), (1, 0)] {
        let (Some(low), Some(high)) = (b.facts.rank(node, at), b.facts.rank(node, other)) else {
            continue;
        };
        let sizes = b.facts.dims(input(node, other)?).unwrap_or_default();
        if low < high && sizes.iter().all(|size| size.is_none_or(|size| size == 1)) {
            let axes: Vec<i64> = (0..i64::try_from(high - low).unwrap_or(0)).collect();
            let axes = b.ints(&[i64::try_from(axes.len()).unwrap_or(0)], &axes);
            node.input[at] = b.node("Unsqueeze", &[input(node, at)?, &axes], vec![]);
        }
    }
    Ok(())
}

/// Without axes rten reduces all of them, even if `noop_with_empty_axes` is set.
pub(crate) fn reduce(b: &mut Rewrite<'_>, mut node: NodeProto) -> Result<(), Refusal> {
    let noop = node.attr_int("noop_with_empty_axes").unwrap_or(0) != 0;
    let given = node.input.get(1).is_some_and(|name| !name.is_empty());
    unset(&mut node, "noop_with_empty_axes");
    if !noop || given && b.facts.ints(&node, 1).is_none_or(|axes| !axes.is_empty()) {
        b.keep(node);
        return Ok(());
    }
    let x = input(&node, 0)?;
    match node.op() {
        "ReduceMax" | "ReduceMean" | "ReduceMin" | "ReduceProd" | "ReduceSum" => {
            b.last(&node, "Identity", &[x], vec![]);
        }
        _ => return Err(NO_AXES.with(&[])),
    }
    Ok(())
}

/// rten detects infinities of both signs. The rule removes the sign that is not requested.
pub(crate) fn is_inf(b: &mut Rewrite<'_>, node: NodeProto) -> Result<(), Refusal> {
    let x = input(&node, 0)?;
    let zero = b.float(0.0);
    let mut found = b.node("IsInf", &[x], vec![]);
    for (sign, other) in [("detect_negative", "Greater"), ("detect_positive", "Less")] {
        if node.attr_int(sign) == Some(0) {
            let other = b.node(other, &[x, &zero], vec![]);
            found = b.node("And", &[&found, &other], vec![]);
        }
    }
    b.last(&node, "Identity", &[&found], vec![]);
    Ok(())
}

/// rten returns 1 as the sign of 0. The rule emits [x > 0] − [x < 0].
pub(crate) fn sign(b: &mut Rewrite<'_>, node: NodeProto) -> Result<(), Refusal> {
    let (x, elem) = (input(&node, 0)?, b.facts.elem(&node, 0));
    if elem != DataType::Undefined && !elem.is_float() {
        b.keep(node);
        return Ok(());
    }
    let zero = b.float(0.0);
    let [above, below] = ["Greater", "Less"].map(|op| {
        let side = b.node(op, &[x, &zero], vec![]);
        b.node("Cast", &[&side], vec![int("to", DataType::Float as i64)])
    });
    b.last(&node, "Sub", &[&above, &below], vec![]);
    Ok(())
}

/// Outside training mode Dropout is the identity.
pub(crate) fn dropout(b: &mut Rewrite<'_>, mut node: NodeProto) -> Result<(), Refusal> {
    only_first_output(b, &mut node, MASK_OUTPUT)?;
    let training = match (b.facts.opset, node.input.get(2).filter(|name| !name.is_empty())) {
        // Before opset 7 an attribute says whether the node is in training mode.
        (..7, _) => node.attr_int("is_test").unwrap_or(0) == 0,
        (_, None) => false,
        (_, Some(_)) => b.facts.ints(&node, 2).is_none_or(|mode| mode != [0]),
    };
    if training {
        return Err(TRAINING_MODE.with(&[]));
    }
    b.last(&node, "Identity", &[input(&node, 0)?], vec![]);
    Ok(())
}

/// With float values, ONNX Runtime's kernels take indices and depth only as 64-bit integers.
pub(crate) fn one_hot(b: &mut Rewrite<'_>, mut node: NodeProto) -> Result<(), Refusal> {
    for at in [0, 1] {
        if b.facts.elem(&node, at) == DataType::Int32 {
            let wide = vec![int("to", DataType::Int64 as i64)];
            node.input[at] = b.node("Cast", &[input(&node, at)?], wide);
        }
    }
    b.keep(node);
    Ok(())
}

/// rten raises floats only to float powers.
pub(crate) fn pow(b: &mut Rewrite<'_>, mut node: NodeProto) -> Result<(), Refusal> {
    let is_int = |elem: DataType| elem != DataType::Undefined && !elem.is_float();
    let mixed = is_int(b.facts.elem(&node, 1)) && !is_int(b.facts.elem(&node, 0));
    add_leading_axes(b, &mut node)?;
    if mixed {
        let exponent = b.node("Cast", &[input(&node, 1)?], vec![int("to", DataType::Float as i64)]);
        node.input[1] = exponent;
    }
    b.keep(node);
    Ok(())
}

/// Without an axis rten takes the last one; the standard says axis 1. rten also requires an output type, which is uint8 if
/// there is no zero point.
pub(crate) fn quantize(b: &mut Rewrite<'_>, mut node: NodeProto) -> Result<(), Refusal> {
    if node.attr_int("axis").is_none() {
        set(&mut node, int("axis", 1));
    }
    let typed = node.attr_int("output_dtype").is_some_and(|elem| elem != 0);
    if !typed && node.input.get(2).is_none_or(String::is_empty) {
        set(&mut node, int("output_dtype", DataType::Uint8 as i64));
    }
    b.keep(node);
    Ok(())
}

/// rten concatenates only floats and 32-bit integers.
pub(crate) fn concat(b: &mut Rewrite<'_>, node: NodeProto) -> Result<(), Refusal> {
    widened(b, node, DataType::Int32);
    Ok(())
}

/// rten has these operators only for floats and wider integers.
pub(crate) fn as_floats(b: &mut Rewrite<'_>, node: NodeProto) -> Result<(), Refusal> {
    widened(b, node, DataType::Float);
    Ok(())
}

/// As [`as_floats`], for what is chosen from.
pub(crate) fn choice(b: &mut Rewrite<'_>, node: NodeProto) -> Result<(), Refusal> {
    if let Some(bytes) = Bytes::of(b, &node, 1) {
        let chosen = [1, 2].map(|at| bytes.widened(b, &node, at, DataType::Float));
        let node_inputs = [input(&node, 0)?, &chosen[0], &chosen[1]];
        let result = b.node("Where", &node_inputs, vec![]);
        bytes.narrowed(b, &node, &result);
    } else {
        b.keep(node);
    }
    Ok(())
}

/// Emits a node with 8-bit inputs in a wider type if rten has the operator only for that type. Each 8-bit integer is exact
/// there.
pub(super) fn widened(b: &mut Rewrite<'_>, node: NodeProto, wide: DataType) {
    let Some(bytes) = Bytes::of(b, &node, 0) else {
        b.keep(node);
        return;
    };
    let inputs: Vec<String> =
        (0..node.input.len()).map(|at| bytes.widened(b, &node, at, wide)).collect();
    let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
    let result = b.node(node.op(), &inputs, node.attribute.clone());
    bytes.narrowed(b, &node, &result);
}

/// The 8-bit type of a node's input and output.
pub(super) struct Bytes(DataType);

impl Bytes {
    /// The type of the input, if it has 8 bits.
    pub(super) fn of(b: &Rewrite<'_>, node: &NodeProto, at: usize) -> Option<Self> {
        let elem = b.facts.elem(node, at);
        matches!(elem, DataType::Int8 | DataType::Uint8).then_some(Self(elem))
    }

    /// The input in a wider type; an empty name where there is none.
    pub(super) fn widened(
        &self,
        b: &mut Rewrite<'_>,
        node: &NodeProto,
        at: usize,
        wide: DataType,
    ) -> String {
        match node.input.get(at).filter(|name| !name.is_empty()) {
            Some(name) => b.node("Cast", &[name], vec![int("to", wide as i64)]),
            None => String::new(),
        }
    }

    /// Emits the node's output: the result in the type of the input.
    pub(super) fn narrowed(&self, b: &mut Rewrite<'_>, node: &NodeProto, result: &str) {
        b.last(node, "Cast", &[result], vec![int("to", self.0 as i64)]);
    }
}

/// rten writes to wrong positions if the indices do not cover the other axes completely.
pub(crate) fn scatter_elements(b: &mut Rewrite<'_>, node: NodeProto) -> Result<(), Refusal> {
    let sizes = b.facts.dims(input(&node, 0)?).zip(b.facts.dims(input(&node, 1)?));
    let (data, index) = sizes.ok_or("the sizes of its inputs are unknown")?;
    let axis = node.attr_int("axis").unwrap_or(0);
    let rank = i64::try_from(data.len()).unwrap_or(0);
    let others = (0..rank).zip(data.iter().zip(index));
    let mut others = others.filter(|(place, _)| *place != axis && *place != axis + rank);
    if others.any(|(_, (data, index))| data != index) {
        return Err(PARTIAL_INDICES.with(&[]));
    }
    b.keep(node);
    Ok(())
}

/// rten's e^x overflows from x = 89. The rule emits max(x, 0) + ln(1 + e^−|x|).
pub(crate) fn softplus(b: &mut Rewrite<'_>, node: NodeProto) -> Result<(), Refusal> {
    let x = input(&node, 0)?;
    let size = b.node("Abs", &[x], vec![]);
    let minus = b.node("Neg", &[&size], vec![]);
    let rest = b.node("Softplus", &[&minus], vec![]);
    let linear = b.node("Relu", &[x], vec![]);
    b.last(&node, "Add", &[&linear, &rest], vec![]);
    Ok(())
}

/// Below opset 13 the axis splits the shape in two parts, and the normalization is over all axes of the second part.
pub(crate) fn softmax(b: &mut Rewrite<'_>, mut node: NodeProto) -> Result<(), Refusal> {
    if b.facts.opset >= 13 {
        b.keep(node);
        return Ok(());
    }
    let axis = node.attr_int("axis").unwrap_or(1);
    let rank = b.facts.rank(&node, 0).and_then(|rank| i64::try_from(rank).ok());
    if axis == -1 || rank.is_some_and(|rank| axis == rank - 1) {
        set(&mut node, int("axis", -1));
        b.keep(node);
        return Ok(());
    }
    let x = input(&node, 0)?;
    let flat = b.node("Flatten", &[x], vec![int("axis", axis)]);
    let normal = b.node(node.op(), &[&flat], vec![int("axis", -1)]);
    let shape = b.node("Shape", &[x], vec![]);
    b.last(&node, "Reshape", &[&normal, &shape], vec![]);
    Ok(())
}

/// ONNX Runtime takes only windows of odd size.
pub(crate) fn odd_size(b: &mut Rewrite<'_>, node: NodeProto) -> Result<(), Refusal> {
    match node.attr_int("size") {
        Some(size) if size % 2 == 0 => Err(EVEN_SIZE.with(&[&size])),
        _ => {
            b.keep(node);
            Ok(())
        }
    }
}

/// ONNX Runtime requires exact types. Inputs and outputs of other floats become float32, of other integers and booleans
/// int64; casts inside the graph convert them.
pub(crate) fn plain_interface_types(graph: &mut GraphProto) {
    let constants: Vec<String> = graph.initializer.iter().map(|t| t.label().to_owned()).collect();
    let cast = |from: &str, to: &str, elem: DataType| NodeProto {
        op_type: Some("Cast".to_owned()),
        input: vec![from.to_owned()],
        output: vec![to.to_owned()],
        attribute: vec![int("to", elem as i64)],
        ..NodeProto::default()
    };
    let mut renamed = HashMap::new();
    let mut before = Vec::new();
    for value in &mut graph.input {
        let name = value.name.clone().unwrap_or_default();
        let (elem, _) = type_of(value);
        let Some(plain) = plain(elem).filter(|_| !constants.contains(&name)) else { continue };
        retype(value, plain);
        let inside = format!("gradcam.border/{name}");
        before.push(cast(&name, &inside, elem));
        renamed.insert(name, inside);
    }
    let mut after = Vec::new();
    for value in &mut graph.output {
        let name = value.name.clone().unwrap_or_default();
        let Some(plain) = plain(type_of(value).0) else { continue };
        retype(value, plain);
        // The output is an input.
        if renamed.contains_key(&name) {
            continue;
        }
        let inside = format!("gradcam.border/{name}");
        after.push(cast(&inside, &name, plain));
        renamed.insert(name, inside);
    }
    if renamed.is_empty() {
        return;
    }
    rename(graph, &renamed);
    graph.node.splice(..0, before);
    graph.node.append(&mut after);
}

/// The type of an input or output for its type inside the graph; `None` if they are equal.
fn plain(elem: DataType) -> Option<DataType> {
    match elem {
        DataType::Float | DataType::Int64 | DataType::Undefined | DataType::String => None,
        elem if elem.is_float() => Some(DataType::Float),
        _ => Some(DataType::Int64),
    }
}

pub(super) fn retype(value: &mut ValueInfoProto, elem: DataType) {
    if let Some(TypeValue::TensorType(tensor)) =
        value.r#type.as_mut().and_then(|t| t.value.as_mut())
    {
        tensor.elem_type = Some(elem as i32);
    }
}

fn rename(graph: &mut GraphProto, names: &HashMap<String, String>) {
    let new = |name: &mut String| {
        if let Some(new) = names.get(name) {
            name.clone_from(new);
        }
    };
    for tensor in &mut graph.initializer {
        tensor.name.iter_mut().for_each(new);
    }
    for value in &mut graph.value_info {
        value.name.iter_mut().for_each(new);
    }
    for node in &mut graph.node {
        node.input.iter_mut().chain(&mut node.output).for_each(new);
        for attribute in &mut node.attribute {
            for inner in attribute.g.iter_mut().chain(&mut attribute.graphs) {
                rename(inner, names);
            }
        }
    }
}
