//! Rules of the operators that sample an image at computed coordinates.

use super::{Cotangents, RuleCall, call::product, call::product_dim, one};
use crate::{
    attrs,
    builder::Builder,
    error::{Result, bail},
    facts::Dim,
    graph::ValueId,
    proto::tensor_proto::DataType,
};

/// GridSample, y[n, c, p] = Σ over the corners around coordinate grid[n, p] of weight·x[n, c, corner]. The grid's −1
/// and 1 are the centers of the outer elements with align_corners, else their outer edges. The weight is Π(1 −
/// distance) for linear and 1 for nearest, whose grid gets no gradient. Corners outside count 0 with the padding
/// `zeros`; with `border` the coordinate is clamped. Differentiated through this definition.
/// <https://onnx.ai/onnx/operators/onnx__GridSample.html> The modes have other names from 20.
pub(super) fn grid_sample(b: &mut Builder<'_>, n: &RuleCall) -> Result<Vec<ValueId>> {
    let nearest = match n.attrs().text("mode").unwrap_or("linear") {
        "linear" | "bilinear" => false,
        "nearest" => true,
        other => bail!(Unsupported, "attribute mode is {other:?}; supported: linear, nearest"),
    };
    let border = match n.attrs().text("padding_mode").unwrap_or("zeros") {
        "zeros" => false,
        "border" => true,
        other => {
            bail!(Unsupported, "attribute padding_mode is {other:?}; supported: zeros, border")
        }
    };
    let corners = n.attrs().flag("align_corners");
    let (x, grid) = (n.x(0)?, n.x(1)?);
    // Coordinates need more digits than half precision has.
    let elem = b.elem(x);
    let wide = if elem == DataType::Double { elem } else { DataType::Float };
    let (x, grid) = (b.cast(x, wide)?, b.cast(grid, wide)?);
    let (shape, out) = (b.shape(x)?, b.shape(grid)?);
    let axes = shape.len().saturating_sub(2);
    let sizes = (2..shape.len()).map(|axis| b.size(x, axis)).collect::<Result<Vec<_>>>()?;
    let Some(places) = product_dim(&out[1..out.len().saturating_sub(1)]) else {
        bail!(Shape, "the number of its coordinates is not known");
    };
    let places_of = [out[0], Dim::Fixed(1), places];
    let flat = [out[0], places, Dim::Fixed(b.size(grid, out.len() - 1)?)];
    let grid = b.reshape(grid, &flat)?;
    let mut near = Vec::new();
    for (axis, &size) in sizes.iter().enumerate() {
        // The grid lists the last axis first.
        let at = b.slice(grid, 2, crate::builder::index(axes - 1 - axis)?, 1, 1)?;
        let at = b.reshape(at, &places_of)?;
        near.push(NeighborElements::find(b, at, size, corners, nearest, border)?);
    }
    let pixels = [shape[0], shape[1], Dim::Fixed(product(sizes.iter().copied())?)];
    let picked = [shape[0], shape[1], places];
    let pixels = b.reshape(x, &pixels)?;
    let mut sum = None;
    let count = if nearest { 1 } else { 1usize << axes };
    for corner in 0..count {
        let (mut place, mut weight) = (None, None);
        for (axis, near) in near.iter().enumerate() {
            let (at, share) = near.corner(b, corner >> axis & 1 == 1)?;
            let scaled = match place {
                None => at,
                Some(before) => {
                    let rows = b.scale(before, near.size)?;
                    b.add(rows, at)?
                }
            };
            place = Some(scaled);
            weight = match (weight, share) {
                (Some(weight), Some(share)) => Some(b.mul(weight, share)?),
                (weight, share) => weight.or(share),
            };
        }
        let Some(place) = place else { bail!(InvalidModel, "its image has no spatial axes") };
        let place = b.cast(place, DataType::Int64)?;
        let place = b.expand(place, &picked)?;
        let mut part = b.raw("GatherElements", &[pixels, place], vec![attrs::int("axis", 2)])?;
        if let Some(weight) = weight {
            part = b.mul(part, weight)?;
        }
        sum = Some(match sum {
            None => part,
            Some(sum) => b.add(sum, part)?,
        });
    }
    let Some(sum) = sum else { bail!(InvalidModel, "its image has no spatial axes") };
    let y = b.reshape(sum, &[&shape[..2], &out[1..out.len() - 1]].concat())?;
    Ok(vec![b.cast(y, elem)?])
}

