//! Rewrite rules of operators with a sliding window, convolutions and pools. They write all sizes explicitly.

use onnx_grad::{
    attrs::{int, ints},
    proto::{AttributeProto, NodeProto, tensor_proto::DataType},
    window::{Padding, Window},
};

use super::{
    Refusal,
    nodes::widened,
    refusal::RefusalText,
    rewrite::{Rewrite, input, only_first_output, set, unset},
};

pub(crate) const SPATIAL_AXES: RefusalText =
    RefusalText::new("it has … spatial axes; rten takes 1 and 2");
pub(crate) const PADS: RefusalText =
    RefusalText::new("attribute pads is …; supported: 0 to 2147483647");
pub(crate) const INDICES_OUTPUT: RefusalText =
    RefusalText::new("its Indices output is not supported");

/// The refusal of a window that no input is large enough for.
const LARGER: &str = "its window is larger than its input";

/// The window of a node.
fn window(b: &Rewrite<'_>, node: &NodeProto) -> Result<Window, Refusal> {
    // A convolution may leave its kernel to the shape of its weights.
    let of_weights = || {
        let sizes = b.facts.spatial(node, 1)?.into_iter();
        sizes.map(|size| i64::try_from(size).ok()).collect()
    };
    let kernel = Window::kernel_of(node).or_else(of_weights);
    let kernel = kernel.ok_or("the size of its kernel is unknown")?;
    Window::read(node, kernel).map_err(|error| error.to_string())
}

/// The window of a node whose numbers fit into those of the engines.
fn bounded(b: &Rewrite<'_>, node: &NodeProto) -> Result<Window, Refusal> {
    let window = window(b, node)?;
    match window.is_bounded() {
        true => Ok(window),
        false => Err("its kernel, strides, dilations or pads are beyond 2^31".to_owned()),
    }
}

/// The spatial sizes of what a window goes over, where they are known.
fn known_sizes(b: &Rewrite<'_>, node: &NodeProto, window: &Window) -> Option<Vec<i64>> {
    let sizes = b.facts.spatial(node, 0).filter(|sizes| sizes.len() == window.axes())?;
    sizes.into_iter().map(|size| i64::try_from(size).ok()).collect()
}

fn input_sizes(b: &Rewrite<'_>, node: &NodeProto, window: &Window) -> Result<Vec<i64>, Refusal> {
    let sizes = known_sizes(b, node, window);
    sizes.ok_or_else(|| "auto_pad requires the size of its input, which is unknown".to_owned())
}

/// The pads as an attribute.
fn pads(window: &Window) -> AttributeProto {
    ints("pads", &[window.begins.as_slice(), &window.ends].concat())
}

/// Writes kernel, strides and pads of a convolution or a pool explicitly.
fn write_out(b: &Rewrite<'_>, node: &mut NodeProto) -> Result<Window, Refusal> {
    // Large pads would overflow in rten, which a release build does not notice.
    let possible = |pad: &i64| (0..=i32::MAX.into()).contains(pad);
    let given = window(b, node)?;
    if !given.begins.iter().chain(&given.ends).all(possible) {
        let pads = [given.begins.as_slice(), &given.ends].concat();
        return Err(PADS.with(&[&format!("{pads:?}")]));
    }
    let mut window = bounded(b, node)?;
    if window.padding != Padding::Explicit {
        let sizes = input_sizes(b, node, &window)?;
        window = window.written_out(&sizes).ok_or("its strides are impossible")?;
        // The output has the size ⌈in / stride⌉ already.
        unset(node, "ceil_mode");
    }
    unset(node, "auto_pad");
    set(node, pads(&window));
    set(node, ints("kernel_shape", &window.kernel));
    set(node, ints("strides", &window.strides));
    Ok(window)
}

fn at_most_2d(window: &Window) -> Result<(), Refusal> {
    match window.kernel.len() {
        1 | 2 => Ok(()),
        n => Err(SPATIAL_AXES.with(&[&n])),
    }
}

pub(crate) fn conv(b: &mut Rewrite<'_>, mut node: NodeProto) -> Result<(), Refusal> {
    let window = write_out(b, &mut node)?;
    if window.kernel.len() == 3 && flat(b, &node, &window)? {
        return Ok(());
    }
    at_most_2d(&window)?;
    set(&mut node, ints("dilations", &window.dilations));
    b.keep(node);
    Ok(())
}

