//! The reverse sweep: computes the cotangents of inputs from those of outputs, node by node.

use std::collections::{BTreeMap, HashMap};

use super::{
    GradientForm,
    broadcast::{spatial_count, spatial_sum, unbroadcast},
    call::{Cotangent, RuleCall, no_rule},
    definition,
    path::{Need, Needs, Path, RefusedNode, describe},
    quantize,
    reach::Reach,
    rule::{Definition, PushOperand, Rule, RuleKind},
};
use crate::{
    builder::Builder,
    error::{ErrorKind, Result, bail},
    graph::{NodeId, ValueId},
};

/// The state of the reverse sweep: the accumulated cotangents.
pub(super) struct Sweep<'p> {
    pub(super) path: &'p Path,
    pub(super) parts: BTreeMap<(ValueId, GradientForm), Vec<Cotangent>>,
    pub(super) refused: Vec<RefusedNode>,
}

impl Sweep<'_> {
    /// Adds a contribution to a cotangent.
    pub(super) fn add(&mut self, to: (ValueId, GradientForm), part: Cotangent) {
        self.parts.entry(to).or_default().push(part);
    }

    /// The sum of the contributions; `None`, a zero, if there are none.
    pub(super) fn total(
        &mut self,
        b: &mut Builder<'_>,
        of: (ValueId, GradientForm),
    ) -> Result<Option<Cotangent>> {
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

    /// Processes one node of the path.
    pub(super) fn step(&mut self, b: &mut Builder<'_>, id: NodeId, needs: &Needs) -> Result<()> {
        let Some(&rule) = self.path.rules.get(&id) else { return Ok(()) };
        // Nodes of a definition take the name of the node that it defines.
        match self.path.reach {
            Reach { from: 0, .. } => b.set_source(id),
            Reach { of_copies: true, .. } => {
                if let Some(original) = b.graph().source(id) {
                    b.set_source(original);
                }
            }
            _ => {}
        }
        let inputs = b.graph().node_operands(id);
        let outputs = b.graph().node_outputs(id).to_vec();
        let mut cotangents = HashMap::new();
        for (index, output) in outputs.iter().enumerate() {
            let Some(output) = *output else { continue };
            if let Some(cotangent) = self.total(b, (output, GradientForm::Full))? {
                cotangents.insert(index, cotangent);
            }
        }
        let out_sum = match outputs.first() {
            Some(Some(output)) => self.total(b, (*output, GradientForm::SpatialSum))?,
            _ => None,
        };
        // The required forms for each input, and those that the rule itself must compute.
        let mut by_rule = vec![Need::default(); inputs.len()];
        for (index, input) in inputs.iter().enumerate() {
            let Some(input) = input.filter(|v| self.path.active.contains(v)) else { continue };
            let Some(need) = needs.get(&input) else { continue };
            by_rule[index] = *need;
            let Some(count) = need.sum else { continue };
            let Some((push, pushed)) = self.path.push(b.graph(), id, index, count) else {
                continue;
            };
            // A pushed sum may start at a seed, which has only the full cotangent.
            let from = match pushed {
                PushOperand::Full => cotangents.get(&0).copied(),
                PushOperand::Sum(out_count) => match (out_sum, cotangents.get(&0), outputs.first())
                {
                    (Some(sum), None, _) => Some(sum),
                    (None, Some(full), Some(Some(output))) => {
                        let full = full.dense(b, *output)?;
                        Some(Cotangent::Dense(spatial_sum(b, *output, full, out_count)?))
                    }
                    _ => None,
                },
            };
            let Some(from) = from else { continue };
            let call = RuleCall::new(b.graph(), id, HashMap::from([(0, from)]), vec![]);
            let sum = (push.emit)(b, &call, index, count)?;
            self.add((input, GradientForm::SpatialSum), Cotangent::Dense(sum));
            by_rule[index].sum = None;
        }
        let wanted: Vec<bool> = by_rule.iter().map(|n| n.full || n.sum.is_some()).collect();
        if cotangents.is_empty() || !wanted.contains(&true) {
            return Ok(());
        }
        let call = RuleCall::new(b.graph(), id, cotangents, wanted);
        let results = match self.apply(b, &call, rule) {
            Ok(results) => results,
            Err(error) if matches!(error.kind(), ErrorKind::Unsupported | ErrorKind::Shape) => {
                // Continues with zeros to find the other nodes that cannot be differentiated.
                let text = describe(b.graph(), id, &error.to_string());
                self.refused.push(RefusedNode { id, text });
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
                self.add((input, GradientForm::SpatialSum), Cotangent::Dense(sum));
            }
            if need.full {
                self.add((input, GradientForm::Full), result);
            }
        }
        Ok(())
    }

    fn apply(
        &self,
        b: &mut Builder<'_>,
        call: &RuleCall,
        rule: &Rule,
    ) -> Result<Vec<Option<Cotangent>>> {
        let among_integers = quantize::is_among_integers(b, call);
        let elementwise =
            matches!(rule.kind, RuleKind::Formula(_) | RuleKind::Elementwise(_)) && !among_integers;
        let mut results = match rule.kind {
            RuleKind::Zero => return Ok(vec![]),
            _ if among_integers => {
                definition::through(b, call, Definition::Emitter(quantize::on_floats))?
            }
            RuleKind::Formula(formula) => call.wanted(b, formula(call.symbols())?)?,
            RuleKind::Elementwise(emit) | RuleKind::Whole(emit) | RuleKind::Defined(emit, _) => {
                emit(b, call)?
            }
            RuleKind::Expand(define) => definition::through(b, call, define)?,
            RuleKind::Refused(why) => bail!(Unsupported, "{why}"),
        };
        call.refuse_unread()?;
        results.resize(call.input_count(), None);
        for (index, result) in results.iter_mut().enumerate() {
            if call.wants(index) && result.is_none() {
                return no_rule(index);
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

    /// A requested gradient, in its full shape.
    pub(super) fn finish(
        &mut self,
        b: &mut Builder<'_>,
        wanted: (ValueId, GradientForm),
    ) -> Result<ValueId> {
        let (value, want) = wanted;
        let total = self.total(b, wanted)?;
        let total = match (total, want, spatial_count(b.fact(value))) {
            (Some(total), _, _) => total.dense(b, value)?,
            (None, GradientForm::SpatialSum, Some(count)) => {
                match self.total(b, (value, GradientForm::Full))? {
                    Some(full) => {
                        let full = full.dense(b, value)?;
                        spatial_sum(b, value, full, count)?
                    }
                    None => b.scalar(value, 0.0)?,
                }
            }
            (None, _, _) => b.scalar(value, 0.0)?,
        };
        let shape = b.shape(value)?;
        match want {
            GradientForm::Full => b.expand_like(total, value),
            GradientForm::SpatialSum if shape.len() < 2 => {
                bail!(Shape, "\"{}\" has no channels to sum for", b.graph().name(value))
            }
            GradientForm::SpatialSum => b.expand_to_front(total, value),
        }
    }
}
