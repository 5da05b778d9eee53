//! The path: the nodes between the wanted values and the seeds, and the required forms of their cotangents.

use std::collections::{HashMap, HashSet};

use super::{
    GradientForm,
    broadcast::spatial_count,
    call::RuleCall,
    overrides::Override,
    quantize,
    reach::Reach,
    rule::{Push, PushOperand, Rule, RuleKind},
    sound,
    table::rule_for,
};
use crate::{
    error::{Error, ErrorKind, Result, bail},
    graph::{Graph, NodeId, ValueId},
};

/// The nodes between the values with respect to which a target is differentiated and the seeds.
pub(super) struct Path {
    pub(super) reach: Reach,
    pub(super) overrides: &'static [Override],
    pub(super) nodes: Vec<NodeId>,
    /// Values whose derivative with respect to some wanted value may be nonzero.
    pub(super) active: HashSet<ValueId>,
    pub(super) rules: HashMap<NodeId, &'static Rule>,
}

/// The required forms of each value's cotangent; the number is the element count of the spatial sum.
pub(super) type Needs = HashMap<ValueId, Need>;

#[derive(Clone, Copy, Default)]
pub(super) struct Need {
    pub(super) full: bool,
    pub(super) sum: Option<i64>,
}

impl Path {
    /// Finds the path.
    ///
    /// # Errors
    /// `NotConnected`, `Unsupported`.
    pub(super) fn find(
        graph: &Graph,
        reach: Reach,
        seeds: &[(ValueId, ValueId)],
        wrt: &[(ValueId, GradientForm)],
        overrides: &'static [Override],
    ) -> Result<Self> {
        let (path, refused) = Self::trace(graph, reach, seeds, wrt, overrides)?;
        if refused.is_empty() { Ok(path) } else { Err(refusal(graph, &refused)) }
    }

    /// As [`Path::find`], with the nodes that have no rule beside the path.
    ///
    /// # Errors
    /// `NotConnected`.
    pub(super) fn trace(
        graph: &Graph,
        reach: Reach,
        seeds: &[(ValueId, ValueId)],
        wrt: &[(ValueId, GradientForm)],
        overrides: &'static [Override],
    ) -> Result<(Self, Vec<RefusedNode>)> {
        let Reach { from, ends_at_wrt, .. } = reach;
        let ends = |value| ends_at_wrt && wrt.iter().any(|(other, _)| *other == value);
        let begins =
            |value| graph.producer(value).is_some_and(|node| node.index() >= from) && !ends(value);
        let needed = graph.upstream(seeds.iter().map(|(value, _)| *value), begins);
        for &(value, _) in wrt {
            if !needed.contains(&value) {
                let (name, target) =
                    (graph.name(value), seeds.first().map_or("", |s| graph.name(s.0)));
                bail!(NotConnected, "\"{name}\" does not reach the target \"{target}\"");
            }
        }
        let mut active: HashSet<ValueId> = wrt.iter().map(|(value, _)| *value).collect();
        let (nodes, rules) = (Vec::new(), HashMap::new());
        let mut path = Self { reach, overrides, nodes, active: HashSet::new(), rules };
        let mut refused = Vec::new();
        for (id, node) in graph.nodes().skip(from) {
            let leads_on = |value: &ValueId| needed.contains(value) && !ends(*value);
            let leads_on = graph.node_outputs(id).iter().flatten().any(leads_on);
            let reached = graph.node_reads(id).any(|value| active.contains(&value));
            if !leads_on || !reached {
                continue;
            }
            let replaced = overrides.iter().find_map(|row| row.rule_for(graph, id));
            let why = match replaced.map_or_else(|| rule_for(node, graph.opset()), Ok) {
                Ok(Rule { kind: RuleKind::Zero, .. }) => continue,
                Ok(rule) => {
                    path.rules.insert(id, rule);
                    // Shapes after a fault are unknown, so later nodes are not at fault.
                    if refused.is_empty() { sound::fault(graph, id) } else { None }
                }
                Err(why) => Some(why),
            };
            refused.extend(why.map(|why| RefusedNode { id, text: describe(graph, id, &why) }));
            path.nodes.push(id);
            let from = graph.node_reads(id);
            let from: Vec<ValueId> = from.filter(|value| active.contains(value)).collect();
            active.extend(carried(graph, id, &from));
        }
        path.active = active;
        Ok((path, refused))
    }