/// Rewrites a convolution with three axes whose window has size 1 along one of them as a convolution with two: that axis is
/// merged into the batch. Returns whether the node is of that form and its sizes are known.
fn flat(b: &mut Rewrite<'_>, node: &NodeProto, window: &Window) -> Result<bool, Refusal> {
    let plain = |&axis: &usize| {
        let still = [window.kernel[axis], window.strides[axis]] == [1, 1];
        still && [window.begins[axis], window.ends[axis]] == [0, 0]
    };
    let sizes = |at: usize, from: usize| -> Option<Vec<i64>> {
        let dims = b.facts.dims(node.input.get(at)?)?.get(from..)?.iter();
        dims.map(|dim| i64::try_from((*dim)?).ok()).collect()
    };
    let axis = (0..3).find(plain);
    let (Some(axis), Some(from), Some(weights)) = (axis, sizes(0, 1), sizes(1, 0)) else {
        return Ok(false);
    };
    let (&[channels, _, _, _], &[made, ..]) = (from.as_slice(), weights.as_slice()) else {
        return Ok(false);
    };
    let (one, other) = if axis == 0 { (1, 2) } else { (0, 3 - axis) };
    let two = |of: &[i64]| [of[one], of[other]];
    let place = |axis: usize| i64::try_from(axis + 2).unwrap_or(0);
    let outs = (0..3).map(|axis| window.windows(axis, from[axis + 1]));
    let outs: Vec<i64> = outs.collect::<Option<_>>().ok_or(LARGER)?;
    let perm = [0, place(axis), 1, place(one), place(other)];
    let x = b.node("Transpose", &[input(node, 0)?], vec![ints("perm", &perm)]);
    let shape = b.ints(&[4], &[-1, channels, from[one + 1], from[other + 1]]);
    let x = b.node("Reshape", &[&x, &shape], vec![]);
    let shape = b.ints(&[4], &[&[0, 0], two(&window.kernel).as_slice()].concat());
    let weights = b.node("Reshape", &[input(node, 1)?, &shape], vec![]);
    let attributes = vec![
        ints("kernel_shape", &two(&window.kernel)),
        ints("strides", &two(&window.strides)),
        ints("dilations", &two(&window.dilations)),
        ints("pads", &[two(&window.begins), two(&window.ends)].concat()),
        int("group", node.attr_int("group").unwrap_or(1)),
    ];
    let bias = node.input.get(2).map(String::as_str);
    let read: Vec<&str> = [x.as_str(), &weights].into_iter().chain(bias).collect();
    let y = b.node("Conv", &read, attributes);
    let shape = b.ints(&[5], &[-1, from[axis + 1], made, outs[one], outs[other]]);
    let y = b.node("Reshape", &[&y, &shape], vec![]);
    let mut perm = [0, 2, 0, 0, 0];
    for (at, axis) in [(1, axis), (3, one), (4, other)] {
        perm[axis + 2] = at;
    }
    b.last(node, "Transpose", &[&y], vec![ints("perm", &perm)]);
    Ok(true)
}

pub(crate) fn pool(b: &mut Rewrite<'_>, mut node: NodeProto) -> Result<(), Refusal> {
    let window = write_out(b, &mut node)?;
    only_first_output(b, &mut node, INDICES_OUTPUT)?;
    if window.kernel.len() > 2 || window.dilations.iter().any(|d| *d != 1) {
        let y = sliced(b, &node, &window, input(&node, 0)?)?;
        b.last(&node, "Identity", &[&y], vec![]);
        return Ok(());
    }
    unset(&mut node, "dilations");
    widened(b, node, DataType::Float);
    Ok(())
}

