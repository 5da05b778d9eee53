//! Loop and Scan, unrolled where the number of trips is known.

use super::{RuleCall, definition::check_unrolled};
use crate::{
    builder::{Builder, index},
    error::{Error, ErrorKind, Result, bail},
    facts::Dim,
    graph::ValueId,
    proto::GraphProto,
};

/// Loop. Its body takes the number of the trip, a condition and the carried values, and gives the next condition, the
/// next carried values, and elements that are stacked. The gradient flows through floats, also those that the body
/// captures. <https://onnx.ai/onnx/operators/onnx__Loop.html>
pub(super) fn loop_definition(b: &mut Builder<'_>, n: &RuleCall) -> Result<Vec<ValueId>> {
    let body = body(n)?;
    let nodes = index(body.node.len())?;
    let most = match n.optional(0) {
        Some(most) => known(b, most)?,
        None => i64::MAX,
    };
    // Exporters write the largest number where only the condition ends the loop.
    if most != i64::MAX {
        check_unrolled(most, nodes)?;
    }
    let mut carried = formal_inputs(b, n, 2)?;
    let mut going = n.optional(1);
    let mut trips = Vec::new();
    for trip in 0..most {
        check_unrolled(trip, nodes)?;
        if let Some(going) = going
            && known(b, going)? == 0
        {
            break;
        }
        let inputs = [&[b.ints(&[], &[trip])?, b.truth(true)?], carried.as_slice()].concat();
        let mut outputs = b.copy(body, &inputs)?.into_iter();
        going = outputs.next();
        carried = outputs.by_ref().take(carried.len()).collect();
        trips.push(outputs.collect());
    }
    let stacked = transposed(trips).into_iter().map(|parts| stack(b, &parts, 0));
    carried.extend(stacked.collect::<Result<Vec<_>>>()?);
    Ok(carried)
}

/// The number in a value of one element.
fn known(b: &Builder<'_>, value: ValueId) -> Result<i64> {
    match b.fact(value).ints().as_deref() {
        Some([number]) => Ok(*number),
        _ => bail!(
            Unsupported,
            "its number of trips depends on \"{}\", which is computed when the model runs; supported: known numbers",
            b.graph().name(value)
        ),
    }
}

/// Scan. Its body takes the carried values and an element of each scanned input, and gives the next carried values,
/// and elements that are stacked. <https://onnx.ai/onnx/operators/onnx__Scan.html> In 8, the first axis is the batch,
/// and each of its items is scanned separately.
pub(super) fn scan_definition(b: &mut Builder<'_>, n: &RuleCall) -> Result<Vec<ValueId>> {
    let scan = Scan::read(n)?;
    let first = usize::from(n.opset() < 9);
    if first == 1 && n.optional(0).is_some() {
        bail!(Unsupported, "it has an input sequence_lens; supported: without it");
    }
    let inputs = formal_inputs(b, n, first)?;
    if first == 0 {
        return scan.unroll(b, &inputs);
    }
    let Some(&any) = inputs.first() else { bail!(InvalidModel, "it has no inputs") };
    let items = b.size(any, 0)?;
    check_unrolled(items, index(scan.body.node.len())?)?;
    let each = inputs.iter().map(|&input| elements(b, input, 0)).collect::<Result<Vec<_>>>()?;
    let mut results = Vec::new();
    for inputs in transposed(each) {
        results.push(scan.unroll(b, &inputs)?);
    }
    transposed(results).into_iter().map(|parts| stack(b, &parts, 0)).collect()
}

/// The attributes of a Scan.
struct Scan<'n> {
    body: &'n GraphProto,
    scanned: usize,
    input_axes: &'n [i64],
    input_directions: &'n [i64],
    output_axes: &'n [i64],
    output_directions: &'n [i64],
}

impl<'n> Scan<'n> {
    fn read(n: &'n RuleCall) -> Result<Self> {
        let list = |name: &str| n.attrs().ints(name).unwrap_or_default();
        let directions = list("directions");
        Ok(Self {
            body: body(n)?,
            scanned: usize::try_from(n.attrs().int_or("num_scan_inputs", 0)).unwrap_or_default(),
            input_axes: list("scan_input_axes"),
            input_directions: if directions.is_empty() {
                list("scan_input_directions")
            } else {
                directions
            },
            output_axes: list("scan_output_axes"),
            output_directions: list("scan_output_directions"),
        })
    }

