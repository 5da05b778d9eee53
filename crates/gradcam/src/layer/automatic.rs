//! The default layer: strategies in a fixed order, of which the first that finds a layer decides.

use std::{cell::OnceCell, collections::HashSet};

use onnx_grad::{
    graph::{Graph, NodeId, ValueId},
    op::{self, Kind, Traits},
};

use super::{LayerReason, attention, quantized, view::Views};

/// Whether the output of the operator has the content of its input.
fn shows_the_same(traits: &Traits) -> bool {
    traits.carries() || traits.kind == Kind::Transpose
}

/// Whether the output of the operator is a smaller or larger copy of its input.
fn resamples(traits: &Traits) -> bool {
    matches!(traits.kind, Kind::Pool | Kind::Resample)
}

/// Whether the operator may follow the scoring convolution of a classifier without a linear layer.
fn follows_scores(traits: &Traits) -> bool {
    let is_head = matches!(
        traits.kind,
        Kind::Activation
            | Kind::Arg
            | Kind::GlobalPool
            | Kind::Reduce
            | Kind::Reshape
            | Kind::Softmax
    );
    is_head || shows_the_same(traits) || resamples(traits)
}

/// The values on the paths from these inputs of the graph to the output, constants excluded.
pub(super) fn active(graph: &Graph, inputs: &[ValueId], output: ValueId) -> HashSet<ValueId> {
    let open = |value: ValueId| graph.fact(value).value.is_none();
    let depends = graph.downstream(inputs.iter().copied(), open);
    let mut reaching = graph.upstream([output], |value| depends.contains(&value));
    reaching.retain(|value| depends.contains(value));
    reaching
}

/// The values on every path from the image to `output`, in order.
///
/// A value dominates if it is the only live value after its producer: no later node reads another value that depends on
/// the image.
fn dominators(graph: &Graph, output: ValueId, active: &HashSet<ValueId>) -> Vec<ValueId> {
    let node_is_active =
        |id: &NodeId| graph.node_outputs(*id).iter().flatten().any(|v| active.contains(v));
    let last_read = |value: ValueId| {
        let readers = graph.consumers(value).iter().filter(|id| node_is_active(id));
        readers.map(|id| id.index()).max()
    };
    let mut alive: Vec<(ValueId, usize)> = Vec::new();
    let mut found = Vec::new();
    let enter = |value: ValueId, alive: &mut Vec<(ValueId, usize)>| {
        let end = if value == output { Some(usize::MAX) } else { last_read(value) };
        alive.extend(end.map(|end| (value, end)));
    };
    for &input in graph.inputs().iter().filter(|input| active.contains(input)) {
        enter(input, &mut alive);
    }
    for (id, _) in graph.nodes().filter(|(id, _)| node_is_active(id)) {
        alive.retain(|(_, end)| *end > id.index());
        for &value in graph.node_outputs(id).iter().flatten().filter(|v| active.contains(v)) {
            enter(value, &mut alive);
        }
        if let [(only, _)] = alive.as_slice()
            && found.last() != Some(only)
        {
            found.push(*only);
        }
    }
    found
}

/// A way to choose the default layer: its name and reason, and its search.
struct Strategy {
    reason: LayerReason,
    find: fn(&Search<'_>) -> Option<ValueId>,
}

/// The strategies, in order. The first that finds a layer decides.
const STRATEGIES: &[Strategy] = &[
    Strategy {
        reason: LayerReason {
            strategy: "last-attention",
            why: "the last attention reads it; behind it, the tokens of the picture may not reach the score",
        },
        find: |search| {
            let read = attention::last_read(search.graph, &search.active)
                .filter(|value| search.views.of(search.graph, *value).is_some())?;
            Some(quantized::shown(search.graph, read).0)
        },
    },
    Strategy {
        reason: LayerReason {
            strategy: "shared-by-scales",
            why: "it is the last feature map that the scores at all scales are computed from",
        },
        find: |search| shared(search.graph, search.views, search.output),
    },
    Strategy {
        reason: LayerReason {
            strategy: "before-class-scores",
            why: "the convolution behind it makes the class scores, and only pooling follows",
        },
        find: |search| search.before_class_scores().map(|value| search.before_copies(value)),
    },
    Strategy {
        reason: LayerReason {
            strategy: "last-feature-map",
            why: "it is the last feature map that the whole output passes through, before its pooling",
        },
        find: |search| search.last_feature_map().map(|value| search.before_copies(value)),
    },
];

/// The graph in which a strategy looks for a layer.
struct Search<'a> {
    graph: &'a Graph,
    views: &'a Views,
    output: ValueId,
    /// The values between the images and the output.
    active: HashSet<ValueId>,
    /// The values on every path from the images to the output, in order; computed at the first use.
    dominators: OnceCell<Vec<ValueId>>,
}

