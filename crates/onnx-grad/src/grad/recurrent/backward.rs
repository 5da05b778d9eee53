//! The gradients of recurrent networks whose weights are constant.
//!
//! The forward run stays the operator itself. Its output Y has the state before each step, so the gates of all steps
//! follow from one matrix product, and their derivatives from a few operations on all steps. What remains for each step
//! is the linear recurrence of the cotangents: a matrix product and some products element by element. Where the
//! gradients of weights are asked for, the definition is differentiated.

use super::sequence::{Cell, GRU, LSTM, RNN, Sequence};
use crate::{
    builder::Builder,
    error::Result,
    grad::{
        Cotangents, GradientForm, RuleCall, definition::through, propagate, reach::Reach,
        rule::Definition,
    },
    graph::ValueId,
};

/// LSTM without peepholes. With a = dC′/dh′ = o·h′(C′):
/// dC′ = dh′·a + dC, dz = [dC′·c·i′, dh′·h(C′)·o′, dC′·C·f′, dC′·i·c′], dC = dC′·f, dh = dz·R, dx = dz·W.
pub(in crate::grad) fn lstm(b: &mut Builder<'_>, n: &RuleCall) -> Cotangents {
    if n.optional(7).is_some() || !Steps::suffice(n) {
        return through(b, n, Definition::Emitter(super::lstm_definition));
    }
    let steps = Steps::read(b, n, &LSTM)?;
    let (seq, size) = (&steps.seq, steps.seq.hidden_size);
    let coupled = n.attrs().flag("input_forget");
    let inputs = seq.summed(b, n)?;
    let first_cell = seq.initial(b, n, 6, inputs)?;
    let before = steps.states_before(b, n, inputs)?;
    let weights = seq.recurrent(b, n)?;
    let product = seq.times(b, before, weights)?;
    let gates = b.add(inputs, product)?;
    let (iof, new) = (b.slice(gates, 3, 0, 3 * size, 1)?, b.slice(gates, 3, 3 * size, size, 1)?);
    let ([iof, iof_slope], [new, new_slope]) =
        (steps.activated(b, 0, iof, true)?, steps.activated(b, 1, new, true)?);
    let (values, slopes) = (b.split(iof, 3, 3)?, b.split(iof_slope, 3, 3)?);
    let (i, o, mut f) = (values[0], values[1], values[2]);
    let (i_slope, o_slope, mut f_slope) = (slopes[0], slopes[1], slopes[2]);
    if coupled {
        let one = b.scalar(i, 1.0)?;
        f = b.sub(one, i)?;
        f_slope = b.scale(f_slope, 0.0)?;
    }
    let kept = seq.each_step(b, f)?;
    let added = b.mul(i, new)?;
    let (mut cell, mut cells) = (first_cell, Vec::new());
    for (&kept, added) in kept.iter().zip(seq.each_step(b, added)?) {
        let old = b.mul(kept, cell)?;
        cell = b.add(old, added)?;
        cells.push(cell);
    }
    let cells = b.concat(&cells, 0)?;
    let cells_before = steps.shifted(b, cells, first_cell)?;
    let [shown, shown_slope] = steps.activated(b, 2, cells, false)?;
    let of_input = if coupled { b.sub(new, cells_before)? } else { new };
    let factors = [(of_input, i_slope), (shown, o_slope), (cells_before, f_slope), (i, new_slope)];
    let factors = factors.map(|(x, slope)| b.mul(x, slope));
    let factors = b.concat(&factors.into_iter().collect::<Result<Vec<_>>>()?, 3)?;
    let factors = seq.each_step(b, factors)?;
    let into_cell = b.mul(o, shown_slope)?;
    let into_cell = seq.each_step(b, into_cell)?;
    let mut carried = steps.last_cotangent(b, n, 2)?;
    let (each, back) = steps.sweep(b, n, |b, step, dh| {
        let own = b.mul(dh, into_cell[step])?;
        let dc = carried.map_or(Ok(own), |carried| b.add(own, carried))?;
        carried = Some(b.mul(dc, kept[step])?);
        let all = b.concat(&[dc, dh, dc, dc], 3)?;
        let dz = b.mul(all, factors[step])?;
        Ok((dz, b.matmul(dz, n.x(2)?)?))
    })?;
    steps.cotangents(b, n, each, [back, carried])
}

