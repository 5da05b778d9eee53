//! Axis inference: which axes of a value are batch, channels and positions of the image.
//!
//! The output of a convolution is [N, C, H, W]; every other operator propagates the meaning of axes. An axis is a
//! product of atoms: flattening joins atoms, and a reshape to windows splits them. Propagation from the patch embedding
//! therefore finds tokens, NHWC layouts and windows.

use std::collections::HashMap;

use onnx_grad::{
    graph::{Graph, NodeId, ValueId},
    op::{self, Kind, Traits},
};

use crate::image::preprocess::Layout;

/// The input that takes the images, as a value of a graph.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ImageValue {
    pub(crate) value: ValueId,
    /// The axis of the channels; `None` where all axes behind the first are positions.
    pub(crate) channel_axis: Option<usize>,
}

/// The meaning of a factor of an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Meaning {
    Batch,
    Channel,
    /// Positions along the height (0), the width (1), …
    Space(usize),
}

/// A factor of an axis: `size` steps of `step` each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Atom {
    pub(super) meaning: Meaning,
    pub(super) size: i64,
    pub(super) step: i64,
}

/// An axis: the product of its atoms, the slowest first, and the number of elements before and behind them, such as the
/// class token before the tokens of the image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Axis {
    pub(super) atoms: Vec<Atom>,
    pub(super) before: i64,
    pub(super) behind: i64,
}

impl Axis {
    pub(super) fn of(meaning: Meaning, size: i64) -> Self {
        let atom = Atom { meaning, size, step: 1 };
        // An axis of size 1 has no atoms.
        Self { atoms: Some(atom).filter(|_| size != 1).into_iter().collect(), ..Self::default() }
    }

    /// Whether there are elements before or behind the image.
    pub(super) fn has_more(&self) -> bool {
        self.before > 0 || self.behind > 0
    }

    /// The number of elements in the image; the size of an axis without further elements.
    pub(super) fn inside(&self) -> i64 {
        if self.atoms.is_empty() && self.has_more() {
            return 0;
        }
        product(self.atoms.iter())
    }

    pub(super) fn size(&self) -> i64 {
        self.before.saturating_add(self.inside()).saturating_add(self.behind)
    }

    pub(super) fn has_space(&self) -> bool {
        self.atoms.iter().any(|atom| matches!(atom.meaning, Meaning::Space(_)))
    }

    /// Whether the axis has both channels and positions.
    fn is_mixed(&self) -> bool {
        self.has_space()
            && self.atoms.iter().any(|atom| atom.meaning == Meaning::Channel && atom.size > 1)
    }

    /// Appends a faster atom; joins it with the last one if a reshape had split them.
    fn push(&mut self, atom: Atom) {
        match self.atoms.last_mut() {
            Some(last)
                if last.meaning == atom.meaning
                    && last.step == atom.size.saturating_mul(atom.step) =>
            {
                *last = Atom { size: last.size.saturating_mul(atom.size), ..atom };
            }
            _ => self.atoms.push(atom),
        }
    }
}

/// The product of the sizes. Saturates, because a file may declare any size.
pub(super) fn product<'a>(atoms: impl IntoIterator<Item = &'a Atom>) -> i64 {
    atoms.into_iter().fold(1, |product, atom| product.saturating_mul(atom.size))
}

/// The axes of one value.
pub(super) type Axes = Vec<Axis>;