/// rten's windows have no dilations and at most two axes. The rule takes a slice per tap along each axis, and their maximum
/// or sum. A mean divides by the number of taps inside the input, or with count_include_pad inside the padded input.
fn sliced(
    b: &mut Rewrite<'_>,
    node: &NodeProto,
    window: &Window,
    x: &str,
) -> Result<String, Refusal> {
    let largest = node.op() == "MaxPool";
    let sizes = known_sizes(b, node, window)
        .ok_or("it has dilations or three axes, and the size of its input is unknown")?;
    let include = node.attr_int("count_include_pad") == Some(1);
    let count = window.axes();
    let mut outs = Vec::new();
    let mut around = vec![0; 2 * (count + 2)];
    for (axis, &size) in sizes.iter().enumerate() {
        let (begin, end) = (window.begins[axis], window.ends[axis]);
        let out = window.windows(axis, size).ok_or(LARGER)?;
        let covered = (out - 1) * window.strides[axis] + window.extent(axis);
        around[axis + 2] = begin;
        around[count + 4 + axis] = (covered - begin - size).max(0);
        outs.push((size, begin, end, out));
    }
    let around = b.ints(&[i64::try_from(around.len()).unwrap_or(0)], &around);
    let fill = b.float(if largest { f32::MIN } else { 0.0 });
    let mut x = b.node("Pad", &[x, &around, &fill], vec![]);
    for (axis, &(size, begin, end, out)) in outs.iter().enumerate() {
        let (stride, dilation) = (window.strides[axis], window.dilations[axis]);
        let place = b.ints(&[1], &[i64::try_from(axis + 2).unwrap_or(0)]);
        let step = b.ints(&[1], &[stride]);
        let mut pooled: Option<String> = None;
        for tap in 0..window.kernel[axis] {
            let first = tap * dilation;
            let start = b.ints(&[1], &[first]);
            let behind = b.ints(&[1], &[first + (out - 1) * stride + 1]);
            let part = b.node("Slice", &[&x, &start, &behind, &place, &step], vec![]);
            pooled = Some(match pooled {
                None => part,
                Some(other) => {
                    b.node(if largest { "Max" } else { "Add" }, &[&other, &part], vec![])
                }
            });
        }
        x = pooled.ok_or("its window is empty")?;
        if node.op() != "AveragePool" {
            continue;
        }
        let (from, to) = if include { (-begin, size + end) } else { (0, size) };
        let shares = (0..out).map(|out| {
            let taps = (0..window.kernel[axis]).map(|tap| out * stride - begin + tap * dilation);
            let counted = taps.filter(|at| (from..to).contains(at)).count().max(1);
            1.0 / f32::from(u16::try_from(counted).unwrap_or(u16::MAX))
        });
        let mut dims = vec![1; count + 2];
        dims[axis + 2] = out;
        let shares = b.floats(&dims, shares);
        x = b.node("Mul", &[&x, &shares], vec![]);
    }
    Ok(x)
}

/// Σ|x|^p over a window is the mean of the padded window times the number of its taps, if rten has an AveragePool of that
/// form.
pub(crate) fn lp_pool(b: &mut Rewrite<'_>, mut node: NodeProto) -> Result<(), Refusal> {
    let power = Power::of(&mut node);
    let window = write_out(b, &mut node)?;
    let powers = power.raise(b, input(&node, 0)?);
    let dilated = window.dilations.iter().any(|d| *d != 1);
    if window.kernel.len() > 2 || dilated || node.attr_int("ceil_mode") == Some(1) {
        let sum = sliced(b, &node, &window, &powers)?;
        power.root(b, &node, &sum);
        return Ok(());
    }
    unset(&mut node, "dilations");
    set(&mut node, int("count_include_pad", 1));
    let mean = b.node("AveragePool", &[&powers], node.attribute.clone());
    #[expect(clippy::cast_precision_loss, reason = "the taps of a window")]
    let taps = b.float(window.kernel.iter().product::<i64>() as f32);
    let sum = b.node("Mul", &[&mean, &taps], vec![]);
    power.root(b, &node, &sum);
    Ok(())
}

/// LpPool over all spatial axes.
pub(crate) fn global_lp_pool(b: &mut Rewrite<'_>, mut node: NodeProto) -> Result<(), Refusal> {
    let power = Power::of(&mut node);
    let rank = b.facts.rank(&node, 0).ok_or("the rank of its input is unknown")?;
    let axes: Vec<i64> = (2..i64::try_from(rank).unwrap_or(2)).collect();
    let powers = power.raise(b, input(&node, 0)?);
    let sum = if b.facts.opset < 13 {
        b.node("ReduceSum", &[&powers], vec![ints("axes", &axes)])
    } else {
        let axes = b.ints(&[i64::try_from(axes.len()).unwrap_or(0)], &axes);
        b.node("ReduceSum", &[&powers, &axes], vec![])
    };
    power.root(b, &node, &sum);
    Ok(())
}

/// ONNX Runtime has a kernel below opset 22 only.
pub(crate) fn new_global_lp_pool(b: &mut Rewrite<'_>, node: NodeProto) -> Result<(), Refusal> {
    if b.facts.opset >= 22 {
        return global_lp_pool(b, node);
    }
    b.keep(node);
    Ok(())
}

/// The exponent of a norm.
struct Power(f32);

