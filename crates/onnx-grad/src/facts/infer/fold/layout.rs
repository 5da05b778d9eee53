//! Numbers of rearranged, indexed and reduced small values.

use super::{
    super::{
        call::{InferenceCall, normal_axis},
        layout::{cuts, permutation, split as split_shapes},
        reduce::reduced_axes,
    },
    view::{StridedView, pick, sizes},
};
use crate::facts::{
    ConstantValue,
    Dim::{self, Fixed},
    Fact,
};

/// The same numbers in another shape.
pub(in super::super) fn unchanged(call: &InferenceCall, _: &Fact) -> Option<ConstantValue> {
    call.value(0).cloned()
}

pub(in super::super) fn transpose(call: &InferenceCall, _: &Fact) -> Option<ConstantValue> {
    let whole = StridedView::whole(&sizes(call.input(0)?)?)?;
    let perm = permutation(call, whole.axes.len())?;
    let axes = perm.into_iter().map(|axis| whole.axes.get(axis).copied());
    StridedView { offset: 0, axes: axes.collect::<Option<_>>()? }.read(call.value(0)?)
}

pub(in super::super) fn expand(call: &InferenceCall, out: &Fact) -> Option<ConstantValue> {
    StridedView::broadcast(&sizes(call.input(0)?)?, &sizes(out)?)?.read(call.value(0)?)
}

pub(in super::super) fn tile(call: &InferenceCall, _: &Fact) -> Option<ConstantValue> {
    let whole = StridedView::whole(&sizes(call.input(0)?)?)?;
    let repeats = call.dims(1)?.iter();
    let mut axes = Vec::new();
    for (axis, repeat) in whole.axes.into_iter().zip(repeats) {
        axes.extend([(usize::try_from(repeat.fixed()?).ok()?, 0), axis]);
    }
    StridedView { offset: 0, axes }.read(call.value(0)?)
}

pub(in super::super) fn slice(call: &InferenceCall, _: &Fact) -> Option<ConstantValue> {
    let mut view = StridedView::whole(&sizes(call.input(0)?)?)?;
    for (axis, cut) in view.axes.iter_mut().zip(cuts(call)?) {
        view.offset = view.offset.checked_add(cut.start.checked_mul(axis.1)?)?;
        let len = usize::try_from(cut.len.fixed()?).ok()?;
        // The stride of a single element is not used, and its step can have any size.
        *axis = (len, if len > 1 { axis.1.checked_mul(cut.step)? } else { 0 });
    }
    view.read(call.value(0)?)
}

/// Split: the shapes, and the numbers if those of the input are known.
pub(in super::super) fn split(call: &InferenceCall) -> Option<Vec<Fact>> {
    let mut parts = split_shapes(call)?;
    let Some(value) = call.value(0) else { return Some(parts) };
    let Some(whole) = sizes(call.input(0)?).and_then(|sizes| StridedView::whole(&sizes)) else {
        return Some(parts);
    };
    let axis = call.axis(0, whole.axes.len())?;
    let stride = whole.axes.get(axis)?.1;
    let mut offset = 0_i64;
    for part in &mut parts {
        let Some(sizes) = sizes(part) else { break };
        let strides = whole.axes.iter().map(|(_, stride)| *stride);
        let axes = sizes.iter().copied().zip(strides).collect();
        part.value = StridedView { offset, axes }.read(value);
        let len = i64::try_from(*sizes.get(axis)?).ok()?;
        offset = offset.checked_add(len.checked_mul(stride)?)?;
    }
    Some(parts)
}

pub(in super::super) fn concat(call: &InferenceCall, out: &Fact) -> Option<ConstantValue> {
    let axis = call.axis(1, out.rank()?)?;
    let mut ints = Vec::new();
    let mut floats = Vec::new();
    // The blocks of one input cover its axes from `axis` on.
    let outer: usize = sizes(out)?.get(..axis)?.iter().product();
    for block in 0..outer {
        for k in 0..call.arity() {
            let len: usize = sizes(call.input(k)?)?.get(axis..)?.iter().product();
            let range = block.checked_mul(len)?..block.checked_add(1)?.checked_mul(len)?;
            match call.value(k)? {
                ConstantValue::Ints(from) => ints.extend(from.get(range)?),
                ConstantValue::Floats(from) => floats.extend(from.get(range)?),
            }
        }
    }
    Some(if out.elem.is_float() {
        ConstantValue::Floats(floats)
    } else {
        ConstantValue::Ints(ints)
    })
}

