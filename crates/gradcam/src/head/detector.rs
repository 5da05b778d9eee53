//! Detectors: where the scores of classes and the boxes of anchors are.

use onnx_grad::graph::{Graph, NodeId, ValueId};

use super::{
    HeadSettings, Scale,
    activation::{before_quantizing, ending},
};

/// The anchors of a detector: every place where it may find something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Anchors {
    /// The number of classes.
    pub(crate) classes: usize,
    /// The number of anchors.
    pub(crate) count: usize,
    /// The axis of the classes in the value, 1 or 2; the anchors are on the other one.
    pub(crate) class_axis: usize,
    /// The place of the first class on its axis.
    pub(crate) first: usize,
    /// The place of the score that anything is there, by which the scores of classes are multiplied.
    pub(crate) objectness: Option<usize>,
    /// The class that stands for nothing.
    pub(crate) background: Option<usize>,
    /// The boxes.
    pub(crate) boxes: Option<Boxes>,
}

/// The boxes of anchors in their value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Boxes {
    /// The value, of shape [N, 4, A] or [N, A, 4]; further rows behind the first four are ignored.
    pub(crate) value: ValueId,
    /// The axis of the four numbers, 1 or 2.
    pub(crate) axis: usize,
    pub(crate) corners: Corners,
}

/// The meaning of a box's four numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Corners {
    /// The center, the width and the height.
    Center,
    /// Left, top, right, bottom; or the center and the sizes, where these numbers cannot be corners.
    LeftTop,
    /// Top, left, bottom, right, in either order of the two corners.
    TopLeft,
    /// Offsets of the center from its cell, and logarithms of the sizes, in strides.
    Cells,
}

/// A detector in a graph.
pub(super) struct Detector {
    pub(super) value: ValueId,
    pub(super) anchors: Anchors,
    pub(super) scale: Scale,
    pub(super) operator: Option<&'static str>,
    pub(super) why: &'static str,
}

/// Finds the scores and boxes that an output belongs to, where the model is a detector.
pub(super) fn find(graph: &Graph, output: ValueId, settings: &HeadSettings) -> Option<Detector> {
    let of_model = graph.outputs().contains(&output);
    suppressed(graph, output, settings)
        .or_else(|| joined(graph, output))
        .or_else(|| pair(graph, output, settings).filter(|_| of_model))
        .or_else(|| cells(graph, output, settings))
}

/// The sizes of a value as numbers of elements.
fn sizes(graph: &Graph, value: ValueId) -> Option<Vec<usize>> {
    let sizes = graph.fact(value).sizes()?;
    sizes.into_iter().map(|size| usize::try_from(size).ok()).collect()
}

fn made_by(graph: &Graph, value: ValueId, op: &str) -> Option<NodeId> {
    graph.producer(value).filter(|id| graph.node(*id).op() == op)
}

/// The value before a transposition of its last two axes, and whether there is one.
fn untransposed(graph: &Graph, value: ValueId) -> (ValueId, bool) {
    let before = || {
        let id = made_by(graph, value, "Transpose")?;
        let perm = graph.node(id).attr_ints("perm")?;
        graph.node_inputs(id).first().copied().flatten().filter(|_| perm == [0, 2, 1])
    };
    before().map_or((value, false), |before| (before, true))
}

/// What a file of non-maximum suppression is given: boxes [N, A, 4] and scores [N, K, A].
fn suppressed(graph: &Graph, output: ValueId, settings: &HeadSettings) -> Option<Detector> {
    let is_suppression = |id: &NodeId| graph.node(*id).op() == "NonMaxSuppression";
    let (id, _) = graph.nodes().find(|(id, _)| is_suppression(id))?;
    let made = graph.node_outputs(id).first().copied().flatten()?;
    let [Some(boxes), Some(scores), ..] = *graph.node_inputs(id) else { return None };
    // A file may also give what it had before the suppression.
    let outputs = graph.outputs();
    let ends: Vec<ValueId> = match outputs.contains(&output) {
        true => outputs.to_vec(),
        false => vec![output],
    };
    if !graph.upstream(ends, |_| true).contains(&made) {
        return None;
    }
    let center = graph.node(id).attr_int("center_point_box") == Some(1);
    let (inner, turned) = untransposed(graph, scores);
    let end = ending(graph, inner);
    let class_axis = if turned { 2 } else { 1 };
    let shape = sizes(graph, end.value).filter(|shape| shape.len() == 3)?;
    let anchors = Anchors {
        classes: shape[class_axis],
        count: shape[3 - class_axis],
        class_axis,
        first: 0,
        objectness: None,
        background: None,
        boxes: Some(Boxes {
            value: boxes,
            axis: 2,
            corners: match (center, settings.is_of_pytorch) {
                (true, _) => Corners::Center,
                (false, true) => Corners::LeftTop,
                (false, false) => Corners::TopLeft,
            },
        }),
    };
    Some(Detector {
        value: end.value,
        anchors,
        scale: end.activation.filter(|_| end.under_mean.is_none()).unwrap_or(Scale::Probabilities),
        operator: end.operator,
        why: "the model has NonMaxSuppression, and these are the scores before it",
    })
}

