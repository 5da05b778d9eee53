//! Shapes of Resize and Upsample.

use super::{
    call::{Dims, InferenceCall},
    fold,
};
use crate::{facts::Dim, proto::tensor_proto::DataType};

/// Resize: inputs X, scales (opset 10) or X, roi, scales, sizes; `axes` from opset 18.
///
/// `keep_aspect_ratio_policy` applies the smallest or the largest scale to all axes.
pub(super) fn resize(call: &InferenceCall) -> Option<Dims> {
    let mut dims = call.shape(0)?.to_vec();
    let axes = match call.axes(usize::MAX, "axes", dims.len())? {
        Some(axes) => axes,
        None => (0..dims.len()).collect(),
    };
    let scales = if call.opset < 11 { 1 } else { 2 };
    // Opset 11 uses an empty `scales` together with `sizes`.
    let has_sizes = call.has(3) && call.shape(3) != Some(&[Dim::Fixed(0)]);
    if has_sizes && call.opset >= 11 {
        let sizes = call.dims(3)?;
        if sizes.len() != axes.len() {
            return None;
        }
        let policy = call.text("keep_aspect_ratio_policy");
        if matches!(policy, "not_larger" | "not_smaller") {
            let scales = axes.iter().zip(sizes).map(|(axis, size)| {
                Some(fold::float(size.fixed()?) / fold::float(dims.get(*axis)?.fixed()?))
            });
            let scales = scales.collect::<Option<Vec<_>>>()?.into_iter();
            let smallest = policy == "not_larger";
            let scale = scales.reduce(if smallest { f64::min } else { f64::max })?;
            for axis in axes {
                let dim = dims.get_mut(axis)?;
                let size = (fold::float(dim.fixed()?) * scale + 0.5).floor();
                *dim = Dim::Fixed(fold::whole(size)?);
            }
            return Some(dims);
        }
        for (axis, size) in axes.into_iter().zip(sizes) {
            *dims.get_mut(axis)? = *size;
        }
        return Some(dims);
    }
    let scales = call.input(scales)?.floats()?;
    if scales.len() != axes.len() {
        return None;
    }
    for (axis, scale) in axes.into_iter().zip(scales) {
        let dim = dims.get_mut(axis)?;
        *dim = scaled(*dim, *scale)?;
    }
    Some(dims)
}

/// Upsample: an input `scales` (opset 9) or an attribute of that name (7).
pub(super) fn upsample(call: &InferenceCall) -> Option<Dims> {
    let dims = call.shape(0)?;
    let scales: Vec<f64> = if call.has(1) {
        call.input(1)?.floats()?.to_vec()
    } else {
        call.node.attr("scales")?.floats.iter().copied().map(f64::from).collect()
    };
    if scales.len() != dims.len() {
        return None;
    }
    dims.iter().zip(scales).map(|(dim, scale)| scaled(*dim, scale)).collect()
}

/// ⌊dim · scale⌋, multiplied in float32 as ONNX Runtime does.
fn scaled(dim: Dim, scale: f64) -> Option<Dim> {
    let size = match dim {
        Dim::Fixed(size) => size,
        Dim::Batch(_) if scale.fract() == 0.0 => {
            return dim.times(Dim::Fixed(fold::whole(scale)?));
        }
        Dim::Batch(_) => return None,
    };
    let exact = fold::float(size) * scale;
    let narrow = fold::rounded_float(DataType::Float, exact)?;
    fold::whole(narrow.floor()).map(Dim::Fixed)
}
