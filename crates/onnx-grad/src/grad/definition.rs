//! Differentiates an operator through its definition in other operators.

use super::{
    Cotangents, GradientForm, RuleCall, propagate, quantize::cotangent_type, reach::Reach,
    rule::Definition,
};
use crate::{
    builder::Builder,
    error::{Result, bail},
    graph::ValueId,
};

/// The maximum number of nodes of an unrolled operator. Engines take longer to load such graphs than to run them.
const UNROLL_LIMIT: i64 = 1 << 16;

/// Fails if an unrolled operator would have too many nodes. `each` is a lower bound for one step.
pub(in crate::grad) fn check_unrolled(steps: i64, each: i64) -> Result<()> {
    let nodes = steps.saturating_mul(each.max(1));
    if nodes > UNROLL_LIMIT {
        bail!(
            Unsupported,
            "its {steps} steps unroll to {nodes} nodes or more; supported: up to {UNROLL_LIMIT}"
        );
    }
    Ok(())
}

/// The cotangents of a node's inputs. Emits the node's definition and differentiates it. Overrides do not apply to
/// the nodes of the definition.
pub(super) fn through(b: &mut Builder<'_>, n: &RuleCall, define: Definition) -> Cotangents {
    let from = b.graph().node_count();
    let mut seeds = Vec::new();
    let values = define.emit(b, n)?;
    if let Some(output) = (values.len()..n.output_count()).find(|&at| n.form(at).is_some()) {
        bail!(
            Unsupported,
            "its output {output} is on the path; supported: the first {}",
            values.len()
        );
    }
    for (index, value) in values.into_iter().enumerate() {
        if let (Some(form), Some(output)) = (n.form(index), n.output(index)) {
            seeds.push((value, form.dense(b, output)?));
        }
    }
    let mut wrt: Vec<(ValueId, GradientForm)> = Vec::new();
    let mut places = Vec::new();
    let mut grads = vec![None; n.input_count()];
    for index in (0..n.input_count()).filter(|&index| n.wants(index)) {
        let input = n.x(index)?;
        if wrt.iter().any(|(had, _)| *had == input) {
            // If several inputs are the same value, the first gets the whole gradient.
            let zero = b.scalar(input, 0.0)?;
            grads[index] = Some(b.cast(zero, cotangent_type(b, input))?.into());
        } else {
            wrt.push((input, GradientForm::Full));
            places.push(index);
        }
    }
    for (index, gradient) in
        places.into_iter().zip(propagate(b, Reach { from, ..Reach::default() }, &seeds, &wrt, &[])?)
    {
        grads[index] = Some(gradient.into());
    }
    Ok(grads)
}