/// The scores of a detector that joins boxes and the sigmoid of the scores as [N, 4 + K, A], as ultralytics writes it.
/// Further rows, such as the coefficients of masks, are ignored.
fn joined(graph: &Graph, output: ValueId) -> Option<Detector> {
    let joins = graph.nodes().filter(|(_, node)| node.op() == "Concat").map(|(id, _)| id);
    let joins: Vec<NodeId> = joins.collect();
    joins.into_iter().rev().find_map(|join| {
        let [Some(boxes), Some(scores), ..] = *graph.node_inputs(join) else { return None };
        let sigmoid = made_by(graph, before_quantizing(graph, scores), "Sigmoid")?;
        let value = graph.node_inputs(sigmoid).first().copied().flatten()?;
        let value = before_quantizing(graph, value);
        let shape_of = |value: ValueId| <[usize; 3]>::try_from(sizes(graph, value)?).ok();
        let ([_, 4, of_boxes], [_, classes, count]) = (shape_of(boxes)?, shape_of(value)?) else {
            return None;
        };
        let boxes = Boxes { value: boxes, axis: 1, corners: Corners::Center };
        let anchors = Anchors {
            classes,
            count,
            class_axis: 1,
            first: 0,
            objectness: None,
            background: None,
            boxes: Some(boxes),
        };
        let made = graph.node_outputs(join).first().copied().flatten()?;
        let leads = of_boxes == count && graph.upstream([output], |_| true).contains(&made);
        leads.then_some(Detector {
            value,
            anchors,
            scale: Scale::Sigmoid,
            operator: Some("Sigmoid"),
            why: "the model joins boxes and the sigmoid of scores, one column for each anchor",
        })
    })
}

/// The scores [N, A, K] and the boxes [N, A, 4] of a model that has an output for each.
fn pair(graph: &Graph, output: ValueId, settings: &HeadSettings) -> Option<Detector> {
    let shape_of = |value: ValueId| <[usize; 3]>::try_from(sizes(graph, value)?).ok();
    let floats =
        || graph.outputs().iter().copied().filter(|value| graph.fact(*value).elem.is_float());
    let called = |value: &ValueId| graph.name(*value).to_ascii_lowercase().contains("box");
    let fours: Vec<ValueId> = floats()
        .filter(|value| shape_of(*value).is_some_and(|[_, count, last]| last == 4 && count > 1))
        .collect();
    let boxes = *fours.iter().find(|value| called(value)).or_else(|| fours.first())?;
    let [_, count, _] = shape_of(boxes)?;
    let is_scores = |value: &ValueId| {
        *value != boxes
            && !called(value)
            && shape_of(*value).is_some_and(|[_, of_scores, _]| of_scores == count)
    };
    let scores = Some(output).filter(is_scores).or_else(|| floats().find(is_scores))?;
    let end = ending(graph, scores);
    let [_, _, classes] = shape_of(end.value).filter(|[_, of_value, _]| *of_value == count)?;
    let as_transformers = graph.name(boxes) == "pred_boxes";
    // A transformer's scores are logits. It has one more than there are labels where the last one means nothing.
    let one_more = settings.labels.is_some_and(|labels| labels + 1 == classes);
    let scale = match end.activation {
        Some(scale) if end.under_mean.is_none() => scale,
        Some(_) => Scale::Probabilities,
        None if one_more => Scale::Softmax,
        None => Scale::Sigmoid,
    };
    let background = settings.background.or_else(|| match (scale, as_transformers) {
        (Scale::Softmax, true) => classes.checked_sub(1),
        // Detectors with a softmax have a class for nothing, the first.
        (Scale::Softmax, false) => Some(0),
        _ => None,
    });
    let corners = if as_transformers { Corners::Center } else { Corners::LeftTop };
    let anchors = Anchors {
        classes,
        count,
        class_axis: 2,
        first: 0,
        objectness: None,
        background,
        boxes: Some(Boxes { value: boxes, axis: 2, corners }),
    };
    Some(Detector {
        value: end.value,
        anchors,
        scale,
        operator: end.operator,
        why: "the model has an output of boxes and one of scores, a row for each",
    })
}

