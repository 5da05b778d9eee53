//! What is said of each image: aligned text for people, or JSON, one object a line.

use std::{collections::HashSet, io, path::Path, time::Duration};

use gradcam::{
    Class, Deployed, Explainer, Explanation,
    engine::Provider,
    image::preprocess::{Geometry, Resize},
};
use serde_json::{Value, json};

use super::{Item, Stages};
use crate::{
    args::ExplainArgs,
    engine::Choice,
    failure::Result,
    model, names,
    terminal::{self, Style},
};

/// Warnings that are about the model, and so are said once.
const ONCE: [&str; 6] = [
    "folded-norm",
    "labels-left-out",
    "no-relu",
    "preprocessing-guessed",
    "saturating-kernels",
    "softmax-output",
];

/// Widest label; longer ones are cut.
const WIDEST: usize = 44;

/// Says what became of each image.
#[derive(Debug)]
pub(super) struct Report<'a> {
    args: &'a ExplainArgs,
    engine: Choice,
    model: String,
    digest: Option<String>,
    preprocess: Value,
    style: Style,
    /// What stands above all images.
    head: String,
}

/// What was said before.
#[derive(Debug, Default)]
pub(super) struct Said {
    head: bool,
    warnings: HashSet<String>,
}

impl<'a> Report<'a> {
    pub(super) fn new(
        args: &'a ExplainArgs,
        engine: &Choice,
        explainer: &Explainer,
        opened: Duration,
    ) -> Result<Self> {
        let out = &args.output;
        let as_json = out.json || out.formats.contains(&crate::args::Format::Json);
        let digest = as_json.then(|| model::digest(args.model.as_deref())).transpose()?;
        let style = if out.output.as_deref().is_some_and(names::is_dash) {
            Style::of(&io::stderr())
        } else {
            Style::of(&io::stdout())
        };
        let preprocess = preprocessing(explainer);
        let model = model::name(args.model.as_deref());
        let mut report = Self {
            args,
            engine: engine.clone(),
            model,
            digest,
            preprocess,
            style,
            head: String::new(),
        };
        if out.verbose {
            report.head = report.verbose_head(explainer, opened);
        }
        Ok(report)
    }

    fn verbose_head(&self, explainer: &Explainer, opened: Duration) -> String {
        let line = |name: &str, text: String| {
            format!("{} {}\n", self.style.dim(format!("{name:>10}")), terminal::printable(&text))
        };
        let mut text = line("model", format!("{}, {} classes", self.model, explainer.classes()));
        text += &line("opened in", ms(opened));
        text += &line("engine", format!("{}  ({})", explainer.engine_name(), self.engine.why));
        if let Some(provider) = self.engine.provider {
            text += &line("provider", provider.to_string());
        }
        if let (Ok(resolved), Value::Object(values)) = (explainer.preprocessing(), &self.preprocess)
        {
            let preprocess = &resolved.preprocess;
            for (name, value) in values.iter().filter(|(name, _)| *name != "origins") {
                let value = match (name.as_str(), value) {
                    ("geometry", _) => geometry(&preprocess.geometry),
                    ("mean", _) => format!("{:?}", preprocess.mean),
                    ("std", _) => format!("{:?}", preprocess.std),
                    (_, Value::String(text)) => text.clone(),
                    (_, other) => other.to_string(),
                };
                let origin = values["origins"].get(name).and_then(Value::as_str);
                let origin = origin.map_or_else(String::new, |origin| format!("  ({origin})"));
                text += &line(name, value + &origin);
            }
        }
        text + "\n"
    }

    /// What is to be said of one image, as text or as lines of JSON.
    pub(super) fn item(
        &self,
        said: &mut Said,
        image: &str,
        item: &Item,
        files: &[Vec<String>],
        stages: Stages,
    ) -> String {
        let out = &self.args.output;
        if out.quiet {
            return String::new();
        }
        if out.json {
            let lines = item.explanations.iter().zip(files).map(|(explanation, files)| {
                format!("{}\n", self.json(Path::new(image), item, explanation, None, files))
            });
            return lines.collect();
        }
        self.text(said, item, image, files, stages)
    }

