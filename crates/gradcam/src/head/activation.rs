//! The end of a model: the activation that makes its probabilities, and what follows it without another meaning.

use onnx_grad::{
    Dim,
    graph::{Graph, NodeId, ValueId},
    op::{self, Kind, Traits},
};

use super::Scale;

/// The end of a model in front of an output.
pub(super) struct Ending {
    /// The value with the scores: the logits where they are known.
    pub(super) value: ValueId,
    /// The last activation, where there is one.
    pub(super) activation: Option<Scale>,
    /// The activation's operator.
    pub(super) operator: Option<&'static str>,
    /// The logits under a mean of probabilities, which has none itself: then the value holds the probabilities.
    pub(super) under_mean: Option<ValueId>,
    /// Whether the value is a vector of length 1.
    pub(super) is_unit: bool,
}

/// The operators that end a model as an activation, and how probabilities follow from what is under them.
const ACTIVATIONS: [(&str, Scale); 3] =
    [("Softmax", Scale::Softmax), ("LogSoftmax", Scale::Softmax), ("Sigmoid", Scale::Sigmoid)];

/// Steps from an output back to the scores, through what keeps their meaning.
pub(super) fn ending(graph: &Graph, output: ValueId) -> Ending {
    let mut at = output;
    let mut mean = None;
    while let Some(id) = graph.producer(at) {
        let node = graph.node(id);
        let Some(before) = graph.node_inputs(id).first().copied().flatten() else { break };
        if let Some((operator, scale)) = ACTIVATIONS.iter().find(|(op, _)| *op == node.op()) {
            let value = mean.unwrap_or_else(|| plain(graph, before));
            // The mean of logarithms is no probability.
            if mean.is_some() && *operator == "LogSoftmax" {
                break;
            }
            return Ending {
                value,
                activation: Some(*scale),
                operator: Some(operator),
                under_mean: mean.map(|_| plain(graph, before)),
                is_unit: false,
            };
        }
        match Step::of(graph, id, at) {
            Some(Step::Same(value)) => at = value,
            Some(Step::Mean(value)) => {
                mean.get_or_insert(at);
                at = value;
            }
            None => break,
        }
    }
    Ending {
        value: plain(graph, output),
        activation: None,
        operator: None,
        under_mean: None,
        is_unit: is_unit(graph, output),
    }
}

/// The scores as [N, K, …] floats: before a conversion to channels last, and before the last rounding of a quantized model.
fn plain(graph: &Graph, value: ValueId) -> ValueId {
    before_quantizing(graph, channels_first(graph, value))
}

/// A step back over a node behind an activation.
enum Step {
    /// The same numbers, or the same up to a positive factor and a constant.
    Same(ValueId),
    /// Their mean.
    Mean(ValueId),
}

impl Step {
    fn of(graph: &Graph, id: NodeId, made: ValueId) -> Option<Self> {
        let node = graph.node(id);
        let traits = op::traits(node);
        let inputs = graph.node_inputs(id);
        let first = inputs.first().copied().flatten()?;
        let number = |at: usize| single(graph, inputs.get(at).copied().flatten()?);
        let varies = |value: ValueId| {
            graph.fact(value).value.is_none() && graph.initializer(value).is_none()
        };
        match node.op() {
            _ if traits.carries() || traits.kind == Kind::Reshape => Some(Self::Same(first)),
            // Rounded probabilities.
            "QuantizeLinear" => Some(Self::Same(first)),
            // A clip that cuts off no probability.
            "Clip" => {
                let bound = |name: &str, at: usize, open: f64| {
                    node.attr_float(name).map(f64::from).or_else(|| number(at)).unwrap_or(open)
                };
                let (low, high) = (bound("min", 1, 0.0), bound("max", 2, 1.0));
                (low <= 0.01 && high >= 0.99).then_some(Self::Same(first))
            }
            "Add" | "Mul" | "Sub" | "Div" => {
                let second = inputs.get(1).copied().flatten()?;
                let positive =
                    |number: &f64| node.op() == "Add" || node.op() == "Sub" || *number > 0.0;
                match (varies(first), varies(second)) {
                    (true, false) => number(1).filter(positive).map(|_| Self::Same(first)),
                    (false, true) if matches!(node.op(), "Add" | "Mul") => {
                        number(0).filter(positive).map(|_| Self::Same(second))
                    }
                    _ => None,
                }
            }
            // Over time or crops, not over classes: the classes are behind it.
            "ReduceMean" | "AveragePool" | "GlobalAveragePool" => {
                // A file may declare any size.
                let count = |value: ValueId| {
                    let sizes = graph.fact(value).sizes()?;
                    Some(sizes.iter().fold(1i64, |all, size| all.saturating_mul(*size)))
                };
                (count(made)? < count(first)?).then_some(Self::Mean(first))
            }
            _ => None,
        }
    }
}