/// Infers the axes of all values, in the order of the nodes. The channels of an input other than `image` are where its shape
/// implies them.
pub(super) fn of_values(graph: &Graph, image: Option<ImageValue>) -> HashMap<ValueId, Axes> {
    let mut known: HashMap<ValueId, Axes> = HashMap::new();
    // The atoms of axes in which channels are joined with positions, for the reshape that splits them again: exporters
    // write a group norm as an instance norm between two reshapes.
    let mut mixed: HashMap<ValueId, Axes> = HashMap::new();
    for &input in graph.inputs() {
        let Some(sizes) = graph.fact(input).sizes() else { continue };
        let channels = match image.filter(|image| image.value == input) {
            Some(image) => image.channel_axis,
            None if sizes.len() < 3 => continue,
            None => {
                let shape: Vec<Option<i64>> = sizes.iter().copied().map(Some).collect();
                let layout = Layout::of_shape(&shape).unwrap_or(Layout::Nchw);
                Some(layout.channel_axis(sizes.len()))
            }
        };
        known.insert(input, with_channels(&sizes, channels));
    }
    let images = graph.inputs().iter().find_map(|input| known.get(input)).map(rows);
    for (id, node) in graph.nodes() {
        let traits = op::traits(node);
        for (place, output) in graph.node_outputs(id).iter().enumerate() {
            let Some(output) = output else { continue };
            let Some(sizes) = graph.fact(*output).sizes() else { continue };
            let joined = joined_of_output(graph, &known, &mixed, (id, traits), &sizes);
            let pure = joined.as_ref().filter(|axes| !axes.iter().any(Axis::is_mixed)).cloned();
            let axes = pure.or_else(|| of_output(graph, &known, (id, traits), place, &sizes));
            if let Some(joined) = joined.filter(|axes| axes.iter().any(Axis::is_mixed)) {
                mixed.insert(*output, joined);
            }
            // Discard inferred axes that contradict the shape or the number of images: a convolution inside TNT's
            // patches has a row for each patch.
            let fits = |axes: &Axes| {
                let whole = axes.iter().map(|axis| axis.before + axis.inside() + axis.behind);
                whole.eq(sizes.iter().copied()) && images.is_none_or(|images| images == rows(axes))
            };
            if let Some(axes) = axes.filter(fits) {
                known.insert(*output, axes);
            }
        }
    }
    known
}

/// The number of images that a value has rows for.
fn rows(axes: &Axes) -> i64 {
    let atoms = axes.iter().flat_map(|axis| &axis.atoms);
    product(atoms.filter(|atom| atom.meaning == Meaning::Batch))
}

/// The axes of images whose channels are on that axis, if they have some; the others are positions, in their order.
fn with_channels(sizes: &[i64], channels: Option<usize>) -> Axes {
    let meaning = |axis: usize| match axis {
        0 => Meaning::Batch,
        axis if Some(axis) == channels => Meaning::Channel,
        axis if channels.is_some_and(|channels| channels < axis) => Meaning::Space(axis - 2),
        axis => Meaning::Space(axis - 1),
    };
    sizes.iter().enumerate().map(|(axis, size)| Axis::of(meaning(axis), *size)).collect()
}

/// The axes of [N, C, …].
pub(super) fn channels_first(sizes: &[i64]) -> Axes {
    with_channels(sizes, Some(1))
}

/// The axes of a reshape, or of an elementwise operator behind one, with all of their atoms.
fn joined_of_output(
    graph: &Graph,
    known: &HashMap<ValueId, Axes>,
    mixed: &HashMap<ValueId, Axes>,
    (id, traits): (NodeId, &Traits),
    sizes: &[i64],
) -> Option<Axes> {
    let input = graph.node_inputs(id).first().copied().flatten()?;
    match traits.kind {
        Kind::Reshape => regrouped(mixed.get(&input).or_else(|| known.get(&input))?, sizes),
        kind if kind == Kind::Normalize || traits.is_elementwise() => mixed
            .get(&input)
            .filter(|_| graph.fact(input).sizes().as_deref() == Some(sizes))
            .cloned(),
        _ => None,
    }
}