    /// One explanation as JSON; with `layer`, of that layer alone.
    pub(super) fn json(
        &self,
        image: &Path,
        item: &Item,
        explanation: &Explanation,
        layer: Option<usize>,
        files: &[String],
    ) -> Value {
        let mut value = explanation.to_json(self.args.output.top);
        if let (Some(layer), Some(layers)) = (layer, value["layers"].as_array()) {
            value["layers"] = layers.get(layer).cloned().into_iter().collect();
        }
        value["engine_why"] = json!(self.engine.why);
        value["provider"] = json!(self.engine.provider.map(Provider::name));
        value["image"] = json!(image.display().to_string());
        value["index"] = json!(item.index);
        value["model"] = json!({ "name": self.model, "sha256": self.digest });
        if layer.is_none() {
            value["files"] = json!(files);
        }
        // A tensor is taken as it is.
        value["preprocess"] =
            if item.photo.is_some() { self.preprocess.clone() } else { Value::Null };
        value
    }

    fn text(
        &self,
        said: &mut Said,
        item: &Item,
        image: &str,
        files: &[Vec<String>],
        stages: Stages,
    ) -> String {
        let style = self.style;
        let mut text = if said.head { String::new() } else { self.head.clone() };
        said.head = true;
        let image = if image == "-" { "standard input" } else { image };
        let name = match item.index {
            Some(index) => format!("{image} [{index}]"),
            None => image.to_owned(),
        };
        let size = match (&item.photo, item.explanations.first()) {
            (Some((photo, _)), _) => format!("{}x{}", photo.width(), photo.height()),
            (None, Some(explanation)) => {
                // Width x height, as of a photo.
                let sizes = explanation.input_size.iter().rev().map(usize::to_string);
                format!("tensor {}", sizes.collect::<Vec<_>>().join("x"))
            }
            (None, None) => String::new(),
        };
        let total = ms(stages.read + stages.explain + stages.write);
        text += &format!(
            "{}  {}\n",
            style.bold(terminal::printable(&name)),
            style.dim(format!("{size}, {total}"))
        );
        if let Some(first) = item.explanations.first() {
            text += &self.classes(&first.top(self.args.output.top));
        }
        for (explanation, files) in item.explanations.iter().zip(files) {
            text += &self.explanation(explanation, files);
        }
        for explanation in &item.explanations {
            text += &self.warnings(said, explanation);
        }
        said.warnings.retain(|text| ONCE.iter().any(|id| text.starts_with(id)));
        if self.args.output.verbose {
            let Stages { read, explain, write } = stages;
            text += &style.dim(format!(
                "  read {}, explain {}, draw and write {}\n",
                ms(read),
                ms(explain),
                ms(write)
            ));
        }
        text
    }

    fn classes(&self, classes: &[Class]) -> String {
        let numbers = classes.iter().map(|class| class.index.to_string().len()).max().unwrap_or(1);
        let labels = classes.iter().map(|class| label(class).chars().count()).max().unwrap_or(0);
        let mut text = String::new();
        for class in classes {
            let amount = match class.probability {
                Some(probability) => {
                    let bar = bar(probability);
                    format!("{:5.1} %  {}", probability * 100.0, self.style.dim(bar))
                }
                None => format!("{:.4}", class.score),
            };
            let line = format!("  {:>numbers$}  {:labels$}  {amount}", class.index, label(class));
            text += line.trim_end();
            text.push('\n');
        }
        text
    }

