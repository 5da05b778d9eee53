//! Places the boxes of a graph in ranks from top to bottom, and its lines between them.
//!
//! The steps are those of layered drawings (Sugiyama, Tagawa and Toda 1981, <https://doi.org/10.1109/TSMC.1981.4308636>): ranks
//! by the longest path, a point in every rank that a line crosses, an order within each rank by barycenters, and then places
//! that are as near to those of the neighbors as the order allows.

use std::collections::BTreeMap;

/// The sweeps that order the ranks, and those that place what they hold.
const SWEEPS: usize = 16;

/// The space between two boxes, and between a line and what is beside it.
const GAP: f64 = 18.0;

/// The width that a line takes.
const LINE: f64 = 6.0;

/// How much more a line between two ranks is straightened than one from box to box.
const STRAIGHT: f64 = 8.0;

/// A line from a box to a later one. Those of one group and one beginning are drawn as one as far as they go together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Link {
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) group: usize,
}

/// A part of a line, from a rank to the next one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Segment {
    /// Where it leaves: the center, and the rank.
    pub(super) from: (f64, usize),
    pub(super) to: (f64, usize),
    pub(super) group: usize,
    /// Whether it leaves a box, and whether it ends at one.
    pub(super) at_box: (bool, bool),
}

/// Where everything is.
#[derive(Debug)]
pub(super) struct Layout {
    /// The center of each box, and its rank.
    pub(super) boxes: Vec<(f64, usize)>,
    pub(super) segments: Vec<Segment>,
    pub(super) width: f64,
    pub(super) ranks: usize,
}

/// Places boxes of these widths; `None` if there would be more than `limit` of boxes and points.
///
/// Links go from earlier boxes to later ones.
pub(super) fn layout(widths: &[f64], links: &[Link], limit: usize) -> Option<Layout> {
    let mut graph = Layered::new(widths, links, limit)?;
    let mut order = graph.order();
    let width = graph.place(&mut order);
    let end = |vertex: usize| (graph.x[vertex], graph.rank[vertex]);
    let segments = graph.segments.iter().map(|&(from, to, group)| Segment {
        from: end(from),
        to: end(to),
        group,
        at_box: (from < widths.len(), to < widths.len()),
    });
    Some(Layout {
        boxes: (0..widths.len()).map(end).collect(),
        segments: segments.collect(),
        width,
        ranks: order.len(),
    })
}

/// Boxes, and behind them the points of lines between ranks.
struct Layered {
    boxes: usize,
    rank: Vec<usize>,
    width: Vec<f64>,
    x: Vec<f64>,
    /// From, to and group; each from a rank to the next.
    segments: Vec<(usize, usize, usize)>,
    /// The neighbors of each vertex in the rank above and in the one below.
    neighbors: [Vec<Vec<usize>>; 2],
}

impl Layered {
    fn new(widths: &[f64], links: &[Link], limit: usize) -> Option<Self> {
        let mut links = links.to_vec();
        links.sort_unstable();
        links.dedup();
        let mut rank = ranks(widths.len(), &links);
        let mut width = widths.to_vec();
        let mut segments = Vec::new();
        // The points of the lines of one beginning and group, by rank.
        let mut points: BTreeMap<(usize, usize, usize), usize> = BTreeMap::new();
        for Link { from, to, group } in links {
            let mut at = from;
            for crossed in rank[from] + 1..rank[to] {
                let point = points.entry((from, group, crossed)).or_insert_with(|| {
                    let point = width.len();
                    width.push(LINE);
                    rank.push(crossed);
                    segments.push((at, point, group));
                    point
                });
                at = *point;
                if width.len() > limit {
                    return None;
                }
            }
            segments.push((at, to, group));
        }
        let count = width.len();
        let mut neighbors = [vec![Vec::new(); count], vec![Vec::new(); count]];
        for (from, to, _) in &segments {
            neighbors[0][*to].push(*from);
            neighbors[1][*from].push(*to);
        }
        let x = vec![0.0; count];
        Some(Self { boxes: widths.len(), rank, width, x, segments, neighbors })
    }