/// The default layer, and the strategy that found it. `active` are the values between the images and the output; values that
/// depend only on other inputs do not count.
pub(super) fn default_layer(
    graph: &Graph,
    views: &Views,
    active: HashSet<ValueId>,
    output: ValueId,
) -> Option<(ValueId, LayerReason)> {
    let search = Search { graph, views, output, active, dominators: OnceCell::new() };
    STRATEGIES.iter().find_map(|strategy| Some(((strategy.find)(&search)?, strategy.reason)))
}

impl Search<'_> {
    fn dominators(&self) -> &[ValueId] {
        self.dominators.get_or_init(|| dominators(self.graph, self.output, &self.active))
    }

    /// The index of the last dominator with spatial extent.
    fn last_with_space(&self) -> Option<usize> {
        self.dominators().iter().rposition(|value| self.views.of(self.graph, *value).is_some())
    }

    /// The last dominator with spatial extent.
    fn last_feature_map(&self) -> Option<ValueId> {
        Some(self.dominators()[self.last_with_space()?])
    }

    /// The input of the convolution that makes the class scores of a classifier without a linear layer (SqueezeNet) or of a
    /// dense head: nothing behind its output mixes channels.
    fn before_class_scores(&self) -> Option<ValueId> {
        let last = self.last_with_space()?;
        let plain = |value: &ValueId| {
            let producer = self.graph.producer(*value);
            producer.is_some_and(|id| follows_scores(op::traits(self.graph.node(id))))
        };
        let is_plain = self.dominators()[last + 1..].iter().all(plain);
        scoring_convolution(self.graph, self.views, self.dominators()[last]).filter(|_| is_plain)
    }

    /// The value, as floats, before the copies, poolings (VGG) and resizes that lead to a value.
    fn before_copies(&self, value: ValueId) -> ValueId {
        let copies = |traits: &Traits| shows_the_same(traits) || resamples(traits);
        let value = back_through(self.graph, self.views, value, copies);
        quantized::shown(self.graph, value).0
    }
}

/// The last feature map that all parts of a detector's concatenated scores depend on.
fn shared(graph: &Graph, views: &Views, output: ValueId) -> Option<ValueId> {
    let id = graph.producer(output).filter(|id| graph.node(*id).op() == "Concat")?;
    let parts = graph.node_inputs(id).iter().flatten();
    let parts = parts.map(|part| active(graph, graph.inputs(), *part));
    let all =
        parts.reduce(|all, part| &all & &part).filter(|_| graph.fact(output).rank() == Some(3))?;
    let is_map =
        |value: &ValueId| graph.fact(*value).rank() == Some(4) && views.of(graph, *value).is_some();
    all.into_iter().filter(|value| graph.producer(*value).is_some() && is_map(value)).max()
}

/// Walks from a value to the first input of its producer as long as `is_passed` holds for the producer. Returns the last
/// value on the way that has a view: a quantized value has none.
fn back_through(
    graph: &Graph,
    views: &Views,
    value: ValueId,
    is_passed: impl Fn(&Traits) -> bool,
) -> ValueId {
    let (mut shown, mut at) = (value, value);
    while let Some(before) = step(graph, at, &is_passed) {
        at = before;
        match views.of(graph, before) {
            Some(_) => shown = before,
            None if graph.fact(before).elem.is_float() => break,
            None => {}
        }
    }
    shown
}

