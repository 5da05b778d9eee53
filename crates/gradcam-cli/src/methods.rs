//! `gradcam methods`: the table of methods.

use std::io;

use gradcam::{METHODS, Method, PictureStyle, Site};
use serde_json::json;

use crate::{
    args::MethodsArgs,
    failure::Result,
    terminal::{self, Style},
};

/// How a map is drawn: as a heatmap, or as a picture of the network's input.
fn picture(site: Site) -> &'static str {
    match site.picture() {
        None => "heatmap",
        Some(PictureStyle::Magnitude) => "magnitude",
        Some(PictureStyle::Colors) => "colors",
    }
}

/// Prints the table.
pub(crate) fn run(args: &MethodsArgs) -> Result<()> {
    let is_default = |id: &str| id == Method::default().id();
    if args.json {
        let rows: Vec<_> = METHODS
            .iter()
            .map(|row| {
                json!({
                    "id": row.id, "name": row.name, "formula": row.formula, "paper": row.paper,
                    "takes_layer": row.site.takes_layer(), "picture": picture(row.site),
                    "default": is_default(row.id),
                })
            })
            .collect();
        return terminal::print(format!("{}\n", json!(rows)));
    }
    let style = Style::of(&io::stdout());
    let width = |get: fn(&gradcam::MethodInfo) -> &str| {
        METHODS.iter().map(|row| get(row).chars().count()).max().unwrap_or(0)
    };
    let (ids, names) = (width(|row| row.id), width(|row| row.name));
    let mut text = String::new();
    for row in METHODS {
        let mark = if is_default(row.id) { style.green("*") } else { " ".to_owned() };
        let id = style.bold(format!("{:ids$}", row.id));
        let (name, formula, paper) = (row.name, row.formula, style.dim(row.paper));
        let indent = " ".repeat(ids + names + 6);
        text += &format!("{mark} {id}  {name:names$}  {formula}\n{indent}{paper}\n");
    }
    let legend = "A is the layer's output, g the gradient of the target's score with respect to it, k a channel.\n\
                  Methods of the input take no layer: there A is the network's input, after preprocessing.\n\
                  * is the default. Use one with: gradcam explain IMAGE --method METHOD";
    text += &format!("\n{}\n", style.dim(legend));
    terminal::print(text)
}
