//! `gradcam inspect`: what a model and its explanation are made of.

mod layout;
mod svg;

use std::{collections::BTreeMap, fmt::Write as _, io};

use gradcam::{ExportSettings, InspectedNode, Model, onnx_grad::Cost};
use serde_json::{Value, json};

use crate::{
    Host,
    args::InspectArgs,
    export,
    failure::{Failure, Result, failed},
    files, model, names,
    terminal::{self, Style},
};

/// Prints the nodes of an exported model, or of what a model would be exported to.
pub(crate) fn run(args: &InspectArgs, host: &Host) -> Result<()> {
    if let Some(picture) = args.svg.as_deref().filter(|path| !names::is_dash(path)) {
        files::check(picture)?;
        export::refuse_replaced(picture, export::read(&args.explained))?;
        host.begin_files();
    }
    let path = args.explained.model.as_deref();
    let opened = model::open(path)?;
    let inspected = match gradcam::is_exported(&opened) {
        true => {
            refuse_settings(args)?;
            opened
        }
        false => exported(args)?,
    };
    let nodes = gradcam::inspect(&inspected)?;
    let name = model::name(path);
    if let Some(picture) = &args.svg {
        let svg = svg::svg(&name, &about(&inspected), &nodes)?;
        return match names::is_dash(picture) {
            true => terminal::print(svg),
            false => {
                files::write(picture, svg.as_bytes())?;
                let (total, _) = sums(&nodes);
                let way = nodes.iter().filter(|node| node.is_on_path).count();
                terminal::print(format!(
                    "{}: {way} nodes of the model, {} of the explanation\n",
                    terminal::printable(&picture.display().to_string()),
                    total[1].nodes
                ))
            }
        };
    }
    terminal::print(if args.json {
        serde_json::to_string(&object(&name, &inspected, &nodes)).map_err(failed)? + "\n"
    } else if args.dot {
        dot(&nodes)
    } else if args.graph {
        listing(&nodes)
    } else {
        table(&name, &inspected, &nodes)
    })
}

/// Refuses flags about an explanation that is in the file already.
fn refuse_settings(args: &InspectArgs) -> Result<()> {
    let of = &args.explained;
    let is_default = of.layers.is_empty() && of.method.is_none() && of.targets == ["argmax"];
    if is_default {
        return Ok(());
    }
    Err(Failure::Usage(
        "the model is exported already, and its explanation is inspected as it is; leave out --layer, --method and \
         --target, or inspect the model that it was made from"
            .to_owned(),
    ))
}

fn exported(args: &InspectArgs) -> Result<Model> {
    let (explainer, targets) = export::explained(&args.explained)?;
    let settings = ExportSettings { targets, ..ExportSettings::default() };
    Ok(explainer.export(&settings)?.model)
}

/// The sum of nodes: their number and their cost.
#[derive(Clone, Copy, Default)]
struct Sum {
    nodes: usize,
    cost: Cost,
}

impl Sum {
    fn add(&mut self, node: &InspectedNode) {
        self.nodes += 1;
        self.cost += node.cost.unwrap_or_default();
    }
}

/// The sums of the model and of the explanation, in total and by operator.
fn sums(nodes: &[InspectedNode]) -> ([Sum; 2], BTreeMap<&str, [Sum; 2]>) {
    let mut total = [Sum::default(); 2];
    let mut by_operator: BTreeMap<&str, [Sum; 2]> = BTreeMap::new();
    for node in nodes {
        let part = usize::from(node.is_explanation);
        total[part].add(node);
        by_operator.entry(&node.op).or_default()[part].add(node);
    }
    (total, by_operator)
}

fn table(name: &str, model: &Model, nodes: &[InspectedNode]) -> String {
    let style = Style::of(&io::stdout());
    let (total, by_operator) = sums(nodes);
    let mut text = format!(
        "{}\n{}; {} of weights, opset {}\n\n",
        style.bold(terminal::printable(name)),
        about(model),
        amount(weights(model), "B"),
        model.opset(),
    );
    let head = ["operator", "model", "", "", "explanation", "", ""].map(str::to_owned);
    let units = ["", "nodes", "operations", "bytes", "nodes", "operations", "bytes"];
    let row = |name: &str, sums: &[Sum; 2]| {
        let cells = sums.iter().flat_map(|sum| {
            let is_none = sum.nodes == 0;
            let shown = |text: String| if is_none { String::new() } else { text };
            [
                shown(sum.nodes.to_string()),
                shown(amount(sum.cost.operations, "")),
                shown(amount(sum.cost.bytes, "B")),
            ]
        });
        [terminal::printable(name)].into_iter().chain(cells).collect::<Vec<String>>()
    };
    let mut rows = vec![head.to_vec(), units.map(str::to_owned).to_vec()];
    let mut operators: Vec<_> = by_operator.iter().collect();
    operators.sort_by_key(|(_, sums)| {
        std::cmp::Reverse(sums[0].cost.operations.saturating_add(sums[1].cost.operations))
    });
    rows.extend(operators.into_iter().map(|(op, sums)| row(op, sums)));
    rows.push(row("all", &total));
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: Vec<usize> = (0..7).map(|column| width(column).unwrap_or(0)).collect();
    for row in &rows {
        let mut line = format!("{:1$}", row[0], widths[0]);
        for (cell, width) in row.iter().zip(&widths).skip(1) {
            // Writing to a string cannot fail.
            let _ = write!(line, "  {cell:>width$}");
        }
        text += line.trim_end();
        text.push('\n');
    }
    text
}

