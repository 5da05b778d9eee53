//! Rules of operators that read or write elements by index.

use super::{Cotangent, Cotangents, RuleCall, call::product, call::product_dim, none, one};
use crate::{
    attrs,
    builder::{Builder, constant_size},
    error::{Error, ErrorKind, Result, bail},
    facts::Dim,
    graph::ValueId,
    proto::tensor_proto::DataType,
};

/// Gather, y[…, j, …] = x[…, indices[j], …]. dx[l] = Σ_j [indices[j] = l]·g[j]; negative indices count
/// from the end. <https://onnx.ai/onnx/operators/onnx__Gather.html>
pub(super) fn gather(b: &mut Builder<'_>, n: &RuleCall) -> Cotangents {
    let (x, indices) = (n.x(0)?, n.x(1)?);
    let (shape, index_shape) = (b.shape(x)?, b.shape(indices)?);
    let axis = n.axis(n.attrs().int_or("axis", 0), shape.len())?;
    let size = b.size(x, axis)?;
    let g = n.full(b)?;
    let rows = linear(&shape[..axis])?;
    let picks = linear(&index_shape)?;
    let columns = linear(&shape[axis + 1..])?;
    let index = match b.fact(indices).ints() {
        Some(places) => Index::Known(counted(&places, size)?),
        None => {
            let flat = b.reshape(indices, &[Dim::Fixed(1), picks])?;
            Index::Value(b.non_negative_index(flat, size)?)
        }
    };
    let g = b.reshape(g, &[rows, picks, columns])?;
    let dx = summed(b, g, &index, size)?;
    one(b.reshape(dx, &shape)?)
}

/// The product of dims, if it is linear in the batch size.
fn linear(dims: &[Dim]) -> Result<Dim> {
    let open = || Error::new(ErrorKind::Shape, "its shape is not linear in the batch size");
    product_dim(dims).ok_or_else(open)
}

/// Indices along one axis.
enum Index {
    /// Numbers, counted from the start.
    Known(Vec<i64>),
    /// A value [1, picks] or [rows, picks], counted from the start.
    Value(ValueId),
}

/// Indices counted from the start.
fn counted(places: &[i64], size: i64) -> Result<Vec<i64>> {
    let counted = places.iter().map(|&place| {
        let from_start = if place < 0 { place.saturating_add(size) } else { place };
        match (0..size).contains(&from_start) {
            true => Ok(from_start),
            false => bail!(InvalidModel, "its index {place} is outside an axis of size {size}"),
        }
    });
    counted.collect()
}

/// The maximum number of elements of a one-hot matrix. Above it, elements are scattered if the opset supports
/// addition.
const ONE_HOT_LIMIT: i64 = 1 << 22;

/// The maximum number of gathers that replace a sum over repeated indices.
const GATHER_LIMIT: usize = 8;

/// dx[r, l, c] = Σ_j [index[j] = l]·g[r, j, c], from g [rows, picks, columns] to [rows, size, columns].
///
/// Known indices are inverted: row l gathers its first j, its second j and so on, and a row of zeros if there is
/// none. Unknown indices become a one-hot matrix.
fn summed(b: &mut Builder<'_>, g: ValueId, index: &Index, size: i64) -> Result<ValueId> {
    let picks = b.size(g, 1)?;
    let index = match index {
        Index::Value(index) => *index,
        Index::Known(places) => match by_gathering(b, g, places, size)? {
            Some(dx) => return Ok(dx),
            None => b.ints(&[1, picks], places)?,
        },
    };
    if product([size, picks])? > ONE_HOT_LIMIT && b.graph().opset() >= 16 {
        let (rows, columns) = (b.shape(g)?[0], b.shape(g)?[2]);
        let like = b.slice(g, 1, 0, 1, 1)?;
        let like = b.pad_axis(like, 1, 0, size - 1)?;
        let index_rows = b.shape(index)?[0];
        let index = b.reshape(index, &[index_rows, Dim::Fixed(picks), Dim::Fixed(1)])?;
        let index = b.expand_like(index, g)?;
        let dx = placed(b, g, index, 1, like)?;
        return b.reshape(dx, &[rows, Dim::Fixed(size), columns]);
    }
    let places = b.places(0, size)?;
    let places = b.ints(&[size, 1], &places)?;
    let index_rows = b.shape(index)?[0];
    let index = b.reshape(index, &[index_rows, Dim::Fixed(1), Dim::Fixed(picks)])?;
    let one_hot = b.equal(places, index, g)?;
    b.matmul(one_hot, g)
}

