//! `gradcam layers`: the tree of modules.

use std::{collections::HashMap, io};

use gradcam::{HeadInfo, LayerInfo, LayerReason, image::Overrides};
use serde::Serialize;

use crate::{
    args::{Depth, LayersArgs},
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
    let (mut text, folded) = tree(&name, &layers, args.depth, style);
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
    let mut legend =
        "* the default   + can be explained   /N one position stands for N pixels".to_owned();
    if folded {
        legend += "\n… modules inside; --depth all lists them, --depth N those of N levels";
    }
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

/// Most lines of a tree that is shown whole where the user does not say how deep.
const MOST_LINES: usize = 100;

/// Levels of a longer tree.
const LEVELS: usize = 2;

/// One line of the tree: the branches before a name, and the name.
struct Line<'a> {
    branches: String,
    name: &'a str,
    layer: &'a LayerInfo,
    /// The number of modules inside that are not shown.
    folded: usize,
}

/// The tree of modules, and whether some are folded.
fn tree(model: &str, layers: &[LayerInfo], depth: Option<Depth>, style: Style) -> (String, bool) {
    let levels = match depth {
        Some(Depth::All) => usize::MAX,
        Some(Depth::Levels(levels)) => levels.get(),
        None if layers.len() > MOST_LINES => LEVELS,
        None => usize::MAX,
    };
    let modules = Modules::new(layers, levels);
    let mut lines = Vec::new();
    modules.branch(None, 1, "", &mut lines);
    let is_folded = lines.iter().any(|line| line.folded > 0);
    let width = |get: &dyn Fn(&Line<'_>) -> usize| lines.iter().map(get).max().unwrap_or(0);
    let names = width(&|line| line.branches.chars().count() + line.name.chars().count());
    let kinds = width(&|line| line.layer.kind.chars().count());
    let shapes = width(&|line| shape(line.layer).chars().count());
    let mut text = format!("{}\n", style.bold(terminal::printable(model)));
    for Line { branches, name, layer, folded } in &lines {
        let name_width = names - branches.chars().count();
        let name = terminal::printable(&format!("{name:name_width$}"));
        let wide = layer.stride > 0 && layer.shape.iter().skip(2).any(|size| *size > 1);
        let stride = if wide { format!("/{}", layer.stride) } else { String::new() };
        let (mark, name) = match (layer.default, layer.candidate) {
            (true, _) => (style.green("*"), style.green(name)),
            (false, true) => ("+".to_owned(), name),
            (false, false) => (" ".to_owned(), style.dim(name)),
        };
        let inside = if *folded > 0 { format!("… {folded}") } else { String::new() };
        let line = format!(
            "{mark} {}{name}  {:kinds$}  {:shapes$}  {stride:4}  {}",
            style.dim(branches),
            layer.kind,
            shape(layer),
            style.dim(inside)
        );
        text += line.trim_end();
        text.push('\n');
    }
    (text, is_folded)
}

fn shape(layer: &LayerInfo) -> String {
    if layer.shape.is_empty() { "?".to_owned() } else { format!("{:?}", layer.shape) }
}

/// The modules as a tree that is folded below some level.
struct Modules<'a> {
    layers: &'a [LayerInfo],
    /// The layers directly below each, and at the end below none.
    children: Vec<Vec<usize>>,
    levels: usize,
}

impl<'a> Modules<'a> {
    fn new(layers: &'a [LayerInfo], levels: usize) -> Self {
        let places = layers.iter().enumerate().map(|(at, layer)| (layer.path.as_str(), at));
        let places: HashMap<&str, usize> = places.collect();
        let mut children = vec![Vec::new(); layers.len() + 1];
        for (at, layer) in layers.iter().enumerate() {
            let parent = layer.parent.as_deref().and_then(|parent| places.get(parent).copied());
            children[parent.unwrap_or(layers.len())].push(at);
        }
        Self { layers, children, levels }
    }

    /// The numbers of modules inside one, and whether the default is among them.
    fn inside(&self, module: usize) -> (usize, bool) {
        self.children[module].iter().fold((0, false), |(count, default), child| {
            let (inside, within) = self.inside(*child);
            (count + 1 + inside, default || within || self.layers[*child].default)
        })
    }

    /// Appends the lines of the modules directly inside one, and of those inside them. The default layer is always shown.
    fn branch(&self, parent: Option<usize>, level: usize, before: &str, lines: &mut Vec<Line<'a>>) {
        let below = &self.children[parent.unwrap_or(self.layers.len())];
        let shown = |child: &&usize| {
            level <= self.levels || self.layers[**child].default || self.inside(**child).1
        };
        let below: Vec<&usize> = below.iter().filter(shown).collect();
        for (place, &&child) in below.iter().enumerate() {
            let layer = &self.layers[child];
            let last = place + 1 == below.len();
            let name = match parent.map(|parent| self.layers[parent].path.len()) {
                Some(outer) => &layer.path[outer + 1..],
                None => layer.path.as_str(),
            };
            let (own, under) = match (parent, last) {
                (None, _) => ("", ""),
                (Some(_), false) => ("├─ ", "│  "),
                (Some(_), true) => ("└─ ", "   "),
            };
            let at = lines.len();
            lines.push(Line { branches: format!("{before}{own}"), name, layer, folded: 0 });
            self.branch(Some(child), level + 1, &format!("{before}{under}"), lines);
            let listed = lines.len() - at - 1;
            if level >= self.levels {
                lines[at].folded = self.inside(child).0 - listed;
            }
        }
    }
}
