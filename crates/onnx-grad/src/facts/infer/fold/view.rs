//! Strided views: the index of the source element for each element of a result.

use crate::facts::{ConstantValue, Fact, VALUE_LIMIT};

/// Indices into a row-major value: an offset, and size and stride for each axis of the view.
pub(super) struct StridedView {
    pub(super) offset: i64,
    pub(super) axes: Vec<(usize, i64)>,
}

impl StridedView {
    /// The whole value of these sizes.
    pub(super) fn whole(sizes: &[usize]) -> Option<Self> {
        let mut stride = 1_i64;
        let mut axes = Vec::with_capacity(sizes.len());
        for size in sizes.iter().rev() {
            axes.push((*size, stride));
            stride = stride.checked_mul(i64::try_from((*size).max(1)).ok()?)?;
        }
        axes.reverse();
        Some(Self { offset: 0, axes })
    }

    /// A value of these sizes, broadcast to others.
    pub(super) fn broadcast(sizes: &[usize], wanted: &[usize]) -> Option<Self> {
        let mut view = Self::whole(sizes)?;
        let missing = wanted.len().checked_sub(sizes.len())?;
        view.axes.splice(0..0, std::iter::repeat_n((1, 0), missing));
        for (axis, wanted) in view.axes.iter_mut().zip(wanted) {
            match axis.0 {
                size if size == *wanted => {}
                1 => *axis = (*wanted, 0),
                _ => return None,
            }
        }
        Some(view)
    }

    /// The indices in row-major order of the view; `None` if there are too many.
    pub(super) fn places(&self) -> Option<Vec<usize>> {
        let sizes = self.axes.iter().map(|(size, _)| *size);
        if sizes.clone().any(|size| size == 0) {
            return Some(vec![]);
        }
        sizes.clone().try_fold(1, usize::checked_mul).filter(|count| *count <= VALUE_LIMIT)?;
        let mut places = vec![self.offset];
        for (size, stride) in &self.axes {
            let steps = i64::try_from(*size).ok()?;
            let mut next = Vec::with_capacity(places.len().checked_mul(*size)?);
            for place in places {
                for step in 0..steps {
                    next.push(place.checked_add(step.checked_mul(*stride)?)?);
                }
            }
            places = next;
        }
        places.into_iter().map(|place| usize::try_from(place).ok()).collect()
    }

    /// The numbers at these indices.
    pub(super) fn read(&self, value: &ConstantValue) -> Option<ConstantValue> {
        pick(value, &self.places()?)
    }
}

/// The numbers of a value at some indices.
pub(super) fn pick(value: &ConstantValue, places: &[usize]) -> Option<ConstantValue> {
    fn each<T: Copy>(from: &[T], places: &[usize]) -> Option<Vec<T>> {
        places.iter().map(|place| from.get(*place).copied()).collect()
    }
    Some(match value {
        ConstantValue::Ints(ints) => ConstantValue::Ints(each(ints, places)?),
        ConstantValue::Floats(floats) => ConstantValue::Floats(each(floats, places)?),
    })
}

/// The sizes of a fact that can store numbers.
pub(super) fn sizes(fact: &Fact) -> Option<Vec<usize>> {
    fact.sizes()?.into_iter().map(|size| usize::try_from(size).ok()).collect()
}
