//! Rules of the transformer operators.

use super::{Cotangents, RuleCall, one};
use crate::{
    attrs,
    builder::{Builder, constant_size},
    error::{Result, bail},
    facts::Dim,
    graph::ValueId,
    proto::tensor_proto::DataType,
};

/// Attention, y = softmax(c·tanh(s·q·kᵀ / c) + bias)·v for each head; the scale s is 1/√size by default, and the
/// softcap c is optional. The bias is the mask, with −∞ where the mask is false or the causal or windowed form
/// excludes a position; a row without positions gives 0. Inputs of rank 3 are [N, T, heads·size]. If k and v have
/// fewer heads than q, each of them serves several heads of q. Differentiated through this definition.
/// <https://onnx.ai/onnx/operators/onnx__Attention.html> Windows exist from 25.
pub(super) fn attention(b: &mut Builder<'_>, n: &RuleCall) -> Result<Vec<ValueId>> {
    n.attrs().ignore(&["qk_matmul_output_mode", "softmax_precision"]);
    let rest = ["past_key", "past_value", "nonpad_kv_seqlen"];
    if let Some((_, name)) = (4..).zip(rest).find(|(input, _)| n.optional(*input).is_some()) {
        bail!(Unsupported, "it has an input {name}; supported: without it");
    }
    let heads = |name: &str| n.attrs().int(name).filter(|&heads| heads > 0).map(Dim::Fixed);
    let (q_heads, kv_heads) = (heads("q_num_heads"), heads("kv_num_heads"));
    let scale = n.attrs().float("scale");
    let cap = n.attrs().float_or("softcap", 0.0);
    let window = |name: &str| n.attrs().int(name).filter(|&size| size >= 0);
    let mut right = window("right_window_size");
    if n.attrs().flag("is_causal") {
        right = Some(0);
    }
    let left = window("left_window_size");
    let (q, k, v) = (n.x(0)?, n.x(1)?, n.x(2)?);
    let flat = b.rank(q)? == 3;
    let (q, k, v) = (split(b, q, q_heads)?, split(b, k, kv_heads)?, split(b, v, kv_heads)?);
    let q_shape = b.shape(q)?;
    let (count, size) = (b.size(q, 1)?, b.size(q, 3)?);
    let (k, v) = (repeated(b, k, count)?, repeated(b, v, count)?);
    #[expect(clippy::cast_precision_loss, reason = "the size of a head")]
    let scale = scale.unwrap_or_else(|| 1.0 / (size.max(1) as f64).sqrt());
    let s = n.symbols();
    let q = (scale * s.value(q)).emit(b)?;
    let k = b.transpose(k, &[0, 1, 3, 2])?;
    let mut scores = s.value(b.matmul(q, k)?);
    if cap > 0.0 {
        scores = cap * (1.0 / cap * scores).tanh();
    }
    let capped = scores.emit(b)?;
    let bias = bias(b, q, capped, n.optional(3), (left, right))?;
    let mut kept = None;
    if let Some(bias) = bias {
        // A row without positions is 0, not the 0/0 that follows from a sum with −∞.
        let (lowest, far) = lowest(b.elem(q));
        let axis = b.rank(bias)? - 1;
        let bias = s.value(bias);
        kept = Some(1.0 - bias.max(&[axis]).below(lowest));
        scores = scores + bias.maximum(bias.constant(far));
    }
    let softmax = |b: &mut Builder<'_>, x| b.raw("Softmax", &[x], vec![attrs::int("axis", -1)]);
    let weights = scores.then(softmax);
    let weights = kept.map_or(weights, |kept| weights * kept).emit(b)?;
    let y = b.matmul(weights, v)?;
    if !flat {
        return Ok(vec![y]);
    }
    let together = Dim::Fixed(b.size(y, 3)? * count);
    let y = b.transpose(y, &[0, 2, 1, 3])?;
    Ok(vec![b.reshape(y, &[q_shape[0], q_shape[2], together])?])
}

