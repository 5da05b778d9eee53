//! Reverse-mode differentiation, graph to graph.
//!
//! The driver handles everything apart from the derivatives: the nodes on the path, the sum over consumers,
//! broadcasting, zeros, arity and names. A rule ([`table`]) receives the cotangents of a node's outputs and emits
//! those of its inputs.
//!
//! Two forms stay lazy until a rule needs more. A cotangent may be *broadcastable* to its value ([N, C, 1, 1] before
//! a global pool), and the seed of a class score is a one-hot row that is not materialized ([`Cotangent::OneHot`]).
//! If only the spatial sum of a gradient is required, it is *pushed*: the sum moves toward the output as far as it
//! commutes with the operators.

mod attention;
mod broadcast;
mod call;
mod control;
mod definition;
mod einsum;
mod elementwise;
mod expand;
mod index;
mod layout;
mod linear;
mod node;
mod norm;
mod overrides;
mod path;
mod pick;
mod pool;
mod quantize;
mod reach;
mod recurrent;
mod reduce;
mod resize;
mod rule;
mod sample;
mod sound;
mod sweep;
mod table;

use std::collections::{BTreeMap, HashMap, HashSet};

use broadcast::spatial_sum;
pub(crate) use broadcast::{at_rank, spatial_count, unbroadcast};
pub(crate) use call::{Cotangent, Cotangents, RuleCall, Symbols, Terms, none, one};
pub use expand::expand;
pub use overrides::{GUIDED_BACKPROP, Override};
use path::{Path, refusal};
use pick::Pick;
use reach::Reach;
pub use resize::{Resampling, resampling};
use rule::{Push, PushOperand};
use sweep::Sweep;
pub use table::{
    Gradient, NEWEST_OPSET, OLDEST_OPSET, REFUSED_FORMS, RuleInfo, has_definition, rules,
};

use crate::{
    builder::Builder,
    error::{Result, bail},
    facts::Fact,
    graph::{Graph, NodeId, Sizes, ValueId},
    model::Model,
    proto::tensor_proto::DataType,
};

/// The required form of a gradient.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum GradientForm {
    /// The gradient, in the shape of its value.
    Full,
    /// Its sum over all axes after the first two: [N, C] for a value [N, C, …].
    SpatialSum,
}

/// Options of [`gradient`].
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Sizes of inputs that the model leaves open.
    pub sizes: Sizes,
    /// The name of a new input, the cotangent of the target in the target's shape. Without it, the target is summed
    /// over all its elements.
    pub seed_input: Option<String>,
    /// Rules that replace those of the table; none for the derivative.
    pub overrides: &'static [Override],
}

/// Appends the gradient of a value to a model. The result is an ordinary ONNX model that also computes d(sum of
/// `of`)/d`w` for every `w` in `wrt`, as outputs named `<w>.grad` in the shape of `w`.
///
/// The new outputs follow those of the model. Differentiate the result again for second derivatives; if a name
/// exists, the new one gets another `.grad`.
///
/// # Errors
/// `UnknownValue`, `Shape`, `NotConnected`, or `Unsupported` with every node of the path that has no
/// gradient rule.
///
/// # Example
/// ```no_run
/// # fn main() -> onnx_grad::Result<()> {
/// use onnx_grad::{Model, Options, gradient};
///
/// let model = Model::open("classifier.onnx")?;
/// let saliency = gradient(&model, "logits", &["input"], &Options::default())?;
/// saliency.save("saliency.onnx")?; // additional output: input.grad
/// # Ok(()) }
/// ```
pub fn gradient(model: &Model, of: &str, wrt: &[&str], options: &Options) -> Result<Model> {
    let mut graph = Graph::new(model, &options.sizes)?;
    let target = graph.value(of)?;
    let wrt = wrt.iter().map(|name| graph.value(name)).collect::<Result<Vec<_>>>()?;
    let mut outputs = graph.outputs().to_vec();
    let gradients = emit(&mut graph, target, &wrt, options)?;
    for (value, gradient) in wrt.into_iter().zip(gradients) {
        let mut name = format!("{}.grad", graph.name(value));
        while graph.find(&name).is_some() {
            name.push_str(".grad");
        }
        outputs.push(graph.alias(gradient, &name)?);
    }
    if cfg!(debug_assertions) {
        crate::verify::verify_graph(&graph)?;
    }
    crate::prune::prune(&graph, &outputs)
}

