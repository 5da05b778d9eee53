//! Recurrent networks by their definitions, which are unrolled over the steps.

mod activation;
mod backward;
mod sequence;

pub(super) use backward::{gru, lstm, rnn};
use sequence::{GRU, LSTM, RNN, Sequence};

use super::RuleCall;
use crate::{
    builder::Builder,
    error::{Result, bail},
    graph::ValueId,
};

/// LSTM. With the gates i, o, f, c of x·Wᵀ + h·Rᵀ + b in this order:
/// i = f(i + Pᵢ·C), f = f(f + P_f·C), or 1 − i with `input_forget`, C′ = f·C + i·g(c), o = f(o + Pₒ·C′), h′ = o·h(C′).
/// `clip` bounds the inputs of the activations of gates.
/// <https://onnx.ai/onnx/operators/onnx__LSTM.html> The layout exists from 14.
pub(super) fn lstm_definition(b: &mut Builder<'_>, n: &RuleCall) -> Result<Vec<ValueId>> {
    let seq = Sequence::read(b, n, &LSTM)?;
    let coupled = n.attrs().flag("input_forget");
    let inputs = seq.summed(b, n)?;
    let weights = seq.recurrent(b, n)?;
    let (first, mut cell) = (seq.initial(b, n, 5, inputs)?, seq.initial(b, n, 6, inputs)?);
    let peepholes = match n.optional(7) {
        Some(all) => {
            let shape = b.shape(all)?;
            let &[directions, gates] = shape.as_slice() else {
                bail!(InvalidModel, "its peepholes have {} axes, not 2", shape.len());
            };
            let all = b.reshape(all, &[directions, 1.into(), gates])?;
            Some(b.split(all, 2, 3)?)
        }
        None => None,
    };
    let peep = |b: &mut Builder<'_>, gate, which: usize, cell| match &peepholes {
        Some(weights) => {
            let seen = b.mul(cell, weights[which])?;
            b.add(gate, seen)
        }
        None => Ok(gate),
    };
    let states = seq.unroll(b, inputs, first, |b, x, state| {
        let product = b.matmul(state, weights)?;
        let sum = b.add(x, product)?;
        let [i, o, f, c] = b.split(sum, 3, 4)?[..] else { bail!(InvalidModel, "it has no gates") };
        let i = peep(b, i, 0, cell)?;
        let i = seq.activations.apply(b, 0, i, true)?;
        let f = if coupled {
            let one = b.scalar(i, 1.0)?;
            b.sub(one, i)?
        } else {
            let f = peep(b, f, 2, cell)?;
            seq.activations.apply(b, 0, f, true)?
        };
        let c = seq.activations.apply(b, 1, c, true)?;
        let (kept, new) = (b.mul(f, cell)?, b.mul(i, c)?);
        cell = b.add(kept, new)?;
        let o = peep(b, o, 1, cell)?;
        let o = seq.activations.apply(b, 0, o, true)?;
        let shown = seq.activations.apply(b, 2, cell, false)?;
        b.mul(o, shown)
    })?;
    let mut outputs = seq.outputs(b, &states)?;
    outputs.push(seq.state(b, cell)?);
    Ok(outputs)
}

/// GRU. With the gates z, r, h of x·Wᵀ and h·Rᵀ in this order and their biases:
/// z = f(z), r = f(r), n = g(x·W_hᵀ + (r·h)·R_hᵀ + b), or with `linear_before_reset` g(x·W_hᵀ + r·(h·R_hᵀ + b_R) + b_W);
/// h′ = (1 − z)·n + z·h. `clip` bounds the inputs of the activations.
/// <https://onnx.ai/onnx/operators/onnx__GRU.html> The layout exists from 14.
pub(super) fn gru_definition(b: &mut Builder<'_>, n: &RuleCall) -> Result<Vec<ValueId>> {
    let seq = Sequence::read(b, n, &GRU)?;
    let linear = n.attrs().flag("linear_before_reset");
    let (weights, biases) = (seq.recurrent(b, n)?, seq.biases(b, n)?);
    let mut inputs = seq.projected(b, n)?;
    let (gates, size) = (2 * seq.hidden_size, seq.hidden_size);
    let gate_weights = b.slice(weights, 2, 0, gates, 1)?;
    let new_weights = b.slice(weights, 2, gates, size, 1)?;
    // The bias of h·R_hᵀ stays apart, because r scales it.
    let mut new_bias = None;
    if let Some((first, second)) = biases {
        inputs = b.add(inputs, first)?;
        let of_gates = b.slice(second, 2, 0, gates, 1)?;
        let of_new = b.slice(second, 2, gates, size, 1)?;
        let of_new = if linear {
            new_bias = Some(of_new);
            b.scale(of_new, 0.0)?
        } else {
            of_new
        };
        let second = b.concat(&[of_gates, of_new], 2)?;
        inputs = b.add(inputs, second)?;
    }
    let first = seq.initial(b, n, 5, inputs)?;
    let states = seq.unroll(b, inputs, first, |b, x, state| {
        let (x_gates, x_new) = (b.slice(x, 3, 0, gates, 1)?, b.slice(x, 3, gates, size, 1)?);
        let product = b.matmul(state, gate_weights)?;
        let sum = b.add(x_gates, product)?;
        let sum = seq.activations.apply(b, 0, sum, true)?;
        let [z, r] = b.split(sum, 3, 2)?[..] else { bail!(InvalidModel, "it has no gates") };
        let new = if linear {
            let product = b.matmul(state, new_weights)?;
            let product = match new_bias {
                Some(bias) => b.add(product, bias)?,
                None => product,
            };
            b.mul(r, product)?
        } else {
            let reset = b.mul(r, state)?;
            b.matmul(reset, new_weights)?
        };
        let new = b.add(x_new, new)?;
        let new = seq.activations.apply(b, 1, new, true)?;
        // (1 − z)·n + z·h in the form n + z·(h − n).
        let apart = b.sub(state, new)?;
        let apart = b.mul(z, apart)?;
        b.add(new, apart)
    })?;
    seq.outputs(b, &states)
}

/// RNN, h′ = f(x·Wᵀ + h·Rᵀ + b). `clip` bounds the input of f.
/// <https://onnx.ai/onnx/operators/onnx__RNN.html> The layout exists from 14.
pub(super) fn rnn_definition(b: &mut Builder<'_>, n: &RuleCall) -> Result<Vec<ValueId>> {
    let seq = Sequence::read(b, n, &RNN)?;
    let inputs = seq.summed(b, n)?;
    let weights = seq.recurrent(b, n)?;
    let first = seq.initial(b, n, 5, inputs)?;
    let states = seq.unroll(b, inputs, first, |b, x, state| {
        let product = b.matmul(state, weights)?;
        let sum = b.add(x, product)?;
        seq.activations.apply(b, 0, sum, true)
    })?;
    seq.outputs(b, &states)
}
