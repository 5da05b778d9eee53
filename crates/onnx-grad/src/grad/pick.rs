//! Nodes that pick one place along an axis, such as the class token of a transformer.
//!
//! Behind the last attention of a transformer each token is computed by itself, and the head reads one of them. So what this
//! token alone depends on is computed again for this token, and differentiated there: one row instead of hundreds. The way ends
//! where a value also depends on other places, as the keys and values of an attention do, where something else reads the value,
//! and at the values with respect to which the target is differentiated.

mod places;

use std::collections::{HashMap, HashSet};

use places::{Places, dim_at, known_axis, operands};

use super::{
    Cotangent, GradientForm,
    broadcast::spatial_sum,
    path::{Needs, Path},
    propagate,
    reach::Reach,
    sweep::Sweep,
};
use crate::{
    builder::Builder,
    error::{ErrorKind, Result, bail},
    facts::Dim,
    graph::{Graph, NodeId, ValueId},
    op::{self, Kind},
};

/// A node that picks one place, and the nodes before it that can be computed for this place alone.
pub(super) struct Pick {
    place: i64,
    /// The value that the node picks from.
    from: ValueId,
    /// In the order of the graph.
    nodes: Vec<NodeId>,
    /// Where the places are in each value that these nodes read or make.
    places: HashMap<ValueId, Places>,
}

impl Pick {
    /// The picks among the nodes of a path. `ends` are values with respect to which the target is differentiated.
    pub(super) fn all(
        graph: &Graph,
        path: &Path,
        ends: &HashSet<ValueId>,
    ) -> HashMap<NodeId, Self> {
        let found =
            path.nodes.iter().filter_map(|id| Some((*id, Self::of(graph, path, ends, *id)?)));
        found.collect()
    }

    /// `None` if nothing would be gained.
    fn of(graph: &Graph, path: &Path, ends: &HashSet<ValueId>, id: NodeId) -> Option<Self> {
        let (from, axis, place) = picked(graph, id)?;
        let size = dim_at(graph, from, axis)?.fixed().filter(|size| *size > 1)?;
        let places = HashMap::from([(from, Places::along(axis, size))]);
        let mut pick = Self { place, from, nodes: Vec::new(), places };
        let mut alone = HashSet::from([id]);
        // What such a node reads whole is needed for all places.
        let mut whole: HashSet<ValueId> = HashSet::new();
        let before = path.nodes.iter().rev().filter(|other| **other < id);
        for &id in before {
            let made = graph.node_outputs(id).iter().flatten();
            let is_alone = |value: &ValueId| {
                let readers = graph.consumers(*value).iter();
                let mut readers = readers.filter(|reader| path.rules.contains_key(reader));
                !ends.contains(value)
                    && !whole.contains(value)
                    && readers.all(|reader| alone.contains(reader))
            };
            if !made.clone().any(|value| pick.places.contains_key(value))
                || !made.clone().all(is_alone)
            {
                continue;
            }
            let operands = operands(graph, id, &pick.places).unwrap_or_default();
            let given = graph.node_inputs(id).iter().zip(&operands);
            let along: Vec<(ValueId, Places)> =
                given.filter_map(|(value, places)| Some(((*value)?, (*places)?))).collect();
            let fits = |(value, places): &(ValueId, Places)| {
                pick.places.get(value).is_none_or(|known| known == places)
                    && dim_at(graph, *value, places.axis) == places.dim()
            };
            if along.is_empty() || !along.iter().all(fits) {
                continue;
            }
            let given = graph.node_inputs(id).iter().zip(&operands);
            whole.extend(
                given.filter(|(_, places)| places.is_none()).filter_map(|(value, _)| *value),
            );
            pick.places.extend(along);
            alone.insert(id);
            pick.nodes.push(id);
        }
        pick.nodes.reverse();
        let is_product = |id: &NodeId| op::traits(graph.node(*id)).kind == Kind::MatMul;
        pick.nodes.iter().any(is_product).then_some(pick)
    }