pub(in super::super) fn gather(call: &InferenceCall, _: &Fact) -> Option<ConstantValue> {
    let from = sizes(call.input(0)?)?;
    let axis = call.axis(0, from.len())?;
    let (outer, len) = (from.get(..axis)?.iter().product(), *from.get(axis)?);
    let inner: usize = from.get(axis.checked_add(1)?..)?.iter().product();
    let mut places = Vec::new();
    for block in 0_usize..outer {
        for index in call.dims(1)? {
            let row = block.checked_mul(len)?.checked_add(normal_axis(index.fixed()?, len)?)?;
            let start = row.checked_mul(inner)?;
            places.extend(start..start.checked_add(inner)?);
        }
    }
    pick(call.value(0)?, &places)
}

/// NonZero: for each axis the coordinates of the nonzero elements.
pub(in super::super) fn non_zero(call: &InferenceCall, _: &Fact) -> Option<ConstantValue> {
    let set: Vec<bool> = match call.value(0)? {
        ConstantValue::Ints(ints) => ints.iter().map(|int| *int != Fixed(0)).collect(),
        ConstantValue::Floats(floats) => floats.iter().map(|float| *float != 0.0).collect(),
    };
    let mut from = sizes(call.input(0)?)?;
    if from.is_empty() {
        from.push(1);
    }
    let mut coordinates = Vec::new();
    for (size, stride) in StridedView::whole(&from)?.axes {
        let (size, stride) = (i64::try_from(size).ok()?, stride.max(1));
        for place in set.iter().enumerate().filter_map(|(place, set)| set.then_some(place)) {
            let place = i64::try_from(place).ok()?;
            coordinates.push(Fixed((place / stride).checked_rem(size)?));
        }
    }
    Some(ConstantValue::Ints(coordinates))
}

pub(in super::super) fn range(call: &InferenceCall, out: &Fact) -> Option<ConstantValue> {
    let count = i64::try_from(out.count()?).ok()?;
    Some(match (call.value(0)?, call.value(2)?) {
        (ConstantValue::Ints(start), ConstantValue::Ints(delta)) => {
            let (start, delta) = (*start.first()?, *delta.first()?);
            let at = |k| start.plus(delta.times(Fixed(k))?);
            ConstantValue::Ints((0..count).map(at).collect::<Option<_>>()?)
        }
        (ConstantValue::Floats(start), ConstantValue::Floats(delta)) => {
            let (start, delta) = (start.first()?, delta.first()?);
            ConstantValue::Floats((0..count).map(|k| start + super::float(k) * delta).collect())
        }
        _ => return None,
    })
}

/// ScatterND without reduction: each row of the indices sets one slice from the updates.
pub(in super::super) fn scatter_nd(call: &InferenceCall, _: &Fact) -> Option<ConstantValue> {
    if !matches!(call.text("reduction"), "" | "none") {
        return None;
    }
    let whole = StridedView::whole(&sizes(call.input(0)?)?)?;
    let depth = *sizes(call.input(1)?)?.last()?;
    let (outer, inner) = whole.axes.split_at_checked(depth.max(1))?;
    let len: usize = inner.iter().map(|(size, _)| *size).product();
    let mut value = call.value(0)?.clone();
    for (row, index) in call.dims(1)?.chunks(depth.max(1)).enumerate() {
        let mut start = 0_i64;
        for (index, (size, stride)) in index.iter().zip(outer) {
            let index = i64::try_from(normal_axis(index.fixed()?, *size)?).ok()?;
            start = start.checked_add(index.checked_mul(*stride)?)?;
        }
        let start = usize::try_from(start).ok()?;
        let to = start..start.checked_add(len)?;
        let from = row.checked_mul(len)?..row.checked_add(1)?.checked_mul(len)?;
        match (&mut value, call.value(2)?) {
            (ConstantValue::Ints(all), ConstantValue::Ints(new)) => {
                all.get_mut(to)?.copy_from_slice(new.get(from)?);
            }
            (ConstantValue::Floats(all), ConstantValue::Floats(new)) => {
                all.get_mut(to)?.copy_from_slice(new.get(from)?);
            }
            _ => return None,
        }
    }
    Some(value)
}

/// CumSum along the axis in input 1; `exclusive` omits the element itself.
pub(in super::super) fn cum_sum(call: &InferenceCall, out: &Fact) -> Option<ConstantValue> {
    let view = StridedView::whole(&sizes(out)?)?;
    let axis = normal_axis(call.scalar(1)?, view.axes.len())?;
    let (len, stride) = *view.axes.get(axis)?;
    let stride = usize::try_from(stride).ok()?;
    let (exclusive, reverse) = (call.int("exclusive", 0) != 0, call.int("reverse", 0) != 0);
    let run = |total: usize| {
        // Starts of the runs along the axis, in any order.
        (0..total).filter(move |place| (place / stride) % len == 0)
    };
    fn sums<T: Copy>(
        values: &mut [T],
        places: impl Iterator<Item = usize>,
        exclusive: bool,
        zero: T,
        plus: impl Fn(T, T) -> Option<T>,
    ) -> Option<()> {
        let mut sum = zero;
        for place in places {
            let value = values.get_mut(place)?;
            let next = plus(sum, *value)?;
            *value = if exclusive { sum } else { next };
            sum = next;
        }
        Some(())
    }
    let mut value = call.value(0)?.clone();
    for start in run(value.len()) {
        let places = (0..len).map(|k| start + stride * if reverse { len - 1 - k } else { k });
        match &mut value {
            ConstantValue::Ints(ints) => sums(ints, places, exclusive, Fixed(0), Dim::plus)?,
            ConstantValue::Floats(floats) => {
                sums(floats, places, exclusive, 0.0, |a, b| super::rounded_float(out.elem, a + b))?;
            }
        }
    }
    Some(value)
}