/// GRU with `linear_before_reset`. With the gates z, r, n and q = h·R_hᵀ + b:
/// dn = dh′·(1 − z)·n′, dr = dn·q·r′, dz = dh′·(h − n)·z′, dx = [dz, dr, dn]·W, dh = [dz, dr, dn·r]·R + dh′·z.
pub(in crate::grad) fn gru(b: &mut Builder<'_>, n: &RuleCall) -> Cotangents {
    if !n.attrs().flag("linear_before_reset") || !Steps::suffice(n) {
        return through(b, n, Definition::Emitter(super::gru_definition));
    }
    let steps = Steps::read(b, n, &GRU)?;
    let (seq, size) = (&steps.seq, steps.seq.hidden_size);
    let mut inputs = seq.projected(b, n)?;
    let before = steps.states_before(b, n, inputs)?;
    let weights = seq.recurrent(b, n)?;
    let mut product = seq.times(b, before, weights)?;
    if let Some((first, second)) = seq.biases(b, n)? {
        inputs = b.add(inputs, first)?;
        product = b.add(product, second)?;
    }
    let (x_gates, h_gates) =
        (b.slice(inputs, 3, 0, 2 * size, 1)?, b.slice(product, 3, 0, 2 * size, 1)?);
    let (x_new, h_new) =
        (b.slice(inputs, 3, 2 * size, size, 1)?, b.slice(product, 3, 2 * size, size, 1)?);
    let gates = b.add(x_gates, h_gates)?;
    let [gates, gates_slope] = steps.activated(b, 0, gates, true)?;
    let (gates, slopes) = (b.split(gates, 3, 2)?, b.split(gates_slope, 3, 2)?);
    let (z, r) = (gates[0], gates[1]);
    let reset = b.mul(r, h_new)?;
    let new = b.add(x_new, reset)?;
    let [new, new_slope] = steps.activated(b, 1, new, true)?;
    let one = b.scalar(z, 1.0)?;
    let left = b.sub(one, z)?;
    let of_new = b.mul(left, new_slope)?;
    let of_reset = b.mul(of_new, h_new)?;
    let of_reset = b.mul(of_reset, slopes[1])?;
    let apart = b.sub(before, new)?;
    let of_update = b.mul(apart, slopes[0])?;
    let of_state = b.mul(of_new, r)?;
    let for_states = b.concat(&[of_update, of_reset, of_state], 3)?;
    let (for_states, kept) = (seq.each_step(b, for_states)?, seq.each_step(b, z)?);
    let (each, back) = steps.sweep(b, n, |b, step, dh| {
        let all = b.concat(&[dh, dh, dh], 3)?;
        let dz = b.mul(all, for_states[step])?;
        let (through, kept) = (b.matmul(dz, n.x(2)?)?, b.mul(dh, kept[step])?);
        Ok((all, b.add(through, kept)?))
    })?;
    let for_inputs = b.concat(&[of_update, of_reset, of_new], 3)?;
    let each = b.mul(each, for_inputs)?;
    steps.cotangents(b, n, each, [back, None])
}

/// RNN. dz = dh′·f′, dx = dz·W, dh = dz·R.
pub(in crate::grad) fn rnn(b: &mut Builder<'_>, n: &RuleCall) -> Cotangents {
    if !Steps::suffice(n) {
        return through(b, n, Definition::Emitter(super::rnn_definition));
    }
    let steps = Steps::read(b, n, &RNN)?;
    let seq = &steps.seq;
    let inputs = seq.summed(b, n)?;
    let before = steps.states_before(b, n, inputs)?;
    let weights = seq.recurrent(b, n)?;
    let product = seq.times(b, before, weights)?;
    let sum = b.add(inputs, product)?;
    let [_, slope] = steps.activated(b, 0, sum, true)?;
    let slopes = seq.each_step(b, slope)?;
    let (each, back) = steps.sweep(b, n, |b, step, dh| {
        let dz = b.mul(dh, slopes[step])?;
        Ok((dz, b.matmul(dz, n.x(2)?)?))
    })?;
    steps.cotangents(b, n, each, [back, None])
}

/// The steps of a network that are swept from the last to the first.
struct Steps {
    seq: Sequence,
}

impl Steps {
    /// Whether the output Y and the constant weights suffice: only the input and the initial states are on the path.
    fn suffice(n: &RuleCall) -> bool {
        let weights = (1..n.input_count()).filter(|input| ![5, 6].contains(input));
        n.output(0).is_some() && !weights.clone().any(|input| n.wants(input))
    }

    fn read(b: &Builder<'_>, n: &RuleCall, cell: &Cell) -> Result<Self> {
        Ok(Self { seq: Sequence::read(b, n, cell)? })
    }