    /// The required forms of each value's cotangent.
    pub(super) fn needs(&self, graph: &Graph, wrt: &[(ValueId, GradientForm)]) -> Needs {
        let mut needs = Needs::new();
        for &(value, want) in wrt {
            let need = needs.entry(value).or_default();
            match (want, spatial_count(graph.fact(value))) {
                (GradientForm::SpatialSum, Some(count)) => need.sum = Some(count),
                _ => need.full = true,
            }
        }
        for &id in &self.nodes {
            let inputs = graph.node_operands(id).into_iter().enumerate();
            let wanted: Vec<(usize, Need)> = inputs
                .filter_map(|(i, v)| Some((i, *needs.get(&v?)?)))
                .filter(|(_, need)| need.full || need.sum.is_some())
                .collect();
            for (input, need) in wanted {
                let pushed = need.sum.and_then(|count| self.push(graph, id, input, count));
                for &output in graph.node_outputs(id).iter().flatten() {
                    let out = needs.entry(output).or_default();
                    match pushed {
                        Some((_, PushOperand::Sum(count)))
                            if out.sum.is_none_or(|had| had == count) =>
                        {
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

    /// Whether the sum of an input's cotangent is computable from less than the full cotangent.
    pub(super) fn push(
        &self,
        graph: &Graph,
        id: NodeId,
        input: usize,
        count: i64,
    ) -> Option<(&'static Push, PushOperand)> {
        let push = self.rules.get(&id)?.push.as_ref()?;
        let call = RuleCall::new(graph, id, HashMap::new(), vec![]);
        Some((push, (push.when)(graph, &call, input, count)?))
    }
}

/// The outputs of a node that the gradient flows through, for these of its inputs.
pub(super) fn carried<'a>(
    graph: &'a Graph,
    id: NodeId,
    from: &'a [ValueId],
) -> impl Iterator<Item = ValueId> + 'a {
    graph.node_outputs(id).iter().enumerate().filter_map(move |(at, value)| {
        // A statically known value does not depend on the inputs.
        value.filter(|value| {
            graph.fact(*value).value.is_none() && quantize::carries(graph, id, at, from)
        })
    })
}

/// A node that cannot be differentiated, with the reason.
pub(super) struct RefusedNode {
    pub(super) id: NodeId,
    pub(super) text: String,
}

/// One error for all these nodes.
pub(super) fn refusal(graph: &Graph, refused: &[RefusedNode]) -> Error {
    let lines: Vec<&str> = refused.iter().map(|r| r.text.as_str()).collect();
    let message = match lines.as_slice() {
        [one] => format!("cannot differentiate {one}"),
        many => format!("cannot differentiate {} nodes:\n  {}", many.len(), many.join("\n  ")),
    };
    let first = refused.first().map_or("", |r| graph.node(r.id).label());
    Error::new(ErrorKind::Unsupported, message).at_node(first)
}

/// A node and the reason why it cannot be differentiated, for messages.
pub(super) fn describe(graph: &Graph, id: NodeId, why: &str) -> String {
    let node = graph.node(id);
    let domain = match node.op_domain() {
        "" => String::new(),
        domain => format!("{domain}."),
    };
    format!("node \"{}\" ({domain}{}, opset {}): {why}", node.label(), node.op(), graph.opset())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Sizes, testing};

    /// Of several values that do not reach the target, the error names the first requested one.
    #[test]
    fn the_first_value_that_does_not_reach_the_target_is_named() {
        let model = testing::model(
            &[("x", &[2])],
            &[
                ("Neg", &["x"], "a"),
                ("Abs", &["x"], "b"),
                ("Exp", &["x"], "c"),
                ("Relu", &["x"], "d"),
                ("Sqrt", &["x"], "y"),
            ],
            "y",
        );
        let graph = Graph::new(&model, &Sizes::new()).expect("a graph");
        let value = |name: &&str| graph.value(name).expect("a value");
        let y = value(&"y");
        for names in [["c", "a", "d", "b"], ["b", "d", "a", "c"], ["x", "d", "c", "b"]] {
            let wrt: Vec<_> = names.iter().map(|name| (value(name), GradientForm::Full)).collect();
            let error =
                Path::find(&graph, Reach::default(), &[(y, y)], &wrt, &[]).err().expect("no way");
            let first = names.iter().find(|name| **name != "x").expect("one that is not x");
            let message = format!("\"{first}\" does not reach the target \"y\"");
            assert_eq!(error.to_string(), message);
        }
    }

    /// b = a², y = a + b: with respect to a and b, dy/da is 1 if it holds b constant, else 1 + 2a.
    #[test]
    fn values_can_be_constant_for_each_other() {
        let nodes: [(&str, &[&str], &str); 4] = [
            ("Neg", &["x"], "a"),
            ("Mul", &["a", "a"], "b"),
            ("Add", &["a", "b"], "c"),
            ("Relu", &["c"], "y"),
        ];
        let model = testing::model(&[("x", &[2])], &nodes, "y");
        let graph = Graph::new(&model, &Sizes::new()).expect("a graph");
        let value = |name: &str| graph.value(name).expect("a value");
        let wrt = [(value("a"), GradientForm::Full), (value("b"), GradientForm::Full)];
        let passed = |ends_at_wrt| {
            let (y, reach) = (value("y"), Reach { ends_at_wrt, ..Reach::default() });
            let path = Path::find(&graph, reach, &[(y, y)], &wrt, &[]).expect("a path");
            let names = path.nodes.iter().map(|id| graph.node(*id).label());
            names.collect::<Vec<_>>().join(" ")
        };
        assert_eq!(passed(false), "b c y");
        assert_eq!(passed(true), "c y");
        let (a, y) = (value("a"), value("y"));
        let through_b = [(a, GradientForm::Full), (value("c"), GradientForm::Full)];
        let reach = Reach { ends_at_wrt: true, ..Reach::default() };
        let error = Path::find(&graph, reach, &[(y, y)], &through_b, &[]).err().expect("no way");
        assert_eq!(error.to_string(), "\"a\" does not reach the target \"y\"");
    }
}
