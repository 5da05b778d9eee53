//! The view of a value as feature maps [N, C, …], whatever its layout.

use std::collections::HashMap;

use ndarray::{ArrayD, Axis as NdAxis};
use onnx_grad::{
    Dim, Result,
    builder::Builder,
    graph::{Graph, ValueId},
};

use super::axes::{Atom, Axes, Axis, ImageValue, Meaning, channels_first, of_values, product};

/// The conversion of a value to [N, C, …].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum View {
    /// The value is [N, C, …] already.
    Plain,
    /// The axes are regrouped.
    Regrouped {
        /// The tokens of the image among others: axis, start, number of positions.
        tokens: Option<(usize, i64, i64)>,
        /// The sizes of the atoms of all axes.
        atoms: Vec<i64>,
        /// Batch, channels and space, each the slowest first.
        order: Vec<usize>,
        /// [N, C, …].
        sizes: Vec<i64>,
    },
}

/// The grid of a transformer's tokens. A value replaces the one that is inferred.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Grid {
    /// Rows and columns; inferred if `None`.
    pub size: Option<(i64, i64)>,
    /// The number of tokens before those of the image; inferred if `None`.
    pub prefix: Option<i64>,
}

/// How the positions of a value lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spread {
    /// Along one axis.
    Line,
    /// Along two axes, with nothing else on them.
    Plane,
}

/// The inferred axes of all values of a graph.
#[derive(Debug)]
pub(crate) struct Views {
    axes: HashMap<ValueId, Axes>,
    /// Whether an input has four axes, so that a value with three axes may hold tokens.
    pictures: bool,
    /// The number of images of a run.
    batch: Option<i64>,
    grid: Grid,
}

impl Views {
    pub(crate) fn new(graph: &Graph, image: Option<ImageValue>, grid: Grid) -> Self {
        let rank = |value: &ValueId| graph.fact(*value).rank();
        let pictures = graph.inputs().iter().any(|input| rank(input) == Some(4));
        let sizes = graph.inputs().iter().find(|input| rank(input) == Some(4));
        let sizes = sizes.and_then(|input| graph.fact(*input).sizes());
        let batch = sizes.and_then(|sizes| sizes.first().copied());
        Self { axes: of_values(graph, image), pictures, batch, grid }
    }

    /// The view of a value of floats with more than one position.
    pub(crate) fn of(&self, graph: &Graph, value: ValueId) -> Option<View> {
        let (axes, sizes) = self.axes_of(graph, value)?;
        let view = view(&axes, &sizes)?;
        let rows = match &view {
            View::Plain => sizes.first().copied(),
            View::Regrouped { sizes, .. } => sizes.first().copied(),
        };
        // Inside TNT's patches each patch is a row, so the value is no feature map of the image.
        Some(view).filter(|_| self.batch.is_none_or(|batch| rows == Some(batch)))
    }

    /// How the positions of a value [N, a, b] lie, as far as its axes are inferred.
    pub(crate) fn spread(&self, value: ValueId) -> Option<Spread> {
        let axes = self.axes.get(&value)?;
        let is_space = |axis: &&Axis| {
            axis.has_space()
                && axis.atoms.iter().all(|atom| matches!(atom.meaning, Meaning::Space(_)))
        };
        match axes.iter().filter(is_space).count() {
            1 => Some(Spread::Line),
            2 => Some(Spread::Plane),
            _ => None,
        }
    }

    /// The axes and sizes of a value of floats that may have positions.
    fn axes_of(&self, graph: &Graph, value: ValueId) -> Option<(Axes, Vec<i64>)> {
        let fact = graph.fact(value);
        let sizes = fact.sizes().filter(|sizes| fact.elem.is_float() && sizes.len() > 2)?;
        let tokens = sizes.len() == 3 && (self.grid.size.is_some() || self.grid.prefix.is_some());
        let axes = match self.axes.get(&value).filter(|_| !tokens) {
            Some(axes) => axes.clone(),
            None => self.guessed(&sizes)?,
        };
        Some((axes, sizes))
    }

    /// The axis that holds the channels alone, and whether the first axis begins with the batch and no other axis has
    /// batch atoms.
    pub(crate) fn channel_axis(&self, graph: &Graph, value: ValueId) -> Option<(usize, bool)> {
        let (axes, _) = self.axes_of(graph, value)?;
        let is_channel = |atom: &Atom| atom.meaning == Meaning::Channel;
        let mut with_channels =
            axes.iter().enumerate().filter(|(_, axis)| axis.atoms.iter().any(is_channel));
        let (channels, axis) = with_channels.next()?;
        if with_channels.next().is_some() || !axis.atoms.iter().all(is_channel) || axis.has_more() {
            return None;
        }
        Some((channels, images_first(&axes)))
    }

