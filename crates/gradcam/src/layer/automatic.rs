//! The default layer: strategies in a fixed order, of which the first that finds a layer decides.

use std::{cell::OnceCell, collections::HashSet, ops::Range};

use onnx_grad::{
    graph::{Graph, NodeId, ValueId},
    op::{self, Kind, Traits},
    proto::NodeProto,
};

use super::{
    LayerReason, ScoreValue, attention, quantized,
    view::{View, Views},
};

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
            strategy: "before-boxes",
            why: "it is the last feature map that the boxes at all places come from",
        },
        find: |search| {
            let found = search.is_detector.then(|| search.before_boxes()).flatten();
            found.map(|value| search.before_copies(value))
        },
    },
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
            strategy: "before-recurrent",
            why: "it is the last feature map before the recurrent network, which reads its columns as steps",
        },
        find: |search| search.before_recurrent().map(|value| search.before_copies(value)),
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
        find: |search| search.last_feature_map(),
    },
];

/// The graph in which a strategy looks for a layer.
struct Search<'a> {
    graph: &'a Graph,
    views: &'a Views,
    output: ValueId,
    /// Whether the output has positions itself: pixels or time steps. It is no layer then.
    is_map: bool,
    /// Whether the output holds the scores of boxes.
    is_detector: bool,
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
    scores: ScoreValue,
) -> Option<(ValueId, LayerReason)> {
    let ScoreValue { value: output, is_map, anchors } = scores;
    let is_detector = anchors.is_some();
    let search =
        Search { graph, views, output, is_map, is_detector, active, dominators: OnceCell::new() };
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

    /// The last dominator with spatial extent, before its pooling and its copies. Scores that have positions themselves are
    /// none, nor is what only carries them.
    fn last_feature_map(&self) -> Option<ValueId> {
        let last = self.last_with_space()?;
        let value = self.before_copies(self.dominators()[last]);
        if !self.is_map || value != self.output && self.is_picture(value) {
            return Some(value);
        }
        let scores = self.carriers_of_scores();
        let mut maps = self.dominators()[..last].to_vec();
        maps.retain(|map| !scores.contains(map) && self.views.of(self.graph, *map).is_some());
        // A picture shows more than the time steps that it is summed to.
        let map = maps.iter().rev().find(|map| self.is_picture(**map)).or(maps.last()).copied();
        Some(map.map_or(value, |map| self.before_copies(map)))
    }

    /// Whether a value has more than one position along two axes.
    fn is_picture(&self, value: ValueId) -> bool {
        let sizes = match self.views.of(self.graph, value) {
            Some(View::Regrouped { sizes, .. }) => Some(sizes),
            Some(View::Plain) => self.graph.fact(value).sizes(),
            None => None,
        };
        sizes.is_some_and(|sizes| sizes.iter().skip(2).filter(|size| **size > 1).count() > 1)
    }

    /// The output, and the values before it that hold the same scores: resized, reshaped, bent, or with constants added.
    fn carriers_of_scores(&self) -> HashSet<ValueId> {
        let carries =
            |traits: &Traits| follows_scores(traits) || traits.is_elementwise() || traits.moves();
        let mut carriers = HashSet::from([self.output]);
        let mut at = self.output;
        while let Some(id) = self.graph.producer(at) {
            let traits = op::traits(self.graph.node(id));
            let mut sources = self.graph.node_reads(id).filter(|value| self.active.contains(value));
            match (sources.next(), sources.next()) {
                (Some(source), None) if carries(traits) => at = source,
                _ => break,
            }
            carriers.insert(at);
        }
        carriers
    }

    /// The last picture that all boxes of a detector come from: queries of a transformer are no positions.
    fn before_boxes(&self) -> Option<ValueId> {
        let is_picture = |value: &&ValueId| {
            self.graph.fact(**value).rank() == Some(4)
                && self.views.of(self.graph, **value).is_some()
        };
        shared(self.graph, self.views, self.output)
            .or_else(|| self.dominators().iter().rev().find(is_picture).copied())
    }

    /// The last dominator before a recurrent network that has the axes of the image.
    fn before_recurrent(&self) -> Option<ValueId> {
        let is_active = |id: NodeId| {
            self.graph.node_outputs(id).iter().flatten().any(|value| self.active.contains(value))
        };
        let mut nodes = self.graph.nodes();
        let is_recurrent = |node: &NodeProto| op::traits(node).kind == Kind::Recurrent;
        let (recurrent, _) = nodes.find(|(id, node)| is_recurrent(node) && is_active(*id))?;
        let rank = |value: ValueId| self.graph.fact(value).rank();
        let images = self.graph.inputs().iter().filter(|input| self.active.contains(input));
        let axes = images.filter_map(|input| rank(*input)).max();
        let found = self.dominators().iter().rev().find(|&&value| {
            let before = self.graph.producer(value).is_some_and(|id| id < recurrent);
            before && rank(value) == axes && self.views.of(self.graph, value).is_some()
        });
        found.copied()
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
        let found = scoring_convolution(self.graph, self.views, self.dominators()[last]);
        // Of time steps alone there may be a picture before.
        found.filter(|value| is_plain && (!self.is_map || self.is_picture(*value)))
    }

    /// The value, as floats, before the copies, poolings (VGG) and resizes that lead to a value.
    fn before_copies(&self, value: ValueId) -> ValueId {
        let copies = |traits: &Traits| shows_the_same(traits) || resamples(traits);
        let value = back_through(self.graph, self.views, value, copies);
        quantized::shown(self.graph, value).0
    }
}