fn step(graph: &Graph, value: ValueId, is_passed: impl Fn(&Traits) -> bool) -> Option<ValueId> {
    let id = graph.producer(value)?;
    let before = graph.node_inputs(id).first().copied().flatten()?;
    is_passed(op::traits(graph.node(id))).then_some(before)
}

/// The input of the convolution whose output, up to activation and resampling, is `scores`.
fn scoring_convolution(graph: &Graph, views: &Views, scores: ValueId) -> Option<ValueId> {
    let made = back_through(graph, views, scores, follows_scores);
    let (id, read) = quantized::product(graph, made)?;
    op::traits(graph.node(id)).is_convolution().then_some(read)
}

#[cfg(test)]
mod tests {
    use onnx_grad::{
        Model,
        graph::Sizes,
        proto::{NodeProto, TensorProto, tensor_proto::DataType},
    };
    use prost::Message;
    use testkit::build::{self, node};

    use super::*;
    use crate::layer::Grid;

    /// x [1, 3, 4, 4] and a truth value c → the nodes → y.
    fn graph(constants: Vec<TensorProto>, nodes: Vec<NodeProto>) -> Graph {
        let inputs = [("x", DataType::Float, &[1, 3, 4, 4][..]), ("c", DataType::Bool, &[])];
        let proto = build::model(17, &inputs, &[("y", DataType::Float)], constants, nodes);
        let model = Model::from_bytes(proto.encode_to_vec()).unwrap();
        Graph::new(&model, &Sizes::new()).unwrap()
    }

    /// The name of the default layer.
    fn taken(graph: &Graph) -> Option<&str> {
        let value = |name: &str| graph.value(name).unwrap();
        let views = Views::new(graph, None, Grid::default());
        let active = active(graph, &[value("x")], value("y"));
        let found = default_layer(graph, &views, active, value("y"));
        found.map(|(value, _)| graph.name(value))
    }

    /// Both branches of an `If` read the feature map from outside, and it has no other reader.
    #[test]
    fn a_branch_reads_the_feature_map() {
        let branch = |name: &str, op: &str| {
            let made = format!("{name}.y");
            build::graph(name, vec![node(op, &["f"], &[&made], vec![])], &made)
        };
        let branches = vec![branch("then_branch", "Identity"), branch("else_branch", "Neg")];
        let nodes = vec![
            node("Relu", &["x"], &["f"], vec![]),
            node("If", &["c"], &["g"], branches),
            node("GlobalAveragePool", &["g"], &["y"], vec![]),
        ];
        let graph = graph(vec![], nodes);
        let value = |name: &str| graph.value(name).unwrap();
        let active = active(&graph, &[value("x")], value("y"));
        assert!(["x", "f", "g", "y"].iter().all(|name| active.contains(&value(name))));
        assert_eq!(taken(&graph), Some("f"), "the size of what the branches give is not known");
    }

    /// A convolution that makes the class scores is stepped over whatever activation and reduction are behind it, and not
    /// where something mixes channels.
    #[test]
    fn scores_of_a_convolution_may_have_any_activation() {
        let rows = [
            ("Relu", "ReduceMean", "f"),
            ("LeakyRelu", "ReduceMean", "f"),
            ("HardSwish", "ReduceLogSumExp", "f"),
            ("Tanh", "ReduceL2", "f"),
            ("Sin", "ReduceMean", "a"),
        ];
        for (activation, reduction, layer) in rows {
            let axes = build::ints("axes", &[2, 3]);
            let nodes = vec![
                node("Relu", &["x"], &["f"], vec![]),
                node("Conv", &["f", "w"], &["s"], vec![]),
                node(activation, &["s"], &["a"], vec![]),
                node(reduction, &["a"], &["r"], vec![axes]),
                node("Flatten", &["r"], &["y"], vec![]),
            ];
            let graph = graph(vec![build::weights("w", &[5, 3, 1, 1])], nodes);
            assert_eq!(taken(&graph), Some(layer), "{activation} and {reduction}");
        }
    }
}