fn by_gathering(
    b: &mut Builder<'_>,
    g: ValueId,
    places: &[i64],
    size: i64,
) -> Result<Option<ValueId>> {
    let picks = b.size(g, 1)?;
    let Some(&first) = places.first() else { return Ok(None) };
    if places.iter().zip(first..).all(|(&place, next)| place == next) {
        return b.pad_axis(g, 1, first, size - first - picks).map(Some);
    }
    let count = constant_size(&[size])?;
    let mut tables: Vec<Vec<i64>> = Vec::new();
    let mut met = vec![0usize; count];
    for (&place, pick) in places.iter().zip(0i64..) {
        let Ok(place) = usize::try_from(place) else { return Ok(None) };
        if met[place] == tables.len() {
            if tables.len() == GATHER_LIMIT {
                return Ok(None);
            }
            tables.push(vec![picks; count]);
        }
        tables[met[place]][place] = pick;
        met[place] += 1;
    }
    let mut sum = None;
    for table in tables {
        let from = if table.contains(&picks) { b.pad_axis(g, 1, 0, 1)? } else { g };
        let table = b.list(&table)?;
        let part = b.gather(from, table, 1)?;
        sum = Some(match sum {
            None => part,
            Some(sum) => b.add(sum, part)?,
        });
    }
    Ok(sum)
}

/// GatherElements, y[…, j, …] = x[…, index[…, j, …], …]. dx adds g at these indices. The score of a class, one
/// element of each row of a matrix, stays a one-hot row. <https://onnx.ai/onnx/operators/onnx__GatherElements.html>
pub(super) fn gather_elements(b: &mut Builder<'_>, n: &RuleCall) -> Cotangents {
    let (x, index) = (n.x(0)?, n.x(1)?);
    let (shape, index_shape) = (b.shape(x)?, b.shape(index)?);
    let axis = n.axis(n.attrs().int_or("axis", 0), shape.len())?;
    let one_a_row = shape.len() == 2 && axis == 1 && index_shape[1] == Dim::Fixed(1);
    if one_a_row && shape[0] == index_shape[0] {
        let g = n.cot(b)?;
        let mut shape = b.shape(g)?;
        shape[1] = Dim::Fixed(1);
        let scale = b.reshape(g, &shape)?;
        return Ok(vec![Some(Cotangent::OneHot { column: index, scale }), None]);
    }
    let g = n.full(b)?;
    one(placed(b, g, index, axis, x)?)
}

