//! The head: the value of a model that holds the class scores, and its form.

use onnx_grad::{
    Dim,
    graph::{Graph, ValueId},
    op::{self, Kind},
    proto::NodeProto,
};

use crate::{Result, error::bail};

/// The scores of a model.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Head {
    /// The value that is differentiated: the logits.
    pub(crate) value: ValueId,
    /// Their form.
    pub(crate) form: Form,
    /// The operator that makes probabilities of them at the end of the model, if one does.
    pub(crate) activation: Option<Activation>,
}

/// The form of scores in their value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// One score for each class: [N, K], or [N, K, 1, …].
    Classes(usize),
    /// One logit, of class 1; that of class 0 is its negative: [N], [N, 1], or [N, 1, 1, …].
    Binary,
    /// Scores of each class at each pixel: [N, K, H, W].
    Pixels(usize),
    /// Scores of each class at each anchor of a detector: [N, K, A].
    Anchors(usize),
}

impl Form {
    /// Whether the score of a class is an affine function of the value.
    pub(crate) fn is_affine(self) -> bool {
        matches!(self, Self::Classes(_) | Self::Binary)
    }

    /// The number of classes.
    pub(crate) fn classes(self) -> usize {
        match self {
            Self::Classes(classes) | Self::Pixels(classes) | Self::Anchors(classes) => classes,
            Self::Binary => 2,
        }
    }
}

/// The activation that makes probabilities of logits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Activation {
    /// The probabilities of a row add up to 1.
    Softmax,
    /// Each class has a probability of its own.
    Sigmoid,
}

impl Activation {
    /// The operator's name.
    pub(crate) fn op(self) -> &'static str {
        match self {
            Self::Softmax => "Softmax",
            Self::Sigmoid => "Sigmoid",
        }
    }
}

/// Finds the class scores of a model: the output of that name, or the first output of floats. Where Softmax, LogSoftmax or
/// Sigmoid makes the output, it is the logits under it; where a quantized output ends the model, the scores before.
pub(crate) fn head(graph: &Graph, name: Option<&str>) -> Result<Head> {
    let is_float = |value: &ValueId| graph.fact(*value).elem.is_float();
    let mut outputs = graph.outputs().iter().copied();
    let found = match name {
        Some(name) => outputs.find(|value| graph.name(*value) == name),
        None => outputs.find(is_float),
    };
    let Some(output) = found.filter(is_float) else {
        let what = match (name, found) {
            (None, _) => "the model has no output of floats to explain".to_owned(),
            (Some(name), None) => format!("the model has no output \"{name}\""),
            (Some(name), Some(_)) => format!("the output \"{name}\" holds no floats to explain"),
        };
        bail!(Target, "{what}; its outputs: {}", outputs_of(graph));
    };
    if let Some(detector) = detector(graph, output) {
        return Ok(detector);
    }
    let (value, activation) = under_activation(graph, output);
    let value = before_quantizing(graph, value);
    let Some(shape) = &graph.fact(value).shape else {
        bail!(Target, "the shape of the scores \"{}\" is not known", graph.name(value));
    };
    let classes = |dim: Dim| dim.fixed().and_then(|size| usize::try_from(size).ok());
    let flat = |dims: &[Dim]| dims.iter().all(|dim| *dim == Dim::Fixed(1));
    let form = match shape.as_slice() {
        [_] => Some(Form::Binary),
        [_, Dim::Fixed(1), rest @ ..] if flat(rest) => Some(Form::Binary),
        [_, dim, rest @ ..] if flat(rest) => classes(*dim).map(Form::Classes),
        [_, dim, _, _] => classes(*dim).map(Form::Pixels),
        _ => None,
    };
    match form {
        Some(form) => Ok(Head { value, form, activation }),
        None => {
            let shown: Vec<_> = shape.iter().map(Dim::to_string).collect();
            let message = format!(
                "the output \"{}\" has shape [{}]; class scores are [N], [N, K] or [N, K, H, W], or [N, 4 + K, \
                 anchors] where the model joins boxes and the sigmoid of scores, as YOLO without non-maximum \
                 suppression in the file",
                graph.name(value),
                shown.join(", "),
            );
            match graph.outputs().len() {
                0 | 1 => bail!(Target, "{message}"),
                _ => bail!(Target, NameOutput; "{message}; the model has: {}", outputs_of(graph)),
            }
        }
    }
}

