//! The work on images: reads, explains and draws them, for any number of callers at once.

use std::{
    mem,
    num::NonZeroUsize,
    ops::ControlFlow,
    path::Path,
    sync::{Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use gradcam::{
    Explainer, Explanation, MemoryLease, TargetSpec,
    image::{Limits, OverlayStyle, Photo, PhotoFile},
    ndarray::{ArrayD, Axis, Slice},
};
use indicatif::{ProgressBar, ProgressStyle};

use super::{
    Item, RenderedImage, Stages, draw,
    input::{self, Content},
    paths::ImagePath,
    place,
    report::Report,
    target::{self, Targets},
};
use crate::{
    Host,
    args::ExplainArgs,
    engine::EngineSetup,
    failure::{Failure, Result},
    hints, model, names, npy,
};

/// The most photos that are held for a run, whatever batch a model declares.
const MOST_PHOTOS: usize = 64;

/// What is the same for all images.
#[derive(Debug)]
pub(super) struct Job<'a> {
    args: &'a ExplainArgs,
    /// The number of images.
    images: usize,
    pub(super) engine: EngineSetup,
    pub(super) explainer: Explainer,
    targets: Targets,
    style: OverlayStyle,
}

/// What is explained.
#[derive(Debug)]
pub(super) enum Image {
    /// A photo, to be prepared for the network, and the memory that it takes until it is drawn.
    Photo(Photo, MemoryLease),
    /// Images that are ready for the network, [N, …].
    Tensor(ArrayD<f32>),
}

/// A photo of a run.
struct LoadedPhoto<'a> {
    /// Its place among the images of the run.
    at: usize,
    image: &'a ImagePath,
    photo: Photo,
    /// How long it took to read.
    took: Duration,
    _memory: MemoryLease,
}

