//! Methods that cover parts of the image and observe the score. Their maps are of positions at the input.

use ndarray::{ArrayD, Axis, Dimension, Slice, SliceInfoElem, Zip};

use super::{ChannelMap, Passes};
use crate::{Result, error::bail, image::resize_linear};

/// The cells of a random mask along each axis.
const CELLS: usize = 7;

/// The probability that a cell is shown.
const SHOWN: f64 = 0.5;

/// RISE: map = Σ_i y(x·M_i)·M_i / (N·p), N random masks M_i. Petsiuk et al. 2018, equation 6 and section 3.2, with the
/// target's own score in place of a probability.
///
/// A mask has 7 cells along each axis, shown with the probability p = 0.5. It is resized, linearly, to 8 cells as large as a
/// seventh of the image and cut to the image's size at a random place. There are 4000 masks, as in the paper for VGG-16.
pub(super) fn rise(passes: &mut dyn Passes) -> Result<ChannelMap> {
    let size = passes.input_size();
    let mut random = fastrand::Rng::with_seed(passes.settings().seed);
    let count = passes.settings().samples_or(4000);
    let masks: Vec<_> = (0..count).map(|_| CellMask::random(&mut random, size)).collect();
    mean_of_masks(passes, &masks)
}

fn mean_of_masks(passes: &mut dyn Passes, masks: &[CellMask]) -> Result<ChannelMap> {
    let size = passes.input_size().to_vec();
    let scores = passes.scores(masks.len(), &mut |number, mut image| {
        let mask = masks[number].at_size(&size);
        for mut plane in image.axis_iter_mut(Axis(0)) {
            Zip::from(&mut plane).and(&mask).for_each(|pixel, mask| *pixel *= mask);
        }
    })?;
    let mut sum = ArrayD::<f64>::zeros(size.as_slice());
    for (mask, score) in masks.iter().zip(scores) {
        Zip::from(&mut sum)
            .and(&mask.at_size(&size))
            .for_each(|sum, mask| *sum += f64::from(score) * f64::from(*mask));
    }
    #[expect(clippy::cast_precision_loss, reason = "a number of masks")]
    let whole = masks.len() as f64 * SHOWN;
    #[expect(clippy::cast_possible_truncation, reason = "maps are float32")]
    let map = sum.mapv(|sum| (sum / whole) as f32);
    Ok(ChannelMap::new(Vec::new(), map))
}

/// A random mask before its resize, which is large for a photo.
struct CellMask {
    /// 1 where a cell is shown, else 0: `CELLS` along each axis.
    cells: ArrayD<f32>,
    /// The place of the image in the resized cells.
    shift: Vec<usize>,
}

impl CellMask {
    fn random(random: &mut fastrand::Rng, size: &[usize]) -> Self {
        let shape = vec![CELLS; size.len()];
        let cells = ArrayD::from_shape_simple_fn(shape, || match random.f64() < SHOWN {
            true => 1.0,
            false => 0.0,
        });
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_precision_loss,
            clippy::cast_sign_loss,
            reason = "a number of pixels"
        )]
        let mut place = |size: &usize| (random.f64() * cell(*size) as f64) as usize;
        let shift = size.iter().map(&mut place).collect();
        Self { cells, shift }
    }

    /// The factor of each position.
    fn at_size(&self, size: &[usize]) -> ArrayD<f32> {
        let whole: Vec<usize> = size.iter().map(|size| (CELLS + 1) * cell(*size)).collect();
        let mut mask = resize_linear(self.cells.view(), &whole);
        for (axis, (size, shift)) in size.iter().zip(&self.shift).enumerate() {
            mask.slice_axis_inplace(Axis(axis), Slice::from(*shift..shift + size));
        }
        mask
    }
}

/// The size of a cell.
fn cell(size: usize) -> usize {
    size.div_ceil(CELLS)
}