/// Trilu: keeps the elements above (or below) the k-th diagonal; the others are 0.
pub(in super::super) fn trilu(call: &InferenceCall, out: &Fact) -> Option<ConstantValue> {
    let &[.., rows, columns] = sizes(out)?.as_slice() else { return None };
    let k = if call.has(1) { call.scalar(1)? } else { 0 };
    let upper = call.int("upper", 1) != 0;
    let keep = |place: usize| {
        let row = i64::try_from((place / columns) % rows).ok()?;
        let column = i64::try_from(place % columns).ok()?;
        let diagonal = row.saturating_add(k);
        Some(if upper { column >= diagonal } else { column <= diagonal })
    };
    Some(match call.value(0)? {
        ConstantValue::Ints(ints) => {
            let kept = ints.iter().enumerate();
            let kept = kept.map(|(k, int)| Some(if keep(k)? { *int } else { Fixed(0) }));
            ConstantValue::Ints(kept.collect::<Option<_>>()?)
        }
        ConstantValue::Floats(floats) => {
            let kept = floats.iter().enumerate();
            let kept = kept.map(|(k, float)| Some(if keep(k)? { *float } else { 0.0 }));
            ConstantValue::Floats(kept.collect::<Option<_>>()?)
        }
    })
}

/// A reduction: combines every element with its element of the output.
fn reduce(
    call: &InferenceCall,
    out: &Fact,
    start: Option<i64>,
    ints: impl Fn(Dim, Dim) -> Option<Dim>,
    floats: impl Fn(f64, f64) -> f64,
) -> Option<ConstantValue> {
    fn each<T: Copy>(
        from: &[T],
        places: &[usize],
        mut to: Vec<Option<T>>,
        combine: impl Fn(T, T) -> Option<T>,
    ) -> Option<Vec<T>> {
        for (value, place) in from.iter().zip(places) {
            let to = to.get_mut(*place)?;
            *to = Some(match *to {
                Some(so_far) => combine(so_far, *value)?,
                None => *value,
            });
        }
        to.into_iter().collect()
    }
    let from = sizes(call.input(0)?)?;
    let axes = reduced_axes(call)?;
    // Strides of the output, with the reduced axes at size 1.
    let kept: Vec<usize> = from
        .iter()
        .enumerate()
        .map(|(k, size)| if axes.contains(&k) { 1 } else { *size })
        .collect();
    let mut view = StridedView::whole(&kept)?;
    for ((k, axis), size) in view.axes.iter_mut().enumerate().zip(&from) {
        *axis = (*size, if axes.contains(&k) { 0 } else { axis.1 });
    }
    let (places, count) = (view.places()?, out.count()?);
    Some(match call.value(0)? {
        ConstantValue::Ints(from) => {
            ConstantValue::Ints(each(from, &places, vec![start.map(Fixed); count], ints)?)
        }
        ConstantValue::Floats(from) => {
            let start = vec![start.map(super::float); count];
            let combine = |a, b| super::rounded_float(out.elem, floats(a, b));
            ConstantValue::Floats(each(from, &places, start, combine)?)
        }
    })
}

pub(in super::super) fn reduce_prod(call: &InferenceCall, out: &Fact) -> Option<ConstantValue> {
    reduce(call, out, Some(1), Dim::times, |a, b| a * b)
}

pub(in super::super) fn reduce_sum(call: &InferenceCall, out: &Fact) -> Option<ConstantValue> {
    reduce(call, out, Some(0), Dim::plus, |a, b| a + b)
}

pub(in super::super) fn reduce_max(call: &InferenceCall, out: &Fact) -> Option<ConstantValue> {
    let max = |a: Dim, b: Dim| Some(if a.compare(b)?.is_ge() { a } else { b });
    reduce(call, out, None, max, f64::max)
}

pub(in super::super) fn reduce_min(call: &InferenceCall, out: &Fact) -> Option<ConstantValue> {
    let min = |a: Dim, b: Dim| Some(if a.compare(b)?.is_le() { a } else { b });
    reduce(call, out, None, min, f64::min)
}
