//! The layout of a sheet: where pictures and texts are, in points of 1/72 inch.

use gradcam::image::{Colormap, Photo};

use super::text::{Font, Kept};
use crate::failure::Result;

/// The size of labels, and that of what says less.
const SIZE: f64 = 8.0;
const SMALL: f64 = 7.0;
/// The distance of two lines, over their size.
const LEADING: f64 = 1.25;
const MARGIN: f64 = 6.0;
const GAP: f64 = 4.0;
/// The height of the part of a line below its baseline, over its size.
const BELOW: f64 = 0.3;
/// The lowest row, which the color bar stands beside.
const LOWEST: f64 = 30.0;
/// The highest picture, over the width of a column.
const HIGHEST: f64 = 1.25;
/// The gray of what says less.
const GRAY: u8 = 90;

/// A column, with the lines of its label and the part of them that is kept where they are long.
#[derive(Debug)]
pub(super) struct Column {
    pub(super) labels: Vec<(String, Kept)>,
}

/// A row: an image and a target.
#[derive(Debug)]
pub(super) struct Row {
    /// The name of the image.
    pub(super) image: String,
    pub(super) target: String,
    /// A probability or a score.
    pub(super) amount: String,
    /// One for each column, that of the photo first; none where an image is a tensor, or a model has no such target.
    pub(super) cells: Vec<Option<Cell>>,
}

#[derive(Clone, Debug)]
pub(super) struct Cell {
    pub(super) picture: Photo,
    /// What stands below the picture.
    pub(super) caption: String,
}

/// What is drawn, in points from the top left corner.
#[derive(Debug)]
pub(super) struct Sheet {
    pub(super) width: f64,
    pub(super) height: f64,
    pub(super) pictures: Vec<PlacedPicture>,
    pub(super) texts: Vec<PlacedText>,
}

/// A picture, stretched to a rectangle.
#[derive(Debug)]
pub(super) struct PlacedPicture {
    pub(super) picture: Photo,
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) width: f64,
    pub(super) height: f64,
}

/// A line of text; (x, y) is where its baseline begins, or its middle.
#[derive(Debug)]
pub(super) struct PlacedText {
    pub(super) text: String,
    pub(super) size: f64,
    /// From 0, black, to 255.
    pub(super) gray: u8,
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) is_centered: bool,
}

/// The size of a picture in a column of a width.
pub(super) fn fitted(picture: (u32, u32), column: f64) -> (f64, f64) {
    let (width, height) = (f64::from(picture.0), f64::from(picture.1));
    let scale = (column / width).min(HIGHEST * column / height);
    (width * scale, height * scale)
}

/// A line of text before it has a place.
struct Line {
    text: String,
    size: f64,
    gray: u8,
}

fn height(lines: &[Line]) -> f64 {
    lines.iter().map(|line| LEADING * line.size).sum()
}

impl Sheet {
    /// Lays out rows and columns of a width, with a bar of colors to the right of the first row.
    pub(super) fn new(
        font: &Font,
        columns: &[Column],
        rows: Vec<Row>,
        column: f64,
        bar: Option<Colormap>,
    ) -> Result<Self> {
        let mut sheet = Self { width: 0.0, height: 0.0, pictures: Vec::new(), texts: Vec::new() };
        let lines = |text: &str, size: f64, gray: u8, width: f64, most: usize, kept: Kept| {
            let lines = font.lines(text, size, width, most, kept).into_iter();
            lines.map(move |text| Line { text, size, gray }).collect::<Vec<_>>()
        };
        let widest = (0.8 * column).max(56.0);
        let row_labels: Vec<Vec<Line>> = rows
            .iter()
            .map(|row| {
                [
                    lines(&row.image, SMALL, GRAY, widest, 2, Kept::End),
                    lines(&row.target, SIZE, 0, widest, 3, Kept::Start),
                    lines(&row.amount, SMALL, GRAY, widest, 1, Kept::Start),
                ]
                .into_iter()
                .flatten()
                .collect()
            })
            .collect();
        let all = row_labels.iter().flatten();
        let label_width = all.map(|line| font.width(&line.text, line.size)).fold(0.0, f64::max);
        let left = |place: usize| MARGIN + label_width + 2.0 * GAP + place as f64 * (column + GAP);
        let right = left(columns.len()) - GAP;

        let labels: Vec<Vec<Line>> = columns
            .iter()
            .map(|one| {
                let each = one.labels.iter();
                each.flat_map(|(text, kept)| lines(text, SIZE, 0, column, 2, *kept)).collect()
            })
            .collect();
        let mut y = MARGIN + labels.iter().map(|label| height(label)).fold(0.0, f64::max);
        for (place, label) in labels.into_iter().enumerate() {
            let top = y - height(&label);
            sheet.lines(label, left(place) + column / 2.0, top, true);
        }
        y += GAP;

        let mut bar = bar;
        let mut bar_width = 0.0;
        for (row, label) in rows.into_iter().zip(row_labels) {
            let size = |cell: &Cell| fitted((cell.picture.width(), cell.picture.height()), column);
            let highest =
                row.cells.iter().flatten().map(|cell| size(cell).1).fold(LOWEST, f64::max);
            let content = highest.max(height(&label));
            sheet.lines(label, MARGIN, y, false);
            let mut below = 0.0f64;
            for (place, cell) in row.cells.into_iter().enumerate() {
                let Some(cell) = cell else { continue };
                let (width, high) = size(&cell);
                let middle = left(place) + column / 2.0;
                let caption = lines(&cell.caption, SMALL, 0, column, 1, Kept::Start);
                below = below.max(height(&caption));
                sheet.lines(caption, middle, y + content, true);
                sheet.pictures.push(PlacedPicture {
                    picture: cell.picture,
                    x: middle - width / 2.0,
                    y: y + (content - high) / 2.0,
                    width,
                    height: high,
                });
            }
            if let Some(colormap) = bar.take() {
                bar_width = sheet.bar(font, colormap, right + GAP, y, content)?;
            }
            y += content + below + GAP;
        }
        sheet.width = right + bar_width + MARGIN;
        sheet.height = y - GAP + MARGIN;
        Ok(sheet)
    }