    /// The vertices of each rank from left to right, so that lines cross little.
    fn order(&mut self) -> Vec<Vec<usize>> {
        let ranks = self.rank.iter().max().map_or(0, |last| last + 1);
        let mut order = vec![Vec::new(); ranks];
        for (vertex, rank) in self.rank.iter().enumerate() {
            order[*rank].push(vertex);
        }
        let mut place = vec![0.0; self.rank.len()];
        for sweep in 0..SWEEPS {
            let towards = sweep % 2;
            for step in 0..ranks {
                let rank = if towards == 0 { step } else { ranks - 1 - step };
                let vertices = &mut order[rank];
                let key = |vertex: &usize| {
                    let neighbors = &self.neighbors[towards][*vertex];
                    let sum: f64 = neighbors.iter().map(|other| place[*other]).sum();
                    if neighbors.is_empty() { place[*vertex] } else { sum / neighbors.len() as f64 }
                };
                let mut keyed: Vec<(f64, usize)> = vertices.iter().map(|v| (key(v), *v)).collect();
                keyed.sort_by(|a, b| a.0.total_cmp(&b.0));
                *vertices = keyed.into_iter().map(|(_, vertex)| vertex).collect();
                let count = vertices.len() as f64;
                for (at, vertex) in vertices.iter().enumerate() {
                    place[*vertex] = (at as f64 + 0.5) / count;
                }
            }
        }
        order
    }

    /// Places the vertices of each rank in their order, and gives the width of all.
    fn place(&mut self, order: &mut [Vec<usize>]) -> f64 {
        for vertices in &*order {
            let mut left = 0.0;
            for vertex in vertices {
                self.x[*vertex] = left + self.width[*vertex] / 2.0;
                left += self.width[*vertex] + GAP;
            }
        }
        for sweep in 0..SWEEPS {
            let towards = sweep % 2;
            for step in 0..order.len() {
                let rank = if towards == 0 { step } else { order.len() - 1 - step };
                // The last two look at both sides.
                let sides = if sweep + 2 < SWEEPS { towards..towards + 1 } else { 0..2 };
                self.place_rank(&order[rank], sides);
            }
        }
        let edges = |side: f64| {
            let all = self.x.iter().zip(&self.width);
            all.map(move |(x, width)| x + side * width / 2.0)
        };
        let left = edges(-1.0).fold(f64::INFINITY, f64::min);
        let right = edges(1.0).fold(f64::NEG_INFINITY, f64::max);
        self.x.iter_mut().for_each(|x| *x -= left);
        (right - left).max(0.0)
    }

    /// Places a rank as near to its neighbors as its order and the gaps allow: least squares by pooling neighbors that want to
    /// change places (Ayer and others 1955, <https://doi.org/10.1214/aoms/1177728423>).
    fn place_rank(&mut self, vertices: &[usize], sides: std::ops::Range<usize>) {
        // Runs of vertices that touch: the wanted place of the first, the weight, and their number.
        let mut runs: Vec<(f64, f64, usize)> = Vec::new();
        let mut offsets = Vec::with_capacity(vertices.len());
        let mut offset = 0.0;
        let mut before: Option<usize> = None;
        for &vertex in vertices {
            if let Some(before) = before {
                offset += (self.width[before] + self.width[vertex]) / 2.0 + GAP;
            }
            before = Some(vertex);
            offsets.push(offset);
            let (wanted, weight) = self.wanted(vertex, sides.clone());
            let mut run = (wanted - offset, weight, 1);
            while let Some(last) = runs.pop() {
                if last.0 <= run.0 {
                    runs.push(last);
                    break;
                }
                let weight = last.1 + run.1;
                run = ((last.0 * last.1 + run.0 * run.1) / weight, weight, last.2 + run.2);
            }
            runs.push(run);
        }
        let places =
            runs.into_iter().flat_map(|(place, _, count)| std::iter::repeat_n(place, count));
        for ((vertex, offset), place) in vertices.iter().zip(offsets).zip(places) {
            self.x[*vertex] = place + offset;
        }
    }

