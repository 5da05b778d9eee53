//! Lines of equal heat, by marching squares (Lorensen and Cline 1987, in two dimensions).

use ndarray::ArrayView2;

/// The heat of the lines: even steps, of which the last is near the maximum and the first away from what is cold.
pub(super) const LEVELS: [f32; 4] = [0.2, 0.4, 0.6, 0.8];

/// Calls `line` with the two ends of each piece of the line on which a heatmap [H, W] has the value `level`, in its pixels with
/// pixel i from i to i + 1. Between the centers of pixels the heat is linear; beyond the outermost it stays the same.
pub(super) fn contours(
    heatmap: ArrayView2<'_, f32>,
    level: f32,
    mut line: impl FnMut([f64; 2], [f64; 2]),
) {
    let (rows, columns) = (knots(heatmap.nrows()), knots(heatmap.ncols()));
    for rows in rows.windows(2) {
        for columns in columns.windows(2) {
            let ((top, y0), (bottom, y1)) = (rows[0], rows[1]);
            let ((left, x0), (right, x1)) = (columns[0], columns[1]);
            // Clockwise from the top left.
            let corners = [
                (heatmap[[top, left]], [x0, y0]),
                (heatmap[[top, right]], [x1, y0]),
                (heatmap[[bottom, right]], [x1, y1]),
                (heatmap[[bottom, left]], [x0, y1]),
            ];
            let crossed = |edge: usize| crossing(corners[edge], corners[(edge + 1) % 4], level);
            let mut crossings = [[0.0; 2]; 4];
            let mut count = 0;
            for crossing in (0..4).filter_map(crossed) {
                crossings[count] = crossing;
                count += 1;
            }
            let [a, b, c, d] = crossings;
            let center = corners.iter().map(|(heat, _)| heat).sum::<f32>() / 4.0;
            match count {
                2 => line(a, b),
                // A saddle. Its center belongs to the first and third corner, or to the others.
                4 if (center >= level) == (corners[0].0 >= level) => {
                    line(a, b);
                    line(c, d);
                }
                4 => {
                    line(d, a);
                    line(b, c);
                }
                _ => {}
            }
        }
    }
}

/// The centers of pixels along an axis, and the two ends, each with the pixel whose heat it has.
fn knots(length: usize) -> Vec<(usize, f64)> {
    let centers = (0..length).map(|index| (index, index as f64 + 0.5));
    let end = (length.saturating_sub(1), length as f64);
    [(0, 0.0)].into_iter().chain(centers).chain([end]).collect()
}

/// Where the heat passes the level between two corners.
fn crossing(
    (heat, from): (f32, [f64; 2]),
    (other, to): (f32, [f64; 2]),
    level: f32,
) -> Option<[f64; 2]> {
    let share = f64::from((level - heat) / (other - heat));
    let is_crossed = (heat >= level) != (other >= level);
    is_crossed.then(|| [0, 1].map(|axis| from[axis] + share * (to[axis] - from[axis])))
}

#[cfg(test)]
mod tests {
    use ndarray::{Array2, arr2};

    use super::*;

    fn lines(heatmap: &Array2<f32>, level: f32) -> Vec<[[f64; 2]; 2]> {
        let mut lines = Vec::new();
        contours(heatmap.view(), level, |from, to| lines.push([from, to]));
        lines
    }

    #[test]
    fn a_ramp_has_one_line_across_it() {
        // The heat is 0 to 0.5 and 1 from 1.5 on, so that 0.25 is at 0.75.
        let lines = lines(&arr2(&[[0.0, 1.0], [0.0, 1.0]]), 0.25);
        assert!(lines.iter().flatten().all(|[x, _]| *x == 0.75), "{lines:?}");
        let length: f64 = lines.iter().map(|[from, to]| (from[1] - to[1]).abs()).sum();
        assert_eq!(length, 2.0);
    }

    #[test]
    fn a_cone_has_a_circle() {
        let cone = Array2::from_shape_fn((41, 41), |(y, x)| {
            1.0 - (x as f32 - 20.0).hypot(y as f32 - 20.0) / 20.0
        });
        for level in LEVELS {
            let radius = 20.0 * f64::from(1.0 - level);
            let mut length = 0.0;
            for [from, to] in lines(&cone, level) {
                length += (to[0] - from[0]).hypot(to[1] - from[1]);
                let away = (from[0] - 20.5).hypot(from[1] - 20.5);
                assert!((away - radius).abs() < 0.1, "{level}: {away} and not {radius}");
            }
            let around = std::f64::consts::TAU * radius;
            assert!((length / around - 1.0).abs() < 0.02, "{level}: {length} and not {around}");
        }
    }

    #[test]
    fn saddles_are_cut_by_their_center() {
        let saddle = arr2(&[[1.0, 0.0], [0.0, 1.0]]);
        // Of the four cells around the center of the picture the inner one is the saddle, of heat 0.5 in the middle.
        let inner = |level| {
            let mut inner: Vec<_> = lines(&saddle, level);
            inner.retain(|line| line.iter().flatten().all(|at| (0.5..=1.5).contains(at)));
            inner.retain(|[from, to]| from != to);
            inner
        };
        assert_eq!(
            inner(0.75),
            [[[0.5, 0.75], [0.75, 0.5]], [[1.5, 1.25], [1.25, 1.5]]],
            "each hot corner by itself"
        );
        assert_eq!(
            inner(0.25),
            [[[1.25, 0.5], [1.5, 0.75]], [[0.75, 1.5], [0.5, 1.25]]],
            "each cold corner by itself"
        );
    }

    #[test]
    fn what_is_flat_has_no_lines() {
        for heat in [0.0, 0.2, 1.0] {
            assert!(lines(&Array2::from_elem((3, 4), heat), 0.2).is_empty());
        }
    }
}