/// The outputs of a model as messages show them: name, type and shape.
fn outputs_of(graph: &Graph) -> String {
    let each = graph.outputs().iter().map(|output| {
        let fact = graph.fact(*output);
        let elem = fact.elem.numpy_name();
        let shape = fact.shape.as_ref().map_or("of an unknown shape".to_owned(), |shape| {
            format!("[{}]", shape.iter().map(Dim::to_string).collect::<Vec<_>>().join(", "))
        });
        format!("\"{}\" ({elem} {shape})", graph.name(*output))
    });
    each.collect::<Vec<_>>().join(", ")
}

/// The class scores of a detector whose output [N, 4 + K, A] joins boxes and the sigmoid of the scores, as ultralytics
/// writes it. Further rows, such as the coefficients of masks, are ignored.
fn detector(graph: &Graph, output: ValueId) -> Option<Head> {
    let sizes = |value: ValueId| graph.fact(value).shape.as_deref();
    let made_by =
        |value: ValueId, op: &str| graph.producer(value).filter(|id| graph.node(*id).op() == op);
    let [boxes, scores, ..] = *graph.node_inputs(made_by(output, "Concat")?) else { return None };
    let sigmoid = made_by(scores?, "Sigmoid")?;
    let value = graph.node_inputs(sigmoid).first().copied().flatten()?;
    let ([_, Dim::Fixed(4), of_boxes], [_, classes, anchors]) = (sizes(boxes?)?, sizes(value)?)
    else {
        return None;
    };
    let classes = usize::try_from(classes.fixed()?).ok().filter(|_| of_boxes == anchors)?;
    Some(Head { value, form: Form::Anchors(classes), activation: Some(Activation::Sigmoid) })
}

/// The value that a last pair of QuantizeLinear and DequantizeLinear rounds. Scores clipped to the range of the
/// calibration have no gradient at the largest one, and of rounded scores several are the largest.
fn before_quantizing(graph: &Graph, value: ValueId) -> ValueId {
    let made_by = |value: ValueId, op: &str| {
        let id = graph.producer(value).filter(|id| graph.node(*id).op() == op)?;
        graph.node_inputs(id).first().copied().flatten()
    };
    let before = made_by(value, "DequantizeLinear");
    before.and_then(|numbers| made_by(numbers, "QuantizeLinear")).unwrap_or(value)
}

/// Steps from the model's output to the logits under a last Softmax, LogSoftmax or Sigmoid.
fn under_activation(graph: &Graph, output: ValueId) -> (ValueId, Option<Activation>) {
    let mut value = output;
    while let Some(id) = graph.producer(value) {
        let node = graph.node(id);
        let Some(before) = graph.node_inputs(id).first().copied().flatten() else { break };
        match node.op() {
            "Softmax" | "LogSoftmax" => return (before, Some(Activation::Softmax)),
            "Sigmoid" => return (before, Some(Activation::Sigmoid)),
            _ if carries(node) => value = before,
            _ => break,
        }
    }
    (output, None)
}

/// Whether a node gives the same numbers in the same order, in another type or shape.
fn carries(node: &NodeProto) -> bool {
    let traits = op::traits(node);
    traits.carries() || traits.kind == Kind::Reshape
}

#[cfg(test)]
mod tests {
    use onnx_grad::{Model, graph::Sizes, proto::tensor_proto::DataType};
    use prost::Message;
    use testkit::build::{self, node};

    use super::*;

    /// What gives the same numbers in the same order is stepped over on the way to the softmax; what reorders them is not.
    #[test]
    fn logits_are_found_behind_what_carries_probabilities() {
        let rows = [
            ("Identity", true),
            ("Dropout", true),
            ("Flatten", true),
            ("Squeeze", true),
            ("Relu", false),
        ];
        for (op, carries) in rows {
            let nodes = vec![
                node("Relu", &["x"], &["logits"], vec![]),
                node("Softmax", &["logits"], &["p"], vec![]),
                node(op, &["p"], &["y"], vec![]),
            ];
            let inputs = [("x", DataType::Float, &[2, 3][..])];
            let proto = build::model(17, &inputs, &[("y", DataType::Float)], vec![], nodes);
            let model = Model::from_bytes(proto.encode_to_vec()).unwrap();
            let graph = Graph::new(&model, &Sizes::new()).unwrap();
            let found = head(&graph, None).unwrap();
            let wanted = if carries { "logits" } else { "y" };
            assert_eq!(graph.name(found.value), wanted, "{op}");
        }
    }
}
