//! Reverse-mode differentiation, graph to graph.
//!
//! The driver owns everything that is not mathematics: which nodes lie on the path, the sum over
//! consumers, broadcasting, zeros, arity, names. A rule ([`table`]) gets the cotangent of a node's
//! output and emits those of its inputs.
//!
//! Two forms are kept lazy until a rule needs more. A cotangent may be *broadcastable* to its value
//! ([N, C, 1, 1] behind a global pool), and the seed of a class score is a one-hot row that is never
//! written out ([`Cotangent::OneHot`]). And who needs only the sum of a gradient over space gets it
//! *pushed*: the sum is taken as far towards the output as it commutes with the operators.

mod attention;
mod call;
mod definition;
mod einsum;
mod elementwise;
mod expand;
mod index;
mod layout;
mod linear;
mod norm;
mod overrides;
mod pool;
mod quantise;
mod reduce;
mod resize;
mod rule;
mod sample;
mod sound;
mod table;

use std::collections::{BTreeMap, HashMap, HashSet};

pub(crate) use call::{Call, Cotangent, Cotangents, Symbols, Terms, none, one};
pub use expand::expand;
pub use overrides::{GUIDED_BACKPROP, Override};
pub use resize::{Resampling, resampling};
use rule::{Define, Kind, Push, Rule};
use table::rule_for;
pub use table::{
    Gradient, NEWEST_OPSET, OLDEST_OPSET, REFUSED_FORMS, RuleInfo, has_definition, rules,
};

use crate::{
    builder::Builder,
    error::{Error, ErrorKind, Result, bail},
    facts::{Dim, Fact},
    graph::{Graph, NodeId, Sizes, ValueId},
    model::Model,
};

/// What is asked of a gradient.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Want {
    /// The gradient itself, in the shape of its value.
    Full,
    /// Its sum over all axes behind the first two: [N, C] for a value [N, C, …].
    SpatialSum,
}

/// How [`gradient`] starts.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Sizes of inputs that the model leaves open.
    pub sizes: Sizes,
    /// Takes the cotangent of the target as an input of that name, in the target's shape. Without
    /// it the target is summed over all its elements.
    pub seed_input: Option<String>,
    /// Rules that take the place of the table's; none for the derivative itself.
    pub overrides: &'static [Override],
}