/// Occlusion: map = y − y(x with zeros in a window), averaged over the windows that cover a position. Zeiler and Fergus 2013,
/// section 4.2, as Captum defines it: the windows slide over the image, all channels at once, and the last ones are cut at its
/// edges.
///
/// Along each axis a window is a seventh of the image and the stride half a window, unless the settings say otherwise, both
/// rounded up: 32 and 16 of 224 pixels, and 169 windows.
pub(super) fn occlusion(passes: &mut dyn Passes) -> Result<ChannelMap> {
    let size = passes.input_size().to_vec();
    let mut axes = Vec::with_capacity(size.len());
    for &size in &size {
        let settings = passes.settings();
        let window = settings.window.map_or(cell(size), |window| window.get()).min(size);
        let stride = settings.stride.map_or(window.div_ceil(2), |stride| stride.get());
        if stride > window && window < size {
            bail!(
                Method,
                "occlusion with a stride of {stride} and windows of {window} leaves positions without a window; the stride \
                 may be at most {window}"
            );
        }
        let starts = (0..=(size - window).div_ceil(stride)).map(move |number| number * stride);
        axes.push(starts.map(|start| start..size.min(start + window)).collect::<Vec<_>>());
    }
    let counts: Vec<usize> = axes.iter().map(Vec::len).collect();
    let windows: Vec<Vec<SliceInfoElem>> = ndarray::indices(counts)
        .into_iter()
        .map(|at| at.slice().iter().zip(&axes).map(|(at, axis)| axis[*at].clone().into()).collect())
        .collect();
    let score = passes.score();
    let scores = passes.scores(windows.len(), &mut |number, mut image| {
        for mut plane in image.axis_iter_mut(Axis(0)) {
            plane.slice_mut(windows[number].as_slice()).fill(0.0);
        }
    })?;
    // The sum of the drops, and the number of the windows.
    let mut sums = ArrayD::from_elem(size, (0.0f64, 0.0f64));
    for (window, without) in windows.iter().zip(scores) {
        let drop = f64::from(score) - f64::from(without);
        let covered = sums.slice_mut(window.as_slice());
        covered.into_iter().for_each(|(sum, count)| (*sum, *count) = (*sum + drop, *count + 1.0));
    }
    #[expect(clippy::cast_possible_truncation, reason = "maps are float32")]
    let map = sums.mapv(|(sum, count)| (sum / count) as f32);
    Ok(ChannelMap::new(Vec::new(), map))
}

#[cfg(test)]
mod tests {
    use super::{super::tiny::Tiny, *};

    /// A mask of which one cell is shown.
    fn one_cell(cell: [usize; 2], shift: [usize; 2]) -> CellMask {
        let mut cells = ArrayD::zeros(vec![CELLS; 2]);
        cells[cell] = 1.0;
        CellMask { cells, shift: shift.to_vec() }
    }

    /// Of 14 pixels a cell has 2 and seven cells become 16 pixels: pixel u lies at 7/16·(u + 1/2) − 1/2 in cells.
    #[test]
    fn masks_by_hand() {
        let size = [14, 1];
        let along = |shift| one_cell([3, 0], [shift, 0]).at_size(&size);
        let want = |pixel: u8| {
            let place = 7.0 / 16.0 * (f32::from(pixel) + 0.5) - 0.5;
            (1.0 - (place - 3.0).abs()).max(0.0)
        };
        for shift in 0..2u8 {
            let mask = along(usize::from(shift));
            assert_eq!(mask.shape(), size);
            for pixel in 0..14 {
                let (got, want) = (mask[[usize::from(pixel), 0]], want(pixel + shift));
                assert!((got - want).abs() < 1e-6, "{pixel}: {got}, not {want}");
            }
        }
    }

    #[test]
    fn random_masks_show_half_and_move_by_less_than_a_cell() {
        let mut random = fastrand::Rng::with_seed(1);
        let masks: Vec<_> = (0..2000).map(|_| CellMask::random(&mut random, &[30, 14])).collect();
        let shown: f32 = masks.iter().map(|mask| mask.cells.sum()).sum::<f32>() / 98_000.0;
        // Four standard errors of 98000 throws of a coin.
        assert!((shown - 0.5).abs() < 4.0 * 0.5 / 98_000f32.sqrt(), "{shown}");
        for (axis, cell) in [5, 2].into_iter().enumerate() {
            let moves: std::collections::BTreeSet<_> =
                masks.iter().map(|mask| mask.shift[axis]).collect();
            assert!(moves.into_iter().eq(0..cell));
        }
    }

    /// The image is all ones, so that the score of a mask is its sum.
    #[test]
    fn rise_by_hand() {
        let masks = [one_cell([0, 0], [0, 0]), one_cell([0, 1], [0, 0])];
        // A cell has one pixel and 8 pixels are 7 cells, so that along an axis pixel 0 lies at −1/16, cut to 0, and pixel 1 at
        // 13/16. Cell 0 is (1, 3/16) there, and cell 1 (0, 13/16).
        let (near, far) = (3.0 / 16.0, 13.0 / 16.0);
        let first = [1.0, near, near, near * near];
        let second = [0.0, far, 0.0, near * far];
        let sum = |mask: [f64; 4]| mask.iter().sum::<f64>();
        let map = mean_of_masks(&mut Tiny::new(), &masks).unwrap().map;
        for (place, got) in map.iter().enumerate() {
            let want = sum(first) * first[place] + sum(second) * second[place];
            assert!((f64::from(*got) - want).abs() < 1e-6, "{map}");
        }
    }
}
