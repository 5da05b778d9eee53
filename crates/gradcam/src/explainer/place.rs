//! The places of targets: a detector's box or a run of time steps, which one run of the network finds before another
//! explains them.

use std::{ops::Range, sync::Arc};

use ndarray::{Array2, ArrayD, ArrayView2, Axis};

use crate::{
    Result,
    error::bail,
    explanation::TargetPlace,
    head::{Anchors, Corners, Head, Scale, grids},
    image::Placement,
    targets::{Area, Mask, Target},
};

/// A target of one image, and where it is.
#[derive(Clone, Debug)]
pub(super) struct PlacedTarget {
    pub(super) target: Target,
    pub(super) place: Option<Place>,
}

impl From<Target> for PlacedTarget {
    fn from(target: Target) -> Self {
        Self { target, place: None }
    }
}

/// Where a target is.
#[derive(Clone, Debug)]
pub(super) enum Place {
    /// At an anchor of a detector.
    Box {
        /// The class that is found there.
        class: usize,
        found: FoundBox,
    },
    /// At consecutive time steps of a sequence.
    Steps(Range<usize>),
    /// At the pixels of a mask, which lies over the photo, or over the network's input where there is none.
    Mask(Arc<Mask>, Option<PhotoPlacement>),
}

/// The part of a photo that the network saw, and the photo's size.
#[derive(Clone, Copy, Debug)]
pub(super) struct PhotoPlacement {
    pub(super) placement: Placement,
    pub(super) width: u32,
    pub(super) height: u32,
}

impl Place {
    /// As it is reported.
    pub(super) fn shown(&self) -> Option<TargetPlace> {
        match self {
            Self::Box { found, .. } => Some(TargetPlace::Box {
                area: found.area,
                probability: found.probability,
                anchor: found.anchor,
            }),
            Self::Steps(steps) => Some(TargetPlace::Steps { from: steps.start, to: steps.end }),
            Self::Mask(..) => None,
        }
    }

    /// The weight of each position of the scores, whose shape for one image is given.
    pub(super) fn weights(&self, shape: &[usize]) -> ArrayD<f32> {
        let (height, width) = match shape {
            [.., height, width] => (*height, *width),
            _ => (1, 1),
        };
        ArrayD::from_shape_fn(shape, |at| {
            let (y, x) = (at[shape.len().saturating_sub(2)], at[shape.len() - 1]);
            let inside = match self {
                Self::Box { .. } => false,
                Self::Steps(steps) => steps.contains(&x),
                Self::Mask(mask, placed) => {
                    #[expect(clippy::cast_precision_loss, reason = "the side of a picture")]
                    let share = |at: usize, size: usize| (at as f64 + 0.5) / size as f64;
                    let (x, y) = (share(x, width), share(y, height));
                    match placed {
                        Some(PhotoPlacement { placement, width, height }) => {
                            let of = |share: f64, side: u32| share * f64::from(side);
                            let (x, y) = placement.to_photo(
                                of(x, placement.network_width),
                                of(y, placement.network_height),
                            );
                            mask.covers(x / f64::from(*width), y / f64::from(*height))
                        }
                        None => mask.covers(x, y),
                    }
                }
            };
            f32::from(u8::from(inside))
        })
    }
}

/// A box that a detector found.
#[derive(Clone, Copy, Debug)]
pub(super) struct FoundBox {
    /// In pixels of the network's input.
    pub(super) area: Area,
    pub(super) probability: f32,
    pub(super) anchor: usize,
}

/// Boxes of one class that overlap by more than this share are one.
const SAME_BOX: f64 = 0.5;

/// Of several boxes at an area that the user names, those with a smaller probability do not count.
const LEAST_PROBABILITY: f32 = 0.01;

/// What a detector says of one image.
pub(super) struct Detections {
    /// The probability of each class at each anchor, [K, A].
    probabilities: Array2<f32>,
    /// What orders boxes, [K, A]: the scores under a sigmoid, of which several can have the probability 1 in float32; else the
    /// probabilities.
    order: Array2<f32>,
    /// The box of each anchor, in pixels of the network's input.
    boxes: Vec<Area>,
    background: Option<usize>,
}

impl Detections {
    /// Reads the scores [K, A] and the boxes [4, A] of one image of `sides`, height and width.
    pub(super) fn new(
        head: &Head,
        anchors: &Anchors,
        scores: ArrayView2<'_, f32>,
        boxes: Option<ArrayView2<'_, f32>>,
        (height, width): (usize, usize),
    ) -> Self {
        let mut probabilities = scores.to_owned();
        match head.scale {
            Scale::Sigmoid => probabilities.mapv_inplace(|z| 1.0 / (1.0 + (-z).exp())),
            Scale::Softmax => {
                for mut column in probabilities.axis_iter_mut(Axis(1)) {
                    let largest = column.fold(f32::NEG_INFINITY, |most, z| most.max(*z));
                    column.mapv_inplace(|z| (z - largest).exp());
                    let all = column.sum();
                    column.mapv_inplace(|power| power / all);
                }
            }
            Scale::Probabilities | Scale::Values => {}
        }
        let corners = anchors.boxes.map(|boxes| boxes.corners);
        let mut boxes = match (boxes, corners) {
            (Some(boxes), Some(corners)) => areas(boxes, corners, height, width),
            _ => Vec::new(),
        };
        // An anchor without a box has an empty one.
        boxes.resize(probabilities.ncols(), Area { x: 0.0, y: 0.0, width: 0.0, height: 0.0 });
        let order = match head.scale {
            Scale::Sigmoid => scores.to_owned(),
            _ => probabilities.clone(),
        };
        Self { probabilities, order, boxes, background: anchors.background }
    }

