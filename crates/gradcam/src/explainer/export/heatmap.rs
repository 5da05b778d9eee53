//! Heatmaps as nodes of a graph, by the rules of pytorch-grad-cam: the numbers are those of [`crate::image::heatmap_nd`].

use std::ops::Range;

use onnx_grad::{Dim, builder::Builder, graph::ValueId};

use crate::{
    Result,
    error::bail,
    image::{Fusion, HeatmapSettings},
};

/// What is added to the largest number of a map before it divides the map.
const LEAST: f64 = 1e-7;

/// One heatmap for each of several maps `[N, …]`, or one of all of them where they are fused.
pub(super) fn heatmaps(
    b: &mut Builder<'_>,
    maps: &[ValueId],
    size: &[i64],
    settings: &HeatmapSettings,
) -> Result<Vec<ValueId>> {
    match settings.fusion {
        Fusion::None => maps.iter().map(|map| heatmap(b, *map, size)).collect(),
        Fusion::Mean => {
            let resized = maps.iter().map(|map| resized(b, *map, size));
            let resized = resized.collect::<Result<Vec<_>>>()?;
            let sum = joined(b, &resized, Builder::add)?;
            #[expect(clippy::cast_precision_loss, reason = "a number of layers")]
            let mean = b.scale(sum, 1.0 / maps.len() as f64)?;
            Ok(vec![normalized(b, mean)?])
        }
        Fusion::Product => {
            let each = maps.iter().map(|map| heatmap(b, *map, size)).collect::<Result<Vec<_>>>()?;
            let product = joined(b, &each, Builder::mul)?;
            Ok(vec![normalized(b, product)?])
        }
        Fusion::Max => {
            let mut largest: Vec<i64> = Vec::new();
            for map in maps {
                let space = space(b, *map)?;
                largest.resize(space.len().max(largest.len()), 0);
                largest.iter_mut().zip(space).for_each(|(most, size)| *most = size.max(*most));
            }
            let mut same_size = Vec::with_capacity(maps.len());
            for map in maps {
                let positive = b.relu(*map)?;
                let mut once = normalized(b, positive)?;
                if settings.tanh {
                    let twice = b.scale(once, 2.0)?;
                    once = b.tanh(twice)?;
                }
                same_size.push(b.resize_linear(once, &largest)?);
            }
            let most = joined(b, &same_size, Builder::maximum)?;
            let most = b.resize_linear(most, size)?;
            Ok(vec![normalized(b, most)?])
        }
    }
}

/// A map `[N, …]` rectified, normalized, resized and normalized again: 0..1.
///
/// A map with another number of axes than the network's input keeps its size.
pub(super) fn heatmap(b: &mut Builder<'_>, map: ValueId, size: &[i64]) -> Result<ValueId> {
    let resized = resized(b, map, size)?;
    normalized(b, resized)
}

fn resized(b: &mut Builder<'_>, map: ValueId, size: &[i64]) -> Result<ValueId> {
    let positive = b.relu(map)?;
    let once = normalized(b, positive)?;
    match b.rank(once)? == size.len() + 1 {
        true => Ok(b.resize_linear(once, size)?),
        false => Ok(once),
    }
}

/// m − min, then / (1e-7 + max), of each image.
fn normalized(b: &mut Builder<'_>, map: ValueId) -> Result<ValueId> {
    let space: Vec<usize> = (1..b.rank(map)?).collect();
    let least = b.min(map, &space)?;
    let above = b.sub(map, least)?;
    let most = b.max(above, &space)?;
    let constant = b.scalar(most, LEAST)?;
    let below = b.add(most, constant)?;
    Ok(b.div(above, below)?)
}

/// The magnitude of a gradient `[N, C, …]`: the largest absolute value over the channels, scaled to 0..1.
pub(super) fn magnitude(b: &mut Builder<'_>, gradient: ValueId) -> Result<ValueId> {
    let shape = b.shape(gradient)?;
    let negative = b.neg(gradient)?;
    let (most, least) = (b.max(gradient, &[1])?, b.max(negative, &[1])?);
    let largest = b.maximum(most, least)?;
    let plain: Vec<Dim> = shape.iter().take(1).chain(shape.iter().skip(2)).copied().collect();
    let largest = b.reshape(largest, &plain)?;
    let space: Vec<usize> = (1..plain.len()).collect();
    let least = b.min(largest, &space)?;
    let above = b.sub(largest, least)?;
    let range = b.max(above, &space)?;
    // A constant map becomes 0.
    let tiny = b.scalar(range, f64::from(f32::MIN_POSITIVE))?;
    let below = b.add(range, tiny)?;
    Ok(b.div(above, below)?)
}