/// Appends the gradient of a value to a model: an ordinary ONNX model that also computes
/// d(sum of `of`)/d`w` for every `w` in `wrt`, as outputs named `<w>.grad` in the shape of `w`.
///
/// The outputs of the model stay, in front of the new ones. A second derivative is had by doing it again;
/// where a name is taken, another `.grad` is appended.
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
/// saliency.save("saliency.onnx")?; // has the further output "input.grad"
/// # Ok(()) }
/// ```
pub fn gradient(model: &Model, of: &str, wrt: &[&str], options: &Options) -> Result<Model> {
    let mut graph = Graph::new(model, &options.sizes)?;
    let target = graph.value(of)?;
    let wrt = wrt.iter().map(|name| graph.value(name)).collect::<Result<Vec<_>>>()?;
    let seed = match &options.seed_input {
        Some(name) => {
            let Fact { elem, shape, .. } = graph.fact(target).clone();
            let Some(shape) = shape else { bail!(Shape, "the shape of \"{of}\" is not known") };
            Some(graph.push_input(name, elem, shape)?)
        }
        None => None,
    };
    let mut outputs = graph.outputs().to_vec();
    let mut b = Builder::new(&mut graph, "grad");
    let seed = match seed {
        Some(seed) => seed,
        None => b.scalar(target, 1.0)?,
    };
    let wanted: Vec<_> = wrt.iter().map(|&value| (value, Want::Full)).collect();
    let gradients = differentiate(&mut b, &[(target, seed)], &wanted, options.overrides)?;
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

/// Emits the gradients of Σ ⟨seed, value⟩ over all seeds, in the order of `wrt`.
///
/// A seed has the shape of its value or broadcasts to it. `overrides` take the place of the table's rules,
/// [`GUIDED_BACKPROP`] for one; without any, the gradients are those of calculus.
///
/// # Errors
/// `NotConnected` where a value does not reach any seed, `Unsupported` with every node of the path
/// that has no rule, `Shape` where a rule needs a shape that is not known.
pub fn differentiate(
    b: &mut Builder<'_>,
    seeds: &[(ValueId, ValueId)],
    wrt: &[(ValueId, Want)],
    overrides: &'static [Override],
) -> Result<Vec<ValueId>> {
    let gradients = propagate(b, 0, seeds, wrt, overrides)?;
    b.set_scope("grad");
    Ok(gradients)
}

/// As [`differentiate`], by way of the nodes from number `from` on: what lies before them is constant.
fn propagate(
    b: &mut Builder<'_>,
    from: usize,
    seeds: &[(ValueId, ValueId)],
    wrt: &[(ValueId, Want)],
    overrides: &'static [Override],
) -> Result<Vec<ValueId>> {
    let path = Path::find(b.graph(), from, seeds, wrt, overrides)?;
    let mut sweep = Sweep { path: &path, parts: BTreeMap::new(), refused: Vec::new() };
    let needs = path.needs(b.graph(), wrt);
    for &(value, seed) in seeds {
        // What else leads to a seed's value gives only what is needed, and is to meet the seed there.
        let need = needs.get(&value).copied().unwrap_or_default();
        if need.full || need.sum.is_none() {
            sweep.add((value, Want::Full), Cotangent::Dense(seed));
        }
        if let Some(count) = need.sum {
            let sum = spatial_sum(b, value, seed, count)?;
            sweep.add((value, Want::SpatialSum), Cotangent::Dense(sum));
        }
    }
    for &node in path.nodes.iter().rev() {
        sweep.step(b, node, &needs)?;
    }
    if !sweep.refused.is_empty() {
        return Err(refusal(&sweep.refused));
    }
    wrt.iter().map(|&wanted| sweep.finish(b, wanted)).collect()
}

/// A node that cannot be differentiated, and why.
struct Refused {
    node: String,
    text: String,
}

fn refusal(refused: &[Refused]) -> Error {
    let lines: Vec<&str> = refused.iter().map(|r| r.text.as_str()).collect();
    let message = match lines.as_slice() {
        [one] => format!("cannot differentiate {one}"),
        many => format!("cannot differentiate {} nodes:\n  {}", many.len(), many.join("\n  ")),
    };
    let first = refused.first().map(|r| r.node.clone()).unwrap_or_default();
    Error::new(ErrorKind::Unsupported, message).at_node(first)
}

/// The nodes between what is differentiated with respect to and the seeds.
struct Path {
    /// The first node that may lie on it.
    from: usize,
    nodes: Vec<NodeId>,
    /// Values whose derivative with respect to some wanted value is not known to be zero.
    active: HashSet<ValueId>,
    rules: HashMap<NodeId, &'static Rule>,
}

/// What each value's cotangent is needed for; the number is that of the elements a sum goes over.
type Needs = HashMap<ValueId, Need>;

#[derive(Clone, Copy, Default)]
struct Need {
    full: bool,
    sum: Option<i64>,
}

impl Path {
    fn find(
        graph: &Graph,
        from: usize,
        seeds: &[(ValueId, ValueId)],
        wrt: &[(ValueId, Want)],
        overrides: &'static [Override],
    ) -> Result<Self> {
        let needed = ancestors(graph, from, seeds.iter().map(|(value, _)| *value));
        let wanted: HashSet<ValueId> = wrt.iter().map(|(value, _)| *value).collect();
        for &value in &wanted {
            if !needed.contains(&value) {
                let (name, target) =
                    (graph.name(value), seeds.first().map_or("", |s| graph.name(s.0)));
                bail!(NotConnected, "\"{name}\" does not reach the target \"{target}\"");
            }
        }
        let mut active = wanted;
        let mut path = Self { from, nodes: vec![], active: HashSet::new(), rules: HashMap::new() };
        let mut refused = Vec::new();
        for (id, node) in graph.nodes().skip(from) {
            let leads_on = graph.node_outputs(id).iter().flatten().any(|v| needed.contains(v));
            let reached = graph.node_inputs(id).iter().flatten().any(|v| active.contains(v))
                || graph.node_captures(id).iter().any(|v| active.contains(v));
            if !leads_on || !reached {
                continue;
            }
            let replaced = overrides.iter().find_map(|row| row.rule_for(graph, id));
            let why = match replaced.map_or_else(|| rule_for(node, graph.opset()), Ok) {
                Ok(Rule { kind: Kind::Zero, .. }) => continue,
                Ok(rule) => {
                    path.rules.insert(id, rule);
                    // Behind a fault shapes are unknown, which is no fault of the nodes there.
                    if refused.is_empty() { sound::fault(graph, id) } else { None }
                }
                Err(why) => Some(why),
            };
            refused.extend(why.map(|why| Refused {
                node: node.label().to_owned(),
                text: describe(graph, id, &why),
            }));
            path.nodes.push(id);
            let from = graph.node_inputs(id).iter().flatten().copied();
            let from: Vec<ValueId> = from.filter(|value| active.contains(value)).collect();
            let made = graph.node_outputs(id).iter().enumerate().filter_map(|(at, value)| {
                // What is known in numbers does not change with anything, whatever it was made from.
                value.filter(|value| {
                    graph.fact(*value).value.is_none() && quantise::carries(graph, id, at, &from)
                })
            });
            active.extend(made);
        }
        if !refused.is_empty() {
            return Err(refusal(&refused));
        }
        path.active = active;
        Ok(path)
    }

    fn needs(&self, graph: &Graph, wrt: &[(ValueId, Want)]) -> Needs {
        let mut needs = Needs::new();
        for &(value, want) in wrt {
            let need = needs.entry(value).or_default();
            match (want, spatial_count(graph.fact(value))) {
                (Want::SpatialSum, Some(count)) => need.sum = Some(count),
                _ => need.full = true,
            }
        }
        for &id in &self.nodes {
            let inputs = graph.node_inputs(id).iter().enumerate();
            let wanted: Vec<(usize, Need)> = inputs
                .filter_map(|(i, v)| Some((i, *needs.get(&(*v)?)?)))
                .filter(|(_, need)| need.full || need.sum.is_some())
                .collect();
            for (input, need) in wanted {
                let pushed = need.sum.and_then(|count| self.push(graph, id, input, count));
                for &output in graph.node_outputs(id).iter().flatten() {
                    let out = needs.entry(output).or_default();
                    match pushed {
                        Some((_, Pushed::Sum(count))) if out.sum.is_none_or(|had| had == count) => {
                            out.sum = Some(count);
                        }
                        _ => out.full = true,
                    }
                    out.full |= need.full;
                }
            }
        }
        needs
    }

    /// Whether the sum of an input's cotangent can be had from less than the full cotangent.
    fn push(
        &self,
        graph: &Graph,
        id: NodeId,
        input: usize,
        count: i64,
    ) -> Option<(&'static Push, Pushed)> {
        let push = self.rules.get(&id)?.push.as_ref()?;
        let call = Call::new(graph, id, HashMap::new(), vec![]);
        Some((push, (push.when)(graph, &call, input, count)?))
    }
}

/// What a pushed sum is made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pushed {
    /// The sum of the output's cotangent, over that many elements a channel.
    Sum(i64),
    /// The whole cotangent of the output.
    Full,
}