/// The transpose of GatherElements: dx[…, index[…, j, …], …] += g[…, j, …], in the shape of `x`. From opset 16 it is
/// a ScatterElements with addition, in float32 for types without a kernel in ONNX Runtime; below, a sum of the masked
/// g. The other axes are padded with zeros where `x` is larger than `index`.
fn placed(
    b: &mut Builder<'_>,
    g: ValueId,
    index: ValueId,
    axis: usize,
    x: ValueId,
) -> Result<ValueId> {
    let size = b.size(x, axis)?;
    let mut dx = if b.graph().opset() >= 16 {
        let elem = b.elem(g);
        let wide = if elem == DataType::Double { elem } else { DataType::Float };
        let g = b.cast(g, wide)?;
        let line = b.slice(g, axis, 0, 1, 1)?;
        let line = b.pad_axis(line, axis, 0, size - 1)?;
        let zero = b.scalar(g, 0.0)?;
        let zeros = b.expand_like(zero, line)?;
        let axis = attrs::int("axis", crate::builder::index(axis)?);
        let attributes = vec![axis, attrs::text("reduction", "add")];
        let dx = b.raw("ScatterElements", &[zeros, index, g], attributes)?;
        b.cast(dx, elem)?
    } else {
        let index = b.non_negative_index(index, size)?;
        let mut apart = b.shape(g)?;
        apart.insert(axis, Dim::Fixed(1));
        let (index, apart) = (b.reshape(index, &apart)?, b.reshape(g, &apart)?);
        let mut dims = vec![1; b.rank(g)? + 1 - axis];
        dims[0] = size;
        let places = b.places(0, size)?;
        let places = b.ints(&dims, &places)?;
        let hit = b.equal(places, index, g)?;
        let share = b.mul(hit, apart)?;
        let sum = b.sum(share, &[axis + 1])?;
        let mut shape = b.shape(sum)?;
        shape.remove(axis + 1);
        b.reshape(sum, &shape)?
    };
    let (shape, have) = (b.shape(x)?, b.shape(dx)?);
    for other in 0..shape.len() {
        if have[other] != shape[other] {
            let missing = b.size(x, other)? - b.size(dx, other)?;
            dx = b.pad_axis(dx, other, 0, missing)?;
        }
    }
    Ok(dx)
}

/// GatherND, y[o, …] = x[index[o], …]: the last axis of `index` has one entry for each indexed axis, after
/// `batch_dims` shared axes. dx adds g at these indices, with the indexed axes flattened to one.
/// <https://onnx.ai/onnx/operators/onnx__GatherND.html>
pub(super) fn gather_nd(b: &mut Builder<'_>, n: &RuleCall) -> Cotangents {
    let (x, index) = (n.x(0)?, n.x(1)?);
    let (shape, index_shape) = (b.shape(x)?, b.shape(index)?);
    let batch = usize::try_from(n.attrs().int_or("batch_dims", 0)).unwrap_or(usize::MAX);
    let last = index_shape.len().saturating_sub(1);
    let depth = b.size(index, last)?;
    if depth < 1 {
        bail!(InvalidModel, "its indices are empty");
    }
    let end = batch.saturating_add(usize::try_from(depth).unwrap_or(usize::MAX));
    if batch > last || end > shape.len() {
        bail!(InvalidModel, "it indexes axes {batch} to {end} of {}", shape.len());
    }
    if shape[..batch] != index_shape[..batch] {
        bail!(Shape, "its batch is {:?} and {:?}", &shape[..batch], &index_shape[..batch]);
    }
    let sizes = (batch..end).map(|axis| b.size(x, axis)).collect::<Result<Vec<_>>>()?;
    let size = product(sizes.iter().copied())?;
    let (rows, columns) = (linear(&shape[..batch])?, linear(&shape[end..])?);
    let picks = linear(&index_shape[batch..last])?;
    let g = n.full(b)?;
    let g = b.reshape(g, &[rows, picks, columns])?;
    let index = match b.fact(index).ints() {
        Some(ints) if batch == 0 => Index::Known(flat(&ints, &sizes)?),
        _ => {
            let index = b.reshape(index, &[rows, picks, Dim::Fixed(depth)])?;
            let mut sum = None;
            for (axis, &size) in sizes.iter().enumerate() {
                let part = b.slice(index, 2, crate::builder::index(axis)?, 1, 1)?;
                let part = b.non_negative_index(part, size)?;
                sum = Some(match sum {
                    None => part,
                    Some(sum) => {
                        let size = b.ints(&[], &[size])?;
                        let before = b.mul(sum, size)?;
                        b.add(before, part)?
                    }
                });
            }
            let Some(sum) = sum else { bail!(InvalidModel, "its indices are empty") };
            Index::Value(b.reshape(sum, &[rows, picks])?)
        }
    };
    let dx = summed(b, g, &index, size)?;
    one(b.reshape(dx, &shape)?)
}