    fn explanation(&self, explanation: &Explanation, files: &[String]) -> String {
        let style = self.style;
        // The first synonym will do: the classes are listed above.
        let class = |class: &Class| {
            let label = class.label.as_deref().unwrap_or_default();
            let first = terminal::printable(label.split(',').next().unwrap_or_default());
            format!("{} {first}", class.index).trim_end().to_owned()
        };
        let mut target = class(&explanation.class);
        if let Some(other) = &explanation.other {
            target += &format!(" and not {}", class(other));
        }
        let layers = explanation.layers.iter().map(|layer| {
            let shape: Vec<String> = layer.map.shape().iter().map(ToString::to_string).collect();
            format!("{} ({})", terminal::printable(&layer.layer), shape.join("x"))
        });
        let layers = layers.collect::<Vec<_>>().join(", ");
        let times = explanation.timings;
        let took = if self.args.output.verbose {
            format!(
                "differentiate {}, compile {}, run {}",
                ms(times.differentiate),
                ms(times.compile),
                ms(times.run)
            )
        } else {
            ms(times.differentiate + times.compile + times.run)
        };
        let how = format!("{} at {layers}, {took}", explanation.method);
        let mut text = format!("  target {}, {}\n", style.bold(target), style.dim(how));
        text +=
            &explanation.deployed.as_ref().map_or_else(String::new, |there| self.deployed(there));
        for file in files {
            let file = if file == "-" { "standard output" } else { file };
            text += &format!("    wrote {}\n", style.green(terminal::printable(file)));
        }
        text
    }

    /// What a program shows that runs the file with the engine's defaults.
    fn deployed(&self, there: &Deployed) -> String {
        let shown = |class: &Class| {
            let amount = class.probability.map_or_else(
                || format!("{:.4}", class.score),
                |probability| format!("{:.1} %", probability * 100.0),
            );
            format!("{} {}: {amount}", class.index, label(class))
        };
        let best = match there.best.index == there.class.index {
            true => String::new(),
            false => format!(", its best is {}", shown(&there.best)),
        };
        let error = there.error * 100.0;
        let text = format!(
            "a program that runs the file in ONNX Runtime shows {}{best}; scores differ by up to {error:.2} % of the largest",
            shown(&there.class)
        );
        format!("    {}\n", self.style.yellow(text))
    }

    fn warnings(&self, said: &mut Said, explanation: &Explanation) -> String {
        let mut text = String::new();
        for warning in &explanation.warnings {
            let line = format!("{}: {}", warning.id, terminal::printable(&warning.text));
            if said.warnings.insert(line.clone()) {
                text += &format!("  {}\n", self.style.yellow(format!("warning: {line}")));
            }
        }
        text
    }

    /// Prints a block: on standard output, or beside the file that is written there.
    pub(super) fn say(&self, block: &str) -> Result<()> {
        if self.args.output.output.as_deref().is_some_and(names::is_dash) {
            terminal::note(block);
            return Ok(());
        }
        terminal::print(block)
    }
}

/// Resize and crop in words.
fn geometry(geometry: &Geometry) -> String {
    let resize = match geometry.resize {
        Resize::None => "no resize".to_owned(),
        Resize::Exact { width, height } => format!("squash to {width}x{height}"),
        Resize::ShortSide { size, longest: None } => format!("short side to {size}"),
        Resize::ShortSide { size, longest: Some(longest) } => {
            format!("short side to {size}, long side at most {longest}")
        }
        Resize::Outside { width, height } => format!("resize to cover {width}x{height}"),
        Resize::Inside { width, height } => format!("resize to fit into {width}x{height}"),
    };
    let crop = geometry.crop.map(|crop| format!(", centre crop {}x{}", crop.width, crop.height));
    resize + &crop.unwrap_or_default()
}

/// Values and origins of the preprocessing, without the labels; null where the model takes no photos.
fn preprocessing(explainer: &Explainer) -> Value {
    let Ok(resolved) = explainer.preprocessing() else { return Value::Null };
    let mut value = json!(resolved.preprocess);
    value["origins"] = json!(resolved.origins);
    value
}

fn label(class: &Class) -> String {
    let label = terminal::printable(class.label.as_deref().unwrap_or_default());
    if label.chars().count() <= WIDEST {
        return label;
    }
    let cut: String = label.chars().take(WIDEST - 1).collect();
    format!("{}…", cut.trim_end())
}

/// A bar of up to 20 blocks.
fn bar(probability: f32) -> String {
    let eighths = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let steps = (0..=160).rev().find(|step| *step as f32 / 160.0 <= probability).unwrap_or(0);
    format!("{}{}", "█".repeat(steps / 8), eighths[steps % 8])
}

fn ms(time: Duration) -> String {
    let ms = time.as_secs_f64() * 1e3;
    if ms < 10.0 { format!("{ms:.1} ms") } else { format!("{ms:.0} ms") }
}