fn space(b: &Builder<'_>, map: ValueId) -> Result<Vec<i64>> {
    (1..b.rank(map)?).map(|axis| Ok(b.size(map, axis)?)).collect()
}

fn joined<'g>(
    b: &mut Builder<'g>,
    values: &[ValueId],
    join: impl Fn(&mut Builder<'g>, ValueId, ValueId) -> onnx_grad::Result<ValueId>,
) -> Result<ValueId> {
    let Some((first, rest)) = values.split_first() else {
        bail!(Layer, "there is no map");
    };
    let mut all = *first;
    for value in rest {
        all = join(b, all, *value)?;
    }
    Ok(all)
}

/// For each scale of a detector 1 where the box of an image comes from it, else 0: `[N]`.
pub(super) struct Scales(Vec<ValueId>);

impl Scales {
    /// By the anchor of the box of each image, `[N]`.
    pub(super) fn of(
        b: &mut Builder<'_>,
        scales: &[Range<usize>],
        anchor: ValueId,
    ) -> Result<Self> {
        let anchor = b.cast(anchor, onnx_grad::proto::tensor_proto::DataType::Float)?;
        let mut masks = Vec::with_capacity(scales.len());
        for range in scales {
            #[expect(clippy::cast_precision_loss, reason = "a number of anchors")]
            let bounds = [range.start, range.end].map(|anchor| anchor as f64 - 0.5);
            let low = b.scalar(anchor, bounds[0])?;
            let high = b.scalar(anchor, bounds[1])?;
            masks.push(b.between(anchor, low, high)?);
        }
        Ok(Self(masks))
    }

    /// For each image the value `[N, …]` of its scale.
    pub(super) fn select(&self, b: &mut Builder<'_>, values: &[ValueId]) -> Result<ValueId> {
        let mut shown = Vec::with_capacity(values.len());
        for (value, mask) in values.iter().zip(&self.0) {
            let mut shape = b.shape(*value)?;
            shape.iter_mut().skip(1).for_each(|dim| *dim = Dim::Fixed(1));
            let mask = b.reshape(*mask, &shape)?;
            shown.push(b.mul(*value, mask)?);
        }
        joined(b, &shown, Builder::add)
    }

    /// For each image the map of its scale, its numbers repeated to the grid of the finest scale.
    pub(super) fn map(&self, b: &mut Builder<'_>, maps: &[ValueId]) -> Result<ValueId> {
        let mut finest: Vec<i64> = Vec::new();
        for map in maps {
            let space = space(b, *map)?;
            if space > finest {
                finest = space;
            }
        }
        let mut repeated = Vec::with_capacity(maps.len());
        for map in maps {
            repeated.push(repeat(b, *map, &finest)?);
        }
        self.select(b, &repeated)
    }
}

/// A map `[N, …]` with each number repeated along each axis, so that it has that size.
fn repeat(b: &mut Builder<'_>, map: ValueId, size: &[i64]) -> Result<ValueId> {
    let shape = b.shape(map)?;
    let space = space(b, map)?;
    if space == size {
        return Ok(map);
    }
    if space.len() != size.len() || space.iter().zip(size).any(|(old, new)| new % old != 0) {
        bail!(
            Layer, NameLayer;
            "the scales of the detector have grids of {space:?} and {size:?}, of which one is no multiple of the other"
        );
    }
    let (mut apart, mut wide) = (vec![shape[0]], vec![shape[0]]);
    for (old, new) in space.iter().zip(size) {
        apart.extend([Dim::Fixed(*old), Dim::Fixed(1)]);
        wide.extend([Dim::Fixed(*old), Dim::Fixed(new / old)]);
    }
    let apart = b.reshape(map, &apart)?;
    let wide = b.expand(apart, &wide)?;
    let whole: Vec<Dim> =
        shape[..1].iter().copied().chain(size.iter().map(|size| Dim::Fixed(*size))).collect();
    Ok(b.reshape(wide, &whole)?)
}