    /// Appends the nodes for the one place. Returns the place's row of the value that is picked from.
    fn emit(&self, b: &mut Builder<'_>) -> Result<ValueId> {
        let mut rows: HashMap<ValueId, ValueId> = HashMap::new();
        for &id in &self.nodes {
            b.set_source(id);
            let kind = op::traits(b.graph().node(id)).kind;
            let made = b.graph().node_outputs(id).to_vec();
            let mut inputs = b.graph().node_inputs(id).to_vec();
            let operands = operands(b.graph(), id, &self.places).unwrap_or_default();
            for (input, places) in inputs.iter_mut().zip(operands) {
                if let (Some(value), Some(places)) = (*input, places) {
                    *input = Some(self.row(b, &mut rows, value, places)?);
                }
            }
            if let (Kind::Reshape, [Some(made)], [Some(row), ..]) = (kind, &*made, &*inputs) {
                let shape = self.shape_of_row(b, *made, self.places[made])?;
                let row = b.reshape(*row, &shape)?;
                rows.insert(*made, row);
                continue;
            }
            let copies = b.node_on(id, &inputs)?;
            rows.extend(made.into_iter().zip(copies).filter_map(|(made, row)| Some((made?, row?))));
        }
        self.row(b, &mut rows, self.from, self.places[&self.from])
    }

    /// The place's row of a value.
    fn row(
        &self,
        b: &mut Builder<'_>,
        rows: &mut HashMap<ValueId, ValueId>,
        value: ValueId,
        places: Places,
    ) -> Result<ValueId> {
        if let Some(row) = rows.get(&value) {
            return Ok(*row);
        }
        let Places { axis, size, ahead, behind } = places;
        let shape = b.shape(value)?;
        let apart = [&shape[..axis], &[ahead, Dim::Fixed(size), behind], &shape[axis + 1..]];
        let row = match (ahead, behind) {
            (Dim::Fixed(1), Dim::Fixed(1)) => b.slice(value, axis, self.place, 1, 1)?,
            _ => {
                let apart = b.reshape(value, &apart.concat())?;
                let row = b.slice(apart, axis + 1, self.place, 1, 1)?;
                let shape = self.shape_of_row(b, value, places)?;
                b.reshape(row, &shape)?
            }
        };
        rows.insert(value, row);
        Ok(row)
    }

    /// The shape of the place's row of a value.
    fn shape_of_row(&self, b: &Builder<'_>, value: ValueId, places: Places) -> Result<Vec<Dim>> {
        let mut shape = b.shape(value)?;
        let Some(dim) = places.ahead.times(places.behind) else {
            bail!(Shape, "\"{}\" has places of unknown number", b.graph().name(value));
        };
        shape[places.axis] = dim;
        Ok(shape)
    }

    /// The values before the nodes that the target depends on.
    fn entries(&self, graph: &Graph, path: &Path) -> Vec<ValueId> {
        let made: HashSet<ValueId> =
            self.nodes.iter().flat_map(|id| graph.node_outputs(*id)).flatten().copied().collect();
        let mut entries: Vec<ValueId> = self
            .nodes
            .iter()
            .flat_map(|id| graph.node_inputs(*id))
            .flatten()
            .copied()
            .filter(|value| path.active.contains(value) && !made.contains(value))
            .collect();
        entries.sort_unstable();
        entries.dedup();
        entries
    }
}