fn of_output(
    graph: &Graph,
    known: &HashMap<ValueId, Axes>,
    (id, traits): (NodeId, &Traits),
    place: usize,
    sizes: &[i64],
) -> Option<Axes> {
    let node = graph.node(id);
    let inputs = graph.node_inputs(id);
    let input = |at: usize| inputs.get(at).copied().flatten();
    let axes_of = |at: usize| known.get(&input(at)?);
    let first = || axes_of(0);
    let ints = |at: usize| graph.fact(input(at)?).ints();
    let numbers =
        |name: &str, at: usize| node.attr_ints(name).map(<[i64]>::to_vec).or_else(|| ints(at));
    match traits.kind {
        Kind::Convolve | Kind::Deconvolve | Kind::Pool | Kind::GlobalPool | Kind::Shuffle => {
            Some(sliding(first(), sizes))
        }
        Kind::Transpose => {
            let from = first()?;
            let reversed = || (0..from.len() as i64).rev().collect();
            let perm = node.attr_ints("perm").map_or_else(reversed, <[i64]>::to_vec);
            perm.iter().map(|axis| from.get(usize::try_from(*axis).ok()?).cloned()).collect()
        }
        Kind::Reshape => {
            let axes = regrouped(first()?, sizes)?;
            let channels = product(axes.iter().flat_map(|axis| &axis.atoms).filter(is_channel));
            Some(axes.into_iter().map(|axis| unmixed(axis, channels, sizes.len())).collect())
        }
        Kind::MatMul => {
            let mut axes = first()?.clone();
            let last = axes.last_mut()?;
            *last = Axis::of(Meaning::Channel, *sizes.last()?);
            // Attention: the columns are positions.
            if let Some(other) = axes_of(1).filter(|other| other.len() > 2)
                && let Some(columns) = other.last()
            {
                *last = columns.clone();
            }
            Some(axes)
        }
        Kind::Piece if node.op() == "Concat" => {
            let axis = along(node.attr_int("axis")?, sizes.len())?;
            let parts: Vec<(i64, Option<&Axes>)> = inputs
                .iter()
                .flatten()
                .map(|value| {
                    let size =
                        graph.fact(*value).sizes().and_then(|sizes| sizes.get(axis).copied());
                    (size.unwrap_or(0), known.get(value))
                })
                .collect();
            joined(&parts, axis, sizes)
        }
        Kind::Piece if node.op() == "Slice" => {
            let from = first()?;
            let starts = numbers("starts", 1)?;
            let all = || (0..starts.len() as i64).collect();
            let at = numbers("axes", 3).unwrap_or_else(all);
            let starts = at
                .iter()
                .zip(&starts)
                .filter_map(|(axis, start)| Some((along(*axis, sizes.len())?, *start)));
            Some(cut(from, sizes, &starts.collect::<Vec<_>>()))
        }
        Kind::Piece if node.op() == "Split" => {
            let from = first()?;
            let axis = along(node.attr_int("axis").unwrap_or(0), sizes.len())?;
            let others = graph.node_outputs(id)[..place].iter().flatten();
            let mut before = others.map(|value| Some(*graph.fact(*value).sizes()?.get(axis)?));
            let start = before.try_fold(0i64, |sum, size| sum.checked_add(size?))?;
            Some(cut(from, sizes, &[(axis, start)]))
        }
        Kind::Index if node.op() == "Gather" => {
            let from = first()?;
            let axis = along(node.attr_int("axis").unwrap_or(0), from.len())?;
            let mut axes = from.clone();
            match ints(1)?.as_slice() {
                [_] if sizes.len() + 1 == from.len() => {
                    axes.remove(axis);
                    Some(axes)
                }
                several if sizes.len() == from.len() => {
                    Some(cut(from, sizes, &[(axis, *several.first()?)]))
                }
                _ => None,
            }
        }
        Kind::Piece | Kind::Repeat | Kind::Resample => Some(cut(first()?, sizes, &[])),
        Kind::Reduce => {
            let from = first()?;
            if sizes.len() == from.len() {
                return Some(cut(from, sizes, &[]));
            }
            let gone: Vec<usize> =
                numbers("axes", 1)?.iter().filter_map(|axis| along(*axis, from.len())).collect();
            let kept = from.iter().enumerate().filter(|(axis, _)| !gone.contains(axis));
            Some(kept.map(|(_, axis)| axis.clone()).collect())
        }
        // The remaining operators are elementwise.
        _ => broadcast(graph, known, inputs, sizes),
    }
}

fn along(axis: i64, rank: usize) -> Option<usize> {
    let axis = if axis < 0 { axis + i64::try_from(rank).ok()? } else { axis };
    usize::try_from(axis).ok().filter(|axis| *axis < rank)
}

/// The output of a sliding window is [N, C, …]; a spatial axis that keeps its size keeps its meaning.
fn sliding(from: Option<&Axes>, sizes: &[i64]) -> Axes {
    let mut axes = channels_first(sizes);
    for (axis, before) in from.into_iter().flatten().enumerate().skip(2) {
        if axis < sizes.len() && before.inside() == sizes[axis] && before.has_space() {
            axes[axis] = before.clone();
        }
    }
    axes
}

