//! A segment: the part of a network between two places where hooks are called, and its derivative.

use std::sync::OnceLock;

use onnx_grad::{
    GradientForm, Model,
    builder::Builder,
    differentiate, extract_values,
    graph::{Graph, Sizes, ValueId},
    live_values,
};

use crate::{
    Result,
    error::bail,
    program::{Program, Runtime},
};

/// The part of a network between two places, not compiled yet.
pub(super) struct SegmentPart {
    pub(super) model: Model,
    pub(super) backward: Option<Backward>,
}

/// The derivative of a segment: a graph of its own, whose inputs are the cotangents of the segment's
/// outputs and the forward values that its nodes read.
pub(super) struct Backward {
    pub(super) model: Model,
    program: OnceLock<Program>,
    /// Values whose cotangents are given, and the inputs that take them.
    pub(super) seeds: Vec<(String, String)>,
    /// Forward values that are saved for it, as the segment read or made them.
    pub(super) residuals: Vec<String>,
    /// Values whose cotangents come out, and the outputs that hold what this segment adds to them.
    pub(super) gradients: Vec<(String, String)>,
}

/// A compiled segment.
pub(super) struct Segment {
    pub(super) program: Program,
    pub(super) backward: Option<Backward>,
}

impl SegmentPart {
    /// The part of `graph` that computes `outputs` from `inputs`. Its derivative propagates cotangents of `seeds`, some of
    /// the outputs, to those of `wrt`, some of the inputs.
    pub(super) fn new(
        graph: &Graph,
        inputs: &[ValueId],
        outputs: &[ValueId],
        seeds: &[ValueId],
        wrt: &[ValueId],
    ) -> Result<Self> {
        let names = |ids: &[ValueId]| -> Vec<String> {
            ids.iter().map(|&id| graph.name(id).to_owned()).collect()
        };
        let model = extract_values(graph, inputs, outputs)?;
        let mut part = Self { model, backward: None };
        part.differentiate(&names(seeds), &names(wrt))?;
        Ok(part)
    }

    fn differentiate(&mut self, seeds: &[String], wrt: &[String]) -> Result<()> {
        if seeds.is_empty() || wrt.is_empty() {
            return Ok(());
        }
        let mut graph = Graph::new(&self.model, &Sizes::new())?;
        let Some(last) = graph.nodes().last().map(|(id, _)| id) else { return Ok(()) };
        let inputs = graph.inputs().to_vec();
        let mut outputs = graph.outputs().to_vec();
        let mut seeded = Vec::with_capacity(seeds.len());
        for value in values(&graph, seeds)? {
            let fact = graph.fact(value).clone();
            let Some(shape) = fact.shape else {
                bail!(
                    Model,
                    "the shape of \"{}\" is not known, so it has no gradient",
                    graph.name(value)
                )
            };
            let name = unused(&graph, format!("{}.cotangent", graph.name(value)));
            seeded.push((value, graph.push_input(&name, fact.elem, shape)?));
        }
        let wanted: Vec<_> =
            values(&graph, wrt)?.into_iter().map(|value| (value, GradientForm::Full)).collect();
        let found = differentiate(&mut Builder::new(&mut graph, "grad"), &seeded, &wanted, &[])?;
        let mut gradients = Vec::with_capacity(found.len());
        for ((value, _), gradient) in wanted.iter().zip(found) {
            // A name of its own: a gradient may be a seed itself, or that of two values.
            let name = unused(&graph, format!("{}.grad", graph.name(*value)));
            gradients.push((*value, graph.alias(gradient, &name)?));
        }
        let named = |ids: &[(ValueId, ValueId)]| -> Vec<(String, String)> {
            let name = |id: ValueId| graph.name(id).to_owned();
            ids.iter().map(|&(value, other)| (name(value), name(other))).collect()
        };
        let ends: Vec<ValueId> = gradients.iter().map(|(_, gradient)| *gradient).collect();
        let alive = live_values(&graph, last, &ends);
        let is_seed = |value: &ValueId| seeded.iter().any(|(_, seed)| seed == value);
        let (given, residuals): (Vec<_>, Vec<_>) = alive.iter().copied().partition(is_seed);
        seeded.retain(|(_, seed)| given.contains(seed));
        let model = extract_values(&graph, &alive, &ends)?;
        let new = |value: &&ValueId| !inputs.contains(value) && !outputs.contains(value);
        let kept: Vec<ValueId> = residuals.iter().filter(new).copied().collect();
        outputs.extend(kept);
        let names = |ids: &[ValueId]| -> Vec<String> {
            ids.iter().map(|&id| graph.name(id).to_owned()).collect()
        };
        self.backward = Some(Backward {
            model,
            program: OnceLock::new(),
            seeds: named(&seeded),
            residuals: names(&residuals),
            gradients: named(&gradients),
        });
        self.model = extract_values(&graph, &inputs, &outputs)?;
        Ok(())
    }

    pub(super) fn compile(self, runtime: &Runtime) -> Result<Segment> {
        Ok(Segment { program: runtime.program(&self.model)?, backward: self.backward })
    }
}

impl Backward {
    /// The program; the first backward pass compiles it.
    pub(super) fn program(&self, runtime: &Runtime) -> Result<&Program> {
        if let Some(program) = self.program.get() {
            return Ok(program);
        }
        let program = runtime.program(&self.model)?;
        Ok(self.program.get_or_init(|| program))
    }
}

fn values(graph: &Graph, names: &[String]) -> Result<Vec<ValueId>> {
    Ok(names.iter().map(|name| graph.value(name)).collect::<Result<_, _>>()?)
}

fn unused(graph: &Graph, mut name: String) -> String {
    while graph.find(&name).is_some() {
        name.push('_');
    }
    name
}
