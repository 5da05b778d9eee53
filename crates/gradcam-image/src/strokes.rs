//! Smooth lines with a border, by the distance of each pixel from them.

/// The lines of a picture, before they are drawn into it.
pub(super) struct Strokes {
    width: usize,
    height: usize,
    /// The width of the border on each side of a line, in pixels.
    border: f64,
    /// How far each pixel lies inside of a line and its border: 0 outside, 255 where the line covers it.
    depth: Vec<u8>,
}

impl Strokes {
    pub(super) fn new(width: usize, height: usize, border: f64) -> Self {
        Self { width, height, border, depth: vec![0; width * height] }
    }

    /// The number of pixels from outside of a border to where the line covers a pixel.
    fn ramp(&self) -> f64 {
        self.border + 1.0
    }

    /// Adds a line with round ends, in pixels with pixel i from i to i + 1. Parts outside of the picture are left out.
    pub(super) fn line(&mut self, [x0, y0]: [f64; 2], [x1, y1]: [f64; 2], thickness: f64) {
        let reach = thickness / 2.0 + self.border + 0.5;
        let (along_x, along_y) = (x1 - x0, y1 - y0);
        let square = along_x * along_x + along_y * along_y;
        let distance = |x: f64, y: f64| {
            let (x, y) = (x - x0, y - y0);
            let at = if square > 0.0 { (x * along_x + y * along_y) / square } else { 0.0 };
            let at = at.clamp(0.0, 1.0);
            (x - at * along_x).hypot(y - at * along_y)
        };
        // The casts to integers saturate.
        let inside = |a: f64, b: f64, side: usize| {
            ((a.min(b) - reach) as usize)..((a.max(b) + reach).ceil() as usize).min(side)
        };
        for y in inside(y0, y1, self.height) {
            for x in inside(x0, x1, self.width) {
                let depth = reach - distance(x as f64 + 0.5, y as f64 + 0.5);
                let depth = (255.0 * (depth / self.ramp())) as u8;
                let kept = &mut self.depth[y * self.width + x];
                *kept = depth.max(*kept);
            }
        }
    }

    /// Draws the lines over pixels of 3 bytes; `below` is the color of the borders.
    pub(super) fn draw(&self, rgb: &mut [u8], color: u8, below: u8) {
        let mix = |under: f64, over: u8, share: f64| under + (f64::from(over) - under) * share;
        for (pixel, depth) in rgb.chunks_exact_mut(3).zip(&self.depth).filter(|(_, d)| **d > 0) {
            let depth = f64::from(*depth) / 255.0 * self.ramp();
            let border = if self.border > 0.0 { depth.min(1.0) } else { 0.0 };
            let line = (depth - self.border).max(0.0);
            for value in pixel {
                let bordered = mix(f64::from(*value), below, border);
                *value = mix(bordered, color, line).round() as u8;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(border: f64, from: [f64; 2], to: [f64; 2], thickness: f64) -> Vec<u8> {
        let mut strokes = Strokes::new(1, 9, border);
        strokes.line(from, to, thickness);
        let mut rgb = vec![100; 27];
        strokes.draw(&mut rgb, 255, 0);
        rgb.into_iter().step_by(3).collect()
    }

    #[test]
    fn a_line_covers_the_pixels_within_its_thickness() {
        let across = |y| ([-5.0, y], [5.0, y]);
        let (from, to) = across(4.5);
        assert_eq!(row(0.0, from, to, 1.0), [100, 100, 100, 100, 255, 100, 100, 100, 100]);
        assert_eq!(row(1.0, from, to, 1.0), [100, 100, 100, 0, 255, 0, 100, 100, 100]);
        assert_eq!(row(1.0, from, to, 3.0), [100, 100, 0, 255, 255, 255, 0, 100, 100]);
        // Between two pixels, each is half covered.
        let (from, to) = across(4.0);
        let half = row(0.0, from, to, 1.0);
        assert_eq!(half[2], 100);
        assert!(half[3..5].iter().all(|value| (176..=178).contains(value)), "{half:?}");
        // A point, and one far outside.
        assert_eq!(row(0.0, [0.5, 4.5], [0.5, 4.5], 3.0)[3..6], [255; 3]);
        assert_eq!(row(1.0, [-1e9, -1e9], [-1e9, 1e9], 3.0), [100; 9]);
    }
}