/// Indices into axes of these sizes as indices into one flattened axis.
fn flat(index: &[i64], sizes: &[i64]) -> Result<Vec<i64>> {
    let places = index.chunks(sizes.len().max(1)).map(|place| {
        let mut flat = 0;
        for (&at, &size) in place.iter().zip(sizes) {
            flat = flat * size + counted(&[at], size)?[0];
        }
        Ok(flat)
    });
    places.collect()
}

/// Whether a scatter adds to the existing elements; products and extremes are refused.
fn adds(n: &RuleCall) -> Result<bool> {
    match n.attrs().text("reduction").unwrap_or("none") {
        "none" => Ok(false),
        "add" => Ok(true),
        other => bail!(Unsupported, "attribute reduction is {other:?}; supported: none, add"),
    }
}

/// ScatterElements, y = x with updates[…, j, …] at […, index[…, j, …], …], which replace the elements or are added to
/// them. dx = g, zero where elements are replaced; dupdates gathers g at these indices. The standard does not define
/// the result of a replacement with equal indices. <https://onnx.ai/onnx/operators/onnx__ScatterElements.html>
pub(super) fn scatter_elements(b: &mut Builder<'_>, n: &RuleCall) -> Cotangents {
    let axis = n.attrs().int_or("axis", 0);
    let pick = |b: &mut Builder<'_>, g, index| {
        b.raw("GatherElements", &[g, index], vec![attrs::int("axis", axis)])
    };
    let put = |b: &mut Builder<'_>, g, index, zeros| {
        b.raw("ScatterElements", &[g, index, zeros], vec![attrs::int("axis", axis)])
    };
    scatter(b, n, pick, put)
}

/// ScatterND, y = x with updates[o, …] at [index[o], …]; like [`scatter_elements`].
/// <https://onnx.ai/onnx/operators/onnx__ScatterND.html>
pub(super) fn scatter_nd(b: &mut Builder<'_>, n: &RuleCall) -> Cotangents {
    let pick = |b: &mut Builder<'_>, g, index| b.raw("GatherND", &[g, index], vec![]);
    let put = |b: &mut Builder<'_>, g, index, zeros| b.raw("ScatterND", &[g, index, zeros], vec![]);
    scatter(b, n, pick, put)
}

fn scatter(
    b: &mut Builder<'_>,
    n: &RuleCall,
    pick: impl FnOnce(&mut Builder<'_>, ValueId, ValueId) -> Result<ValueId>,
    put: impl FnOnce(&mut Builder<'_>, ValueId, ValueId, ValueId) -> Result<ValueId>,
) -> Cotangents {
    let (index, updates) = (n.x(1)?, n.x(2)?);
    let adds = adds(n)?;
    let g = n.full(b)?;
    let mut grads = vec![None, None, None];
    if n.wants(0) {
        grads[0] = Some(if adds {
            g.into()
        } else {
            let zero = b.scalar(g, 0.0)?;
            let zeros = b.expand_like(zero, updates)?;
            put(b, g, index, zeros)?.into()
        });
    }
    if n.wants(2) {
        grads[2] = Some(pick(b, g, index)?.into());
    }
    Ok(grads)
}

/// TopK, the k largest or smallest elements along an axis. dx scatters g by the indices, the second output.
/// <https://onnx.ai/onnx/operators/onnx__TopK.html>
pub(super) fn top_k(b: &mut Builder<'_>, n: &RuleCall) -> Cotangents {
    n.attrs().ignore(&["k", "largest", "sorted"]);
    let x = n.x(0)?;
    if n.form(0).is_none() {
        return none();
    }
    let axis = n.axis(n.attrs().int_or("axis", -1), b.rank(x)?)?;
    let Some(index) = n.output(1) else {
        bail!(Unsupported, "its output Indices is left out; supported: with it");
    };
    let g = n.full(b)?;
    one(placed(b, g, index, axis, x)?)
}
