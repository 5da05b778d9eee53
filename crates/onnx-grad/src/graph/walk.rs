//! Walks from values to their sources and to their dependents.

use std::collections::HashSet;

use super::{Graph, NodeId, ValueId};

impl Graph {
    /// The values that a node reads: its inputs and the captures of its subgraphs.
    pub fn node_reads(&self, id: NodeId) -> impl Iterator<Item = ValueId> {
        self.node_inputs(id).iter().flatten().chain(self.node_captures(id)).copied()
    }

    /// The given values and everything from which they are computed. If `goes_on` is false for a value, the walk
    /// includes the value but not its sources.
    ///
    /// A node also depends on the values that its subgraphs read, such as the branches of an `If`.
    pub fn upstream(
        &self,
        of: impl IntoIterator<Item = ValueId>,
        goes_on: impl Fn(ValueId) -> bool,
    ) -> HashSet<ValueId> {
        let mut found = HashSet::new();
        let mut open: Vec<ValueId> = of.into_iter().collect();
        while let Some(value) = open.pop() {
            if found.insert(value)
                && goes_on(value)
                && let Some(node) = self.producer(value)
            {
                open.extend(self.node_reads(node));
            }
        }
        found
    }

    /// The given values and everything computed from them. `takes` filters the outputs of nodes.
    ///
    /// A node also depends on the values that its subgraphs read.
    pub fn downstream(
        &self,
        of: impl IntoIterator<Item = ValueId>,
        takes: impl Fn(ValueId) -> bool,
    ) -> HashSet<ValueId> {
        let mut found: HashSet<ValueId> = of.into_iter().collect();
        for (id, _) in self.nodes() {
            if self.node_reads(id).any(|value| found.contains(&value)) {
                let made = self.node_outputs(id).iter().flatten().copied();
                found.extend(made.filter(|value| takes(*value)));
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Sizes,
        facts::Fact,
        graph::declare,
        proto::{GraphProto, tensor_proto::DataType},
        testing::{node, subgraph, wrap},
    };

    /// x → a = Relu(x); c selects a or −x as y; z = Neg(x) is separate.
    fn branching() -> Graph {
        let declared = |name: &str, elem, sizes: &[i64]| {
            let dims: Vec<_> = sizes.iter().map(|size| (*size).into()).collect();
            declare(name, &Fact::new(elem, dims))
        };
        let branch = |name: &str, op: &str, read: &str| {
            let made = format!("{name}.y");
            subgraph(name, vec![node(op, &[read], &[&made])], &[&made])
        };
        let mut choice = node("If", &["c"], &["y"]);
        choice.attribute =
            vec![branch("then_branch", "Identity", "a"), branch("else_branch", "Neg", "x")];
        let model = wrap(GraphProto {
            input: vec![declared("x", DataType::Float, &[2]), declared("c", DataType::Bool, &[])],
            node: vec![node("Relu", &["x"], &["a"]), choice, node("Neg", &["x"], &["z"])],
            output: vec![declared("y", DataType::Float, &[2])],
            ..GraphProto::default()
        });
        Graph::new(&model, &Sizes::new()).expect("a graph")
    }

    fn names(graph: &Graph, values: HashSet<ValueId>) -> String {
        let mut values: Vec<ValueId> = values.into_iter().collect();
        values.sort_unstable();
        values.into_iter().map(|value| graph.name(value)).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn walks_follow_what_subgraphs_read() {
        let graph = branching();
        let value = |name: &str| graph.value(name).expect(name);
        let up = |name: &str| names(&graph, graph.upstream([value(name)], |_| true));
        assert_eq!(up("y"), "x c a y");
        assert_eq!(up("z"), "x z");
        let down = |name: &str| names(&graph, graph.downstream([value(name)], |_| true));
        assert_eq!(down("x"), "x a y z");
        assert_eq!(down("a"), "a y");
    }

    #[test]
    fn walks_stop_at_the_given_values() {
        let graph = branching();
        let value = |name: &str| graph.value(name).expect(name);
        let (a, y) = (value("a"), value("y"));
        assert_eq!(names(&graph, graph.upstream([y], |value| value == y)), "x c a y");
        assert_eq!(names(&graph, graph.upstream([a], |value| value != a)), "a");
        assert_eq!(names(&graph, graph.downstream([value("x")], |value| value != a)), "x y z");
    }
}
