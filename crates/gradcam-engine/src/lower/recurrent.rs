//! Forms of LSTM, GRU and RNN that an engine lacks or computes wrongly.

use onnx_grad::proto::NodeProto;

use super::{Refusal, facts::Facts, refusal::RefusalText, rewrite::Rewrite};

pub(crate) const LENGTHS: RefusalText = RefusalText::new(
    "its sequence_lens are not all …, the number of its steps; supported: full length",
);

/// The batch is the first axis.
fn is_batch_first(_: &Facts<'_>, node: &NodeProto) -> bool {
    node.attr_int("layout").is_some_and(|layout| layout != 0)
}

/// The batch is the first axis, or an activation of which ONNX Runtime computes large numbers or the form without
/// parameters wrongly.
pub(crate) fn differs_from_runtime(facts: &Facts<'_>, node: &NodeProto) -> bool {
    const WRONG: [&str; 4] = ["Affine", "ScaledTanh", "Softplus", "ThresholdedRelu"];
    let mut given = activations(node);
    is_batch_first(facts, node) || given.any(|name| WRONG.contains(&name))
}

fn activations(node: &NodeProto) -> impl Iterator<Item = &str> {
    let given = node.attr("activations").into_iter().flat_map(|attribute| &attribute.strings);
    given.map(|name| std::str::from_utf8(name).unwrap_or_default())
}

/// LSTM other than with the default activations, without clip, peepholes and coupled gates.
pub(crate) fn is_unusual_lstm(facts: &Facts<'_>, node: &NodeProto) -> bool {
    let peepholes = node.input.get(7).is_some_and(|name| !name.is_empty());
    let coupled = node.attr_int("input_forget").is_some_and(|flag| flag != 0);
    peepholes || coupled || is_unusual(facts, node, &["Sigmoid", "Tanh", "Tanh"])
}

/// GRU other than with the default activations, without clip, and linear before the reset.
pub(crate) fn is_unusual_gru(facts: &Facts<'_>, node: &NodeProto) -> bool {
    let linear = node.attr_int("linear_before_reset").is_some_and(|flag| flag != 0);
    !linear || is_unusual(facts, node, &["Sigmoid", "Tanh"])
}

fn is_unusual(facts: &Facts<'_>, node: &NodeProto, defaults: &[&str]) -> bool {
    activations(node).zip(defaults.iter().cycle()).any(|(name, default)| name != *default)
        || node.attr_float("clip").is_some_and(|bound| bound != 0.0)
        || is_batch_first(facts, node)
}

/// Refuses sequences of different lengths, which the engine takes for full ones.
pub(crate) fn full_length(b: &mut Rewrite<'_>, node: NodeProto) -> Result<(), Refusal> {
    let steps = node.input.first().and_then(|x| b.facts.dims(x)).and_then(|dims| *dims.first()?);
    let steps = steps.and_then(|steps| i64::try_from(steps).ok());
    let given = node.input.get(4).is_some_and(|name| !name.is_empty());
    let lengths = b.facts.ints(&node, 4);
    let full = lengths.is_some_and(|lengths| lengths.iter().all(|length| Some(*length) == steps));
    if given && !full {
        let steps = steps.map_or("as long".to_owned(), |steps| steps.to_string());
        return Err(LENGTHS.with(&[&steps]));
    }
    b.keep(node);
    Ok(())
}