/// The number of elements behind the first two axes, where it is known.
fn spatial_count(fact: &Fact) -> Option<i64> {
    let shape = fact.shape.as_ref().filter(|shape| shape.len() >= 2)?;
    shape[2..].iter().try_fold(1i64, |n, dim| n.checked_mul(dim.fixed()?))
}

/// What values are computed from, back to the inputs of the nodes from number `from` on.
fn ancestors(graph: &Graph, from: usize, of: impl Iterator<Item = ValueId>) -> HashSet<ValueId> {
    let mut found: HashSet<ValueId> = HashSet::new();
    let mut open: Vec<ValueId> = of.collect();
    while let Some(value) = open.pop() {
        if found.insert(value)
            && let Some(node) = graph.producer(value).filter(|node| node.index() >= from)
        {
            open.extend(graph.node_inputs(node).iter().flatten());
            open.extend(graph.node_captures(node));
        }
    }
    found
}

fn describe(graph: &Graph, id: NodeId, why: &str) -> String {
    let node = graph.node(id);
    let domain = match node.op_domain() {
        "" => String::new(),
        domain => format!("{domain}."),
    };
    format!("node \"{}\" ({domain}{}, opset {}): {why}", node.label(), node.op(), graph.opset())
}

/// The reverse sweep: cotangents that have come together so far.
struct Sweep<'p> {
    path: &'p Path,
    parts: BTreeMap<(ValueId, Want), Vec<Cotangent>>,
    refused: Vec<Refused>,
}