/// What an exported model explains.
fn about(model: &Model) -> String {
    let metadata = |key: &str| {
        let found = model.metadata().find(|(other, _)| *other == key);
        terminal::printable(found.map_or("", |(_, value)| value))
    };
    format!(
        "{} at {}, target {}",
        metadata("gradcam.method"),
        metadata("gradcam.layer"),
        metadata("gradcam.target")
    )
}

/// The bytes of all tensors.
fn weights(model: &Model) -> u64 {
    let bytes = model.graph().initializer.iter().map(|tensor| match model.weight_of(tensor) {
        Some(weight) => weight.len(),
        None => tensor.raw_data.as_ref().map_or(0, |raw| raw.len()),
    });
    bytes.sum::<usize>() as u64
}

/// A number with a unit, such as 4.1 G.
fn amount(number: u64, unit: &str) -> String {
    let scales = [(1e9, "G"), (1e6, "M"), (1e3, "k")];
    let scale = scales.iter().find(|(scale, _)| number as f64 >= *scale);
    match scale {
        Some((scale, prefix)) => format!("{:.1} {prefix}{unit}", number as f64 / scale),
        None => format!("{number} {unit}").trim_end().to_owned(),
    }
}

/// A line for each node.
fn listing(nodes: &[InspectedNode]) -> String {
    let mut text = String::new();
    for node in nodes {
        let mark = if node.is_explanation { "+" } else { " " };
        let (read, made) = (node.values.0.join(", "), node.values.1.join(", "));
        let about = node.about.as_ref().map(|about| format!("  # {about}"));
        let line =
            format!("{made} {:?} = {}({read}){}", node.shape, node.op, about.unwrap_or_default());
        text += &format!("{mark} {}\n", terminal::printable(&line));
    }
    text
}

/// The way from the layer to the scores, and the explanation in another color.
fn dot(nodes: &[InspectedNode]) -> String {
    let quoted = |text: &str| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
    let shown: Vec<&InspectedNode> =
        nodes.iter().filter(|node| node.is_explanation || node.is_on_path).collect();
    let mut makers: BTreeMap<&str, &str> = BTreeMap::new();
    let mut text =
        String::from("digraph model {\n  node [shape=box, style=filled, fontname=sans];\n");
    for node in &shown {
        let color = if node.is_explanation { "lightsalmon" } else { "lightgray" };
        let label = quoted(&format!("{} {:?}", node.op, node.shape));
        let (id, about) = (quoted(&node.name), quoted(node.about.as_deref().unwrap_or(&node.name)));
        text += &format!("  {id} [label={label}, fillcolor={color}, tooltip={about}];\n");
        for value in &node.values.0 {
            if let Some(maker) = makers.get(value.as_str()) {
                text += &format!("  {} -> {id};\n", quoted(maker));
            }
        }
        makers.extend(node.values.1.iter().map(|value| (value.as_str(), node.name.as_str())));
    }
    text + "}\n"
}

fn object(name: &str, model: &Model, nodes: &[InspectedNode]) -> Value {
    let (total, _) = sums(nodes);
    let sum = |sum: &Sum| json!({ "nodes": sum.nodes, "operations": sum.cost.operations, "bytes": sum.cost.bytes });
    let node = |node: &InspectedNode| {
        json!({
            "name": node.name,
            "op": node.op,
            "inputs": node.values.0,
            "outputs": node.values.1,
            "shape": node.shape,
            "explanation": node.is_explanation,
            "path": node.is_on_path,
            "about": node.about,
            "operations": node.cost.map(|cost| cost.operations),
            "bytes": node.cost.map(|cost| cost.bytes),
        })
    };
    json!({
        "schema": 1,
        "model": name,
        "opset": model.opset(),
        "weights": weights(model),
        "own": sum(&total[0]),
        "explanation": sum(&total[1]),
        "nodes": nodes.iter().map(node).collect::<Vec<Value>>(),
    })
}