/// The same elements in another shape: assigns the atoms to the new axes, and splits an atom where an axis ends inside
/// it.
fn regrouped(from: &Axes, sizes: &[i64]) -> Option<Axes> {
    let mut rest = from.iter().peekable();
    let mut open: Vec<Atom> = Vec::new();
    let mut axes = Vec::with_capacity(sizes.len());
    for &size in sizes {
        let mut axis = Axis::default();
        let mut left = size;
        while left > 1 {
            if open.is_empty() {
                let next = rest.find(|axis| axis.size() > 1)?;
                if next.has_more() {
                    // An axis with further tokens is not a product, and cannot be split or joined.
                    if size != next.size() || left != size {
                        return None;
                    }
                    axis = next.clone();
                    break;
                }
                open = next.atoms.iter().rev().copied().collect();
            }
            let atom = open.pop()?;
            if left % atom.size == 0 {
                left /= atom.size;
                axis.push(atom);
            } else if atom.size % left == 0 {
                let inner = atom.size / left;
                axis.push(Atom { size: left, step: atom.step.saturating_mul(inner), ..atom });
                open.push(Atom { size: inner, ..atom });
                left = 1;
            } else {
                return None;
            }
        }
        axes.push(axis);
    }
    Some(axes)
}

fn is_channel(atom: &&Atom) -> bool {
    atom.meaning == Meaning::Channel
}

/// Resolves an axis of channels and positions of a value with `all_channels` and that many axes. The axis that holds all channels
/// is channels: the hidden units of a sequence [N, T, K·F] are no positions. Else the largest atom decides: merging patches joins
/// positions with channels, and the result is channels; a pixel shuffle joins channels with positions, and the result is
/// positions.
fn unmixed(axis: Axis, all_channels: i64, rank: usize) -> Axis {
    let (channels, all) = (product(axis.atoms.iter().filter(is_channel)), axis.inside());
    let most = axis.atoms.iter().max_by_key(|atom| atom.size);
    match most {
        _ if axis.is_mixed() && channels == all_channels && rank > 2 => {
            Axis::of(Meaning::Channel, all)
        }
        Some(most) if axis.has_space() && channels > 1 => Axis::of(most.meaning, all),
        _ => axis,
    }
}

/// A concatenation. Parts without positions come before or behind the part that has some.
fn joined(parts: &[(i64, Option<&Axes>)], axis: usize, sizes: &[i64]) -> Option<Axes> {
    let spatial = |part: &(i64, Option<&Axes>)| {
        part.1.and_then(|axes| axes.get(axis)).is_some_and(Axis::has_space)
    };
    let mut with_space = parts.iter().enumerate().filter(|(_, part)| spatial(part));
    match (with_space.next(), with_space.next()) {
        (Some((place, part)), None) => {
            let mut axes = part.1?.clone();
            let total = |parts: &[(i64, Option<&Axes>)]| {
                parts.iter().fold(0i64, |sum, part| sum.saturating_add(part.0))
            };
            let joined = &mut axes[axis];
            joined.before = joined.before.saturating_add(total(&parts[..place]));
            joined.behind = joined.behind.saturating_add(total(&parts[place + 1..]));
            Some(axes)
        }
        _ => Some(cut(parts.iter().find_map(|part| part.1)?, sizes, &[])),
    }
}

/// The axes with other sizes. If the elements that are cut off are those before or behind the image, the atoms stay;
/// otherwise the axis has new positions.
fn cut(from: &Axes, sizes: &[i64], starts: &[(usize, i64)]) -> Axes {
    let one = |(at, (axis, size)): (usize, (&Axis, &i64))| -> Axis {
        let whole = axis.size();
        if *size == whole {
            return axis.clone();
        }
        let start = starts.iter().find(|(axis, _)| *axis == at).map_or(0, |(_, start)| *start);
        let start = if start < 0 { start.saturating_add(whole) } else { start };
        if axis.has_more() {
            if (0..=axis.before).contains(&start)
                && start.saturating_add(*size) >= axis.before.saturating_add(axis.inside())
            {
                let before = axis.before - start;
                let behind = size - before - axis.inside();
                return Axis { atoms: axis.atoms.clone(), before, behind };
            }
            // The remaining tokens are not positions of the image.
            return Axis { before: *size, ..Axis::default() };
        }
        match axis.atoms.as_slice() {
            [atom] => Axis::of(atom.meaning, *size),
            _ => Axis { before: *size, ..Axis::default() },
        }
    };
    from.iter().zip(sizes).enumerate().map(one).collect()
}

/// The axes of the first input that has the shape of the output.
fn broadcast(
    graph: &Graph,
    known: &HashMap<ValueId, Axes>,
    inputs: &[Option<ValueId>],
    sizes: &[i64],
) -> Option<Axes> {
    let same = |value: &&ValueId| graph.fact(**value).sizes().as_deref() == Some(sizes);
    let whole = inputs.iter().flatten().filter(same).find_map(|value| known.get(value));
    whole.cloned()
}