    fn unroll(&self, b: &mut Builder<'_>, inputs: &[ValueId]) -> Result<Vec<ValueId>> {
        let Some(states) = inputs.len().checked_sub(self.scanned).filter(|_| self.scanned > 0)
        else {
            bail!(InvalidModel, "it scans {} of {} inputs", self.scanned, inputs.len());
        };
        let (states, scanned) = inputs.split_at(states);
        let mut parts = Vec::new();
        for (at, &input) in scanned.iter().enumerate() {
            let axis = axis(number(self.input_axes, at), b.rank(input)?)?;
            check_unrolled(b.size(input, axis)?, index(self.body.node.len())?)?;
            let mut elements = elements(b, input, axis)?;
            if number(self.input_directions, at) == 1 {
                elements.reverse();
            }
            parts.push(elements);
        }
        let mut carried = states.to_vec();
        let mut trips = Vec::new();
        for elements in transposed(parts) {
            let inputs = [carried.as_slice(), &elements].concat();
            let mut outputs = b.copy(self.body, &inputs)?.into_iter();
            carried = outputs.by_ref().take(carried.len()).collect();
            trips.push(outputs.collect());
        }
        for (at, mut parts) in transposed(trips).into_iter().enumerate() {
            if number(self.output_directions, at) == 1 {
                parts.reverse();
            }
            let rank = b.rank(parts[0])? + 1;
            let axis = axis(number(self.output_axes, at), rank)?;
            carried.push(stack(b, &parts, axis)?);
        }
        Ok(carried)
    }
}

/// The number of a list at an index; 0 if the list is omitted.
fn number(list: &[i64], at: usize) -> i64 {
    list.get(at).copied().unwrap_or_default()
}

/// An axis in standard notation as an index into `rank` axes.
fn axis(axis: i64, rank: usize) -> Result<usize> {
    let place = if axis < 0 { axis + index(rank)? } else { axis };
    match usize::try_from(place) {
        Ok(place) if place < rank => Ok(place),
        _ => bail!(InvalidModel, "axis {axis} does not exist, the value has {rank} axes"),
    }
}

fn body(n: &RuleCall) -> Result<&GraphProto> {
    match n.attrs().graph("body") {
        Some(body) => Ok(body),
        None => bail!(InvalidModel, "it has no body"),
    }
}

/// The inputs of the node from an index on, without the values that its body captures.
fn formal_inputs(b: &Builder<'_>, n: &RuleCall, from: usize) -> Result<Vec<ValueId>> {
    (from..b.graph().node_inputs(n.id()).len()).map(|input| n.x(input)).collect()
}

/// Rows as columns.
fn transposed(rows: Vec<Vec<ValueId>>) -> Vec<Vec<ValueId>> {
    let columns = rows.iter().map(Vec::len).min().unwrap_or_default();
    (0..columns).map(|column| rows.iter().map(|row| row[column]).collect()).collect()
}

/// The elements along an axis, without this axis.
fn elements(b: &mut Builder<'_>, value: ValueId, axis: usize) -> Result<Vec<ValueId>> {
    let too_large = |e| Error::new(ErrorKind::TooLarge, "a number of elements").because(e);
    let count = usize::try_from(b.size(value, axis)?).map_err(too_large)?;
    let mut shape = b.shape(value)?;
    shape.remove(axis);
    let parts = b.split(value, axis, count)?;
    parts.into_iter().map(|part| b.reshape(part, &shape)).collect()
}

/// The values along a new axis.
fn stack(b: &mut Builder<'_>, parts: &[ValueId], axis: usize) -> Result<ValueId> {
    let mut placed = Vec::with_capacity(parts.len());
    for &part in parts {
        let mut shape = b.shape(part)?;
        shape.insert(axis, Dim::Fixed(1));
        placed.push(b.reshape(part, &shape)?);
    }
    b.concat(&placed, axis)
}