    /// The largest probability of each class, over all anchors.
    pub(super) fn of_classes(&self) -> Vec<f32> {
        largest_of_rows(&self.probabilities)
    }

    /// The classes by their largest probability, the background left out; the first of equal ones comes first.
    pub(super) fn ranked(&self) -> Vec<usize> {
        let of_classes = largest_of_rows(&self.order);
        let mut order: Vec<usize> =
            (0..of_classes.len()).filter(|class| Some(*class) != self.background).collect();
        order.sort_by(|a, b| of_classes[*b].total_cmp(&of_classes[*a]));
        order
    }

    fn found(&self, class: usize, anchor: usize) -> FoundBox {
        let probability = self.probabilities[[class, anchor]];
        FoundBox { area: self.boxes[anchor], probability, anchor }
    }

    /// The best boxes of a class, at most `count` of them, that do not overlap.
    fn best(&self, class: usize, count: usize) -> Vec<FoundBox> {
        let scores = self.order.row(class);
        let mut order: Vec<usize> =
            (0..scores.len()).filter(|anchor| scores[*anchor].is_finite()).collect();
        order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]));
        let mut kept: Vec<FoundBox> = Vec::new();
        for anchor in order {
            if kept.len() == count {
                break;
            }
            let found = self.found(class, anchor);
            if kept.iter().all(|other| other.area.overlap(&found.area) <= SAME_BOX) {
                kept.push(found);
            }
        }
        kept
    }

    /// The K-th best box of a class, counted from 1.
    pub(super) fn nth(&self, class: usize, place: usize) -> Result<Place> {
        match place.checked_sub(1).and_then(|at| self.best(class, place).into_iter().nth(at)) {
            Some(found) => Ok(Place::Box { class, found }),
            None => {
                let there = self.best(class, place).len();
                bail!(
                    Target,
                    "class {class} has {there} boxes that do not overlap, so there is no box {place}"
                )
            }
        }
    }

    /// The box that overlaps most with an area, of a class if one is named.
    ///
    /// # Errors
    /// `Target` where there is none, in words for the area as it was `given`.
    pub(super) fn at(&self, class: Option<usize>, area: &Area, given: &Area) -> Result<Place> {
        let classes: Vec<usize> = match class {
            Some(class) => vec![class],
            None => self.ranked(),
        };
        // The best class of each anchor, among these classes.
        let anchors = 0..self.boxes.len();
        let mut candidates: Vec<(usize, FoundBox)> = anchors
            .filter_map(|anchor| {
                let class = classes.iter().copied().reduce(|best, class| {
                    let p = |class: usize| self.probabilities[[class, anchor]];
                    if p(class) > p(best) { class } else { best }
                })?;
                Some((class, self.found(class, anchor)))
            })
            .filter(|(_, found)| found.area.overlap(area) > 0.0)
            .collect();
        let likely = |(_, found): &(usize, FoundBox)| found.probability >= LEAST_PROBABILITY;
        if candidates.iter().any(likely) {
            candidates.retain(likely);
        }
        candidates.sort_by(|(_, a), (_, b)| b.probability.total_cmp(&a.probability));
        let mut kept: Vec<(usize, FoundBox)> = Vec::new();
        for (class, found) in candidates {
            let same = |(other, kept): &(usize, FoundBox)| {
                *other == class && kept.area.overlap(&found.area) > SAME_BOX
            };
            if !kept.iter().any(same) {
                kept.push((class, found));
            }
        }
        let nearest = kept.into_iter().reduce(|best, other| {
            if other.1.area.overlap(area) > best.1.area.overlap(area) { other } else { best }
        });
        match nearest {
            Some((class, found)) => Ok(Place::Box { class, found }),
            None => bail!(Target, "no box of the model overlaps with the area {given}"),
        }
    }
}

fn largest_of_rows(numbers: &Array2<f32>) -> Vec<f32> {
    let rows = numbers.outer_iter();
    rows.map(|row| row.fold(f32::NEG_INFINITY, |most, number| most.max(*number))).collect()
}