    /// Whether the images of a value are its rows: its first axis begins with the batch, and no other axis has batch atoms.
    pub(crate) fn images_first(&self, graph: &Graph, value: ValueId) -> Option<bool> {
        self.axes_of(graph, value).map(|(axes, _)| images_first(&axes))
    }

    /// The channel of each element of one image, in row-major order, and the number of channels, for a value whose first
    /// axis is the batch.
    pub(crate) fn channels_of_elements(
        &self,
        graph: &Graph,
        value: ValueId,
    ) -> Option<(Vec<usize>, usize)> {
        let sizes = graph.fact(value).sizes()?;
        let axes = self.axes.get(&value)?;
        let [images, rest @ ..] = axes.as_slice() else { return None };
        if images.atoms.iter().any(|atom| atom.meaning != Meaning::Batch)
            || axes.iter().any(Axis::has_more)
        {
            return None;
        }
        if rest.iter().flat_map(|axis| &axis.atoms).any(|atom| atom.meaning == Meaning::Batch) {
            return None;
        }
        let mut channels = vec![0i64];
        let mut count = 1i64;
        for (axis, size) in rest.iter().zip(&sizes[1..]) {
            if axis.inside() != *size {
                return None;
            }
            for atom in &axis.atoms {
                let step = if atom.meaning == Meaning::Channel { atom.step } else { 0 };
                count = count.checked_mul(if step > 0 { atom.size } else { 1 })?;
                let next = channels
                    .iter()
                    .flat_map(|channel| (0..atom.size).map(move |at| channel + at * step));
                channels = next.collect();
            }
        }
        let channels = channels.into_iter().map(usize::try_from).collect::<Result<_, _>>().ok()?;
        Some((channels, usize::try_from(count).ok()?))
    }

    /// Guesses the axes of a value behind an operator that does not propagate them. Tokens [N, T, C] have the given grid, or
    /// a square one; any other shape is [N, C, …] if another value has the same spatial axes.
    fn guessed(&self, sizes: &[i64]) -> Option<Axes> {
        let (true, [batch, tokens, channels]) = (self.pictures, sizes) else {
            let axes = channels_first(sizes);
            let same = |known: &Axes| known.len() > 2 && known.get(2..) == axes.get(2..);
            return self.axes.values().any(same).then_some(axes);
        };
        let (batch, tokens, channels) = (*batch, *tokens, *channels);
        let side =
            |count: i64| count.checked_isqrt().filter(|side| side.saturating_mul(*side) == count);
        let (rows, columns, prefix) = match (self.grid.size, self.grid.prefix) {
            (Some((rows, columns)), prefix) => {
                (rows, columns, prefix.unwrap_or(tokens.checked_sub(rows.checked_mul(columns)?)?))
            }
            (None, Some(prefix)) => {
                let side = side(tokens.checked_sub(prefix)?)?;
                (side, side, prefix)
            }
            // No token before the image, a class token, a class and a distillation token, or a class token and registers.
            (None, None) => [0, 1, 2, 5].iter().find_map(|prefix| {
                let side = side(tokens - prefix).filter(|side| *side > 1)?;
                Some((side, side, *prefix))
            })?,
        };
        let behind = tokens.checked_sub(prefix)?.checked_sub(rows.checked_mul(columns)?)?;
        if rows < 1 || columns < 1 || prefix < 0 || behind < 0 {
            return None;
        }
        let atoms = vec![
            Atom { meaning: Meaning::Space(0), size: rows, step: 1 },
            Atom { meaning: Meaning::Space(1), size: columns, step: 1 },
        ];
        let tokens = Axis { atoms, before: prefix, behind };
        Some(vec![Axis::of(Meaning::Batch, batch), tokens, Axis::of(Meaning::Channel, channels)])
    }
}

fn images_first(axes: &Axes) -> bool {
    let is_batch = |atom: &Atom| atom.meaning == Meaning::Batch;
    let first = axes.first().is_some_and(|axis| axis.atoms.first().is_some_and(is_batch));
    first && !axes.iter().skip(1).flat_map(|axis| &axis.atoms).any(is_batch)
}

