//! The rules of Resize and Upsample. Resampling is linear and separable: y = M·x along each axis. The sizes and
//! attributes determine the matrix M, and dx = Mᵀ·g.

use std::collections::HashMap;

use super::{Cotangents, Push, PushOperand, RuleCall, layout::along, one, spatial_count};
use crate::{
    builder::{Builder, constant_size},
    error::{Error, ErrorKind, Result, bail},
    facts::{Dim, Fact},
    graph::{Graph, NodeId, ValueId},
};

/// Resize. dx = Mᵀ·g along each axis, see [`Kernel::row`]. <https://onnx.ai/onnx/operators/onnx__Resize.html> Opset
/// 10 equals Upsample; 11 adds the coordinate modes, 18 `axes` and `antialias`.
pub(super) fn resize(b: &mut Builder<'_>, n: &RuleCall) -> Cotangents {
    n.attrs().ignore(&["extrapolation_value"]);
    resampled(b, n)
}

/// Upsample, which is Resize with asymmetric coordinates.
/// <https://onnx.ai/onnx/operators/onnx__Upsample.html>
pub(super) fn upsample(b: &mut Builder<'_>, n: &RuleCall) -> Cotangents {
    resampled(b, n)
}

fn resampled(b: &mut Builder<'_>, n: &RuleCall) -> Cotangents {
    let kernel = Kernel::read(n)?;
    let axes = axes(b.graph(), n)?;
    let mut g = n.full(b)?;
    for axis in &axes {
        g = match kernel.repeats(axis)? {
            Some(times) => summed(b, g, axis, times)?,
            None => along(b, g, axis.place, axis.size, &kernel.matrix(axis)?)?,
        };
    }
    one(g)
}

/// The effect of a Resize or Upsample on one axis.
#[derive(Clone, Debug, PartialEq)]
pub struct Resampling {
    /// The axis, counted from the front.
    pub axis: usize,
    /// Its input size.
    pub size: i64,
    /// Its output size.
    pub out: i64,
    /// The matrix from input to output: `out` rows of `size` weights.
    pub matrix: Vec<f64>,
}

/// A Resize or Upsample as matrices for the axes that change, applied in order.
///
/// # Errors
/// `Unsupported` and `Shape` like its gradient rule, `InvalidModel` if there is no such node.
pub fn resampling(graph: &Graph, node: NodeId) -> Result<Vec<Resampling>> {
    let n = RuleCall::new(graph, node, HashMap::new(), vec![]);
    let kernel = Kernel::read(&n)?;
    let as_matrix = |axis: &ResizedAxis| {
        let &ResizedAxis { place, size, out, .. } = axis;
        Ok(Resampling { axis: place, size, out, matrix: kernel.matrix(axis)? })
    };
    axes(graph, &n)?.iter().map(as_matrix).collect()
}

/// The transpose of repeating each element `times` times.
fn summed(b: &mut Builder<'_>, g: ValueId, axis: &ResizedAxis, times: i64) -> Result<ValueId> {
    let mut shape = b.shape(g)?;
    shape[axis.place] = Dim::Fixed(axis.size);
    let small = shape.clone();
    shape.insert(axis.place + 1, Dim::Fixed(times));
    let apart = b.reshape(g, &shape)?;
    let sum = b.sum(apart, &[axis.place + 1])?;
    b.reshape(sum, &small)
}

/// An axis that is resampled.
struct ResizedAxis {
    place: usize,
    size: i64,
    out: i64,
    /// The given scale, or out/size if sizes are given.
    scale: f64,
}