/// The boxes in pixels of the network's input.
fn areas(boxes: ArrayView2<'_, f32>, corners: Corners, height: usize, width: usize) -> Vec<Area> {
    let columns =
        || boxes.axis_iter(Axis(1)).map(|column| [0, 1, 2, 3].map(|at| f64::from(column[at])));
    #[expect(clippy::cast_precision_loss, reason = "the side of a picture")]
    let sides = (width as f64, height as f64);
    // Boxes in shares of the picture are up to 1, and a little beyond its border.
    let most = boxes
        .fold(0.0f32, |most, number| if number.is_finite() { most.max(*number) } else { most });
    let (across, down) = if most <= 2.0 && corners != Corners::Cells { sides } else { (1.0, 1.0) };
    let are_corners = corners != Corners::LeftTop
        || columns().filter(|[left, top, right, bottom]| left <= right && top <= bottom).count()
            * 20
            >= boxes.ncols() * 19;
    let of_center = |[x, y, width, height]: [f64; 4]| Area {
        x: (x - width / 2.0) * across,
        y: (y - height / 2.0) * down,
        width: width * across,
        height: height * down,
    };
    let of_corners = |left: f64, top: f64, right: f64, bottom: f64| Area {
        x: left.min(right) * across,
        y: top.min(bottom) * down,
        width: (right - left).abs() * across,
        height: (bottom - top).abs() * down,
    };
    match corners {
        Corners::Center => columns().map(of_center).collect(),
        Corners::LeftTop if !are_corners => columns().map(of_center).collect(),
        Corners::LeftTop => columns().map(|[l, t, r, b]| of_corners(l, t, r, b)).collect(),
        Corners::TopLeft => columns().map(|[t, l, b, r]| of_corners(l, t, r, b)).collect(),
        Corners::Cells => {
            let cells = cells(boxes.ncols(), height, width);
            let decoded =
                columns().zip(cells).map(|([x, y, w, h], Cell { column, row, stride })| {
                    of_center([
                        (x + column) * stride,
                        (y + row) * stride,
                        w.exp() * stride,
                        h.exp() * stride,
                    ])
                });
            decoded.collect()
        }
    }
}

/// A cell of a detector's grid.
struct Cell {
    column: f64,
    row: f64,
    stride: f64,
}

/// The cells of the grids, the finest grid first, row by row.
#[expect(clippy::cast_precision_loss, reason = "the side of a picture")]
fn cells(count: usize, height: usize, width: usize) -> Vec<Cell> {
    let Some((_, strides)) = grids(count, height, width) else { return Vec::new() };
    let of_grid = |stride: &usize| {
        let stride = *stride;
        let (rows, columns) = (height.div_ceil(stride), width.div_ceil(stride));
        (0..rows).flat_map(move |row| {
            (0..columns).map(move |column| Cell {
                column: column as f64,
                row: row as f64,
                stride: stride as f64,
            })
        })
    };
    strides.iter().flat_map(of_grid).collect()
}

/// The runs of a class in the classes that win each time step.
pub(super) fn runs(winners: &[usize], class: usize) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    for (step, _) in winners.iter().enumerate().filter(|(_, winner)| **winner == class) {
        match runs.last_mut() {
            Some(run) if run.end == step => run.end += 1,
            _ => runs.push(step..step + 1),
        }
    }
    runs
}

/// The K-th run of a class, counted from 1.
pub(super) fn nth_run(winners: &[usize], class: usize, place: usize) -> Result<Place> {
    let runs = runs(winners, class);
    match place.checked_sub(1).and_then(|at| runs.get(at)) {
        Some(run) => Ok(Place::Steps(run.clone())),
        None => {
            bail!(
                Target,
                "class {class} wins {} runs of time steps, so there is no run {place}",
                runs.len()
            )
        }
    }
}

/// The text that a sequence reads: a label for each run of a class, the blank left out.
pub(super) fn greedy_text(winners: &[usize], blank: Option<usize>, labels: &[String]) -> String {
    let starts = winners
        .iter()
        .enumerate()
        .filter(|(step, class)| *step == 0 || winners.get(step - 1) != Some(class));
    let read = starts.filter(|(_, class)| Some(**class) != blank);
    read.filter_map(|(_, class)| labels.get(*class)).map(String::as_str).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_counted_from_1() {
        let winners = [0, 2, 2, 0, 2, 1];
        assert_eq!(runs(&winners, 2), [1..3, 4..5]);
        let steps = |place| match nth_run(&winners, 2, place) {
            Ok(Place::Steps(steps)) => Some(steps),
            _ => None,
        };
        assert_eq!([0, 1, 2, 3].map(steps), [None, Some(1..3), Some(4..5), None]);
    }

    /// A blank between two runs of a class parts them.
    #[test]
    fn text_is_read_run_by_run() {
        let labels = ["", "l", "o"].map(str::to_owned);
        assert_eq!(greedy_text(&[0, 1, 1, 0, 1, 2, 0], Some(0), &labels), "llo");
        assert_eq!(greedy_text(&[1, 1, 2], None, &labels), "lo");
    }
}
