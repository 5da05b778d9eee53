//! What nodes cost: operations and bytes, by the shapes of their values.

use crate::graph::{Graph, NodeId, ValueId};

/// The cost of one node, or of several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Floating-point operations: two for each multiplication with an addition in products and convolutions, one for each
    /// element of the output, or of the input where that is larger, in all other operators.
    pub operations: u64,
    /// The bytes of all inputs and outputs, weights included.
    pub bytes: u64,
}

impl std::ops::AddAssign for Cost {
    fn add_assign(&mut self, other: Self) {
        self.operations = self.operations.saturating_add(other.operations);
        self.bytes = self.bytes.saturating_add(other.bytes);
    }
}

/// Operators that read as much of their first input as they make.
const PARTIAL: [&str; 6] = ["Gather", "GatherElements", "GatherND", "Shape", "Size", "Slice"];

/// The cost of a node; `None` where a shape is not known or contains the open batch size.
pub fn cost(graph: &Graph, id: NodeId) -> Option<Cost> {
    let inputs: Vec<ValueId> = graph.node_inputs(id).iter().flatten().copied().collect();
    let outputs: Vec<ValueId> = graph.node_outputs(id).iter().flatten().copied().collect();
    let size = |value: &ValueId| -> Option<u64> {
        Some(elements(graph, *value)?.saturating_mul(graph.fact(*value).elem.bits()) / 8)
    };
    let all = |values: &[ValueId]| -> Option<u64> {
        values.iter().map(size).try_fold(0, |sum: u64, size| Some(sum.saturating_add(size?)))
    };
    let is_partial = PARTIAL.contains(&graph.node(id).op());
    let bytes = match inputs.split_first() {
        Some((_, rest)) if is_partial => {
            all(&outputs)?.saturating_mul(2).saturating_add(all(rest)?)
        }
        _ => all(&inputs)?.saturating_add(all(&outputs)?),
    };
    let largest = |values: &[ValueId]| -> Option<u64> {
        values.iter().map(|value| elements(graph, *value)).try_fold(0, |a, b| Some(a.max(b?)))
    };
    let (read, made) = (largest(&inputs)?, largest(&outputs)?);
    let operations = match (graph.node(id).op(), inputs.as_slice()) {
        // Each element of the output is a sum over the channels of a group and the window.
        ("Conv", [_, weight, ..]) => twice(made, behind(graph, *weight, 1)?),
        // Each element of the input goes into as many of the output.
        ("ConvTranspose", [x, weight, ..]) => {
            twice(elements(graph, *x)?, behind(graph, *weight, 1)?)
        }
        ("MatMul", [a, _]) => {
            let inner = sizes(graph, *a)?.last().copied().unwrap_or(1);
            twice(made, inner)
        }
        ("Gemm", [a, ..]) => {
            let is_transposed = graph.node(id).attr_int("transA") == Some(1);
            let inner = sizes(graph, *a)?.get(usize::from(!is_transposed)).copied().unwrap_or(1);
            twice(made, inner)
        }
        _ if is_partial => made,
        _ => read.max(made),
    };
    Some(Cost { operations, bytes })
}

/// A multiplication and an addition for each of several products.
fn twice(outputs: u64, products: u64) -> u64 {
    outputs.saturating_mul(products).saturating_mul(2)
}

fn sizes(graph: &Graph, value: ValueId) -> Option<Vec<u64>> {
    graph.fact(value).sizes()?.into_iter().map(|size| u64::try_from(size).ok()).collect()
}

fn elements(graph: &Graph, value: ValueId) -> Option<u64> {
    behind(graph, value, 0)
}

/// The product of the sizes from an axis on.
fn behind(graph: &Graph, value: ValueId, axis: usize) -> Option<u64> {
    let sizes = sizes(graph, value)?;
    Some(sizes.iter().skip(axis).fold(1, |all: u64, size| all.saturating_mul(*size)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Sizes, testing::model};

    /// Its name and shape.
    type Input = (&'static str, &'static [i64]);

    #[test]
    fn costs_by_hand() {
        let rows: [(&str, &[Input], u64, u64); 6] = [
            // 2·3·4·4 outputs of 5·3·3 products; 2·5·6·6, 3·5·3·3 and 2·3·4·4 floats.
            (
                "Conv",
                &[("x", &[2, 5, 6, 6]), ("w", &[3, 5, 3, 3])],
                2 * 96 * 45,
                4 * (360 + 135 + 96),
            ),
            // 2·5·2·2 inputs that go into 3·2·2 outputs; the outputs are 2·3·3·3.
            (
                "ConvTranspose",
                &[("x", &[2, 5, 2, 2]), ("w", &[5, 3, 2, 2])],
                2 * 40 * 12,
                4 * (40 + 60 + 54),
            ),
            ("MatMul", &[("a", &[7, 2, 3]), ("b", &[3, 4])], 2 * 56 * 3, 4 * (42 + 12 + 56)),
            ("Gemm", &[("a", &[2, 3]), ("b", &[3, 4])], 2 * 8 * 3, 4 * (6 + 12 + 8)),
            ("Shape", &[("x", &[7, 2, 3])], 3, 2 * 3 * 8),
            ("GlobalAveragePool", &[("x", &[2, 5, 6, 6])], 360, 4 * (360 + 10)),
        ];
        for (op, inputs, operations, bytes) in rows {
            let names: Vec<&str> = inputs.iter().map(|(name, _)| *name).collect();
            let graph = Graph::new(&model(inputs, &[(op, &names, "y")], "y"), &Sizes::new());
            let graph = graph.expect("a graph");
            let (id, _) = graph.nodes().next().expect("a node");
            assert_eq!(cost(&graph, id), Some(Cost { operations, bytes }), "{op}");
        }
    }
}