/// The axes that change. A scale of 1 preserves an axis in every mode.
fn axes(graph: &Graph, n: &RuleCall) -> Result<Vec<ResizedAxis>> {
    let shape_of = |value: ValueId| {
        let unknown = || format!("the shape of \"{}\" is not known", graph.name(value));
        let shape = graph.fact(value).shape.clone();
        shape.ok_or_else(|| Error::new(ErrorKind::Shape, unknown()))
    };
    let (from, to) = (shape_of(n.x(0)?)?, shape_of(n.y())?);
    if from.len() != to.len() {
        bail!(InvalidModel, "it resizes {} axes to {}", from.len(), to.len());
    }
    let input = |at: usize| n.optional(at).map(|value| graph.fact(value));
    // Opset 11 uses an empty list for the absent one of scales and sizes.
    let written = |at: usize| input(at).filter(|fact| fact.shape.as_deref() != Some(&[0.into()]));
    let by_size = n.opset() >= 11 && written(3).is_some();
    let scales = match (n.attrs().floats("scales"), n.opset()) {
        (scales @ [_, ..], _) => Some(scales.iter().copied().map(f64::from).collect()),
        (_, ..11) => written(1).and_then(|fact| fact.floats()).map(<[f64]>::to_vec),
        (_, _) => written(2).and_then(|fact| fact.floats()).map(<[f64]>::to_vec),
    };
    let places = match n.attrs().ints("axes") {
        Some(axes) => axes.iter().map(|&axis| n.axis(axis, from.len())).collect::<Result<_>>()?,
        None => (0..from.len()).collect::<Vec<_>>(),
    };
    let policy = n.attrs().text("keep_aspect_ratio_policy").unwrap_or("stretch");
    let scales = match (by_size, scales) {
        (true, _) if policy == "stretch" => None,
        (true, _) => Some(vec![common_scale(policy, input(3), &from, &places)?; places.len()]),
        (false, Some(scales)) if scales.len() == places.len() => Some(scales),
        (false, Some(scales)) => {
            bail!(InvalidModel, "it has {} scales for {} axes", scales.len(), places.len())
        }
        (false, None) => bail!(
            Unsupported,
            "its sizes and scales are computed when the model runs; supported: constants"
        ),
    };
    let mut axes = Vec::new();
    for (at, place) in places.into_iter().enumerate() {
        let scale = scales.as_ref().map(|scales| scales[at]);
        if scale == Some(1.0) || (scale.is_none() && from[place] == to[place]) {
            continue;
        }
        if let (Some(scale), true) = (scale, from[place] == to[place]) {
            bail!(
                Unsupported,
                "its scale {scale} does not change the size of axis {place}, which some engines treat as \
                 a copy; supported: 1, or a scale that changes the size"
            );
        }
        let (Some(size), Some(out)) = (from[place].fixed(), to[place].fixed()) else {
            bail!(Shape, "it resizes axis {place} from {} to {}", from[place], to[place]);
        };
        if size < 1 || out < 1 {
            bail!(InvalidModel, "it resizes axis {place} from {size} to {out}");
        }
        let scale = scale.unwrap_or_else(|| number(out) / number(size));
        axes.push(ResizedAxis { place, size, out, scale });
    }
    Ok(axes)
}

