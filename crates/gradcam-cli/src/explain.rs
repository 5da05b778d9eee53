//! `gradcam explain`: maps of photos and tensors.

mod draw;
mod input;
mod place;
mod report;

use std::{
    path::Path,
    time::{Duration, Instant},
};

use gradcam::{
    Explainer, Explanation, Grid, Target, TargetSpec,
    image::{OverlayStyle, Photo, Placement},
    ndarray::{ArrayD, ArrayViewD, Axis, Slice},
    onnx_grad::DeclaredDim,
};
use indicatif::{ProgressBar, ProgressStyle};

use crate::{
    args::ExplainArgs,
    failure::{Failure, Result},
    files, model, names, terminal,
};
use input::Image;
use place::Place;
use report::Report;

/// One image with its explanations.
#[derive(Debug)]
struct Item {
    /// Its name in file names.
    stem: String,
    /// Its place in a batch of several.
    index: Option<usize>,
    /// The photo, and the part of it that the network saw.
    photo: Option<(Photo, Placement)>,
    explanations: Vec<Explanation>,
}

/// How long the parts of the work on one image took.
#[derive(Clone, Copy, Debug, Default)]
struct Stages {
    read: Duration,
    explain: Duration,
    write: Duration,
}

/// What is the same for all images.
#[derive(Debug)]
struct Job<'a> {
    args: &'a ExplainArgs,
    /// One for each method.
    explainers: Vec<Explainer>,
    targets: Vec<TargetSpec>,
    style: OverlayStyle,
    /// Axes of the model's input.
    rank: usize,
    /// Images of a run, where the model fixes them.
    batch: Option<usize>,
}