impl Sweep<'_> {
    /// Processes a node that picks a place, and the nodes before it that are computed for this place alone.
    pub(super) fn step_pick(
        &mut self,
        b: &mut Builder<'_>,
        id: NodeId,
        pick: &Pick,
        needs: &Needs,
    ) -> Result<()> {
        let Some(made) = b.graph().node_outputs(id).first().copied().flatten() else {
            return self.step(b, id, needs);
        };
        let Some(cotangent) = self.total(b, (made, GradientForm::Full))? else { return Ok(()) };
        let first = b.graph().node_count();
        let entries = pick.entries(b.graph(), self.path);
        let gradients = self.through_pick(b, first, (made, cotangent), pick, &entries);
        let gradients = match gradients {
            // The way without a pick finds all nodes that cannot be differentiated.
            Err(error) if matches!(error.kind(), ErrorKind::Unsupported | ErrorKind::Shape) => {
                return self.step(b, id, needs);
            }
            gradients => gradients?,
        };
        for (entry, gradient) in entries.into_iter().zip(gradients) {
            let need = needs.get(&entry).copied().unwrap_or_default();
            if let Some(count) = need.sum {
                let sum = spatial_sum(b, entry, gradient, count)?;
                self.add((entry, GradientForm::SpatialSum), Cotangent::Dense(sum));
            }
            if need.full {
                self.add((entry, GradientForm::Full), Cotangent::Dense(gradient));
            }
        }
        Ok(())
    }

    fn through_pick(
        &self,
        b: &mut Builder<'_>,
        from: usize,
        (made, cotangent): (ValueId, Cotangent),
        pick: &Pick,
        entries: &[ValueId],
    ) -> Result<Vec<ValueId>> {
        let row = pick.emit(b)?;
        let cotangent = cotangent.dense(b, made)?;
        let cotangent = b.expand_like(cotangent, made)?;
        let shape = b.shape(row)?;
        let seed = b.reshape(cotangent, &shape)?;
        let reach = Reach { from, of_copies: true, ..Reach::default() };
        let wrt: Vec<_> = entries.iter().map(|value| (*value, GradientForm::Full)).collect();
        propagate(b, reach, &[(row, seed)], &wrt, self.path.overrides)
    }
}

