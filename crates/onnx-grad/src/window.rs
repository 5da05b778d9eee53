//! Windows: the positions of convolution and pooling kernels over their input, and the resulting sizes.
//!
//! Along an axis of size H, with pads begin and end and extent = (kernel − 1)·dilation + 1, there are ⌊(H + begin +
//! end − extent) / stride⌋ + 1 windows. `auto_pad` SAME gives ⌈H / stride⌉ windows, transposed H·stride elements; an
//! odd pad is at the end for `SAME_UPPER` and at the beginning for `SAME_LOWER`.
//!
//! Sources: <https://onnx.ai/onnx/operators/onnx__Conv.html>, <https://onnx.ai/onnx/operators/onnx__AveragePool.html>,
//! <https://onnx.ai/onnx/operators/onnx__ConvTranspose.html>

use std::fmt;

use crate::proto::{AttributeProto, NodeProto, attribute_proto::AttributeType};

/// The maximum size: products of two sizes fit 64 bits, and single sizes the 32 bits of engines.
const LARGEST: i64 = (1 << 31) - 1;

/// The source of a window's pads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Padding {
    /// Explicit pads.
    Explicit,
    /// Computed from the size, with an odd pad at the end.
    SameUpper,
    /// Computed from the size, with an odd pad at the beginning.
    SameLower,
}

/// The window of a convolution or pool, one entry for each spatial axis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// The number of taps along an axis, at least 1.
    pub kernel: Vec<i64>,
    /// The distance between windows, at least 1.
    pub strides: Vec<i64>,
    /// The distance between taps, at least 1.
    pub dilations: Vec<i64>,
    /// The explicit pads before the first element; negative ones crop.
    pub begins: Vec<i64>,
    /// The explicit pads after the last element; negative ones crop.
    pub ends: Vec<i64>,
    /// Whether `begins` and `ends` are the pads or [`Window::pads`] computes them.
    pub padding: Padding,
    /// Whether a partial window at the end counts.
    pub ceil: bool,
}

/// A fault in the attributes of a window.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WindowError {
    /// A list with the wrong number of entries.
    Length(&'static str, Vec<i64>, usize),
    /// An attribute that is a list of integers has another type.
    Type(&'static str),
    /// A kernel, stride or dilation is below 1.
    NotPositive,
    /// An unknown `auto_pad`.
    AutoPad(String),
}

impl fmt::Display for WindowError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length(name, list, count) => {
                write!(f, "its {name} are {list:?}, expected {count}")
            }
            Self::Type(name) => write!(f, "its {name} are no list of integers"),
            Self::NotPositive => {
                write!(f, "its kernel, strides and dilations must be at least 1")
            }
            Self::AutoPad(mode) => write!(
                f,
                "attribute auto_pad is {mode:?}; the standard has NOTSET, VALID, SAME_UPPER, SAME_LOWER"
            ),
        }
    }
}

impl std::error::Error for WindowError {}

impl Window {
    /// The kernel in a node's attribute; `None` if the weights determine it.
    pub fn kernel_of(node: &NodeProto) -> Option<Vec<i64>> {
        node.attr_ints("kernel_shape").filter(|kernel| !kernel.is_empty()).map(<[i64]>::to_vec)
    }