/// The strides of detectors' grids, one set for each number of scales.
const STRIDES: [&[usize]; 4] = [&[8, 16, 32], &[8, 16, 32, 64], &[16, 32], &[4, 8, 16, 32]];

/// The number of anchors in each cell of the grids that give `count` anchors together, and the strides of these grids.
pub(crate) fn grids(
    count: usize,
    height: usize,
    width: usize,
) -> Option<(usize, &'static [usize])> {
    STRIDES.iter().find_map(|strides| {
        // A file may declare any size.
        let of_grid =
            |stride: &usize| height.div_ceil(*stride).saturating_mul(width.div_ceil(*stride));
        let cells = strides.iter().map(of_grid).fold(0, usize::saturating_add);
        let in_cell = count.checked_div(cells)?;
        (in_cell.checked_mul(cells) == Some(count) && (1..=3).contains(&in_cell))
            .then_some((in_cell, *strides))
    })
}

/// The height and width of the images of a graph: the two sizes of its input of four axes that are not channels.
pub(crate) fn image_sides(graph: &Graph) -> Option<(usize, usize)> {
    graph.inputs().iter().find_map(|input| match sizes(graph, *input)?.as_slice() {
        [_, height, width, 1..=4] => Some((*height, *width)),
        [_, _, height, width] => Some((*height, *width)),
        _ => None,
    })
}

/// A detector of one output with rows of a box, a score that anything is there, and scores of classes, as YOLOv5 and YOLOX
/// write it: [N, A, 5 + K]. The number of anchors is that of the cells of its grids.
fn cells(graph: &Graph, output: ValueId, settings: &HeadSettings) -> Option<Detector> {
    let shape = <[usize; 3]>::try_from(sizes(graph, output)?).ok()?;
    let (height, width) = image_sides(graph)?;
    let (class_axis, in_cell, rows) = [1, 2].into_iter().find_map(|class_axis: usize| {
        let (in_cell, _) = grids(shape[3 - class_axis], height, width)?;
        Some((class_axis, in_cell, shape[class_axis]))
    })?;
    let labels = settings.labels;
    // YOLOv5 has three anchors in a cell, YOLOX one; both say first whether anything is there. Later versions do not, and
    // have the numbers of an anchor in a column.
    let objectness = match (labels, in_cell) {
        (Some(labels), _) if labels + 5 == rows => true,
        (Some(labels), _) if labels + 4 == rows => false,
        (_, 1) => class_axis == 2,
        _ => true,
    };
    let first = if objectness { 5 } else { 4 };
    let classes = rows.checked_sub(first).filter(|classes| *classes > 0)?;
    // YOLOX leaves the boxes as the network gives them, unless it was told to decode them, which takes the exponential.
    let decoded = in_cell > 1 || !objectness || graph.nodes().any(|(_, node)| node.op() == "Exp");
    let corners = if decoded { Corners::Center } else { Corners::Cells };
    let anchors = Anchors {
        classes,
        count: shape[3 - class_axis],
        class_axis,
        first,
        objectness: objectness.then_some(4),
        background: None,
        boxes: Some(Boxes { value: output, axis: class_axis, corners }),
    };
    Some(Detector {
        value: output,
        anchors,
        scale: Scale::Probabilities,
        operator: None,
        why: match objectness {
            true => {
                "the output has a box, a score that anything is there and the scores of classes for each cell"
            }
            false => "the output has a box and the scores of classes for each cell",
        },
    })
}
