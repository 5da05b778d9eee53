//! Operators that slide a window: convolutions and pools, whose sizes are all written out.
//!
//! `auto_pad` is resolved as the standard says: `SAME` gives an output of ⌈in / stride⌉ (transposed:
//! in · stride), and an odd total pads the end more for `SAME_UPPER`, the beginning for `SAME_LOWER`.

use onnx_grad::proto::NodeProto;

use onnx_grad::attrs::ints;

use super::{
    Refusal,
    rewrite::{Rewrite, only_first_output, set, unset},
};

/// The window of a node, one entry per spatial axis.
struct Window {
    kernel: Vec<i64>,
    strides: Vec<i64>,
    dilations: Vec<i64>,
}

impl Window {
    fn of(b: &Rewrite<'_>, node: &NodeProto) -> Result<Self, Refusal> {
        let kernel = match node.attr_ints("kernel_shape") {
            Some(kernel) if !kernel.is_empty() => kernel.to_vec(),
            // A convolution may leave its kernel to the shape of its weights.
            _ => {
                let sizes = b.facts.spatial(node, 1).ok_or("the size of its kernel is unknown")?;
                sizes.into_iter().filter_map(|size| i64::try_from(size).ok()).collect()
            }
        };
        let all = |name: &str| match node.attr_ints(name) {
            Some(values) if !values.is_empty() => values.to_vec(),
            _ => vec![1; kernel.len()],
        };
        let (strides, dilations) = (all("strides"), all("dilations"));
        if strides.len() != kernel.len() || dilations.len() != kernel.len() {
            return Err("strides, dilations and kernel_shape differ in length".to_owned());
        }
        let sizes = kernel.iter().chain(&strides).chain(&dilations);
        if let Some(size) = sizes.into_iter().find(|size| !(1..=i32::MAX.into()).contains(*size)) {
            return Err(format!("its window has the impossible size {size}"));
        }
        Ok(Self { kernel, strides, dilations })
    }

    /// Stride and extent of the dilated kernel, per axis.
    fn axes(&self) -> impl Iterator<Item = (i64, i64)> {
        let extents = self.kernel.iter().zip(&self.dilations);
        let extents = extents.map(|(k, d)| (k - 1) * d + 1);
        self.strides.iter().copied().zip(extents)
    }
}

fn input_sizes(b: &Rewrite<'_>, node: &NodeProto, window: &Window) -> Result<Vec<i64>, Refusal> {
    let sizes = b.facts.spatial(node, 0).filter(|sizes| sizes.len() == window.kernel.len());
    let sizes = sizes.ok_or("auto_pad needs the size of its input, which is unknown")?;
    Ok(sizes.into_iter().filter_map(|size| i64::try_from(size).ok()).collect())
}

/// Splits totals into pads before and pads behind.
fn split(totals: &[i64], more_behind: bool) -> Vec<i64> {
    let (small, large) = (totals.iter().map(|t| t / 2), totals.iter().map(|t| t - t / 2));
    if more_behind { small.chain(large).collect() } else { large.chain(small).collect() }
}

/// Writes the attributes of a convolution or a pool out: kernel, strides, pads.
fn write_out(b: &Rewrite<'_>, node: &mut NodeProto) -> Result<Window, Refusal> {
    let window = Window::of(b, node)?;
    let mode = node.attr_str("auto_pad").unwrap_or("NOTSET").to_owned();
    match mode.as_str() {
        "NOTSET" => {}
        "VALID" => unset(node, "pads"),
        "SAME_UPPER" | "SAME_LOWER" => {
            let sizes = input_sizes(b, node, &window)?;
            let totals = sizes.iter().zip(window.axes()).map(|(size, (stride, extent))| {
                let outputs = size.checked_add(stride - 1)?.checked_div(stride)?;
                let covered = (outputs - 1).checked_mul(stride)?.checked_add(extent)?;
                Some((covered - size).max(0))
            });
            let totals: Option<Vec<i64>> = totals.collect();
            let totals = totals.ok_or("its strides are impossible")?;
            set(node, ints("pads", &split(&totals, mode == "SAME_UPPER")));
            // The output has the size ⌈in / stride⌉ already.
            unset(node, "ceil_mode");
        }
        other => return Err(format!("attribute auto_pad is {other}")),
    }
    unset(node, "auto_pad");
    if node.attr_ints("pads").is_none_or(<[_]>::is_empty) {
        set(node, ints("pads", &vec![0; 2 * window.kernel.len()]));
    }
    if let Some(pads) = node.attr_ints("pads").filter(|pads| pads.iter().any(|pad| *pad < 0)) {
        return Err(format!("attribute pads is {pads:?}; negative pads are not supported"));
    }
    set(node, ints("kernel_shape", &window.kernel));
    set(node, ints("strides", &window.strides));
    Ok(window)
}