impl Sweep<'_> {
    fn add(&mut self, to: (ValueId, Want), part: Cotangent) {
        self.parts.entry(to).or_default().push(part);
    }

    /// The sum of what has come together; `None` where nothing has, which is a zero.
    fn total(&mut self, b: &mut Builder<'_>, of: (ValueId, Want)) -> Result<Option<Cotangent>> {
        let Some(parts) = self.parts.get(&of).cloned() else { return Ok(None) };
        if let [one] = parts.as_slice() {
            return Ok(Some(*one));
        }
        let mut sum = None;
        for part in parts {
            let part = part.dense(b, of.0)?;
            sum = Some(match sum {
                None => part,
                Some(sum) => b.add(sum, part)?,
            });
        }
        let sum = sum.map(Cotangent::Dense);
        if let Some(sum) = sum {
            self.parts.insert(of, vec![sum]);
        }
        Ok(sum)
    }

    fn step(&mut self, b: &mut Builder<'_>, id: NodeId, needs: &Needs) -> Result<()> {
        let Some(&rule) = self.path.rules.get(&id) else { return Ok(()) };
        let label = b.graph().node(id).label().to_owned();
        // What belongs to a definition is named after the node that it defines.
        if self.path.from == 0 {
            b.set_scope(&format!("grad/{}", label.trim_start_matches('/')));
        }
        let inputs = b.graph().node_inputs(id).to_vec();
        let outputs = b.graph().node_outputs(id).to_vec();
        let mut cotangents = HashMap::new();
        for (index, output) in outputs.iter().enumerate() {
            let Some(output) = *output else { continue };
            if let Some(cotangent) = self.total(b, (output, Want::Full))? {
                cotangents.insert(index, cotangent);
            }
        }
        let out_sum = match outputs.first() {
            Some(Some(output)) => self.total(b, (*output, Want::SpatialSum))?,
            _ => None,
        };
        // What each input is needed for, and what of that the rule itself has to give.
        let mut by_rule = vec![Need::default(); inputs.len()];
        for (index, input) in inputs.iter().enumerate() {
            let Some(input) = input.filter(|v| self.path.active.contains(v)) else { continue };
            let Some(need) = needs.get(&input) else { continue };
            by_rule[index] = *need;
            let Some(count) = need.sum else { continue };
            let Some((push, pushed)) = self.path.push(b.graph(), id, index, count) else {
                continue;
            };
            // A sum may be asked of an output that has only the full cotangent, a seed.
            let from = match pushed {
                Pushed::Full => cotangents.get(&0).copied(),
                Pushed::Sum(out_count) => match (out_sum, cotangents.get(&0), outputs.first()) {
                    (Some(sum), None, _) => Some(sum),
                    (None, Some(full), Some(Some(output))) => {
                        let full = full.dense(b, *output)?;
                        Some(Cotangent::Dense(spatial_sum(b, *output, full, out_count)?))
                    }
                    _ => None,
                },
            };
            let Some(from) = from else { continue };
            let call = Call::new(b.graph(), id, HashMap::from([(0, from)]), vec![]);
            let sum = (push.emit)(b, &call, index, count)?;
            self.add((input, Want::SpatialSum), Cotangent::Dense(sum));
            by_rule[index].sum = None;
        }
        let wanted: Vec<bool> = by_rule.iter().map(|n| n.full || n.sum.is_some()).collect();
        if cotangents.is_empty() || !wanted.contains(&true) {
            return Ok(());
        }
        let call = Call::new(b.graph(), id, cotangents, wanted);
        let results = match self.apply(b, &call, rule) {
            Ok(results) => results,
            Err(error) if matches!(error.kind(), ErrorKind::Unsupported | ErrorKind::Shape) => {
                // Going on with zeros finds the other nodes that cannot be differentiated.
                let text = describe(b.graph(), id, &error.to_string());
                self.refused.push(Refused { node: label, text });
                let zero = b.raw_zero()?;
                vec![Some(Cotangent::Dense(zero)); inputs.len()]
            }
            Err(error) => return Err(error),
        };
        for ((input, need), result) in inputs.iter().zip(by_rule).zip(results) {
            let (Some(input), Some(result)) = (*input, result) else { continue };
            if let Some(count) = need.sum {
                let full = result.dense(b, input)?;
                let sum = spatial_sum(b, input, full, count)?;
                self.add((input, Want::SpatialSum), Cotangent::Dense(sum));
            }
            if need.full {
                self.add((input, Want::Full), result);
            }
        }
        Ok(())
    }

    fn apply(
        &self,
        b: &mut Builder<'_>,
        call: &Call,
        rule: &Rule,
    ) -> Result<Vec<Option<Cotangent>>> {
        let among_integers = quantise::is_among_integers(b, call);
        let elementwise =
            matches!(rule.kind, Kind::Formula(_) | Kind::Elementwise(_)) && !among_integers;
        let mut results = match rule.kind {
            Kind::Zero => return Ok(vec![]),
            _ if among_integers => {
                definition::through(b, call, Define::Emitted(quantise::on_floats))?
            }
            Kind::Formula(formula) => call.wanted(b, formula(call.symbols())?)?,
            Kind::Elementwise(emit) | Kind::Whole(emit) | Kind::Defined(emit, _) => emit(b, call)?,
            Kind::Expand(define) => definition::through(b, call, define)?,
            Kind::Refused(why) => bail!(Unsupported, "{why}"),
        };
        call.refuse_unread()?;
        results.resize(call.input_count(), None);
        for (index, result) in results.iter_mut().enumerate() {
            if call.wants(index) && result.is_none() {
                return call::no_rule(index);
            }
            if elementwise && let Some(Cotangent::Dense(cotangent)) = *result {
                let reduced = unbroadcast(b, cotangent, call.y(), call.x(index)?)?;
                *result = Some(Cotangent::Dense(reduced));
            }
            if let (Some(Cotangent::Dense(cotangent)), true) = (*result, call.wants(index)) {
                let x = call.x(index)?;
                if !b.fits_into(cotangent, x) {
                    let (got, of) = (b.fact(cotangent).shown(), b.fact(x).shown());
                    bail!(Shape, "the gradient of its input {index} has shape {got}, not {of}");
                }
            }
        }
        Ok(results)
    }

    fn finish(&mut self, b: &mut Builder<'_>, wanted: (ValueId, Want)) -> Result<ValueId> {
        let (value, want) = wanted;
        let total = self.total(b, wanted)?;
        let total = match (total, want, spatial_count(b.fact(value))) {
            (Some(total), _, _) => total.dense(b, value)?,
            (None, Want::SpatialSum, Some(count)) => match self.total(b, (value, Want::Full))? {
                Some(full) => {
                    let full = full.dense(b, value)?;
                    spatial_sum(b, value, full, count)?
                }
                None => b.scalar(value, 0.0)?,
            },
            (None, _, _) => b.scalar(value, 0.0)?,
        };
        let shape = b.shape(value)?;
        match want {
            Want::Full => b.expand_like(total, value),
            Want::SpatialSum if shape.len() < 2 => {
                bail!(Shape, "\"{}\" has no channels to sum for", b.graph().name(value))
            }
            Want::SpatialSum => b.expand_to_front(total, value),
        }
    }
}