/// The smallest or the largest of the scales that the sizes imply.
fn common_scale(policy: &str, sizes: Option<&Fact>, from: &[Dim], places: &[usize]) -> Result<f64> {
    let larger = match policy {
        "not_larger" => false,
        "not_smaller" => true,
        other => bail!(
            Unsupported,
            "attribute keep_aspect_ratio_policy is {other:?}; supported: stretch, not_larger, \
             not_smaller"
        ),
    };
    let sizes = sizes.and_then(Fact::ints).unwrap_or_default();
    let scales = places.iter().zip(&sizes).map(|(&place, &size)| match from[place].fixed() {
        Some(before) if before > 0 => Ok(number(size) / number(before)),
        _ => bail!(Shape, "axis {place} of its input is not known"),
    });
    let scales = scales.collect::<Result<Vec<_>>>()?.into_iter();
    match scales.reduce(if larger { f64::max } else { f64::min }) {
        Some(scale) => Ok(scale),
        None => {
            bail!(Unsupported, "its sizes are computed when the model runs; supported: constants")
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "the size of an axis")]
fn number(size: i64) -> f64 {
    size as f64
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Nearest,
    Linear,
    Cubic,
}

#[derive(Clone, Copy)]
enum Coordinates {
    HalfPixel,
    PytorchHalfPixel,
    HalfPixelSymmetric,
    AlignCorners,
    Asymmetric,
    TfHalfPixelForNn,
}

#[derive(Clone, Copy)]
enum Rounding {
    PreferFloor,
    PreferCeil,
    Floor,
    Ceil,
    /// Before opset 11, ONNX Runtime takes the floor for enlargement and the ceiling for reduction.
    Old,
}

/// The resampling attributes.
struct Kernel {
    mode: Mode,
    coordinates: Coordinates,
    rounding: Rounding,
    cubic: f64,
    exclude_outside: bool,
    antialias: bool,
}

impl Kernel {
    fn read(n: &RuleCall) -> Result<Self> {
        let attrs = n.attrs();
        let mode = match attrs.text("mode").unwrap_or("nearest") {
            "nearest" => Mode::Nearest,
            "linear" => Mode::Linear,
            "cubic" => Mode::Cubic,
            other => {
                bail!(Unsupported, "attribute mode is {other:?}; supported: nearest, linear, cubic")
            }
        };
        let old = n.opset() < 11;
        let name = attrs.text("coordinate_transformation_mode");
        let coordinates = match name.unwrap_or(if old { "asymmetric" } else { "half_pixel" }) {
            "half_pixel" => Coordinates::HalfPixel,
            "pytorch_half_pixel" => Coordinates::PytorchHalfPixel,
            "half_pixel_symmetric" => Coordinates::HalfPixelSymmetric,
            "align_corners" => Coordinates::AlignCorners,
            "asymmetric" => Coordinates::Asymmetric,
            "tf_half_pixel_for_nn" => Coordinates::TfHalfPixelForNn,
            other => bail!(
                Unsupported,
                "attribute coordinate_transformation_mode is {other:?}; supported: half_pixel, \
                 pytorch_half_pixel, half_pixel_symmetric, align_corners, asymmetric, \
                 tf_half_pixel_for_nn"
            ),
        };
        if mode == Mode::Nearest && matches!(coordinates, Coordinates::HalfPixelSymmetric) {
            bail!(
                Unsupported,
                "attribute coordinate_transformation_mode is half_pixel_symmetric with mode nearest, \
                 where engines differ in the last digit; supported: with linear and cubic"
            );
        }
        let rounding = match attrs.text("nearest_mode") {
            None if old => Rounding::Old,
            None | Some("round_prefer_floor") => Rounding::PreferFloor,
            Some("round_prefer_ceil") => Rounding::PreferCeil,
            Some("floor") => Rounding::Floor,
            Some("ceil") => Rounding::Ceil,
            Some(other) => bail!(
                Unsupported,
                "attribute nearest_mode is {other:?}; supported: round_prefer_floor, \
                 round_prefer_ceil, floor, ceil"
            ),
        };
        Ok(Self {
            mode,
            coordinates,
            rounding,
            cubic: attrs.float_or("cubic_coeff_a", -0.75),
            exclude_outside: attrs.flag("exclude_outside"),
            antialias: attrs.flag("antialias"),
        })
    }

    /// The input coordinate of output element `o`.
    fn source(&self, o: i64, axis: &ResizedAxis) -> f64 {
        let (o, size, out, scale) =
            (number(o), number(axis.size), number(axis.out), self.precise(axis.scale));
        let over = |a: f64| self.precise(a / scale);
        match self.coordinates {
            Coordinates::PytorchHalfPixel if axis.out == 1 => 0.0,
            Coordinates::HalfPixel | Coordinates::PytorchHalfPixel => over(o + 0.5) - 0.5,
            Coordinates::HalfPixelSymmetric => {
                size / 2.0 * (1.0 - out / (scale * size)) + over(o + 0.5) - 0.5
            }
            Coordinates::AlignCorners if axis.out == 1 => 0.0,
            Coordinates::AlignCorners => self.precise(o * (size - 1.0) / (out - 1.0)),
            Coordinates::Asymmetric => over(o),
            Coordinates::TfHalfPixelForNn => over(o + 0.5),
        }
    }

    /// The last digit can decide which element is nearest, so this uses float32, like the engines.
    #[expect(clippy::cast_possible_truncation, reason = "rounds to float32")]
    fn precise(&self, number: f64) -> f64 {
        if self.mode == Mode::Nearest { f64::from(number as f32) } else { number }
    }

    /// The weights of the input's elements in output element `o`. Nearest: 1 at the rounded coordinate. Linear and
    /// cubic: the kernel at the distance to each element; antialias widens it by 1/scale for reduction. Coordinates
    /// outside use the border element; with exclude_outside they are omitted, and the weights are divided by their
    /// sum.
    fn row(&self, o: i64, axis: &ResizedAxis) -> Result<Vec<f64>> {
        let Ok(count) = usize::try_from(axis.size) else {
            bail!(TooLarge, "it resizes an axis of {}", axis.size);
        };
        let x = self.source(o, axis);
        let mut row = vec![0.0; count];
        let mut put = |at: f64, weight: f64| {
            let inside = at.clamp(0.0, number(axis.size - 1));
            #[expect(clippy::float_cmp, reason = "both are whole")]
            let kept = !self.exclude_outside || self.mode == Mode::Nearest || inside == at;
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index")]
            if let Some(entry) = row.get_mut(inside as usize).filter(|_| kept) {
                *entry += weight;
            }
        };
        match self.mode {
            Mode::Nearest => put(self.rounded(x, axis.scale), 1.0),
            Mode::Linear | Mode::Cubic => {
                let shrink = if self.antialias { axis.scale.min(1.0) } else { 1.0 };
                let reach = if self.mode == Mode::Linear { 1.0 } else { 2.0 } / shrink;
                let mut at = (x - reach).ceil();
                while at <= x + reach {
                    put(at, self.weight(((at - x) * shrink).abs()));
                    at += 1.0;
                }
            }
        }
        let sum: f64 = row.iter().sum();
        row.iter_mut().for_each(|weight| *weight /= sum);
        Ok(row)
    }

    fn rounded(&self, x: f64, scale: f64) -> f64 {
        match self.rounding {
            Rounding::PreferFloor => (x - 0.5).ceil(),
            Rounding::PreferCeil => (x + 0.5).floor(),
            Rounding::Floor => x.floor(),
            Rounding::Ceil => x.ceil(),
            Rounding::Old if scale < 1.0 => x.ceil(),
            Rounding::Old => x.floor(),
        }
    }

    /// The kernel at a distance: a triangle, or Keys's cubic.
    fn weight(&self, u: f64) -> f64 {
        let a = self.cubic;
        match self.mode {
            Mode::Linear => (1.0 - u).max(0.0),
            _ if u <= 1.0 => ((a + 2.0) * u - (a + 3.0)) * u * u + 1.0,
            _ if u < 2.0 => ((a * u - 5.0 * a) * u + 8.0 * a) * u - 4.0 * a,
            _ => 0.0,
        }
    }

    /// M, [out, size].
    fn matrix(&self, axis: &ResizedAxis) -> Result<Vec<f64>> {
        constant_size(&[axis.out, axis.size])?;
        let mut matrix = Vec::new();
        for o in 0..axis.out {
            matrix.extend(self.row(o, axis)?);
        }
        Ok(matrix)
    }

    /// The repetition count, if the resampling only repeats each element.
    fn repeats(&self, axis: &ResizedAxis) -> Result<Option<i64>> {
        let times = axis.out / axis.size;
        if self.mode != Mode::Nearest || axis.out % axis.size != 0 {
            return Ok(None);
        }
        constant_size(&[axis.out, axis.size])?;
        for o in 0..axis.out {
            let at = usize::try_from(o / times).unwrap_or(0);
            if self.row(o, axis)?.get(at) != Some(&1.0) {
                return Ok(None);
            }
        }
        Ok(Some(times))
    }
}

/// The weights of an output element add up to 1, so the input gets its whole g.
pub(super) const PUSH_RESIZE: Push = Push {
    when: |graph, n, input, _| {
        let spatial = axes(graph, n).ok()?.iter().all(|axis| axis.place >= 2);
        (input == 0 && spatial)
            .then(|| spatial_count(graph.fact(n.y())).map(PushOperand::Sum))
            .flatten()
    },
    emit: |b, n, _, _| n.cotangent_of_sum(b),
};
