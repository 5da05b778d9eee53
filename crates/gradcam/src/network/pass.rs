//! Runs a plan: segment by segment, with hooks between them, forward and back.

use std::{collections::HashMap, sync::Arc};

use ndarray::{ArrayD, ArrayViewD};

use super::{
    Hooks,
    hook::Floats,
    plan::{HookKind, HookSites, Plan, StopValues},
};
use crate::{
    Result,
    engine::{Tensor, TensorView},
    error::bail,
    program::{Program, Runtime},
};

/// A value of a pass.
#[derive(Clone)]
enum PassValue {
    Floats(Floats),
    Integers(Arc<ArrayD<i64>>),
}

impl PassValue {
    fn of(tensor: Tensor) -> Self {
        match tensor {
            Tensor::F32(array) => Self::Floats(Arc::new(array)),
            Tensor::I64(array) => Self::Integers(Arc::new(array)),
        }
    }

    fn view(&self) -> TensorView<'_> {
        match self {
            Self::Floats(array) => TensorView::from(array.view()),
            Self::Integers(array) => TensorView::from(array.view()),
        }
    }
}

type PassValues<'p> = HashMap<&'p str, PassValue>;

fn value<'v>(values: &'v PassValues<'_>, name: &str) -> Result<&'v PassValue> {
    match values.get(name) {
        Some(value) => Ok(value),
        None => bail!(Engine, "the engine gave no value \"{name}\""),
    }
}

fn floats(values: &PassValues<'_>, name: &str) -> Result<Floats> {
    match value(values, name)? {
        PassValue::Floats(array) => Ok(array.clone()),
        PassValue::Integers(_) => bail!(Engine, "the engine gave integers for \"{name}\""),
    }
}

/// The values that a forward pass saves for backward passes.
pub(super) struct SavedForward {
    pub(super) plan: Arc<Plan>,
    /// Per step, the residuals of its segment's derivative, in their order.
    residuals: Vec<Vec<PassValue>>,
    scores_shape: Vec<usize>,
    /// Hooks with this number or a later one were registered after the forward pass.
    end: u64,
}

/// Runs the network on the values of its inputs and calls its hooks.
pub(super) fn forward(
    plan: &Arc<Plan>,
    hooks: &mut Hooks,
    inputs: Vec<(&str, Tensor)>,
) -> Result<(ArrayD<f32>, SavedForward)> {
    let end = hooks.registered;
    let mut values: PassValues<'_> =
        inputs.into_iter().map(|(name, tensor)| (name, PassValue::of(tensor))).collect();
    let mut residuals = Vec::with_capacity(plan.steps.len());
    for step in &plan.steps {
        let mut kept = Vec::new();
        if let Some(segment) = &step.segment {
            run(&segment.program, &mut values)?;
            // Saved before hooks replace them: the derivative is that of the values that the segment computed.
            if let Some(backward) = &segment.backward {
                for name in &backward.residuals {
                    kept.push(value(&values, name)?.clone());
                }
            }
        }
        residuals.push(kept);
        for stop in &step.stops {
            let path = stop.layer.as_str();
            match &stop.at {
                StopValues::Inputs(taps) => {
                    let inputs: Vec<Floats> =
                        taps.iter().map(|name| floats(&values, name)).collect::<Result<_>>()?;
                    let inputs = hooks.forward_pre.call(path, end, inputs, |hook, inputs| {
                        hook(&super::ForwardPreCall { path, inputs: borrowed(inputs) })
                    })?;
                    for (name, new) in taps.iter().zip(inputs) {
                        values.insert(name, PassValue::Floats(new));
                    }
                }
                StopValues::Output { inputs, output } => {
                    let inputs: Vec<Floats> =
                        inputs.iter().map(|name| floats(&values, name)).collect::<Result<_>>()?;
                    let made = [floats(&values, output)?];
                    let [made] = hooks.forward.call(path, end, made, |hook, [output]| {
                        hook(&super::ForwardCall { path, inputs: borrowed(&inputs), output })
                    })?;
                    values.insert(output, PassValue::Floats(made));
                }
            }
        }
    }
    let scores = Arc::unwrap_or_clone(floats(&values, &plan.scores)?);
    let scores_shape = scores.shape().to_vec();
    Ok((scores, SavedForward { plan: plan.clone(), residuals, scores_shape, end }))
}