/// Σ over space of a cotangent that may still be broadcastable: [N, C], or broadcastable to it.
/// `count` elements belong to each channel; for a flattened value they lie on its last axis.
fn spatial_sum(
    b: &mut Builder<'_>,
    of: ValueId,
    cotangent: ValueId,
    count: i64,
) -> Result<ValueId> {
    let mut shape = b.shape(of)?;
    let mut cotangent = at_rank(b, cotangent, shape.len())?;
    if shape.len() == 2 && count > 1 {
        let channels = b.size(of, 1)? / count;
        shape = vec![shape[0], Dim::Fixed(channels), Dim::Fixed(count)];
        let full = b.expand_like(cotangent, of)?;
        cotangent = b.reshape(full, &shape)?;
    }
    let have = b.shape(cotangent)?;
    let axes: Vec<usize> = (2..shape.len()).collect();
    let mut times = 1i64;
    for &axis in &axes {
        if have[axis] == Dim::Fixed(1) {
            times = times.saturating_mul(shape[axis].fixed().unwrap_or(1));
        }
    }
    let sum = b.sum(cotangent, &axes)?;
    let sum = b.reshape(sum, &have[..2])?;
    #[expect(clippy::cast_precision_loss, reason = "a number of pixels")]
    b.scale(sum, times as f64)
}

