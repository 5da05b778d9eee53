//! The report of each image: aligned text for people, or JSON, one object per line.

use std::{collections::HashSet, io, path::Path, time::Duration};

use gradcam::{
    Class, Deployed, Explainer, Explanation, HeadKind, LayerReason, Summary, Warning, WarningLevel,
    engine::Provider,
    image::preprocess::{Geometry, Origins, Preprocess, Resize},
};
use serde::Serialize;

use super::{Item, Stages, line};
use crate::{
    args::ExplainArgs,
    engine::EngineSetup,
    failure::{Result, failed},
    hints, model, names,
    terminal::{self, Style},
};

/// Widest label; longer ones are cut.
const WIDEST: usize = 44;

/// Reports the result of each image.
#[derive(Debug)]
pub(super) struct Report<'a> {
    args: &'a ExplainArgs,
    engine: EngineSetup,
    layer_reason: Option<LayerReason>,
    model: String,
    digest: Option<String>,
    /// Whether an axis of the images holds channels.
    has_channels: bool,
    /// How photos are prepared; none where the model takes no photos.
    preprocess: Option<PreprocessLine>,
    style: Style,
    /// The text above all images.
    head: String,
}

/// What was reported before.
#[derive(Debug, Default)]
pub(super) struct ReportState {
    /// Whether each image gets one line.
    brief: bool,
    head: bool,
    warnings: HashSet<Warning>,
}

impl ReportState {
    /// Where there are several items, each gets one line.
    pub(super) fn of(items: usize) -> Self {
        Self { brief: items > 1, ..Self::default() }
    }
}

/// One explanation as a line of JSON.
#[derive(Serialize)]
struct ExplanationLine<'a> {
    image: String,
    index: Option<usize>,
    model: ModelLine<'a>,
    #[serde(flatten)]
    summary: Summary,
    engine_why: &'a str,
    /// Why these layers; none for a method of the input.
    layer_why: Option<&'a LayerReason>,
    provider: Option<&'a str>,
    preprocess: Option<&'a PreprocessLine>,
    #[serde(skip_serializing_if = "Option::is_none")]
    files: Option<&'a [String]>,
}

#[derive(Serialize)]
pub(crate) struct ModelLine<'a> {
    pub(crate) name: &'a str,
    pub(crate) sha256: Option<&'a str>,
}

/// Values and origins of the preprocessing, without the labels.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct PreprocessLine {
    #[serde(flatten)]
    values: Preprocess,
    origins: Origins,
}

impl PreprocessLine {
    /// That of photos; none where the model takes none.
    pub(crate) fn of(explainer: &Explainer) -> Option<Self> {
        let resolved = explainer.preprocessing().ok()?;
        Some(Self { values: resolved.preprocess.clone(), origins: resolved.origins })
    }
}

