//! The report of concepts: aligned text for people, or JSON, one object per line.

use std::io;

use gradcam::{
    Class, ComponentSummary, Concepts, Explainer, HeadInfo, ImageConcepts, LayerReason, Warning,
    WarningLevel, engine::Provider, image::Photo,
};
use serde::Serialize;

use crate::{
    args::{ConceptsArgs, Format},
    engine::EngineSetup,
    explain::report::{ModelLine, PreprocessLine, label},
    failure::{Result, failed},
    hints, model, names,
    terminal::{self, Style},
};

/// An image and its concepts.
pub(super) struct ReportedImage<'a> {
    /// Its name in messages.
    pub(super) shown: String,
    /// Its name in file names.
    pub(super) stem: String,
    /// Its place in a batch of several.
    pub(super) index: Option<usize>,
    pub(super) photo: Option<&'a Photo>,
    pub(super) found: &'a ImageConcepts,
}

/// Reports the concepts of each image.
pub(super) struct Report<'a> {
    args: &'a ConceptsArgs,
    engine: &'a EngineSetup,
    concepts: &'a Concepts,
    head: &'a HeadInfo,
    layer_why: Option<LayerReason>,
    model: String,
    digest: Option<String>,
    preprocess: Option<PreprocessLine>,
    style: Style,
}

/// The concepts of an image as JSON.
#[derive(Serialize)]
struct ConceptsLine<'a> {
    image: &'a str,
    index: Option<usize>,
    model: ModelLine<'a>,
    /// The version of these fields.
    schema: u32,
    method: &'static str,
    engine: &'static str,
    head: &'a HeadInfo,
    layer: &'a str,
    value: &'a str,
    /// The shape of the maps.
    shape: &'a [usize],
    input_size: &'a [usize],
    components: Vec<ComponentSummary<'a>>,
    /// What the components leave out of the layer.
    error: f32,
    warnings: Vec<WarningLine>,
    notes: Vec<WarningLine>,
    engine_why: &'a str,
    layer_why: Option<&'a LayerReason>,
    provider: Option<&'a str>,
    preprocess: Option<&'a PreprocessLine>,
    #[serde(skip_serializing_if = "Option::is_none")]
    files: Option<&'a [String]>,
}

#[derive(Serialize)]
struct WarningLine {
    id: &'static str,
    text: String,
}

impl<'a> Report<'a> {
    pub(super) fn new(
        args: &'a ConceptsArgs,
        engine: &'a EngineSetup,
        explainer: &'a Explainer,
        concepts: &'a Concepts,
    ) -> Result<Self> {
        let as_json = args.output.json || args.output.formats.contains(&Format::Json);
        let is_dash = args.output.output.as_deref().is_some_and(names::is_dash);
        let style = if is_dash { Style::of(&io::stderr()) } else { Style::of(&io::stdout()) };
        Ok(Self {
            args,
            engine,
            concepts,
            head: explainer.head(),
            layer_why: explainer.layer_reason(),
            model: model::name(args.model.as_deref()),
            digest: as_json.then(|| model::digest(args.model.as_deref())).transpose()?,
            preprocess: PreprocessLine::of(explainer),
            style,
        })
    }

    /// The concepts of an image as JSON for people.
    pub(super) fn json(&self, image: &ReportedImage<'_>) -> Result<String> {
        Ok(serde_json::to_string_pretty(&self.line(image, None)).map_err(failed)? + "\n")
    }

    /// Says what was found in an image, and which files were written.
    pub(super) fn say(&self, image: &ReportedImage<'_>, files: &[String]) -> Result<()> {
        if self.args.output.quiet {
            return Ok(());
        }
        if self.args.output.json {
            let line = serde_json::to_string(&self.line(image, Some(files))).map_err(failed)?;
            return terminal::print(line + "\n");
        }
        let text = self.text(image, files);
        if self.args.output.output.as_deref().is_some_and(names::is_dash) {
            terminal::note(text);
            return Ok(());
        }
        terminal::print(text)
    }

    /// Says the warnings, which are the same for all images.
    pub(super) fn warn(&self) {
        if self.args.output.quiet || self.args.output.json {
            return;
        }
        let style = Style::of(&io::stderr());
        for warning in &self.concepts.warnings {
            let message = terminal::printable(&warning.worded(hints::words));
            let line = |level: &str| format!("{level}: {}: {message}", warning.id());
            match warning.level() {
                WarningLevel::Warning => terminal::note(style.yellow(line("warning")) + "\n"),
                WarningLevel::Note => terminal::note(style.dim(line("note")) + "\n"),
                WarningLevel::Detail => {}
            }
        }
    }

    fn line<'b>(
        &'b self,
        image: &'b ReportedImage<'_>,
        files: Option<&'b [String]>,
    ) -> ConceptsLine<'b> {
        let said = |notes: bool| {
            let warnings = self.concepts.warnings.iter();
            let warnings = warnings.filter(|one| (one.level() < WarningLevel::Warning) == notes);
            let line = |one: &Warning| WarningLine { id: one.id(), text: one.worded(hints::words) };
            warnings.map(line).collect()
        };
        ConceptsLine {
            image: &image.shown,
            index: image.index,
            model: ModelLine { name: &self.model, sha256: self.digest.as_deref() },
            schema: 1,
            method: "dff",
            engine: self.concepts.engine,
            head: self.head,
            layer: &self.concepts.layer,
            value: &self.concepts.value,
            shape: image.found.maps.shape(),
            input_size: &image.found.input_size,
            components: self.concepts.summary(image.found, self.args.output.top),
            error: self.concepts.error,
            warnings: said(false),
            notes: said(true),
            engine_why: self.engine.why,
            layer_why: self.layer_why.as_ref(),
            provider: self.engine.provider.map(Provider::name),
            // A tensor is not prepared.
            preprocess: self.preprocess.as_ref().filter(|_| image.photo.is_some()),
            files,
        }
    }

    fn text(&self, image: &ReportedImage<'_>, files: &[String]) -> String {
        let style = self.style;
        let name = match image.index {
            Some(index) => format!("{} [{index}]", image.shown),
            None => image.shown.clone(),
        };
        let shape: Vec<String> =
            image.found.maps.shape()[1..].iter().map(ToString::to_string).collect();
        let layer = terminal::printable(&self.concepts.layer);
        let left_out = percent(self.concepts.error);
        let how = format!("concepts of {layer} ({}), error {left_out}", shape.join("x"));
        let mut text = format!("{}  {}\n", style.bold(terminal::printable(&name)), style.dim(how));
        let components = self.concepts.summary(image.found, self.args.output.top);
        let numbers = components.len().to_string().len();
        for (number, component) in (1..).zip(components) {
            let classes = component.classes.iter().map(|class| {
                let name = label(class);
                let space = if name.is_empty() { "" } else { " " };
                format!("{}{space}{name} {}", class.index, amount(class))
            });
            let classes = classes.collect::<Vec<_>>().join("; ");
            let line = format!("  {number:>numbers$}  {:>7}  {classes}", percent(component.share));
            text += line.trim_end();
            text.push('\n');
        }
        for file in files {
            let file = if file == "-" { "standard output" } else { file };
            text += &format!("    wrote {}\n", style.green(terminal::printable(file)));
        }
        text
    }
}

pub(super) fn percent(share: f32) -> String {
    format!("{:.1} %", share * 100.0)
}

/// The probability of a class, or its score.
pub(super) fn amount(class: &Class) -> String {
    class.probability.map_or_else(|| format!("{:.4}", class.score), percent)
}