    /// Where a vertex would be with respect to its neighbors alone, and how much that matters.
    fn wanted(&self, vertex: usize, sides: std::ops::Range<usize>) -> (f64, f64) {
        let (mut sum, mut weight) = (0.0, 0.0);
        for &other in self.neighbors[sides].iter().flat_map(|side| &side[vertex]) {
            let is_line = vertex >= self.boxes && other >= self.boxes;
            let each = if is_line { STRAIGHT } else { 1.0 };
            sum += each * self.x[other];
            weight += each;
        }
        if weight > 0.0 { (sum / weight, weight) } else { (self.x[vertex], 1.0) }
    }
}

/// The rank of each box: one more than the largest of those before it, and where it has few of them, just before the next.
fn ranks(count: usize, links: &[Link]) -> Vec<usize> {
    let mut before = vec![Vec::new(); count];
    let mut behind = vec![Vec::new(); count];
    for Link { from, to, .. } in links {
        before[*to].push(*from);
        behind[*from].push(*to);
    }
    let mut rank = vec![0; count];
    for at in 0..count {
        rank[at] = before[at].iter().map(|from| rank[*from] + 1).max().unwrap_or(0);
    }
    for at in (0..count).rev() {
        if before[at].len() <= behind[at].len()
            && let Some(next) = behind[at].iter().map(|to| rank[*to]).min()
        {
            rank[at] = next - 1;
        }
    }
    rank
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(from: usize, to: usize) -> Link {
        Link { from, to, group: 0 }
    }

    #[test]
    fn a_diamond_has_three_ranks_and_its_ends_in_the_middle() {
        let links = [link(0, 1), link(0, 2), link(1, 3), link(2, 3)];
        let layout = layout(&[40.0; 4], &links, 100).expect("a layout");
        let ranks: Vec<usize> = layout.boxes.iter().map(|(_, rank)| *rank).collect();
        assert_eq!((ranks.as_slice(), layout.ranks), ([0, 1, 1, 2].as_slice(), 3));
        let x = |at: usize| layout.boxes[at].0;
        assert_eq!(x(0), x(3));
        assert!((x(0) - (x(1) + x(2)) / 2.0).abs() < 1e-9, "{:?}", layout.boxes);
        assert_eq!(layout.width, 2.0 * 40.0 + GAP);
        assert_eq!(layout.segments.len(), 4);
    }

    #[test]
    fn boxes_and_lines_of_a_rank_do_not_touch() {
        // A line from the first box to the last one passes three boxes, and two share it as far as they go.
        let links = [link(0, 1), link(1, 2), link(2, 3), link(3, 4), link(0, 4), link(0, 3)];
        let layout = layout(&[60.0, 60.0, 80.0, 60.0, 60.0], &links, 100).expect("a layout");
        assert_eq!(layout.ranks, 5);
        let points: Vec<f64> = layout
            .segments
            .iter()
            .filter(|segment| !segment.at_box.1 && segment.to.1 == 2)
            .map(|segment| segment.to.0)
            .collect();
        assert_eq!(points.len(), 1, "one line for both");
        assert!((points[0] - layout.boxes[2].0).abs() >= 40.0 + LINE / 2.0 + GAP - 1e-9);
    }

    #[test]
    fn what_only_a_late_box_reads_is_near_to_it() {
        let links = [link(0, 2), link(2, 3), link(1, 3)];
        let layout = layout(&[40.0; 4], &links, 100).expect("a layout");
        assert_eq!(layout.boxes[1].1, 1);
    }

    #[test]
    fn a_graph_that_is_too_large_is_refused() {
        let chain: Vec<Link> = (0..99).map(|at| link(at, at + 1)).chain([link(0, 99)]).collect();
        assert!(layout(&[40.0; 100], &chain, 150).is_none());
        assert!(layout(&[40.0; 100], &chain, 200).is_some());
        assert_eq!(layout(&[], &[], 100).expect("nothing").ranks, 0);
    }
}