/// Runs a program on the values, and adds its outputs to them.
fn run<'p>(program: &'p Program, values: &mut PassValues<'p>) -> Result<()> {
    let mut given = Vec::with_capacity(program.inputs().len());
    for name in program.inputs() {
        given.push((name.as_str(), value(values, name)?.view()));
    }
    let made = program.run(&given)?;
    drop(given);
    values.extend(
        program.outputs().iter().map(String::as_str).zip(made.into_iter().map(PassValue::of)),
    );
    Ok(())
}

fn borrowed(arrays: &[Floats]) -> Vec<&ArrayD<f32>> {
    arrays.iter().map(|array| &**array).collect()
}

/// Propagates the gradient of the scores back to the first layer that has a backward hook, and calls the hooks, those of
/// later layers first.
pub(super) fn backward(
    kept: &SavedForward,
    hooks: &mut Hooks,
    runtime: &Runtime,
    seed: ArrayViewD<'_, f32>,
) -> Result<()> {
    let SavedForward { plan, residuals, scores_shape, end } = kept;
    if seed.shape() != scores_shape {
        bail!(
            Input,
            "the seed has shape {:?}; it must have that of the scores, {scores_shape:?}",
            seed.shape()
        );
    }
    let mut cotangents: HashMap<&str, Floats> =
        HashMap::from([(plan.scores.as_str(), Arc::new(seed.to_owned()))]);
    let mut output_cotangents: HashMap<&str, Floats> = HashMap::new();
    for (step, residuals) in plan.steps.iter().zip(residuals).rev() {
        for stop in step.stops.iter().rev() {
            let path = stop.layer.as_str();
            match &stop.at {
                StopValues::Output { output, .. } => {
                    // Without one, the output does not reach the scores, or nobody asked.
                    let Some(cotangent) = cotangents.get(output.as_str()) else { continue };
                    let given = [cotangent.clone()];
                    let [given] = hooks.backward.call(path, *end, given, |hook, [gradient]| {
                        hook(&super::BackwardCall { path, grad_output: [gradient] })
                    })?;
                    output_cotangents.insert(path, given.clone());
                    cotangents.insert(output, given);
                }
                StopValues::Inputs(taps) => {
                    let Some(output) = output_cotangents.get(path) else { continue };
                    let found: Option<Vec<Floats>> =
                        taps.iter().map(|tap| cotangents.get(tap.as_str()).cloned()).collect();
                    let Some(found) = found else { continue };
                    let found =
                        hooks.full_backward.call(path, *end, found, |hook, gradients| {
                            let grad_input = borrowed(gradients);
                            hook(&super::FullBackwardCall {
                                path,
                                grad_input,
                                grad_output: [output],
                            })
                        })?;
                    for (tap, new) in taps.iter().zip(found) {
                        cotangents.insert(tap, new);
                    }
                }
            }
        }
        let Some(backward) = step.segment.as_ref().and_then(|s| s.backward.as_ref()) else {
            continue;
        };
        let mut given = Vec::with_capacity(backward.seeds.len() + residuals.len());
        for (value, input) in &backward.seeds {
            match cotangents.get(value.as_str()) {
                Some(cotangent) => given.push((input.as_str(), TensorView::from(cotangent.view()))),
                None => bail!(Engine, "no gradient has come to \"{value}\""),
            }
        }
        let kept = backward.residuals.iter().zip(residuals);
        given.extend(kept.map(|(name, value)| (name.as_str(), value.view())));
        let made = backward.program(runtime)?.run(&given)?;
        drop(given);
        for ((value, name), made) in backward.gradients.iter().zip(made) {
            let Some(made) = made.into_f32() else {
                bail!(Engine, "the engine gave integers for \"{name}\"")
            };
            // Later segments have added what they read of the value themselves.
            let sum = match cotangents.remove(value.as_str()) {
                Some(earlier) => &*earlier + &made,
                None => made,
            };
            cotangents.insert(value, Arc::new(sum));
        }
    }
    Ok(())
}

/// The layers with hooks, and of what kinds.
pub(super) fn sites(hooks: &Hooks) -> HookSites {
    let of = |kind| move |layer: &String| (layer.clone(), kind);
    let mut sites: HookSites = hooks.forward_pre.layers().map(of(HookKind::ForwardPre)).collect();
    sites.extend(hooks.forward.layers().map(of(HookKind::Forward)));
    sites.extend(hooks.backward.layers().map(of(HookKind::Backward)));
    sites.extend(hooks.full_backward.layers().map(of(HookKind::FullBackward)));
    sites
}