/// A scale of a detector: its anchors, and the last feature map that their scores and boxes come from.
#[derive(Clone, Debug)]
pub(crate) struct Scale {
    pub(crate) anchors: Range<usize>,
    pub(crate) value: ValueId,
}

/// The scales of a detector with `count` anchors, whose scores and boxes are given: the parts of the concatenation of anchors
/// that these come from. None where a part has no feature map of its own.
pub(super) fn scales(
    graph: &Graph,
    views: &Views,
    images: &[ValueId],
    scores_and_boxes: &[Option<ValueId>],
    count: usize,
) -> Vec<Scale> {
    let joins =
        scores_and_boxes.iter().flatten().filter_map(|value| AnchorJoin::of(graph, *value, count));
    let joins: HashSet<AnchorJoin> = joins.collect();
    let parts = joins.iter().map(|join| join.parts(graph)).collect::<Vec<_>>();
    let Some(first) =
        parts.first().filter(|first| parts.iter().all(|parts| parts.len() == first.len()))
    else {
        return Vec::new();
    };
    let mut found: Vec<Scale> = Vec::new();
    for (scale, (anchors, _)) in first.iter().enumerate() {
        // The feature maps that each of the values comes from.
        let of_parts = parts.iter().map(|parts| {
            let (_, part) = parts[scale];
            let maps = dominators(graph, part, &active(graph, images, part));
            let is_map = |value: &ValueId| {
                graph.fact(*value).rank() == Some(4) && views.of(graph, *value).is_some()
            };
            maps.into_iter().filter(is_map).collect::<Vec<_>>()
        });
        let of_parts: Vec<Vec<ValueId>> = of_parts.collect();
        let shared = match of_parts.as_slice() {
            // Scores and boxes are made together, and the last map is the prediction itself, rounded in a quantized model.
            [one] => one.last().and_then(|last| {
                let prediction = back_through(graph, views, *last, Traits::carries);
                one.iter().rev().skip_while(|value| **value != prediction).nth(1).copied()
            }),
            [one, others @ ..] => one
                .iter()
                .rev()
                .find(|value| others.iter().all(|other| other.contains(value)))
                .copied(),
            [] => None,
        };
        let Some(shared) = shared else { return Vec::new() };
        let value = quantized::shown(graph, back_through(graph, views, shared, shows_the_same)).0;
        found.push(Scale { anchors: anchors.clone(), value });
    }
    // Scales have feature maps of their own.
    let apart: HashSet<ValueId> = found.iter().map(|scale| scale.value).collect();
    if apart.len() == found.len() && found.len() > 1 { found } else { Vec::new() }
}

/// The concatenation of a detector's anchors along an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct AnchorJoin {
    node: NodeId,
    axis: usize,
}

impl AnchorJoin {
    /// The last concatenation of `count` anchors that a value comes from.
    fn of(graph: &Graph, value: ValueId, count: usize) -> Option<Self> {
        let is_join = |node: NodeId| {
            let proto = graph.node(node);
            let made = graph.node_outputs(node).first().copied().flatten()?;
            let sizes = graph.fact(made).sizes().filter(|sizes| sizes.len() == 3)?;
            let several = proto.op() == "Concat" && graph.node_inputs(node).len() > 1;
            let axis = proto.attr_int("axis").filter(|_| several)?;
            let axis = usize::try_from(if axis < 0 { axis + 3 } else { axis }).ok()?;
            let size = usize::try_from(*sizes.get(axis)?).ok()?;
            (size == count).then_some(Self { node, axis })
        };
        let before = graph.upstream([value], |_| true);
        let nodes = before.into_iter().filter_map(|value| graph.producer(value));
        nodes.filter_map(is_join).max_by_key(|join| join.node)
    }

    /// The anchors of each part, and the part.
    fn parts(&self, graph: &Graph) -> Vec<(Range<usize>, ValueId)> {
        let mut end = 0;
        let inputs = graph.node_inputs(self.node).iter().flatten();
        let parts = inputs.map(|part| {
            let start = end;
            let sizes = graph.fact(*part).sizes().unwrap_or_default();
            end += sizes.get(self.axis).and_then(|size| usize::try_from(*size).ok()).unwrap_or(0);
            (start..end, *part)
        });
        parts.collect()
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
        proto::{TensorProto, tensor_proto::DataType},
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
        let scores = ScoreValue::plain(value("y"));
        let found = default_layer(graph, &views, active, scores);
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