fn at_most_2d(window: &Window) -> Result<(), Refusal> {
    match window.kernel.len() {
        1 | 2 => Ok(()),
        n => Err(format!("it has {n} spatial axes; rten takes 1 and 2")),
    }
}

pub(super) fn conv(b: &mut Rewrite<'_>, mut node: NodeProto) -> Result<(), Refusal> {
    let window = write_out(b, &mut node)?;
    at_most_2d(&window)?;
    set(&mut node, ints("dilations", &window.dilations));
    b.keep(node);
    Ok(())
}

pub(super) fn pool(b: &mut Rewrite<'_>, mut node: NodeProto) -> Result<(), Refusal> {
    let window = write_out(b, &mut node)?;
    at_most_2d(&window)?;
    if window.dilations.iter().any(|d| *d != 1) {
        return Err(format!("attribute dilations is {:?}; rten takes 1", window.dilations));
    }
    unset(&mut node, "dilations");
    only_first_output(b, &mut node, "Indices")?;
    b.keep(node);
    Ok(())
}

/// A transposed convolution, whose pads follow from the size of its output where that is given:
/// total = stride · (in − 1) + output padding + extent − out.
pub(super) fn conv_transpose(b: &mut Rewrite<'_>, mut node: NodeProto) -> Result<(), Refusal> {
    let window = Window::of(b, &node)?;
    at_most_2d(&window)?;
    let mode = node.attr_str("auto_pad").unwrap_or("NOTSET").to_owned();
    let wanted = node.attr_ints("output_shape").filter(|shape| !shape.is_empty());
    let wanted = wanted.map(<[_]>::to_vec);
    if wanted.is_some() || mode.starts_with("SAME") {
        let sizes = input_sizes(b, &node, &window)?;
        let wanted: Vec<i64> = match wanted {
            // Old exporters write the batch and the channels too.
            Some(shape) => shape[shape.len().saturating_sub(sizes.len())..].to_vec(),
            None => sizes.iter().zip(&window.strides).map(|(n, s)| n.saturating_mul(*s)).collect(),
        };
        let extra = node.attr_ints("output_padding").unwrap_or_default().to_vec();
        let totals =
            sizes.iter().zip(window.axes()).enumerate().map(|(axis, (size, (stride, extent)))| {
                let full = stride.checked_mul(size - 1)?.checked_add(extent)?;
                let full = full.checked_add(extra.get(axis).copied().unwrap_or(0))?;
                full.checked_sub(*wanted.get(axis)?).filter(|total| *total >= 0)
            });
        let totals: Option<Vec<i64>> = totals.collect();
        let totals = totals.ok_or("its output is larger than its input and kernel give")?;
        set(&mut node, ints("pads", &split(&totals, mode == "SAME_UPPER")));
        unset(&mut node, "output_shape");
    } else if mode == "VALID" {
        unset(&mut node, "pads");
    }
    unset(&mut node, "auto_pad");
    if node.attr_ints("pads").is_none_or(<[_]>::is_empty) {
        set(&mut node, ints("pads", &vec![0; 2 * window.kernel.len()]));
    }
    set(&mut node, ints("kernel_shape", &window.kernel));
    set(&mut node, ints("strides", &window.strides));
    set(&mut node, ints("dilations", &window.dilations));
    b.keep(node);
    Ok(())
}

/// ONNX Runtime refuses `SAME` together with dilations, and with strides beyond the window: the pads are
/// written out.
pub(super) fn odd_same(b: &mut Rewrite<'_>, mut node: NodeProto) -> Result<(), Refusal> {
    let same = node.attr_str("auto_pad").is_some_and(|mode| mode.starts_with("SAME"));
    let odd = |window: Window| {
        window.dilations.iter().any(|d| *d != 1) || window.axes().any(|(s, extent)| s > extent)
    };
    if same && Window::of(b, &node).is_ok_and(odd) {
        write_out(b, &mut node)?;
    }
    b.keep(node);
    Ok(())
}
