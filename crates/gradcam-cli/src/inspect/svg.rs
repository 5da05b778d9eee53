//! The way from the layer to the scores and the explanation as SVG: a box for each node.

use std::{collections::BTreeMap, fmt::Write as _};

use gradcam::InspectedNode;

use super::layout::{Layout, Link, layout};
use crate::{
    failure::{Result, failed},
    xml::escaped,
};

/// The most nodes of a picture, and with the points of its lines.
const MOST_NODES: usize = 2_000;
const MOST_POINTS: usize = 100_000;

/// The most letters of a line of a box.
const LETTERS: usize = 38;

/// The width of a letter of the monospaced font, at its size.
const LETTER: f64 = 6.7;

const BOX_HEIGHT: f64 = 36.0;
const RANK_HEIGHT: f64 = 64.0;
const MARGIN: f64 = 24.0;
/// The height of the lines above the boxes.
const HEAD: f64 = 64.0;

/// Colors by class, in light and in dark surroundings: `own` is the model, `new` the explanation, and `reads` what the
/// explanation reads of the model.
const STYLE: &str = "\
svg { background: #fff; font: 11px ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace; fill: #1c1e21 }
text { text-anchor: middle } .left { text-anchor: start } .op { font-weight: bold } .title { font-size: 14px }
rect.own { fill: #eef2f7; stroke: #7d8ea3 } rect.new { fill: #ffe7d6; stroke: #d9702a }
path { fill: none; stroke-width: 1.3 } path.own { stroke: #7d8ea3 } path.new { stroke: #d9702a } path.reads { stroke: #d9702a; stroke-dasharray: 4 3; opacity: .75 }
marker path { stroke: none } #own path { fill: #7d8ea3 } #new path, #reads path { fill: #d9702a }
@media (prefers-color-scheme: dark) {
svg { background: #16181c; fill: #e4e7eb }
rect.own { fill: #262c35; stroke: #8593a6 } rect.new { fill: #46291a; stroke: #f0924f }
path.own { stroke: #8593a6 } path.new, path.reads { stroke: #f0924f }
#own path { fill: #8593a6 } #new path, #reads path { fill: #f0924f }
}";

/// Groups of lines, by the number of their class.
const CLASSES: [&str; 3] = ["own", "new", "reads"];

/// Draws the nodes of the explanation and those on the way from its layer to the scores.
pub(super) fn svg(title: &str, about: &str, nodes: &[InspectedNode]) -> Result<String> {
    let shown: Vec<&InspectedNode> =
        nodes.iter().filter(|node| node.is_explanation || node.is_on_path).collect();
    let lines: Vec<[String; 2]> = shown.iter().map(|node| lines(node)).collect();
    let widths: Vec<f64> = lines.iter().map(width).collect();
    let placed = match shown.len() {
        0..=MOST_NODES => layout(&widths, &links(&shown), MOST_POINTS),
        _ => None,
    };
    let Some(Layout { boxes, segments, width, ranks }) = placed else {
        return Err(failed(format!(
            "the way and the explanation have {} nodes, too many for a picture (at most {MOST_NODES}, and fewer where many \
             lines are long); name a later layer with --layer, or draw it with --dot and Graphviz",
            shown.len()
        )));
    };
    // The lines above the boxes fit too.
    let least = [title, about, LEGEND[0], LEGEND[1]].map(letters).into_iter().fold(0.0, f64::max);
    let (least, shift) = (least * 1.3, ((least * 1.3 - width) / 2.0).max(0.0));
    let (width, height) =
        (width.max(least) + 2.0 * MARGIN, HEAD + 2.0 * MARGIN + ranks as f64 * RANK_HEIGHT);
    let x = |center: f64| center + shift + MARGIN;
    let top = |rank: usize| HEAD + MARGIN + rank as f64 * RANK_HEIGHT;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" viewBox=\"0 0 {width:.0} \
         {height:.0}\" role=\"img\">\n<title>{}</title>\n<style>{STYLE}</style>\n<defs>\n",
        escaped(&format!("{title}: {about}"))
    );
    // Writing to a string cannot fail.
    for class in CLASSES {
        let _ = writeln!(
            svg,
            "<marker id=\"{class}\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" markerWidth=\"6\" markerHeight=\"6\" \
             orient=\"auto\"><path d=\"M0 0L8 4L0 8z\"/></marker>"
        );
    }
    svg += "</defs>\n";
    head(&mut svg, title, about);
    for segment in &segments {
        let class = CLASSES[segment.group];
        // A point of a line is as high as a box, through which the line goes straight.
        let (from, to) = (top(segment.from.1) + BOX_HEIGHT, top(segment.to.1));
        let middle = f64::midpoint(from, to);
        let ((x0, x1), (leaves, arrives)) = ((x(segment.from.0), x(segment.to.0)), segment.at_box);
        let begin = if leaves {
            String::new()
        } else {
            format!("M{x0:.1} {:.1}V{from:.1}", from - BOX_HEIGHT)
        };
        let start = if leaves { format!("M{x0:.1} {from:.1}") } else { begin };
        let marker = if arrives { format!(" marker-end=\"url(#{class})\"") } else { String::new() };
        let _ = writeln!(
            svg,
            "<path class=\"{class}\" d=\"{start}C{x0:.1} {middle:.1} {x1:.1} {middle:.1} {x1:.1} {to:.1}\"{marker}/>"
        );
    }
    for (((node, lines), (center, rank)), width) in shown.iter().zip(&lines).zip(boxes).zip(widths)
    {
        let class = CLASSES[usize::from(node.is_explanation)];
        let (center, top) = (x(center), top(rank));
        let _ = writeln!(
            svg,
            "<g><title>{}</title><rect class=\"{class}\" x=\"{:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" \
             height=\"{BOX_HEIGHT}\" rx=\"5\"/><text class=\"op\" x=\"{center:.1}\" y=\"{:.1}\">{}</text><text \
             x=\"{center:.1}\" y=\"{:.1}\">{}</text></g>",
            escaped(&hover(node)),
            center - width / 2.0,
            top + 15.0,
            escaped(&lines[0]),
            top + 29.0,
            escaped(&lines[1]),
        );
    }
    Ok(svg + "</svg>\n")
}

/// What the two colors are.
const LEGEND: [&str; 2] = ["the model, from the layer to the scores", "what the explanation adds"];

/// The lines above the boxes.
fn head(svg: &mut String, title: &str, about: &str) {
    // Writing to a string cannot fail.
    let _ = writeln!(
        svg,
        "<text class=\"left op title\" x=\"{MARGIN}\" y=\"{:.0}\">{}</text>\n<text class=\"left\" x=\"{MARGIN}\" y=\"{:.0}\">{}</text>",
        MARGIN + 6.0,
        escaped(title),
        MARGIN + 24.0,
        escaped(about)
    );
    for ((class, text), line) in CLASSES.iter().zip(LEGEND).zip([40.0, 56.0]) {
        let y = MARGIN + line;
        let _ = writeln!(
            svg,
            "<rect class=\"{class}\" x=\"{MARGIN}\" y=\"{:.0}\" width=\"14\" height=\"10\" rx=\"2\"/><text class=\"left\" \
             x=\"{:.0}\" y=\"{y:.0}\">{text}</text>",
            y - 9.0,
            MARGIN + 20.0
        );
    }
}

/// The lines from node to node, by class.
fn links(shown: &[&InspectedNode]) -> Vec<Link> {
    let mut makers: BTreeMap<&str, usize> = BTreeMap::new();
    let mut links = Vec::new();
    for (to, node) in shown.iter().enumerate() {
        for &from in node.values.0.iter().filter_map(|value| makers.get(value.as_str())) {
            let group = match (shown[from].is_explanation, node.is_explanation) {
                (false, false) => 0,
                (true, _) => 1,
                (false, true) => 2,
            };
            links.push(Link { from, to, group });
        }
        makers.extend(node.values.1.iter().map(|value| (value.as_str(), to)));
    }
    links
}

/// What stands in the box of a node: operator and shape, and the end of the name.
fn lines(node: &InspectedNode) -> [String; 2] {
    let shape = if node.shape.is_empty() { String::new() } else { format!(" {:?}", node.shape) };
    [shortened(&format!("{}{shape}", node.op)), shortened(&node.name)]
}

fn shortened(text: &str) -> String {
    let count = text.chars().count();
    match count.checked_sub(LETTERS) {
        None | Some(0) => text.to_owned(),
        Some(more) => std::iter::once('…').chain(text.chars().skip(more + 1)).collect(),
    }
}

/// What is shown where the pointer rests on a box.
fn hover(node: &InspectedNode) -> String {
    let about = node.about.as_ref().map_or_else(String::new, |about| format!("\n{about}"));
    format!("{}\n{} {:?}{about}", node.name, node.op, node.shape)
}

/// The width of a box.
fn width(lines: &[String; 2]) -> f64 {
    lines.iter().map(|line| letters(line)).fold(60.0, f64::max) + 16.0
}

fn letters(text: &str) -> f64 {
    LETTER * text.chars().count() as f64
}