/// Explains all images; one that fails is reported and the others are done.
pub(crate) fn run(args: ExplainArgs) -> Result<()> {
    place::check(&args)?;
    files::clean_up_on_interrupt();
    let started = Instant::now();
    let job = Job::new(&args)?;
    let mut report = Report::new(&args, &job.explainers, started.elapsed())?;
    // The number of files decides what -o means; a single image may be a batch of several.
    let mut first = None;
    let count = match args.images.as_slice() {
        [one] => {
            let started = Instant::now();
            let image = input::load(one, job.rank).map_err(Failure::Failed)?;
            let items = match &image {
                Image::Photo(_) => 1,
                Image::Tensor(x) => x.len_of(Axis(0)),
            };
            first = Some((image, started.elapsed()));
            items * job.files_per_item()
        }
        several => several.len() * job.files_per_item().max(1),
    };
    let mut place = Place::new(&args, count)?;
    let bar = progress(&args);
    let mut all_done = true;
    for path in &args.images {
        bar.set_message(names::stem(path));
        let done = job.image(path, first.take(), &mut place, &mut report);
        match done {
            Ok(block) => bar.suspend(|| report.say(&block))?,
            Err(Failure::Failed(message)) => {
                all_done = false;
                bar.suspend(|| terminal::complain(&message));
            }
            Err(other) => return Err(other),
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    if all_done { Ok(()) } else { Err(Failure::Said) }
}

fn progress(args: &ExplainArgs) -> ProgressBar {
    if args.images.len() < 2 || args.output.quiet {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(args.images.len() as u64);
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} {eta} {msg}") {
        bar.set_style(style);
    }
    bar
}

impl<'a> Job<'a> {
    fn new(args: &'a ExplainArgs) -> Result<Self> {
        let model = model::open(args.model.as_deref())?;
        let inputs = gradcam::onnx_grad::inputs(&model);
        let dims = inputs.first().map(|(_, dims)| dims.as_slice()).unwrap_or_default();
        let batch = match dims.first() {
            Some(DeclaredDim::Size(size)) => usize::try_from(*size).ok(),
            _ => None,
        };
        let rank = dims.len();
        let mut explainers: Vec<Explainer> = Vec::new();
        for method in &args.methods {
            if explainers.iter().any(|explainer| explainer.method() == *method) {
                continue;
            }
            let mut builder = model::builder(model.clone())
                .layers(&args.layers)
                .grid(Grid { size: args.grid, prefix: args.prefix_tokens })
                .method(*method)
                .engine(args.engine)
                .preprocess(args.prepare.overrides());
            if let Some(threads) = args.threads {
                builder = builder.threads(threads);
            }
            if let Some(bytes) = args.max_memory {
                builder = builder.max_memory(bytes);
            }
            explainers.push(builder.build()?);
        }
        let mut targets = Vec::new();
        for (text, explainer) in args.targets.iter().zip(explainers.first().into_iter().cycle()) {
            // Two ways to name one target, such as a number and its label, are one map.
            let target = explainer.parse_target(text)?;
            if !targets.contains(&target) {
                targets.push(target);
            }
        }
        let out = &args.output;
        let style = OverlayStyle { colormap: out.colormap, alpha: out.alpha, kind: out.overlay };
        Ok(Self { args, explainers, targets, style, rank, batch })
    }

    fn files_per_item(&self) -> usize {
        let Some(explainer) = self.explainers.first() else { return 0 };
        let targets = self.targets.iter().map(|target| match target {
            TargetSpec::One(_) => 1,
            TargetSpec::Top(count) => (*count).min(explainer.classes()),
        });
        let maps = targets.sum::<usize>() * explainer.layers().count() * self.explainers.len();
        place::files_for(maps, &self.args.output.formats)
    }

    /// Explains one image and writes its files; gives what is to be said of it.
    fn image(
        &self,
        path: &Path,
        loaded: Option<(Image, Duration)>,
        place: &mut Place,
        report: &mut Report<'_>,
    ) -> Result<String> {
        let shown = path.display().to_string();
        let mut stages = Stages::default();
        let image = match loaded {
            Some((image, took)) => {
                stages.read = took;
                image
            }
            None => {
                let started = Instant::now();
                let image = input::load(path, self.rank).map_err(Failure::Failed)?;
                stages.read = started.elapsed();
                image
            }
        };
        let started = Instant::now();
        let items = match image {
            Image::Photo(photo) => self.photo(names::stem(path), photo).map(|item| vec![item]),
            Image::Tensor(x) => self.tensor(&names::stem(path), &x),
        };
        let items = items.map_err(|error| {
            if model::is_about_the_image(error.kind()) {
                Failure::Failed(format!("{shown}: {error}"))
            } else {
                // It would be the same for every image.
                Failure::Stop(error.to_string())
            }
        })?;
        let count = u32::try_from(items.len().max(1)).unwrap_or(u32::MAX);
        stages.read /= count;
        stages.explain = started.elapsed() / count;
        let mut text = String::new();
        for item in &items {
            let started = Instant::now();
            let files = self.write(item, path, place, report)?;
            stages.write = started.elapsed();
            text += &report.item(&shown, item, &files, stages);
        }
        Ok(text)
    }

    fn photo(&self, stem: String, photo: Photo) -> gradcam::Result<Item> {
        let mut explanations = Vec::new();
        let mut placement = None;
        for explainer in &self.explainers {
            let (some, placed) = explainer.explain_photo(&photo, &self.targets)?;
            explanations.extend(some);
            placement = Some(placed);
        }
        let photo = placement.map(|placement| (photo, placement));
        Ok(Item { stem, index: None, photo, explanations })
    }

    fn tensor(&self, stem: &str, x: &ArrayD<f32>) -> gradcam::Result<Vec<Item>> {
        let count = x.len_of(Axis(0));
        let item = |index: usize| {
            let index = Some(index).filter(|_| count > 1);
            let stem = index.map_or_else(|| stem.to_owned(), |index| format!("{stem}.{index}"));
            Item { stem, index, photo: None, explanations: Vec::new() }
        };
        let mut items: Vec<Item> = (0..count).map(item).collect();
        // As many at once as the model wants; one where it is free, to keep memory small.
        let a_run = self.batch.unwrap_or(1).max(1);
        for explainer in &self.explainers {
            for (start, items) in (0..count).step_by(a_run).zip(items.chunks_mut(a_run)) {
                let range = Slice::from(start..start + items.len());
                self.run(explainer, x.slice_axis(Axis(0), range), items)?;
            }
        }
        Ok(items)
    }

    /// Explains the images of one run for every target.
    fn run(
        &self,
        explainer: &Explainer,
        x: ArrayViewD<'_, f32>,
        items: &mut [Item],
    ) -> gradcam::Result<()> {
        let mut explain = |targets: &[Target]| -> gradcam::Result<()> {
            let explanations = explainer.explain_batch(x.view(), targets)?;
            for (item, explanation) in items.iter_mut().zip(explanations) {
                item.explanations.push(explanation);
            }
            Ok(())
        };
        let count = x.len_of(Axis(0));
        for spec in &self.targets {
            match spec {
                TargetSpec::One(target) => explain(&vec![*target; count])?,
                TargetSpec::Top(best) => {
                    let first = explainer.explain_batch(x.view(), &vec![Target::Argmax; count])?;
                    let tops: Vec<_> = first.iter().map(|item| item.top(*best)).collect();
                    let ranks = tops.iter().map(Vec::len).min().unwrap_or(0);
                    explain(&vec![Target::Argmax; count])?;
                    for rank in 1..ranks {
                        let classes = tops.iter().map(|top| Target::Class(top[rank].index));
                        explain(&classes.collect::<Vec<_>>())?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Writes the files of an image; gives their names, for each explanation.
    fn write(
        &self,
        item: &Item,
        image: &Path,
        place: &mut Place,
        report: &Report<'_>,
    ) -> Result<Vec<Vec<String>>> {
        let mut all = Vec::new();
        for explanation in &item.explanations {
            let mut files = Vec::new();
            for layer in 0..explanation.layers.len() {
                let name = self.name(item, explanation, layer);
                for format in &self.args.output.formats {
                    let json = || report.json(image, item, explanation, Some(layer), &[]);
                    let parts = draw::parts(*format, item, explanation, layer, &self.style, json)
                        .map_err(|failure| failure.about(&image.display().to_string()))?;
                    for (extension, bytes) in parts {
                        files.push(place.write(
                            &item.stem,
                            &format!("{name}.{extension}"),
                            &bytes,
                        )?);
                    }
                }
            }
            all.push(files);
        }
        Ok(all)
    }

    /// The name of a map's files: image, target, and what else there are several of.
    fn name(&self, item: &Item, explanation: &Explanation, layer: usize) -> String {
        let mut name = format!("{}.{}", item.stem, names::target(explanation));
        if let [_, _, ..] = explanation.layers.as_slice() {
            name += &format!(".{}", layer_name(explanation, layer));
        }
        if self.explainers.len() > 1 {
            name += &format!(".{}", explanation.method);
        }
        name
    }
}

/// A layer's name in a file name, with its number where another layer would be called the same.
fn layer_name(explanation: &Explanation, layer: usize) -> String {
    let this = &explanation.layers[layer];
    let safe = names::layer(&this.layer);
    let same =
        |other: &gradcam::LayerMap| names::layer(&other.layer) == safe && other.value != this.value;
    if explanation.layers[..layer].iter().any(same) { format!("{safe}-{layer}") } else { safe }
}
