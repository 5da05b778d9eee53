//! The work on images: reads, explains and draws them, for any number of callers at once.

use std::{
    num::NonZeroUsize,
    ops::ControlFlow,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use gradcam::{
    Explainer, Explanation, Grid, TargetSpec,
    image::{OverlayStyle, Photo},
    ndarray::{ArrayD, Axis, Slice},
};
use indicatif::{ProgressBar, ProgressStyle};

use super::{
    Item, RenderedImage, Stages, draw,
    input::{self, Image},
    place,
    report::Report,
    target,
};
use crate::{
    args::ExplainArgs,
    engine::EngineSetup,
    failure::{Failure, Result},
    hints, model, names,
};

/// The most photos that are held for a run, whatever batch a model declares.
const MOST_PHOTOS: usize = 64;

/// What is the same for all images.
#[derive(Debug)]
pub(super) struct Job<'a> {
    args: &'a ExplainArgs,
    pub(super) engine: EngineSetup,
    pub(super) explainer: Explainer,
    targets: Vec<TargetSpec>,
    style: OverlayStyle,
}

/// A photo of a run: its place among the paths, its path, and how long it took to read.
struct LoadedPhoto<'a> {
    at: usize,
    path: &'a Path,
    photo: Photo,
    took: Duration,
}

impl<'a> Job<'a> {
    pub(super) fn new(args: &'a ExplainArgs) -> Result<Self> {
        let model = model::open(args.model.as_deref())?;
        // A single image uses all threads; several images use one each, and as many are explained at once.
        let threads = if alone(args) { args.threads } else { Some(NonZeroUsize::MIN) };
        let engine = EngineSetup::new(
            args.engine,
            args.provider,
            &args.session_config,
            args.model.is_none(),
        )?;
        let mut builder = model::builder(model, &args.signature)?
            .layers(&args.layers)
            .grid(Grid { size: args.grid, prefix: args.prefix_tokens })
            .methods(args.methods.iter().copied())
            .compare_deployed(args.output.verbose)
            .preprocess(args.prepare.overrides());
        builder = engine.set(builder, threads);
        let bar = passes_bar(args);
        builder = builder.progress(move |progress| {
            // The bar was finished for another layer or target.
            if bar.is_finished() {
                bar.reset();
            }
            bar.set_length(progress.total as u64);
            bar.set_message(progress.method);
            bar.set_position(progress.done as u64);
            if progress.done == progress.total {
                bar.finish_and_clear();
            }
            ControlFlow::Continue(())
        });
        if let Some(bytes) = args.max_memory {
            builder = builder.max_memory(bytes);
        }
        let explainer = builder.build()?;
        let fixed = explainer.image_input().batch();
        if let (Some(asked), Some(fixed)) = (args.batch, fixed)
            && asked.get() != fixed
        {
            return Err(Failure::Usage(format!(
                "--batch {asked}: the model takes {fixed} images a run and no other number; leave --batch out, or \
                 export the model with an open batch"
            )));
        }
        let targets = target::targets(args, &explainer)?;
        let out = &args.output;
        let style = OverlayStyle { colormap: out.colormap, alpha: out.alpha, kind: out.overlay };
        Ok(Self { args, engine, explainer, targets, style })
    }

    pub(super) fn files_per_item(&self) -> usize {
        let targets = self.targets.iter().map(|target| match target {
            TargetSpec::One(_) => 1,
            TargetSpec::Top(count) => (*count).min(self.explainer.classes()),
        });
        let maps = targets.sum::<usize>() * self.explainer.maps_per_target();
        place::files_for(maps, &self.args.output.formats)
    }

    /// The images of a run: the number of `--batch`, or the model's batch size; 1 where it is open, to keep memory small.
    pub(super) fn images_of_a_run(&self) -> usize {
        let fixed = self.explainer.image_input().batch();
        let usual = || fixed.unwrap_or(1).clamp(1, MOST_PHOTOS);
        self.args.batch.map_or_else(usual, NonZeroUsize::get)
    }

    /// The number of concurrent runs: that of `--threads`, or of the cores.
    pub(super) fn callers(&self) -> usize {
        if alone(self.args) {
            return 1;
        }
        let cores = || thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        self.args.threads.unwrap_or_else(cores).get()
    }

    pub(super) fn load(&self, path: &Path) -> Result<Image> {
        input::load(path, self.explainer.image_input()).map_err(Failure::Failed)
    }

    /// Explains the images of one run and draws their files; for each path, in order, those of its images.
    pub(super) fn explain(
        &self,
        paths: &[PathBuf],
        first: &Mutex<Option<(Image, Duration)>>,
        report: &Report<'_>,
    ) -> Vec<Result<Vec<RenderedImage>>> {
        let mut photos = Vec::new();
        let mut done = Vec::new();
        for (at, path) in paths.iter().enumerate() {
            let started = Instant::now();
            // The lock is not held while an image is read.
            let before = first.lock().unwrap_or_else(PoisonError::into_inner).take();
            let loaded = match before {
                Some(loaded) => Ok(loaded),
                None => self.load(path).map(|image| (image, started.elapsed())),
            };
            match loaded {
                Ok((Image::Photo(photo), took)) => {
                    photos.push(LoadedPhoto { at, path, photo, took })
                }
                Ok((Image::Tensor(x), took)) => {
                    done.push((at, self.tensor(path, &x, took, report)));
                }
                Err(failure) => done.push((at, Err(failure))),
            }
        }
        done.extend(self.photos(photos, report));
        done.sort_by_key(|(at, _)| *at);
        done.into_iter().map(|(_, drawn)| drawn).collect()
    }