/// What a node picks from, the axis and the place, if it picks one place that is known.
fn picked(graph: &Graph, id: NodeId) -> Option<(ValueId, usize, i64)> {
    let node = graph.node(id);
    let inputs = graph.node_inputs(id);
    let ints = |input: usize| graph.fact(inputs.get(input).copied()??).ints();
    let from = inputs.first().copied()??;
    let rank = graph.fact(from).rank()?;
    let (axis, place) = match (node.op(), node.op_domain()) {
        ("Gather", "") => match ints(1)?.as_slice() {
            [place] => (node.attr_int("axis").unwrap_or(0), *place),
            _ => return None,
        },
        ("Slice", "") if graph.opset() >= 10 => {
            let steps = if inputs.get(4).copied().flatten().is_some() { ints(4)? } else { vec![1] };
            match (ints(1)?.as_slice(), ints(2)?.as_slice(), ints(3)?.as_slice(), steps.as_slice())
            {
                ([start], [end], [axis], [1]) if start.checked_add(1) == Some(*end) => {
                    (*axis, *start)
                }
                _ => return None,
            }
        }
        _ => return None,
    };
    let axis = known_axis(axis, rank)?;
    let size = dim_at(graph, from, axis)?.fixed()?;
    let place = if place < 0 { place + size } else { place };
    (0..size).contains(&place).then_some((from, axis, place))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Sizes, attrs,
        facts::Fact,
        graph::declare,
        proto::{GraphProto, NodeProto, TensorProto, tensor_proto::DataType},
        testing::{node, wrap},
    };

    /// Attention of tokens x, [2, 6, 4], and a layer behind it, of which `last` are the nodes from o, [2, 6, 4], to y.
    fn attention(last: Vec<NodeProto>) -> Graph {
        let with = |attribute, node: NodeProto| NodeProto { attribute: vec![attribute], ..node };
        let before = vec![
            node("MatMul", &["x", "w"], &["q"]),
            with(attrs::ints("perm", &[0, 2, 1]), node("Transpose", &["x"], &["k"])),
            node("MatMul", &["q", "k"], &["l"]),
            with(attrs::int("axis", -1), node("Softmax", &["l"], &["p"])),
            node("MatMul", &["p", "x"], &["a"]),
            node("Reshape", &["a", "flat"], &["f"]),
            node("Gemm", &["f", "w", "bias"], &["g"]),
            node("Reshape", &["g", "apart"], &["r"]),
            node("Relu", &["r"], &["o"]),
        ];
        let ints = |name: &str, ints: &[i64]| TensorProto {
            name: Some(name.to_owned()),
            data_type: Some(DataType::Int64 as i32),
            dims: vec![i64::try_from(ints.len()).expect("few")],
            int64_data: ints.to_vec(),
            ..TensorProto::default()
        };
        let input = |name: &str, sizes: &[i64]| {
            let dims: Vec<Dim> = sizes.iter().map(|size| (*size).into()).collect();
            declare(name, &Fact::new(DataType::Float, dims))
        };
        let initializer = [
            ints("flat", &[12, 4]),
            ints("apart", &[2, 6, 4]),
            ints("first", &[0]),
            ints("second", &[1]),
        ];
        let model = wrap(GraphProto {
            input: vec![input("x", &[2, 6, 4]), input("w", &[4, 4]), input("bias", &[4])],
            initializer: initializer.to_vec(),
            node: [before, last].concat(),
            output: vec![declare("y", &Fact { elem: DataType::Float, ..Fact::default() })],
            ..GraphProto::default()
        });
        Graph::new(&model, &Sizes::new()).expect("a graph")
    }

    /// The nodes that are computed for one token alone, of the gradients of y with respect to these values.
    fn alone(graph: &Graph, wrt: &[&str]) -> String {
        let value = |name: &str| graph.value(name).expect("a value");
        let wrt: Vec<_> = wrt.iter().map(|name| (value(name), GradientForm::Full)).collect();
        let y = value("y");
        let path = Path::find(graph, Reach::default(), &[(y, y)], &wrt, &[]).expect("a path");
        let ends = wrt.iter().map(|(value, _)| *value).collect();
        let picks = Pick::all(graph, &path, &ends);
        assert!(picks.len() <= 1);
        let nodes = picks.values().flat_map(|pick| &pick.nodes);
        nodes.map(|id| graph.node(*id).label()).collect::<Vec<_>>().join(" ")
    }

    fn gather(from: &str, index: &str, to: &str) -> NodeProto {
        let gather = node("Gather", &[from, index], &[to]);
        NodeProto { attribute: vec![attrs::int("axis", 1)], ..gather }
    }

    #[test]
    fn what_one_token_depends_on_is_found() {
        let graph = attention(vec![gather("o", "first", "y")]);
        // The keys are of all tokens.
        assert_eq!(alone(&graph, &["x"]), "q l p a f g r o");
        assert_eq!(alone(&graph, &["x", "p"]), "a f g r o");
        // Without a product nothing is gained.
        assert_eq!(alone(&graph, &["x", "r"]), "");
    }

    #[test]
    fn what_others_read_is_whole() {
        let several = vec![
            gather("o", "first", "b"),
            node("ReduceMean", &["o"], &["c"]),
            node("Add", &["b", "c"], &["y"]),
        ];
        assert_eq!(alone(&attention(several), &["x"]), "");
        let earlier = vec![
            gather("o", "first", "b"),
            node("ReduceMean", &["p"], &["c"]),
            node("Add", &["b", "c"], &["y"]),
        ];
        assert_eq!(alone(&attention(earlier), &["x"]), "a f g r o");
        // The product reads p by rows, and whole.
        let square = vec![node("MatMul", &["p", "p"], &["s"]), gather("s", "first", "y")];
        assert_eq!(alone(&attention(square), &["x"]), "s");
    }

    /// Rows that are laid out as [N·T, K] are picked with a stride.
    #[test]
    fn the_row_of_a_token_has_the_size_of_one() {
        let mut graph = attention(vec![gather("o", "second", "y")]);
        let (x, y) = (graph.value("x").expect("x"), graph.value("y").expect("y"));
        let mut b = Builder::new(&mut graph, "grad");
        let seed = b.scalar(y, 1.0).expect("a seed");
        let wanted = [(x, GradientForm::Full)];
        let made = crate::differentiate(&mut b, &[(y, seed)], &wanted, &[]).expect("a gradient");
        assert_eq!(graph.fact(made[0]).shape, graph.fact(x).shape);
        let of_gemm = |(id, node): &(NodeId, &NodeProto)| {
            graph.is_appended(*id) && node.label().starts_with("grad/g/")
        };
        let sizes: Vec<_> = graph
            .nodes()
            .filter(of_gemm)
            .filter_map(|(id, _)| graph.fact(graph.node_outputs(id)[0]?).sizes())
            .collect();
        assert!(
            !sizes.is_empty() && sizes.iter().all(|sizes| sizes.first() != Some(&12)),
            "{sizes:?}"
        );
    }
}