impl<'a> Job<'a> {
    pub(super) fn new(args: &'a ExplainArgs, images: &[ImagePath], host: &Host) -> Result<Self> {
        let style = args.picture.style(&args.method.methods)?;
        let (model, count) = (model::open(args.model.as_deref())?, images.len());
        // A single image uses all threads; several images use one each, and as many are explained at once.
        let threads =
            if alone(args, count) { args.engine.threads } else { Some(NonZeroUsize::MIN) };
        let engine = args.engine.setup(args.model.is_none(), host)?;
        let mut builder = model::builder(model, &args.signature)?
            .layers(&args.layers)
            .grid(args.tokens.grid())
            .methods(args.method.methods.iter().copied())
            .method_settings(args.method.numbers.settings())
            .compare_deployed(args.output.verbose)
            .preprocess(args.prepare.overrides());
        builder = args.heatmap.set(engine.set(builder, threads));
        // The size of a tensor is known before the model is read for it.
        if let Some(shape) = images.first().and_then(|first| npy::shape(&first.path)) {
            builder = builder.image_shape(&shape);
        }
        let bar = passes_bar(args, count);
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
        if let Some(bytes) = args.engine.max_memory {
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
        let targets = target::targets(&args.target, &explainer)?;
        Ok(Self { args, images: count, engine, explainer, targets, style })
    }

    pub(super) fn files_per_item(&self) -> usize {
        let targets = self.targets.specs.iter().map(|target| match target {
            TargetSpec::One(_) => 1,
            TargetSpec::Top(count) => (*count).min(self.explainer.classes()),
        });
        let targets = targets.sum::<usize>();
        let maps = targets * self.explainer.maps_per_target();
        let heatmaps = targets * self.explainer.heatmaps_per_target();
        place::files_for(maps, heatmaps, &self.args.output.formats)
    }

    /// The images of a run: the number of `--batch`, or the model's batch size; 1 where it is open, to keep memory small.
    pub(super) fn images_of_a_run(&self) -> usize {
        let fixed = self.explainer.image_input().batch();
        let usual = || fixed.unwrap_or(1).clamp(1, MOST_PHOTOS);
        self.args.batch.map_or_else(usual, NonZeroUsize::get)
    }

    /// The number of concurrent runs: that of `--threads`, or of the cores.
    pub(super) fn callers(&self) -> usize {
        if alone(self.args, self.images) {
            return 1;
        }
        let cores = || thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        self.args.engine.threads.unwrap_or_else(cores).get()
    }

    /// Reads an image. A photo waits for its share of memory; `let_go` is called before, to give back what this caller holds
    /// itself.
    pub(super) fn load(&self, path: &Path, let_go: impl FnOnce()) -> Result<Image> {
        let about = |failure: Failure| failure.about(&input::shown(path));
        let content = input::read_content(path, self.explainer.image_input());
        let bytes = match content.map_err(|why| about(Failure::Failed(why)))? {
            Content::Tensor(x) => return Ok(Image::Tensor(x)),
            Content::Picture(bytes) => bytes,
        };
        let file = PhotoFile::new(&bytes, &Limits::default()).map_err(|e| about(e.into()))?;
        let needed = input::memory(&file, &self.explainer, &self.style);
        let memory = match self.explainer.try_take_memory(needed) {
            Some(memory) => memory,
            None => {
                let_go();
                self.explainer.take_memory(needed).map_err(|e| about(e.into()))?
            }
        };
        let photo = file.decode().map_err(|e| about(e.into()))?;
        Ok(Image::Photo(photo, memory))
    }

    /// Explains the images of one run and draws their files; for each image, in order, those of its items.
    pub(super) fn explain(
        &self,
        images: &[ImagePath],
        first: &Mutex<Option<(Image, Duration)>>,
        report: &Report<'_>,
    ) -> Vec<Result<Vec<RenderedImage>>> {
        let mut photos = Vec::new();
        let mut done = Vec::new();
        for (at, image) in images.iter().enumerate() {
            let started = Instant::now();
            // The lock is not held while an image is read.
            let before = first.lock().unwrap_or_else(PoisonError::into_inner).take();
            let loaded = match before {
                Some(loaded) => Ok(loaded),
                None => {
                    let let_go = || done.extend(self.photos(mem::take(&mut photos), report));
                    self.load(&image.path, let_go).map(|image| (image, started.elapsed()))
                }
            };
            match loaded {
                Ok((Image::Photo(photo, memory), took)) => {
                    photos.push(LoadedPhoto { at, image, photo, took, _memory: memory });
                }
                Ok((Image::Tensor(x), took)) => {
                    done.push((at, self.tensor(image, &x, took, report)));
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
        match self.explainer.explain(pictures, &self.targets.specs) {
            Ok(explained) => {
                let explain = started.elapsed() / u32::try_from(photos.len()).unwrap_or(u32::MAX);
                let draw = |(read, mut explanations): (LoadedPhoto<'_>, Vec<Explanation>)| {
                    self.targets.annotate(&mut explanations);
                    let item = Item::of_photo(read.image.name.clone(), read.photo);
                    let item = Item { explanations, ..item };
                    let stages = Stages { read: read.took, explain, write: Duration::ZERO };
                    let drawn = self.draw(&read.image.path, item, stages, report);
                    (read.at, drawn.map(|drawn| vec![drawn]))
                };
                photos.into_iter().zip(explained).map(draw).collect()
            }
            // One photo is at fault. The others are explained one by one.
            Err(error) if photos.len() > 1 && model::is_about_the_image(error.kind()) => {
                photos.into_iter().flat_map(|one| self.photos(vec![one], report)).collect()
            }
            Err(error) => {
                let each = photos.iter().map(|one| (one.at, Err(failure(&one.image.path, &error))));
                each.collect()
            }
        }
    }

    /// Explains the images of a tensor and draws their files.
    fn tensor(
        &self,
        image: &ImagePath,
        x: &ArrayD<f32>,
        read: Duration,
        report: &Report<'_>,
    ) -> Result<Vec<RenderedImage>> {
        let started = Instant::now();
        let count = x.len_of(Axis(0));
        let ImagePath { path, name: stem } = image;
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
            let explained = self.explainer.explain(x, &self.targets.specs);
            let explained = explained.map_err(|e| failure(path, &e))?;
            for (item, mut some) in items.iter_mut().zip(explained) {
                self.targets.annotate(&mut some);
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
        mut item: Item,
        mut stages: Stages,
        report: &Report<'_>,
    ) -> Result<RenderedImage> {
        let started = Instant::now();
        let mut all = Vec::new();
        for explanation in &item.explanations {
            let mut files = Vec::new();
            for at in 0..explanation.heatmaps() {
                let name = self.name(&item, explanation, at);
                for format in &self.args.output.formats {
                    let json = || report.json(image, &item, explanation, at);
                    let parts = draw::parts(*format, &item, explanation, at, &self.style, json)
                        .map_err(|failure| failure.about(&image.display().to_string()))?;
                    let named = |(extension, bytes)| (format!("{name}.{extension}"), bytes);
                    files.extend(parts.into_iter().map(named));
                }
            }
            all.push(files);
        }
        // Results wait for those before them, and would hold memory that these may need.
        item.photo = None;
        stages.write = started.elapsed();
        Ok(RenderedImage { item, files: all, stages })
    }

    /// The name of a heatmap's files: image and target; layer and method where there are several.
    fn name(&self, item: &Item, explanation: &Explanation, at: usize) -> String {
        let mut name = format!("{}.{}", item.stem, names::target(explanation));
        if explanation.heatmaps() > 1 {
            name += &format!(".{}", names::layer_of(explanation, at));
        }
        if self.explainer.methods().len() > 1 {
            name += &format!(".{}", explanation.method);
        }
        name
    }
}

/// The progress bar of methods that run the network again and again, for a single image. Several images have their own bar.
fn passes_bar(args: &ExplainArgs, images: usize) -> ProgressBar {
    if images > 1 || args.output.quiet {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(0);
    if let Ok(style) = ProgressStyle::with_template("{msg} {bar:30} {pos}/{len} {eta}") {
        bar.set_style(style);
    }
    bar
}

/// Whether there is one image, or one run.
fn alone(args: &ExplainArgs, images: usize) -> bool {
    images <= args.batch.map_or(1, NonZeroUsize::get)
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