    /// Explains photos in one run and draws their files.
    fn photos(
        &self,
        photos: Vec<LoadedPhoto<'_>>,
        report: &Report<'_>,
    ) -> Vec<(usize, Result<Vec<RenderedImage>>)> {
        if photos.is_empty() {
            return Vec::new();
        }
        let started = Instant::now();
        let pictures: Vec<&Photo> = photos.iter().map(|read| &read.photo).collect();
        match self.explainer.explain(pictures, &self.targets) {
            Ok(explained) => {
                let explain = started.elapsed() / u32::try_from(photos.len()).unwrap_or(u32::MAX);
                let draw = |(read, explanations): (LoadedPhoto<'_>, _)| {
                    let photo = Some(read.photo);
                    let item = Item { photo, explanations, ..Item::new(names::stem(read.path)) };
                    let stages = Stages { read: read.took, explain, write: Duration::ZERO };
                    let drawn = self.draw(read.path, item, stages, report);
                    (read.at, drawn.map(|drawn| vec![drawn]))
                };
                photos.into_iter().zip(explained).map(draw).collect()
            }
            // One photo is at fault. The others are explained one by one.
            Err(error) if photos.len() > 1 && model::is_about_the_image(error.kind()) => {
                photos.into_iter().flat_map(|one| self.photos(vec![one], report)).collect()
            }
            Err(error) => {
                let each = photos.iter().map(|one| (one.at, Err(failure(one.path, &error))));
                each.collect()
            }
        }
    }

    /// Explains the images of a tensor and draws their files.
    fn tensor(
        &self,
        path: &Path,
        x: &ArrayD<f32>,
        read: Duration,
        report: &Report<'_>,
    ) -> Result<Vec<RenderedImage>> {
        let started = Instant::now();
        let count = x.len_of(Axis(0));
        let stem = names::stem(path);
        let item = |index: usize| match count {
            1 => Item::new(stem.clone()),
            _ => Item { index: Some(index), ..Item::new(format!("{stem}.{index}")) },
        };
        let mut items: Vec<Item> = (0..count).map(item).collect();
        // An input with a row for each image goes with the whole batch.
        let a_run =
            if self.args.signature.inputs.is_empty() { self.images_of_a_run() } else { count };
        for (start, items) in (0..count).step_by(a_run).zip(items.chunks_mut(a_run)) {
            let range = Slice::from(start..start + items.len());
            let x = x.slice_axis(Axis(0), range);
            let explained = self.explainer.explain(x, &self.targets);
            for (item, some) in items.iter_mut().zip(explained.map_err(|e| failure(path, &e))?) {
                item.explanations = some;
            }
        }
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        let (read, explain) = (read / count, started.elapsed() / count);
        let stages = Stages { read, explain, write: Duration::ZERO };
        items.into_iter().map(|item| self.draw(path, item, stages, report)).collect()
    }

    /// Draws the files of an image.
    fn draw(
        &self,
        image: &Path,
        item: Item,
        mut stages: Stages,
        report: &Report<'_>,
    ) -> Result<RenderedImage> {
        let started = Instant::now();
        let mut all = Vec::new();
        for explanation in &item.explanations {
            let mut files = Vec::new();
            for layer in 0..explanation.layers.len() {
                let name = self.name(&item, explanation, layer);
                for format in &self.args.output.formats {
                    let json = || report.json(image, &item, explanation, layer);
                    let parts = draw::parts(*format, &item, explanation, layer, &self.style, json)
                        .map_err(|failure| failure.about(&image.display().to_string()))?;
                    let named = |(extension, bytes)| (format!("{name}.{extension}"), bytes);
                    files.extend(parts.into_iter().map(named));
                }
            }
            all.push(files);
        }
        stages.write = started.elapsed();
        Ok(RenderedImage { item, files: all, stages })
    }

    /// The name of a map's files: image and target; layer and method where there are several.
    fn name(&self, item: &Item, explanation: &Explanation, layer: usize) -> String {
        let mut name = format!("{}.{}", item.stem, names::target(explanation));
        if let [_, _, ..] = explanation.layers.as_slice() {
            name += &format!(".{}", layer_name(explanation, layer));
        }
        if self.explainer.methods().len() > 1 {
            name += &format!(".{}", explanation.method);
        }
        name
    }
}

/// The progress bar of methods that run the network again and again, for a single image. Several images have their own bar.
fn passes_bar(args: &ExplainArgs) -> ProgressBar {
    if args.images.len() > 1 || args.output.quiet {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(0);
    if let Ok(style) = ProgressStyle::with_template("{msg} {bar:30} {pos}/{len} {eta}") {
        bar.set_style(style);
    }
    bar
}

/// Whether there is one image, or one run.
fn alone(args: &ExplainArgs) -> bool {
    args.images.len() <= args.batch.map_or(1, NonZeroUsize::get)
}

/// An error about one image, or one that would be the same for every image.
fn failure(path: &Path, error: &gradcam::Error) -> Failure {
    let message = error.worded(hints::words);
    if model::is_about_the_image(error.kind()) {
        Failure::Failed(format!("{}: {message}", path.display()))
    } else {
        Failure::Stop(message)
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