impl Power {
    fn of(node: &mut NodeProto) -> Self {
        let p = node.attr_int("p").unwrap_or(2);
        unset(node, "p");
        #[expect(clippy::cast_precision_loss, reason = "a small number")]
        Self(p as f32)
    }

    /// |x|^p.
    fn raise(&self, b: &mut Rewrite<'_>, x: &str) -> String {
        let size = b.node("Abs", &[x], vec![]);
        let exponent = b.float(self.0);
        b.node("Pow", &[&size, &exponent], vec![])
    }

    /// Emits the p-th root as the output of the node.
    fn root(&self, b: &mut Rewrite<'_>, node: &NodeProto, sum: &str) {
        let exponent = b.float(1.0 / self.0);
        b.last(node, "Pow", &[sum, &exponent], vec![]);
    }
}

/// If the size of the output is given, the pads of a transposed convolution follow from it:
/// total = stride · (in − 1) + output padding + extent − out.
pub(crate) fn conv_transpose(b: &mut Rewrite<'_>, mut node: NodeProto) -> Result<(), Refusal> {
    let mut window = bounded(b, &node)?;
    at_most_2d(&window)?;
    let wanted = node.attr_ints("output_shape").filter(|shape| !shape.is_empty());
    let wanted = wanted.map(<[_]>::to_vec);
    if wanted.is_some() || window.padding != Padding::Explicit {
        let sizes = input_sizes(b, &node, &window)?;
        let wanted: Vec<i64> = match wanted {
            // Old exporters include the batch and the channels.
            Some(shape) => shape[shape.len().saturating_sub(sizes.len())..].to_vec(),
            None => sizes.iter().zip(&window.strides).map(|(n, s)| n.saturating_mul(*s)).collect(),
        };
        let extra = node.attr_ints("output_padding").unwrap_or_default().to_vec();
        for (axis, &size) in sizes.iter().enumerate() {
            let extra = extra.get(axis).copied().unwrap_or(0);
            let pads = wanted
                .get(axis)
                .and_then(|&out| window.transposed_pads(axis, size, extra, out))
                .ok_or("its output is larger than its input and kernel allow")?;
            (window.begins[axis], window.ends[axis]) = pads;
        }
        unset(&mut node, "output_shape");
    }
    unset(&mut node, "auto_pad");
    set(&mut node, pads(&window));
    set(&mut node, ints("kernel_shape", &window.kernel));
    set(&mut node, ints("strides", &window.strides));
    set(&mut node, ints("dilations", &window.dilations));
    b.keep(node);
    Ok(())
}

/// ONNX Runtime refuses `SAME` with dilations and with strides larger than the window, so the rule writes explicit pads. It
/// also fails on models whose shapes, by the standard before opset 19, count a last window that starts in the end padding
/// and is not computed. If rounding up adds no window, the rule removes `ceil_mode`.
pub(crate) fn odd_same(b: &mut Rewrite<'_>, mut node: NodeProto) -> Result<(), Refusal> {
    if node.attr_int("ceil_mode") == Some(1) && !without_idle_padding(b, &mut node) {
        unset(&mut node, "ceil_mode");
    }
    let same = node.attr_str("auto_pad").is_some_and(|mode| mode.starts_with("SAME"));
    let odd = |window: Window| {
        let beyond = |axis: usize| window.strides[axis] > window.extent(axis);
        window.dilations.iter().any(|d| *d != 1) || (0..window.axes()).any(beyond)
    };
    if same && window(b, &node).is_ok_and(odd) {
        write_out(b, &mut node)?;
    }
    b.keep(node);
    Ok(())
}

/// Removes end padding that no window reaches, along axes where rounding up adds no window. Returns whether it adds a window
/// along another axis.
fn without_idle_padding(b: &Rewrite<'_>, node: &mut NodeProto) -> bool {
    let Ok(mut window) = bounded(b, node) else { return true };
    let Some(sizes) = known_sizes(b, node, &window) else { return true };
    let mut adds = false;
    for (axis, &size) in sizes.iter().enumerate() {
        match (window.further(axis, size), window.windows(axis, size)) {
            (Some(0), Some(count)) => {
                let covered = (count - 1) * window.strides[axis] + window.extent(axis);
                window.ends[axis] = (covered - size - window.begins[axis]).max(0);
            }
            _ => adds = true,
        }
    }
    if adds && node.attr_ints("pads").is_some() {
        set(node, pads(&window));
    }
    adds
}