/// Appends the gradient of a value to a graph, as [`gradient`] does; the sizes of `options` are those of the graph
/// already. Returns the gradients in the order of `wrt`, each in the type and shape of its value.
///
/// # Errors
/// As [`gradient`], `Shape` also for a seed of a value without a known shape, and `Unsupported` for a value that holds no
/// floats.
pub fn gradient_values(
    graph: &mut Graph,
    of: ValueId,
    wrt: &[ValueId],
    options: &Options,
) -> Result<Vec<ValueId>> {
    for &value in wrt.iter().chain([&of]) {
        let (name, elem) = (graph.name(value), graph.fact(value).elem);
        if !elem.is_float() && elem != DataType::Undefined {
            let elem = elem.as_str_name().to_lowercase();
            bail!(
                Unsupported,
                "\"{name}\" holds numbers of the type {elem}, which have no derivative; name a value of floats"
            );
        }
    }
    emit(graph, of, wrt, options)
}

fn emit(
    graph: &mut Graph,
    of: ValueId,
    wrt: &[ValueId],
    options: &Options,
) -> Result<Vec<ValueId>> {
    let seed = match &options.seed_input {
        Some(name) => {
            let Fact { elem, shape, .. } = graph.fact(of).clone();
            let Some(shape) = shape else {
                bail!(Shape, "the shape of \"{}\" is not known", graph.name(of))
            };
            if graph.find(name).is_some() {
                bail!(
                    InvalidModel,
                    "the seed cannot be called \"{name}\": the model has a value of that name; choose another name"
                );
            }
            Some(graph.push_input(name, elem, shape)?)
        }
        None => None,
    };
    let mut b = Builder::new(graph, "grad");
    let seed = match seed {
        Some(seed) => seed,
        None => b.scalar(of, 1.0)?,
    };
    let wanted: Vec<_> = wrt.iter().map(|&value| (value, GradientForm::Full)).collect();
    differentiate(&mut b, &[(of, seed)], &wanted, options.overrides)
}

/// Emits the gradients of Σ ⟨seed, value⟩ over all seeds, in the order of `wrt`.
///
/// A seed has the shape of its value or broadcasts to it. `overrides`, such as [`GUIDED_BACKPROP`], replace rules of
/// the table; without overrides, the gradients are derivatives.
///
/// # Errors
/// `NotConnected` if a value does not reach any seed, `Unsupported` with every node of the path that has no rule,
/// `Shape` if a rule needs an unknown shape.
pub fn differentiate(
    b: &mut Builder<'_>,
    seeds: &[(ValueId, ValueId)],
    wrt: &[(ValueId, GradientForm)],
    overrides: &'static [Override],
) -> Result<Vec<ValueId>> {
    let gradients = propagate(b, Reach::default(), seeds, wrt, overrides)?;
    b.set_scope("grad");
    Ok(gradients)
}

/// As [`differentiate`], with the values of `wrt` independent of each other: the gradient with respect to one holds the others
/// constant.
///
/// # Errors
/// As [`differentiate`]; `NotConnected` also for a value that reaches the seeds only through other values of `wrt`.
pub fn differentiate_apart(
    b: &mut Builder<'_>,
    seeds: &[(ValueId, ValueId)],
    wrt: &[(ValueId, GradientForm)],
    overrides: &'static [Override],
) -> Result<Vec<ValueId>> {
    let reach = Reach { ends_at_wrt: true, ..Reach::default() };
    let gradients = propagate(b, reach, seeds, wrt, overrides)?;
    b.set_scope("grad");
    Ok(gradients)
}