/// The elements of an axis next to the coordinates, [N, 1, P].
struct NeighborElements {
    size: f64,
    low: ValueId,
    /// The distance of the coordinates from `low`; `None` for nearest.
    behind: Option<ValueId>,
    border: bool,
}

impl NeighborElements {
    fn find(
        b: &mut Builder<'_>,
        at: ValueId,
        size: i64,
        corners: bool,
        nearest: bool,
        border: bool,
    ) -> Result<Self> {
        #[expect(clippy::cast_precision_loss, reason = "the size of an axis")]
        let size = size as f64;
        let (scale, shift) = if corners {
            ((size - 1.0) / 2.0, (size - 1.0) / 2.0)
        } else {
            (size / 2.0, (size - 1.0) / 2.0)
        };
        let shift = b.scalar(at, shift)?;
        let at = b.scale(at, scale)?;
        let mut at = b.add(at, shift)?;
        if border {
            at = inside(b, at, size)?;
        }
        let low = b.raw(if nearest { "Round" } else { "Floor" }, &[at], vec![])?;
        let behind = if nearest { None } else { Some(b.sub(at, low)?) };
        Ok(Self { size, low, behind, border })
    }

    /// The index of the element on one side, clamped, and its weight.
    fn corner(&self, b: &mut Builder<'_>, high: bool) -> Result<(ValueId, Option<ValueId>)> {
        let one = b.scalar(self.low, 1.0)?;
        let at = if high { b.add(self.low, one)? } else { self.low };
        let mut weight = match (self.behind, high) {
            (Some(behind), true) => Some(behind),
            (Some(behind), false) => Some(b.sub(one, behind)?),
            (None, _) => None,
        };
        if !self.border {
            let (low, high) = (b.scalar(at, -0.5)?, b.scalar(at, self.size - 0.5)?);
            let seen = b.between(at, low, high)?;
            weight = Some(match weight {
                Some(weight) => b.mul(weight, seen)?,
                None => seen,
            });
        }
        Ok((inside(b, at, self.size)?, weight))
    }
}

fn inside(b: &mut Builder<'_>, at: ValueId, size: f64) -> Result<ValueId> {
    let (low, high) = (b.scalar(at, 0.0)?, b.scalar(at, size - 1.0)?);
    b.raw("Clip", &[at, low, high], vec![])
}

/// AffineGrid, y[n, p, i] = Σ_j base[p, j]·θ[n, i, j]. `base` holds the coordinates of an image's elements from −1 to
/// 1, last axis first, and a 1. dθ[n, i, j] = Σ_p g[n, p, i]·base[p, j].
/// <https://onnx.ai/onnx/operators/onnx__AffineGrid.html>
pub(super) fn affine_grid(b: &mut Builder<'_>, n: &RuleCall) -> Cotangents {
    let corners = n.attrs().flag("align_corners");
    let theta = n.x(0)?;
    let out = b.shape(n.y())?;
    let sizes = (1..out.len() - 1).map(|axis| b.size(n.y(), axis)).collect::<Result<Vec<_>>>()?;
    let count = product(sizes.iter().copied())?;
    if corners && sizes.contains(&1) {
        bail!(
            Unsupported,
            "attribute align_corners is 1 for an axis of size 1, where engines differ; supported: \
             larger axes"
        );
    }
    let mut base = Vec::new();
    for place in 0..count {
        let mut left = place;
        for &size in sizes.iter().rev() {
            #[expect(clippy::cast_precision_loss, reason = "the size of an axis")]
            let (at, size_of) = ((left % size) as f64, size as f64);
            left /= size;
            base.push(match corners {
                true => 2.0 * at / (size_of - 1.0) - 1.0,
                false => (2.0 * at + 1.0) / size_of - 1.0,
            });
        }
        base.push(1.0);
    }
    let columns = b.size(theta, 2)?;
    let base = b.floats(theta, &[count, columns], &base)?;
    let g = n.full(b)?;
    let g = b.reshape(g, &[out[0], Dim::Fixed(count), out[out.len() - 1]])?;
    let g = b.transpose(g, &[0, 2, 1])?;
    one(b.matmul(g, base)?)
}