fn view(axes: &Axes, sizes: &[i64]) -> Option<View> {
    let extra = |axis: &&(usize, &Axis)| axis.1.has_more();
    let indexed: Vec<(usize, &Axis)> = axes.iter().enumerate().collect();
    let mut with_extra = indexed.iter().filter(extra);
    let tokens = with_extra.next().map(|(at, axis)| (*at, axis.before, axis.inside()));
    if with_extra.next().is_some() || tokens.is_some_and(|(_, _, count)| count == 0) {
        return None;
    }
    let atoms: Vec<Atom> = axes.iter().flat_map(|axis| axis.atoms.iter().copied()).collect();
    let mut order: Vec<usize> = (0..atoms.len()).collect();
    order.sort_by_key(|at| (atoms[*at].meaning, -atoms[*at].step));
    // The atoms of each meaning must cover all positions exactly once: each steps over the next.
    let whole = order.windows(2).all(|pair| {
        let (this, next) = (atoms[pair[0]], atoms[pair[1]]);
        this.meaning != next.meaning || this.step == next.size.saturating_mul(next.step)
    });
    if !whole {
        return None;
    }
    let count =
        |meaning: Meaning| -> i64 { product(atoms.iter().filter(|atom| atom.meaning == meaning)) };
    let highest = atoms.iter().filter_map(|atom| match atom.meaning {
        Meaning::Space(axis) => Some(axis),
        Meaning::Batch | Meaning::Channel => None,
    });
    let mut shape = vec![count(Meaning::Batch), count(Meaning::Channel)];
    // A value [N, C, H, 1] keeps its axes.
    let space = (highest.max()? + 1).max(plain_rank(axes).unwrap_or(0));
    shape.extend((0..space).map(|axis| count(Meaning::Space(axis))));
    if shape[2..].contains(&0) || shape[2..].iter().all(|&size| size == 1) {
        return None;
    }
    if tokens.is_none() && order.is_sorted() && shape == sizes {
        return Some(View::Plain);
    }
    let atoms = atoms.iter().map(|atom| atom.size).collect();
    Some(View::Regrouped { tokens, atoms, order, sizes: shape })
}

/// The number of spatial axes of a value that may be [N, C, …].
fn plain_rank(axes: &Axes) -> Option<usize> {
    let plain = axes.iter().enumerate().all(|(at, axis)| match (at, axis.atoms.as_slice()) {
        (_, []) => true,
        (0, [atom]) => atom.meaning == Meaning::Batch,
        (1, [atom]) => atom.meaning == Meaning::Channel,
        (at, [atom]) => atom.meaning == Meaning::Space(at - 2),
        _ => false,
    });
    axes.len().checked_sub(2).filter(|_| plain)
}

impl View {
    /// The place of each element of the first image's picture [C, …] among the elements of the value, which has this shape.
    pub(crate) fn elements(&self, shape: &[usize]) -> Option<ArrayD<usize>> {
        let count = shape.iter().product();
        let places = ArrayD::from_shape_vec(shape, (0..count).collect()).ok()?;
        let Self::Regrouped { tokens, atoms, order, sizes } = self else {
            return Some(places.index_axis_move(NdAxis(0), 0));
        };
        let whole = |sizes: &[i64]| -> Option<Vec<usize>> {
            sizes.iter().map(|size| usize::try_from(*size).ok()).collect()
        };
        let places = match *tokens {
            Some((axis, start, count)) => {
                let (start, count) = (usize::try_from(start).ok()?, usize::try_from(count).ok()?);
                places.slice_axis(NdAxis(axis), (start..start + count).into()).to_owned()
            }
            None => places,
        };
        let places = places.as_standard_layout().into_owned();
        let places = places.into_shape_with_order(whole(atoms)?).ok()?;
        let places = places.permuted_axes(order.as_slice()).as_standard_layout().into_owned();
        let places = places.into_shape_with_order(whole(sizes)?).ok()?;
        Some(places.index_axis_move(NdAxis(0), 0))
    }

    /// Emits the value as [N, C, …].
    pub(crate) fn emit(&self, b: &mut Builder<'_>, value: ValueId) -> Result<ValueId> {
        let Self::Regrouped { tokens, atoms, order, sizes } = self else { return Ok(value) };
        let is_open = b.fact(value).sizes().is_none();
        let dims = |sizes: &[i64], images: Option<usize>| -> Vec<Dim> {
            let dim = |(at, size): (usize, &i64)| match images == Some(at) && is_open {
                true => Dim::Batch(1),
                false => Dim::Fixed(*size),
            };
            sizes.iter().enumerate().map(dim).collect()
        };
        let mut value = value;
        if let Some((axis, start, count)) = *tokens {
            value = b.slice(value, axis, start, count, 1)?;
        }
        value = b.reshape(value, &dims(atoms, order.first().copied()))?;
        value = b.transpose(value, order)?;
        b.reshape(value, &dims(sizes, Some(0)))
    }

    /// Whether the images are one atom, so that the view is that of any number of them.
    pub(crate) fn takes_open_batch(&self) -> bool {
        match self {
            Self::Plain => true,
            Self::Regrouped { atoms, order, sizes, .. } => {
                let images = order.first().and_then(|at| atoms.get(*at));
                images.is_some() && images == sizes.first()
            }
        }
    }
}