    /// The window of a node, with these kernel sizes. Absent or empty lists have their defaults.
    ///
    /// # Errors
    /// If the attributes are invalid.
    pub fn read(node: &NodeProto, kernel: Vec<i64>) -> Result<Self, WindowError> {
        let axes = kernel.len();
        for name in ["kernel_shape", "strides", "dilations", "pads"] {
            let is_list = |a: &AttributeProto| a.r#type == Some(AttributeType::Ints as i32);
            if node.attr(name).is_some_and(|a| a.ints.is_empty() && !is_list(a)) {
                return Err(WindowError::Type(name));
            }
        }
        let list = |name: &'static str, default: i64, count: usize| match node.attr_ints(name) {
            None | Some([]) => Ok(vec![default; count]),
            Some(list) if list.len() == count => Ok(list.to_vec()),
            Some(list) => Err(WindowError::Length(name, list.to_vec(), count)),
        };
        let (strides, dilations) = (list("strides", 1, axes)?, list("dilations", 1, axes)?);
        if kernel.iter().chain(&strides).chain(&dilations).any(|number| *number < 1) {
            return Err(WindowError::NotPositive);
        }
        let (padding, explicit) = match node.attr_str("auto_pad").unwrap_or_default() {
            "" | "NOTSET" => (Padding::Explicit, true),
            "VALID" => (Padding::Explicit, false),
            "SAME_UPPER" => (Padding::SameUpper, false),
            "SAME_LOWER" => (Padding::SameLower, false),
            other => return Err(WindowError::AutoPad(other.to_owned())),
        };
        let mut begins = if explicit { list("pads", 0, 2 * axes)? } else { vec![0; 2 * axes] };
        let ends = begins.split_off(axes);
        let ceil = node.attr_int("ceil_mode").unwrap_or(0) != 0;
        Ok(Self { kernel, strides, dilations, begins, ends, padding, ceil })
    }

    /// The number of spatial axes.
    pub fn axes(&self) -> usize {
        self.kernel.len()
    }

    /// Whether every number is below 2^31, so that products of two fit 64 bits.
    pub fn is_bounded(&self) -> bool {
        let numbers = [&self.kernel, &self.strides, &self.dilations, &self.begins, &self.ends];
        numbers.into_iter().flatten().all(|number| (-LARGEST..=LARGEST).contains(number))
    }

    /// The extent of a window along an axis, including gaps.
    pub fn extent(&self, axis: usize) -> i64 {
        (self.kernel[axis] - 1).saturating_mul(self.dilations[axis]).saturating_add(1)
    }

    /// The pads before and after an axis of that size; `None` on 64-bit overflow.
    pub fn pads(&self, axis: usize, size: i64) -> Option<(i64, i64)> {
        if self.padding == Padding::Explicit {
            return Some((self.begins[axis], self.ends[axis]));
        }
        let last = self.windows(axis, size)?.checked_sub(1)?.checked_mul(self.strides[axis])?;
        let total = last.checked_add(self.extent(axis))?.checked_sub(size)?;
        Some(self.split(total.max(0)))
    }

    /// The window with explicit pads, for a value with these spatial sizes.
    pub fn written_out(&self, sizes: &[i64]) -> Option<Self> {
        let pads = sizes.iter().enumerate().map(|(axis, size)| self.pads(axis, *size));
        let (begins, ends) = pads.collect::<Option<Vec<_>>>()?.into_iter().unzip();
        // With SAME there are already ⌈H / stride⌉ windows.
        let ceil = self.ceil && self.padding == Padding::Explicit;
        Some(Self { begins, ends, padding: Padding::Explicit, ceil, ..self.clone() })
    }

    /// The number of windows along an axis of that size; `None` if there is none.
    ///
    /// With [`Window::ceil`], a last window that would start in the end padding is dropped, as in ONNX Runtime and
    /// PyTorch.
    pub fn windows(&self, axis: usize, size: i64) -> Option<i64> {
        let stride = self.strides[axis];
        if self.padding != Padding::Explicit {
            return size.checked_add(stride.checked_sub(1)?)?.checked_div(stride);
        }
        let more = if self.ceil { self.further(axis, size)? } else { 0 };
        self.room(axis, size)?.checked_div(stride)?.checked_add(1)?.checked_add(more)
    }

    /// The number of windows that rounding up adds along an axis of that size, with explicit pads: one if there is a
    /// remainder, unless that window would start in the end padding.
    pub fn further(&self, axis: usize, size: i64) -> Option<i64> {
        let (stride, room) = (self.strides[axis], self.room(axis, size)?);
        let start = room.checked_div(stride)?.checked_add(1)?.checked_mul(stride)?;
        let inside = start < size.checked_add(self.begins[axis])?;
        Some(i64::from(room % stride != 0 && inside))
    }

    /// The maximum offset of a window, with explicit pads.
    fn room(&self, axis: usize, size: i64) -> Option<i64> {
        let padded = size.checked_add(self.begins[axis])?.checked_add(self.ends[axis])?;
        padded.checked_sub(self.extent(axis)).filter(|room| *room >= 0)
    }

    /// The output size of a transposed convolution along an axis of that size, after the pads are removed.
    pub fn transposed(&self, axis: usize, size: i64, output_padding: i64) -> Option<i64> {
        if self.padding != Padding::Explicit {
            return size.checked_mul(self.strides[axis]);
        }
        let reach = self.transposed_reach(axis, size, output_padding)?;
        reach.checked_sub(self.begins[axis])?.checked_sub(self.ends[axis])
    }

    /// The pads for which a transposed convolution has `out` elements along an axis of `size`; `None` if its windows
    /// do not reach that far.
    pub fn transposed_pads(
        &self,
        axis: usize,
        size: i64,
        output_padding: i64,
        out: i64,
    ) -> Option<(i64, i64)> {
        let total = self.transposed_reach(axis, size, output_padding)?.checked_sub(out)?;
        (total >= 0).then(|| self.split(total))
    }

    /// The size that the windows of a transposed convolution cover along an axis.
    fn transposed_reach(&self, axis: usize, size: i64, output_padding: i64) -> Option<i64> {
        let last = self.strides[axis].checked_mul(size.checked_sub(1)?)?;
        last.checked_add(self.extent(axis))?.checked_add(output_padding)
    }

    fn split(&self, total: i64) -> (i64, i64) {
        let (small, large) = (total / 2, total - total / 2);
        if self.padding == Padding::SameUpper { (small, large) } else { (large, small) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attrs::{float, int, ints, text};

    fn window(attribute: Vec<AttributeProto>, kernel: i64) -> Window {
        let node = NodeProto { attribute, ..NodeProto::default() };
        Window::read(&node, vec![kernel]).expect("a window")
    }

    /// Stride, dilation and pads of a kernel, the size of the axis, and the number of windows, rounded down and up.
    #[test]
    fn windows_are_counted() {
        let rows = [
            ((3, 1, 1, [0, 0]), 8, (Some(6), Some(6))),
            ((3, 2, 1, [1, 1]), 8, (Some(4), Some(5))),
            ((3, 2, 1, [0, 0]), 8, (Some(3), Some(4))),
            ((3, 1, 2, [0, 0]), 8, (Some(4), Some(4))),
            // The additional window would start in the end padding.
            ((1, 2, 1, [0, 1]), 4, (Some(3), Some(3))),
            ((2, 3, 1, [0, 2]), 6, (Some(3), Some(3))),
            ((2, 3, 1, [1, 1]), 5, (Some(2), Some(2))),
            ((3, 1, 1, [-1, 0]), 8, (Some(5), Some(5))),
            ((9, 1, 1, [0, 0]), 8, (None, None)),
            ((i64::MAX, 1, i64::MAX, [0, 0]), 8, (None, None)),
        ];
        for ((kernel, stride, dilation, pads), size, counts) in rows {
            let attributes = |ceil| {
                vec![
                    ints("strides", &[stride]),
                    ints("dilations", &[dilation]),
                    ints("pads", &pads),
                    int("ceil_mode", ceil),
                ]
            };
            let count = |ceil| window(attributes(ceil), kernel).windows(0, size);
            assert_eq!((count(0), count(1)), counts, "{kernel} {stride} {dilation} {pads:?}");
        }
    }

    #[test]
    fn pads_follow_from_the_size() {
        let same = |mode: &str, kernel| {
            window(vec![ints("strides", &[2]), text("auto_pad", mode), int("ceil_mode", 1)], kernel)
        };
        assert_eq!(same("SAME_UPPER", 3).pads(0, 8), Some((0, 1)));
        assert_eq!(same("SAME_LOWER", 3).pads(0, 8), Some((1, 0)));
        assert_eq!(same("SAME_UPPER", 3).pads(0, 7), Some((1, 1)));
        assert_eq!(same("SAME_UPPER", 1).pads(0, 8), Some((0, 0)));
        let written = same("SAME_LOWER", 3).written_out(&[8]).expect("pads");
        assert_eq!((written.windows(0, 8), written.begins[0], written.ceil), (Some(4), 1, false));
        assert_eq!(same("SAME_LOWER", 3).transposed(0, 4, 0), Some(8));
        assert_eq!(same("SAME_LOWER", 3).transposed_pads(0, 4, 0, 8), Some((1, 0)));
        assert_eq!(same("SAME_UPPER", 3).transposed_pads(0, 4, 0, 8), Some((0, 1)));
        assert_eq!(same("VALID", 3).transposed(0, 4, 1), Some(10));
        assert_eq!(same("VALID", 3).transposed_pads(0, 4, 0, 10), None);
    }

    #[test]
    fn invalid_windows_are_errors() {
        let error = |attribute| {
            let node = NodeProto { attribute: vec![attribute], ..NodeProto::default() };
            Window::read(&node, vec![3, 3]).expect_err("no window").to_string()
        };
        assert_eq!(error(ints("strides", &[1])), "its strides are [1], expected 2");
        assert_eq!(error(ints("pads", &[1, 1])), "its pads are [1, 1], expected 4");
        assert!(error(ints("dilations", &[0, 1])).ends_with("at least 1"));
        for name in ["kernel_shape", "pads", "strides", "dilations"] {
            assert_eq!(error(float(name, 1.0)), format!("its {name} are no list of integers"));
        }
        assert!(error(text("auto_pad", "SAME")).contains("SAME_UPPER"));
        let node = NodeProto { attribute: vec![ints("strides", &[])], ..NodeProto::default() };
        assert_eq!(Window::read(&node, vec![3]).map(|window| window.strides), Ok(vec![1]));
    }
}