    /// The states before each step, [T, D, N, H], from the output Y.
    fn states_before(&self, b: &mut Builder<'_>, n: &RuleCall, like: ValueId) -> Result<ValueId> {
        let first = self.seq.initial(b, n, 5, like)?;
        let after = self.seq.of_all_states(b, n.y())?;
        self.shifted(b, after, first)
    }

    /// The values before each step, from those after it and the first.
    fn shifted(&self, b: &mut Builder<'_>, after: ValueId, first: ValueId) -> Result<ValueId> {
        if self.seq.steps == 1 {
            return Ok(first);
        }
        let earlier = b.slice(after, 0, 0, self.seq.steps - 1, 1)?;
        b.concat(&[first, earlier], 0)
    }

    /// An activation of all steps and its derivative.
    fn activated(
        &self,
        b: &mut Builder<'_>,
        which: usize,
        x: ValueId,
        bounded: bool,
    ) -> Result<[ValueId; 2]> {
        let from = b.graph().node_count();
        let y = self.seq.activations.apply(b, which, x, bounded)?;
        let one = b.scalar(y, 1.0)?;
        let slope = propagate(
            b,
            Reach { from, ..Reach::default() },
            &[(y, one)],
            &[(x, GradientForm::Full)],
            &[],
        )?;
        Ok([y, slope[0]])
    }

    /// The cotangent of the output Y_h or Y_c, [1, D, N, H].
    fn last_cotangent(
        &self,
        b: &mut Builder<'_>,
        n: &RuleCall,
        output: usize,
    ) -> Result<Option<ValueId>> {
        let (Some(form), Some(value)) = (n.form(output), n.output(output)) else { return Ok(None) };
        let dense = form.dense(b, value)?;
        let full = b.expand_like(dense, value)?;
        let state = self.seq.time_first(b, full)?;
        let shape = [vec![1.into()], b.shape(state)?].concat();
        Ok(Some(b.reshape(state, &shape)?))
    }

    /// Calls `step` from the last step to the first, with the cotangent of the state after it, [1, D, N, H]. It returns
    /// what the gradient of the input is made of, and the cotangent of the state before. Returns the former of all
    /// steps and the cotangent of the first state.
    fn sweep(
        &self,
        b: &mut Builder<'_>,
        n: &RuleCall,
        mut step: impl FnMut(&mut Builder<'_>, usize, ValueId) -> Result<(ValueId, ValueId)>,
    ) -> Result<(ValueId, Option<ValueId>)> {
        let seeds = match (n.form(0), n.output(0)) {
            (Some(form), Some(y)) => {
                let dense = form.dense(b, y)?;
                let full = b.expand_like(dense, y)?;
                let full = self.seq.of_all_states(b, full)?;
                self.seq.each_step(b, full)?.into_iter().map(Some).collect()
            }
            _ => vec![None; self.seq.each()?],
        };
        let mut back = self.last_cotangent(b, n, 1)?;
        let mut parts = Vec::new();
        for (at, seed) in seeds.into_iter().enumerate().rev() {
            let cotangent = match (seed, back) {
                (Some(seed), Some(back)) => b.add(seed, back)?,
                (Some(one), None) | (None, Some(one)) => one,
                // Only the last cell state is on the path.
                (None, None) => {
                    let like = self.seq.of_all_states(b, n.y())?;
                    let like = b.slice(like, 0, 0, 1, 1)?;
                    let zero = b.scalar(like, 0.0)?;
                    b.expand_like(zero, like)?
                }
            };
            let (part, before) = step(b, at, cotangent)?;
            parts.push(part);
            back = Some(before);
        }
        parts.reverse();
        Ok((b.concat(&parts, 0)?, back))
    }

    /// The cotangents of the inputs, from that of the gates and those of the initial states.
    fn cotangents(
        &self,
        b: &mut Builder<'_>,
        n: &RuleCall,
        gates: ValueId,
        initial: [Option<ValueId>; 2],
    ) -> Cotangents {
        let mut grads = vec![None; n.input_count()];
        if n.wants(0) {
            grads[0] = Some(self.seq.unprojected(b, n, gates)?.into());
        }
        for (input, cotangent) in [5, 6].into_iter().zip(initial) {
            if let (true, Some(cotangent)) = (n.wants(input), cotangent) {
                grads[input] = Some(self.seq.state(b, cotangent)?.into());
            }
        }
        Ok(grads)
    }
}