/// Puts axes of size 1 in front until the rank is the given one.
pub(crate) fn at_rank(b: &mut Builder<'_>, value: ValueId, rank: usize) -> Result<ValueId> {
    let shape = b.shape(value)?;
    let missing = rank.saturating_sub(shape.len());
    b.reshape(value, &[vec![Dim::Fixed(1); missing], shape].concat())
}

/// Sums a cotangent of the broadcast result `y` back to the shape of the operand `x`, axis by axis.
fn unbroadcast(b: &mut Builder<'_>, g: ValueId, y: ValueId, x: ValueId) -> Result<ValueId> {
    let (y_shape, x_shape) = (b.shape(y)?, b.shape(x)?);
    let rank = y_shape.len();
    let missing = rank.saturating_sub(x_shape.len());
    let x_at = |axis: usize| if axis < missing { Dim::Fixed(1) } else { x_shape[axis - missing] };
    let mut g = at_rank(b, g, rank)?;
    let broadcast = |axis: &usize| x_at(*axis) == Dim::Fixed(1) && y_shape[*axis] != Dim::Fixed(1);
    let axes: Vec<usize> = (0..rank).filter(broadcast).collect();
    let g_shape = b.shape(g)?;
    let lazy_open =
        axes.iter().any(|&a| g_shape[a] == Dim::Fixed(1) && y_shape[a].fixed().is_none());
    if lazy_open {
        g = b.expand_like(g, y)?;
    }
    let g_shape = b.shape(g)?;
    let lazy = axes.iter().filter(|&&axis| g_shape[axis] == Dim::Fixed(1));
    let times = lazy.fold(1i64, |n, &axis| n.saturating_mul(y_shape[axis].fixed().unwrap_or(1)));
    let summed = b.sum(g, &axes)?;
    #[expect(clippy::cast_precision_loss, reason = "a number of elements")]
    let scaled = b.scale(summed, times as f64)?;
    let shape = b.shape(scaled)?;
    b.reshape(scaled, &shape[missing..])
}
