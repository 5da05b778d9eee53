//! The output that holds the scores, and why that one.

use onnx_grad::{
    Dim, closest,
    graph::{Graph, ValueId},
    op,
};

use super::{HeadSettings, index::Selection};
use crate::{Result, error::bail};

/// A value of the model that holds scores.
pub(super) struct Output {
    pub(super) value: ValueId,
    pub(super) name: String,
    /// The part that is summed, where the user names one.
    pub(super) selection: Option<Selection>,
    /// Why this one.
    pub(super) why: &'static str,
    /// Whether it was chosen among several.
    pub(super) is_chosen: bool,
}

/// Names of outputs that hold class scores, in the order of preference: those of transformers' exporters, then usual ones.
const NAMES: [&str; 6] =
    ["logits", "image_embeds", "scores", "probabilities", "pred_logits", "output"];

/// Chooses the value: the one that the user names, or an output of floats.
pub(super) fn choose(graph: &Graph, settings: &HeadSettings) -> Result<Output> {
    if let Some(selection) = &settings.output {
        return named(graph, selection);
    }
    let floats =
        || graph.outputs().iter().copied().filter(|value| graph.fact(*value).elem.is_float());
    let is_chosen = floats().nth(1).is_some();
    let output = |value, why: &'static str| {
        let name = graph.name(value).to_owned();
        Ok(Output { value, name, selection: None, why, is_chosen })
    };
    let Some(first) = floats().next() else {
        // The classes are numbers already, and the scores are what they were taken from.
        let scores = graph.outputs().iter().find_map(|value| {
            let id = graph
                .producer(*value)
                .filter(|id| op::traits(graph.node(*id)).kind == op::Kind::Arg)?;
            graph.node_inputs(id).first().copied().flatten()
        });
        let scores = scores.filter(|value| graph.fact(*value).elem.is_float());
        return match (scores, selected(graph)) {
            (Some(value), _) => output(value, "the model's output is the arg-max of it"),
            (None, Some(value)) => output(value, "it says which boxes are kept"),
            (None, None) => bail!(
                Target,
                "the model has no output of floats to explain; its outputs: {}",
                outputs_of(graph)
            ),
        };
    };
    if !is_chosen {
        return output(first, "it is the only output of floats");
    }
    let called = NAMES.iter().find_map(|name| floats().find(|value| graph.name(*value) == *name));
    match called {
        Some(value) => output(value, "of several outputs it is called as scores are"),
        None => output(first, "it is the first of several outputs of floats"),
    }
}

/// The output with the indices that a non-maximum suppression selects.
fn selected(graph: &Graph) -> Option<ValueId> {
    let is_selected = |value: &ValueId| {
        graph.producer(*value).is_some_and(|id| graph.node(id).op() == "NonMaxSuppression")
    };
    graph.outputs().iter().copied().find(is_selected)
}

fn named(graph: &Graph, selection: &Selection) -> Result<Output> {
    let value = match graph.find(&selection.name) {
        Some(value) if graph.fact(value).elem.is_float() => value,
        found => {
            let what = match found {
                Some(_) => "holds no floats to explain",
                None => "is no output and no other value of the model",
            };
            let made = graph.values().filter(|value| graph.producer(*value).is_some());
            let names = made.map(|value| graph.name(value));
            let closest = match found {
                Some(_) => String::new(),
                None => closest::hint(&selection.name, names),
            };
            bail!(
                Target,
                "\"{}\" {what}{closest}; its outputs: {}",
                selection.name,
                outputs_of(graph)
            )
        }
    };
    let part = match selection.parts.is_empty() {
        true => None,
        false => Some(selection.checked(graph, value)?),
    };
    let name = selection.to_string();
    Ok(Output { value, name, selection: part, why: "the user names it", is_chosen: false })
}

/// The outputs of a model as messages show them: name, type and shape.
pub(super) fn outputs_of(graph: &Graph) -> String {
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