/// The values of `of` that [`differentiate`] refuses: a node between them and the target has no gradient rule, or one that
/// refuses it. It differentiates once, in a copy of the graph.
///
/// # Errors
/// `Shape` if the target's shape is not known.
pub fn refused_values(
    graph: &Graph,
    target: ValueId,
    of: impl IntoIterator<Item = ValueId>,
) -> Result<HashSet<ValueId>> {
    let needed = graph.upstream([target], |_| true);
    let of: HashSet<ValueId> = of.into_iter().filter(|value| needed.contains(value)).collect();
    let wrt: Vec<_> = of.iter().map(|value| (*value, GradientForm::Full)).collect();
    let mut copy = graph.clone();
    let mut b = Builder::new(&mut copy, "grad");
    let seeds = [(target, b.scalar(target, 1.0)?)];
    let (path, mut refused) = Path::trace(b.graph(), Reach::default(), &seeds, &wrt, &[])?;
    refused.extend(sweep_back(&mut b, &path, &seeds, &wrt)?.refused);
    let refused: HashSet<NodeId> = refused.into_iter().map(|node| node.id).collect();
    // A value is refused if its gradient flows through a refused node.
    let mut values: HashSet<ValueId> = HashSet::new();
    for &id in path.nodes.iter().rev() {
        let leads_there = |value: &ValueId| {
            refused.contains(&id)
                || path::carried(graph, id, &[*value]).any(|y| values.contains(&y))
        };
        let found: Vec<ValueId> = graph.node_reads(id).filter(leads_there).collect();
        values.extend(found);
    }
    values.retain(|value| of.contains(value));
    Ok(values)
}

/// Like [`differentiate`], with a reach.
fn propagate(
    b: &mut Builder<'_>,
    reach: Reach,
    seeds: &[(ValueId, ValueId)],
    wrt: &[(ValueId, GradientForm)],
    overrides: &'static [Override],
) -> Result<Vec<ValueId>> {
    let path = Path::find(b.graph(), reach, seeds, wrt, overrides)?;
    let mut sweep = sweep_back(b, &path, seeds, wrt)?;
    if !sweep.refused.is_empty() {
        return Err(refusal(b.graph(), &sweep.refused));
    }
    wrt.iter().map(|&wanted| sweep.finish(b, wanted)).collect()
}

/// Emits the cotangents of all values on a path.
fn sweep_back<'p>(
    b: &mut Builder<'_>,
    path: &'p Path,
    seeds: &[(ValueId, ValueId)],
    wrt: &[(ValueId, GradientForm)],
) -> Result<Sweep<'p>> {
    let mut sweep = Sweep { path, parts: BTreeMap::new(), refused: Vec::new() };
    let needs = path.needs(b.graph(), wrt);
    for &(value, seed) in seeds {
        // Other contributions to the seeded value exist only in the required forms, so add the seed in these forms.
        let need = needs.get(&value).copied().unwrap_or_default();
        if need.full || need.sum.is_none() {
            sweep.add((value, GradientForm::Full), Cotangent::Dense(seed));
        }
        if let Some(count) = need.sum {
            let sum = spatial_sum(b, value, seed, count)?;
            sweep.add((value, GradientForm::SpatialSum), Cotangent::Dense(sum));
        }
    }
    let ends: HashSet<ValueId> = wrt.iter().map(|(value, _)| *value).collect();
    let picks = match path.reach.from {
        0 => Pick::all(b.graph(), path, &ends),
        _ => HashMap::new(),
    };
    for &node in path.nodes.iter().rev() {
        match picks.get(&node) {
            Some(pick) => sweep.step_pick(b, node, pick, &needs)?,
            None => sweep.step(b, node, &needs)?,
        }
    }
    Ok(sweep)
}