/// The number of a constant with one element.
fn single(graph: &Graph, value: ValueId) -> Option<f64> {
    match graph.fact(value).floats() {
        Some(&[number]) => Some(number),
        _ => None,
    }
}

/// The value before a transposition from [N, K, H, W] to [N, H, W, K].
fn channels_first(graph: &Graph, value: ValueId) -> ValueId {
    let before = || {
        let id = graph.producer(value).filter(|id| graph.node(*id).op() == "Transpose")?;
        let perm = graph.node(id).attr_ints("perm")?;
        graph.node_inputs(id).first().copied().flatten().filter(|_| perm == [0, 2, 3, 1])
    };
    before().unwrap_or(value)
}

/// The value that the last pairs of QuantizeLinear and DequantizeLinear round, also where only its shape changes behind them.
/// Scores clipped to the range of the calibration have no gradient at the largest one, and of rounded scores several are the
/// largest.
pub(super) fn before_quantizing(graph: &Graph, value: ValueId) -> ValueId {
    let first = |id: NodeId| graph.node_inputs(id).first().copied().flatten();
    let carries = |traits: &Traits| traits.carries() || traits.kind == Kind::Reshape;
    let (mut found, mut at) = (value, value);
    while let Some(id) = graph.producer(at) {
        let node = graph.node(id);
        let rounds = matches!(node.op(), "QuantizeLinear" | "DequantizeLinear");
        let Some(before) = first(id).filter(|_| rounds || carries(op::traits(node))) else { break };
        at = before;
        if node.op() == "QuantizeLinear" && same_classes(graph, at, value) {
            found = at;
        }
    }
    found
}

/// Whether two values have the same sizes, up to axes of size 1 at the end.
fn same_classes(graph: &Graph, a: ValueId, b: ValueId) -> bool {
    let sizes = |value: ValueId| {
        let mut shape = graph.fact(value).shape.clone()?;
        while shape.len() > 2 && shape.last() == Some(&Dim::Fixed(1)) {
            shape.pop();
        }
        Some(shape)
    };
    sizes(a).is_some() && sizes(a) == sizes(b)
}

/// Whether a value is a vector divided by its length: by LpNormalization, or by a length that is bounded from below and
/// expanded before it divides.
fn is_unit(graph: &Graph, output: ValueId) -> bool {
    let Some(id) = graph.producer(output) else { return false };
    match (graph.node(id).op(), graph.node_inputs(id)) {
        ("LpNormalization", _) => true,
        ("Div", [_, Some(divisor), ..]) => {
            let made_by = |value: &ValueId| {
                let id = graph.producer(*value)?;
                let before = graph.node_inputs(id).first().copied().flatten()?;
                Some((graph.node(id).op(), before))
            };
            let mut at = *divisor;
            let chain = std::iter::from_fn(|| {
                let (op, before) = made_by(&at)?;
                at = before;
                Some(op)
            });
            let chain: Vec<&str> = chain.take(5).collect();
            let root = chain.iter().position(|op| *op == "Sqrt");
            let squares =
                chain.iter().position(|op| matches!(*op, "ReduceSum" | "ReduceSumSquare"));
            chain.contains(&"ReduceL2")
                || root.zip(squares).is_some_and(|(root, squares)| root < squares)
        }
        _ => false,
    }
}