/// [N, T, heads·size] as [N, heads, T, size].
fn split(b: &mut Builder<'_>, x: ValueId, heads: Option<Dim>) -> Result<ValueId> {
    let shape = b.shape(x)?;
    let &[batch, time, all] = shape.as_slice() else { return Ok(x) };
    let Some((heads, size)) = heads.and_then(|heads| Some((heads, all.divided_by(heads)?))) else {
        bail!(InvalidModel, "its {all} channels are not divided into heads");
    };
    let apart = b.reshape(x, &[batch, time, heads, size])?;
    b.transpose(apart, &[0, 2, 1, 3])
}

/// [N, few, T, size] with each head repeated consecutively, `count` heads in total.
fn repeated(b: &mut Builder<'_>, x: ValueId, count: i64) -> Result<ValueId> {
    let few = b.size(x, 1)?;
    if few == count {
        return Ok(x);
    }
    if few < 1 || count % few != 0 {
        bail!(InvalidModel, "{count} heads of queries do not divide into {few} of keys");
    }
    let &[batch, _, time, size] = b.shape(x)?.as_slice() else {
        bail!(InvalidModel, "its inputs differ in rank");
    };
    let apart = b.reshape(x, &[batch, Dim::Fixed(few), Dim::Fixed(1), time, size])?;
    let many = b.expand(apart, &[batch, Dim::Fixed(few), Dim::Fixed(count / few), time, size])?;
    b.reshape(many, &[batch, Dim::Fixed(count), time, size])
}

/// The bias of the scores: the mask, and −∞ outside the window.
fn bias(
    b: &mut Builder<'_>,
    q: ValueId,
    scores: ValueId,
    mask: Option<ValueId>,
    window: (Option<i64>, Option<i64>),
) -> Result<Option<ValueId>> {
    let mut bias = None;
    if let Some(mut mask) = mask {
        if b.elem(mask) == DataType::Bool {
            let zero = b.scalar(q, 0.0)?;
            let never = b.scalar(q, f64::NEG_INFINITY)?;
            mask = b.raw("Where", &[mask, zero, never], vec![])?;
        }
        let (have, keys) = (b.size(mask, b.rank(mask)?.max(1) - 1)?, b.size(scores, 3)?);
        if have != keys && have != 1 {
            bail!(Unsupported, "its mask is for {have} of {keys} keys; supported: for all");
        }
        bias = Some(mask);
    }
    let (left, right) = window;
    if left.is_some() || right.is_some() {
        let (queries, keys) = (b.size(scores, 2)?, b.size(scores, 3)?);
        constant_size(&[queries, keys])?;
        let mut band = Vec::new();
        for query in 0..queries {
            let seen = |key: i64| {
                left.is_none_or(|left| query - key <= left)
                    && right.is_none_or(|right| key - query <= right)
            };
            band.extend((0..keys).map(|key| if seen(key) { 0.0 } else { f64::NEG_INFINITY }));
        }
        let band = b.floats(q, &[queries, keys], &band)?;
        bias = Some(match bias {
            Some(mask) => b.add(mask, band)?,
            None => band,
        });
    }
    Ok(bias)
}

/// The lowest number of a type, and a number that is low enough for a mask and cannot overflow with the scores added.
fn lowest(elem: DataType) -> (f64, f64) {
    match elem {
        DataType::Float16 => (-65504.0, -60000.0),
        _ => (f64::from(f32::MIN), -1e38),
    }
}

/// RotaryEmbedding rotates pairs of channels by angles that depend on the position. dx rotates g back: the same
/// operator with negated sines. <https://onnx.ai/onnx/operators/onnx__RotaryEmbedding.html>
pub(super) fn rotary_embedding(b: &mut Builder<'_>, n: &RuleCall) -> Cotangents {
    let names = ["interleaved", "num_heads", "rotary_embedding_dim"];
    let given = names.iter().filter_map(|name| Some(attrs::int(name, n.attrs().int(name)?)));
    let given = given.collect();
    let g = n.full(b)?;
    let sines = b.neg(n.x(2)?)?;
    let inputs = [Some(g), Some(n.x(1)?), Some(sines), n.optional(3)];
    let inputs = &inputs[..n.input_count().min(4)];
    one(b.raw_optional("RotaryEmbedding", inputs, given)?)
}