impl<'a> Report<'a> {
    pub(super) fn new(
        args: &'a ExplainArgs,
        engine: &EngineSetup,
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
        let preprocess = PreprocessLine::of(explainer);
        let model = model::name(args.model.as_deref());
        let mut report = Self {
            args,
            engine: engine.clone(),
            layer_reason: explainer.layer_reason(),
            model,
            digest,
            has_channels: explainer.image_input().channel_axis.is_some(),
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
        let head = explainer.head();
        text += &line("scores", format!("{}  ({})", head.kind, head.why));
        text += &line("output", format!("{}  ({})", head.output, head.output_why));
        text += &line("engine", format!("{}  ({})", explainer.engine_name(), self.engine.why));
        if let Some(provider) = self.engine.provider {
            text += &line("provider", provider.to_string());
        }
        if let (Some(reason), Some((layer, _))) = (self.layer_reason, explainer.layers().next()) {
            text += &line("layer", format!("{layer}  ({reason})"));
        }
        if let Some(PreprocessLine { values, origins }) = &self.preprocess {
            let rows = [
                ("channels", values.channels.to_string(), origins.channels),
                ("filter", values.filter.to_string(), origins.filter),
                ("geometry", geometry(&values.geometry), origins.geometry),
                ("layout", values.layout.to_string(), origins.layout),
                ("mean", format!("{:?}", values.mean), origins.mean),
                ("rescale", values.rescale.to_string(), origins.rescale),
                ("std", format!("{:?}", values.std), origins.std),
            ];
            for (name, value, origin) in rows {
                text += &line(name, format!("{value}  ({origin})"));
            }
        }
        text + "\n"
    }

    /// The report of one image, as text or as lines of JSON.
    pub(super) fn item(
        &self,
        said: &mut ReportState,
        image: &str,
        item: &Item,
        files: &[Vec<String>],
        stages: Stages,
    ) -> Result<String> {
        let out = &self.args.output;
        if out.quiet {
            return Ok(String::new());
        }
        if out.json {
            let lines = item.explanations.iter().zip(files).map(|(explanation, files)| {
                let line = self.line(Path::new(image), item, explanation, Some(files));
                Ok(serde_json::to_string(&line).map_err(failed)? + "\n")
            });
            return lines.collect();
        }
        Ok(self.text(said, item, image, files, stages))
    }

    /// One heatmap of an explanation as JSON for people, with its layer, or all layers that it is made of.
    pub(super) fn json(
        &self,
        image: &Path,
        item: &Item,
        explanation: &Explanation,
        at: usize,
    ) -> Result<String> {
        let mut line = self.line(image, item, explanation, None);
        if !explanation.is_fused() {
            line.summary.layers = line.summary.layers.drain(at..=at).collect();
        }
        Ok(serde_json::to_string_pretty(&line).map_err(failed)? + "\n")
    }

    fn line<'b>(
        &'b self,
        image: &Path,
        item: &Item,
        explanation: &Explanation,
        files: Option<&'b [String]>,
    ) -> ExplanationLine<'b> {
        ExplanationLine {
            image: image.display().to_string(),
            index: item.index,
            model: ModelLine { name: &self.model, sha256: self.digest.as_deref() },
            summary: Summary::of(explanation, self.args.output.top, hints::words),
            engine_why: self.engine.why,
            layer_why: self.layer_reason.as_ref().filter(|_| explanation.is_of_layers()),
            provider: self.engine.provider.map(Provider::name),
            // A tensor is not prepared.
            preprocess: self.preprocess.as_ref().filter(|_| item.size.is_some()),
            files,
        }
    }

    fn text(
        &self,
        said: &mut ReportState,
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
        let name = terminal::printable(&name);
        if said.brief && !self.args.output.verbose {
            text += &line::line(style, &name, &item.explanations, files);
            return text + &self.all_warnings(said, item);
        }
        let size = match (item.size, item.explanations.first()) {
            (Some((width, height)), _) => format!("{width}x{height}"),
            (None, Some(explanation)) => {
                let mut sizes: Vec<String> =
                    explanation.input_size.iter().map(usize::to_string).collect();
                // Width x height, as of a photo; a recording has the order of its axes.
                if self.has_channels {
                    sizes.reverse();
                }
                format!("tensor {}", sizes.join("x"))
            }
            (None, None) => String::new(),
        };
        let total = ms(stages.read + stages.explain + stages.write);
        text += &format!("{}  {}\n", style.bold(name), style.dim(format!("{size}, {total}")));
        if let Some(first) = item.explanations.first() {
            text += &self.scores(first);
        }
        for (explanation, files) in item.explanations.iter().zip(files) {
            text += &self.explanation(explanation, files);
        }
        text += &self.all_warnings(said, item);
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

    /// The scores of an image: its classes, its value, or what it reads.
    fn scores(&self, explanation: &Explanation) -> String {
        let read = explanation.text.as_deref().map_or_else(String::new, |text| {
            format!("  reads {}\n", self.style.bold(format!("\"{}\"", terminal::printable(text))))
        });
        match explanation.head.kind {
            // A vector is not for people.
            HeadKind::Embedding => String::new(),
            HeadKind::Segmentation if explanation.only_score().is_some() => String::new(),
            _ if explanation.only_score().is_some() => {
                format!("  value  {:.4}\n", explanation.scores[0])
            }
            // The sums of scores over time steps say less than what they read.
            HeadKind::Sequence if !read.is_empty() => read,
            _ => read + &self.classes(&explanation.top(self.args.output.top)),
        }
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
        let target = line::target(explanation);
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
        let how = format!("{} at {layers}{}, {took}", explanation.method, line::made(explanation));
        let mut text = format!("  target {}, {}\n", style.bold(target), style.dim(how));
        text +=
            &explanation.deployed.as_ref().map_or_else(String::new, |there| self.deployed(there));
        let covered = explanation.layers.iter().filter_map(|layer| layer.coverage);
        for share in covered.filter(|_| self.args.output.verbose) {
            let share =
                format!("its channels cover {:.1} % of |weight · activation|", share * 100.0);
            text += &format!("    {}\n", style.dim(share));
        }
        for file in files {
            let file = if file == "-" { "standard output" } else { file };
            text += &format!("    wrote {}\n", style.green(terminal::printable(file)));
        }
        text
    }

    /// The result of the file with the engine's defaults.
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

    /// The warnings of an image that were not said before.
    fn all_warnings(&self, said: &mut ReportState, item: &Item) -> String {
        let each = item.explanations.iter().map(|explanation| self.warnings(said, explanation));
        let text = each.collect();
        said.warnings.retain(Warning::is_about_model);
        text
    }

    fn warnings(&self, said: &mut ReportState, explanation: &Explanation) -> String {
        let mut text = String::new();
        for warning in &explanation.warnings {
            if said.warnings.insert(warning.clone()) {
                let message = terminal::printable(&warning.worded(hints::words));
                let line = |level: &str| format!("{level}: {}: {message}", warning.id());
                match warning.level() {
                    WarningLevel::Warning => {
                        text += &format!("  {}\n", self.style.yellow(line("warning")));
                    }
                    WarningLevel::Note => text += &format!("  {}\n", self.style.dim(line("note"))),
                    WarningLevel::Detail if self.args.output.verbose => {
                        text += &format!("  {}\n", self.style.dim(line("note")));
                    }
                    WarningLevel::Detail => {}
                }
            }
        }
        text
    }

    /// Prints a block on standard output, or on standard error where a result goes to standard output.
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
        Resize::Aspect { width: Some(width), .. } => format!("width to {width}, aspect ratio kept"),
        Resize::Aspect { height: Some(height), .. } => {
            format!("height to {height}, aspect ratio kept")
        }
        Resize::Aspect { longest, .. } => {
            format!("aspect ratio kept, sides of at most {longest}")
        }
    };
    let crop = geometry.crop.map(|crop| format!(", center crop {}x{}", crop.width, crop.height));
    resize + &crop.unwrap_or_default()
}

/// The label of a class, cut where it is long.
pub(crate) fn label(class: &Class) -> String {
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