    /// Adds lines below each other, that begin at a place or have their middle there.
    fn lines(&mut self, lines: Vec<Line>, x: f64, mut y: f64, is_centered: bool) {
        for Line { text, size, gray } in lines {
            y += LEADING * size;
            self.texts.push(PlacedText { text, size, gray, x, y: y - BELOW * size, is_centered });
        }
    }

    /// Adds a bar from 0 to 1 and gives the width that it takes.
    fn bar(&mut self, font: &Font, colormap: Colormap, x: f64, y: f64, height: f64) -> Result<f64> {
        let rgb = (0..=u8::MAX).rev().flat_map(|heat| colormap.color(f32::from(heat) / 255.0));
        let picture = Photo::from_rgb8(1, 256, rgb.collect())?;
        let width = SMALL;
        self.pictures.push(PlacedPicture { picture, x, y, width, height });
        let beside = x + width + 2.0;
        let digit = |text: &str| vec![Line { text: text.to_owned(), size: SMALL, gray: 0 }];
        // A digit is about 0.7 of its size high, and its top or its foot is level with the bar.
        self.lines(digit("1"), beside, y + (0.7 + BELOW - LEADING) * SMALL, false);
        self.lines(digit("0"), beside, y + height + (BELOW - LEADING) * SMALL, false);
        Ok(GAP + width + 2.0 + font.width("0", SMALL))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A sheet of long labels.
    fn sheet(columns: usize, rows: usize, size: (u32, u32), column: f64, labels: &str) -> Sheet {
        let font = Font::new(1.0).expect("a font");
        let label = |kept| (labels.to_owned(), kept);
        let columns: Vec<Column> = (0..columns)
            .map(|_| Column { labels: vec![label(Kept::Start), label(Kept::End)] })
            .collect();
        let cell = || {
            let rgb = vec![0; 3 * size.0 as usize * size.1 as usize];
            let picture = Photo::from_rgb8(size.0, size.1, rgb).expect("a picture");
            Some(Cell { picture, caption: labels.to_owned() })
        };
        let row = |_| Row {
            image: labels.to_owned(),
            target: labels.to_owned(),
            amount: "12.3 %".to_owned(),
            cells: columns.iter().map(|_| cell()).collect(),
        };
        let rows = (0..rows).map(row).collect();
        Sheet::new(&font, &columns, rows, column, Some(Colormap::Jet)).expect("a sheet")
    }

    #[test]
    fn nothing_overlaps_or_leaves_the_sheet() {
        let font = Font::new(1.0).expect("a font");
        let long = "/model/features.18/hand-held computer, hand-held microcomputer_".repeat(5);
        for (columns, rows, size, column, labels) in [
            (2, 1, (300, 200), 91.0, "Grad-CAM"),
            (3, 2, (20, 400), 91.0, long.as_str()),
            (7, 3, (400, 20), 30.0, long.as_str()),
            (2, 3, (1, 1), 1400.0, ""),
        ] {
            let sheet = sheet(columns, rows, size, column, labels);
            let pictures = sheet.pictures.iter().map(|p| [p.x, p.y, p.x + p.width, p.y + p.height]);
            let texts = sheet.texts.iter().map(|text| {
                let width = font.width(&text.text, text.size);
                let left = if text.is_centered { text.x - width / 2.0 } else { text.x };
                [left, text.y - 0.7 * text.size, left + width, text.y + 0.2 * text.size]
            });
            let boxes: Vec<[f64; 4]> = pictures.chain(texts).collect();
            assert_eq!(sheet.pictures.len(), columns * rows + 1);
            for (place, a) in boxes.iter().enumerate() {
                let inside =
                    a[0] >= 0.0 && a[1] >= 0.0 && a[2] <= sheet.width && a[3] <= sheet.height;
                assert!(inside, "{a:?} leaves {}x{}", sheet.width, sheet.height);
                for b in &boxes[..place] {
                    let apart = a[0] >= b[2] || b[0] >= a[2] || a[1] >= b[3] || b[1] >= a[3];
                    assert!(apart, "{a:?} and {b:?} of {columns} columns");
                }
            }
        }
    }

    #[test]
    fn pictures_keep_their_shape() {
        assert_eq!(fitted((200, 100), 50.0), (50.0, 25.0));
        assert_eq!(fitted((100, 500), 50.0), (12.5, 62.5));
    }
}
