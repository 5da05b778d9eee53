//! `gradcam layers`: the tree of modules.

use std::io;

use gradcam::{HeadInfo, LayerInfo, LayerReason, image::Overrides};
use serde::Serialize;

use crate::{
    args::LayersArgs,
    failure::{Failure, Result, failed},
    hints, model,
    terminal::{self, Style},
};

/// Prints the tree.
pub(crate) fn run(args: &LayersArgs) -> Result<()> {
    let opened = model::open(args.model.as_deref())?;
    let overrides =
        Overrides { size: args.size, layout: args.layout, imagenet: true, ..Overrides::default() };
    let builder = || {
        let builder = model::builder(opened.clone(), &args.signature)?;
        Ok::<_, Failure>(builder.preprocess(overrides.clone()))
    };
    // A default between modules is in no line of the tree, so its name is kept beside the list.
    let (layers, default, head) = match builder()?.build() {
        Ok(explainer) => {
            let names: Vec<String> = explainer.layers().map(|(name, _)| name.to_owned()).collect();
            let default = explainer.layer_reason().map(|reason| (names, reason));
            (explainer.layer_list().to_vec(), default, Some(explainer.head().clone()))
        }
        Err(error) => {
            let layers = builder()?.layer_list()?;
            let why = error.worded(hints::words);
            terminal::complain(&format!("the model cannot be explained as it is: {why}"));
            (layers, None, None)
        }
    };
    let name = model::name(args.model.as_deref());
    if args.json {
        let (defaults, layer_why) = default.unzip();
        let defaults = defaults.unwrap_or_default();
        let default = defaults.first().cloned();
        let list = LayerList { schema: 1, model: name, head, default, defaults, layer_why, layers };
        return terminal::print(serde_json::to_string(&list).map_err(failed)? + "\n");
    }
    let style = Style::of(&io::stdout());
    let mut text = tree(&name, &layers, style);
    if let Some((defaults, reason)) = default {
        let between = match layers.iter().any(|layer| layer.default) {
            true => "",
            false => ", a value between the modules",
        };
        let names = style.green(terminal::printable(&defaults.join(", ")));
        text += &format!("\n* {names}{between}: {}\n", reason.why);
    }
    if let Some(head) = head {
        let output = terminal::printable(&head.output);
        text += &format!("{} scores in \"{output}\": {}\n", head.kind, head.why);
    }
    let legend = "* the default   + can be explained   /N one position stands for N pixels";
    terminal::print(text + &format!("\n{}\n", style.dim(legend)))
}

/// The layers of a model as JSON.
#[derive(Serialize)]
struct LayerList {
    schema: u32,
    model: String,
    /// What the scores are.
    head: Option<HeadInfo>,
    /// The default layer; the first one where there are several.
    default: Option<String>,
    /// All default layers: a detector has one for each scale.
    defaults: Vec<String>,
    /// Why that layer is the default.
    layer_why: Option<LayerReason>,
    layers: Vec<LayerInfo>,
}

/// One line of the tree: the branches before a name, and the name.
struct Line<'a> {
    branches: String,
    name: &'a str,
    layer: &'a LayerInfo,
}

fn tree(model: &str, layers: &[LayerInfo], style: Style) -> String {
    let mut lines = Vec::new();
    branch(layers, &children(layers), None, "", &mut lines);
    let width = |get: &dyn Fn(&Line<'_>) -> usize| lines.iter().map(get).max().unwrap_or(0);
    let names = width(&|line| line.branches.chars().count() + line.name.chars().count());
    let kinds = width(&|line| line.layer.kind.chars().count());
    let shapes = width(&|line| shape(line.layer).chars().count());
    let mut text = format!("{}\n", style.bold(terminal::printable(model)));
    for Line { branches, name, layer } in &lines {
        let name_width = names - branches.chars().count();
        let name = terminal::printable(&format!("{name:name_width$}"));
        let wide = layer.stride > 0 && layer.shape.iter().skip(2).any(|size| *size > 1);
        let stride = if wide { format!("/{}", layer.stride) } else { String::new() };
        let (mark, name) = match (layer.default, layer.candidate) {
            (true, _) => (style.green("*"), style.green(name)),
            (false, true) => ("+".to_owned(), name),
            (false, false) => (" ".to_owned(), style.dim(name)),
        };
        let line = format!(
            "{mark} {}{name}  {:kinds$}  {:shapes$}  {stride}",
            style.dim(branches),
            layer.kind,
            shape(layer)
        );
        text += line.trim_end();
        text.push('\n');
    }
    text
}

fn shape(layer: &LayerInfo) -> String {
    if layer.shape.is_empty() { "?".to_owned() } else { format!("{:?}", layer.shape) }
}

/// For each layer, and for the root at the end, the layers directly below it.
fn children(layers: &[LayerInfo]) -> Vec<Vec<usize>> {
    let mut children = vec![Vec::new(); layers.len() + 1];
    for (index, layer) in layers.iter().enumerate() {
        // The nearest module around it that is listed, by cutting the path at its separators.
        let mut path = layer.path.as_str();
        let parent = loop {
            let Some(cut) = path.rfind(['.', '/']) else { break None };
            path = &path[..cut];
            let found = layers.iter().position(|outer| outer.path == path);
            if found.is_some() {
                break found;
            }
        };
        children[parent.unwrap_or(layers.len())].push(index);
    }
    children
}

fn branch<'a>(
    layers: &'a [LayerInfo],
    children: &[Vec<usize>],
    parent: Option<usize>,
    before: &str,
    lines: &mut Vec<Line<'a>>,
) {
    let below = &children[parent.unwrap_or(layers.len())];
    for (place, index) in below.iter().enumerate() {
        let layer = &layers[*index];
        let last = place + 1 == below.len();
        let name = match parent.map(|parent| layers[parent].path.len()) {
            Some(outer) => &layer.path[outer + 1..],
            None => layer.path.as_str(),
        };
        let (own, under) = match (parent, last) {
            (None, _) => ("", ""),
            (Some(_), false) => ("├─ ", "│  "),
            (Some(_), true) => ("└─ ", "   "),
        };
        lines.push(Line { branches: format!("{before}{own}"), name, layer });
        branch(layers, children, Some(*index), &format!("{before}{under}"), lines);
    }
}
