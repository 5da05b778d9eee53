//! Shapes of matrix products.

use super::{
    call::{Dims, InferenceCall},
    elementwise::broadcast_dims,
};
use crate::facts::Dim;

/// Gemm of two matrices.
pub(super) fn gemm(call: &InferenceCall) -> Option<Dims> {
    let (&[a0, a1], &[b0, b1]) = (call.shape(0)?, call.shape(1)?) else { return None };
    let (m, inner_a) = if call.int("transA", 0) == 0 { (a0, a1) } else { (a1, a0) };
    let (inner_b, n) = if call.int("transB", 0) == 0 { (b0, b1) } else { (b1, b0) };
    agree(inner_a, inner_b).then(|| vec![m, n])
}

/// Whether two sizes that must be equal can be, for some batch size.
fn agree(a: Dim, b: Dim) -> bool {
    a == b || a.fixed().is_none() || b.fixed().is_none()
}

/// MatMul, like `numpy.matmul`: a vector is a row on the left and a column on the right.
pub(super) fn matmul(call: &InferenceCall) -> Option<Dims> {
    matmul_dims(call.shape(0)?, call.shape(1)?)
}

/// QLinearMatMul, whose second matrix is input 3.
pub(super) fn qlinear_matmul(call: &InferenceCall) -> Option<Dims> {
    matmul_dims(call.shape(0)?, call.shape(3)?)
}

fn matmul_dims(a: &[Dim], b: &[Dim]) -> Option<Dims> {
    let (inner_a, outer_a) = a.split_last()?;
    let (inner_b, batch_b, n) = match b {
        [] => return None,
        [inner] => (*inner, &b[..0], None),
        [batch @ .., inner, n] => (*inner, batch, Some(*n)),
    };
    let (batch_a, m) = match outer_a {
        [] => (&a[..0], None),
        [batch @ .., m] => (batch, Some(*m)),
    };
    if !agree(*inner_a, inner_b) {
        return None;
    }
    let mut dims = broadcast_dims(batch_a, batch_b)?;
    dims.extend(m);
    dims.extend(n);
    Some(dims)
}
