//! Rules of operators that pick elements by index.

use super::{Call, Cotangent, Cotangents, call::product_dim, one};
use crate::{
    builder::Builder,
    error::{Error, ErrorKind, Result, bail},
    facts::Dim,
    graph::ValueId,
    proto::tensor_proto::DataType,
};

/// Gather, y[…, j, …] = x[…, indices[j], …]. dx[l] = Σ_j [indices[j] = l]·g[j], a product with a one-hot
/// matrix; negative indices count from the end. <https://onnx.ai/onnx/operators/onnx__Gather.html>
pub(super) fn gather(b: &mut Builder<'_>, n: &Call) -> Cotangents {
    let (x, indices) = (n.x(0)?, n.x(1)?);
    let (shape, index_shape) = (b.shape(x)?, b.shape(indices)?);
    let axis = n.axis(n.attrs().int_or("axis", 0), shape.len())?;
    let size = b.size(x, axis)?;
    let g = n.full(b)?;
    let open = || Error::new(ErrorKind::Shape, "its shape is not linear in the batch size");
    let rows = product_dim(&shape[..axis]).ok_or_else(open)?;
    let picks = product_dim(&index_shape).ok_or_else(open)?;
    let columns = product_dim(&shape[axis + 1..]).ok_or_else(open)?;
    let flat = b.reshape(indices, &[Dim::Fixed(1), picks])?;
    let flat = b.cast(flat, DataType::Int64)?;
    let (places, from_end) = (b.places(0, size)?, b.places(-size, 0)?);
    let places = b.ints(&[size, 1], &places)?;
    let from_end = b.ints(&[size, 1], &from_end)?;
    let (near, far) = (b.equal(places, flat, g)?, b.equal(from_end, flat, g)?);
    let one_hot = b.add(near, far)?;
    let g = b.reshape(g, &[rows, picks, columns])?;
    let dx = b.matmul(one_hot, g)?;
    one(b.reshape(dx, &shape)?)
}

/// Indices as int64 that count from the start of an axis, also those that count from its end.
pub(super) fn from_start(b: &mut Builder<'_>, index: ValueId, size: i64) -> Result<ValueId> {
    let index = b.cast(index, DataType::Int64)?;
    if b.fact(index).ints().is_some_and(|ints| ints.iter().all(|&place| place >= 0)) {
        return Ok(index);
    }
    let negative = b.below(index, 0.0)?;
    let size = b.ints(&[], &[size])?;
    let shift = b.mul(negative, size)?;
    b.add(index, shift)
}

/// GatherElements of one element a row, y[n, 0] = x[n, index[n, 0]]: the score of a class.
/// dx[n, k] = g[n, 0]·[k = index[n, 0]], kept as a one-hot row.
/// <https://onnx.ai/onnx/operators/onnx__GatherElements.html>
pub(super) fn gather_elements(b: &mut Builder<'_>, n: &Call) -> Cotangents {
    let (x, column) = (n.x(0)?, n.x(1)?);
    let axis = n.axis(n.attrs().int_or("axis", 0), b.rank(x)?)?;
    let shape = b.shape(x)?;
    let one_a_row = shape.len() == 2 && b.shape(column)? == [shape[0], Dim::Fixed(1)];
    if axis != 1 || !one_a_row {
        bail!(Unsupported, "it picks many elements; supported: one in each row of a matrix");
    }
    let g = n.cot(b)?;
    let mut shape = b.shape(g)?;
    shape[1] = Dim::Fixed(1);
    let scale = b.reshape(g, &shape)?;
    Ok(vec![Some(Cotangent::OneHot { column, scale }), None])
}
