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
    Explainer, Explanation, Grid, TargetSpec,
    image::{OverlayStyle, Photo, Placement},
    ndarray::{ArrayD, Axis, Slice},
};
use indicatif::{ProgressBar, ProgressStyle};

use crate::{
    args::ExplainArgs,
    engine::Choice,
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

impl Item {
    fn new(stem: String) -> Self {
        Self { stem, index: None, photo: None, explanations: Vec::new() }
    }
}

/// How long the parts of the work on one image took.
#[derive(Clone, Copy, Debug, Default)]
struct Stages {
    read: Duration,
    explain: Duration,
    write: Duration,
}

/// The most photos that are held at once, whatever batch a model declares.
const MOST_PHOTOS: usize = 64;

/// What is the same for all images.
#[derive(Debug)]
struct Job<'a> {
    args: &'a ExplainArgs,
    engine: Choice,
    /// One for each method.
    explainers: Vec<Explainer>,
    targets: Vec<TargetSpec>,
    style: OverlayStyle,
}

/// Explains all images; one that fails is reported and the others are done.
pub(crate) fn run(args: ExplainArgs) -> Result<()> {
    place::check(&args)?;
    files::clean_up_on_interrupt();
    let started = Instant::now();
    let job = Job::new(&args)?;
    let mut report = Report::new(&args, &job.engine, &job.explainers, started.elapsed())?;
    // The number of files decides what -o means; a single image may be a batch of several.
    let mut first = None;
    let count = match args.images.as_slice() {
        [one] => {
            let started = Instant::now();
            let image = job.load(one)?;
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
    for paths in args.images.chunks(job.images_of_a_run()) {
        bar.set_message(names::stem(&paths[0]));
        let mut photos = Vec::new();
        let mut done = Vec::new();
        for path in paths {
            let started = Instant::now();
            let loaded = match first.take() {
                Some(loaded) => Ok(loaded),
                None => job.load(path).map(|image| (image, started.elapsed())),
            };
            match loaded {
                Ok((Image::Photo(photo), took)) => photos.push((path.as_path(), photo, took)),
                Ok((Image::Tensor(x), took)) => {
                    done.push(job.tensor(path, &x, took, &mut place, &mut report));
                }
                Err(failure) => done.push(Err(failure)),
            }
        }
        done.extend(job.photos(photos, &mut place, &mut report));
        for done in done {
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
        let engine = Choice::new(args.engine, args.provider, args.model.is_none())?;
        let mut explainers: Vec<Explainer> = Vec::new();
        for method in &args.methods {
            if explainers.iter().any(|explainer| explainer.method() == *method) {
                continue;
            }
            let mut builder = model::builder(model.clone(), &args.signature)?
                .layers(&args.layers)
                .grid(Grid { size: args.grid, prefix: args.prefix_tokens })
                .method(*method)
                .preprocess(args.prepare.overrides());
            builder = engine.set(builder, args.threads);
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
        Ok(Self { args, engine, explainers, targets, style })
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

    /// As many photos at once as the model fixes; one where it leaves that open, to keep memory small.
    fn images_of_a_run(&self) -> usize {
        let fixed = self.explainers.first().and_then(|explainer| explainer.image_input().batch());
        fixed.unwrap_or(1).clamp(1, MOST_PHOTOS)
    }

    fn load(&self, path: &Path) -> Result<Image> {
        let Some(explainer) = self.explainers.first() else { return Err(Failure::Said) };
        input::load(path, explainer.image_input()).map_err(Failure::Failed)
    }

    /// Explains photos in one run and writes their files; gives what is to be said of each.
    fn photos(
        &self,
        photos: Vec<(&Path, Photo, Duration)>,
        place: &mut Place,
        report: &mut Report<'_>,
    ) -> Vec<Result<String>> {
        let Some((first, ..)) = photos.first() else { return vec![] };
        let started = Instant::now();
        let items = self.explained(&photos);
        let explain = started.elapsed() / u32::try_from(photos.len()).unwrap_or(1);
        match items {
            Ok(items) => {
                let each = photos.iter().zip(items).map(|((path, _, read), item)| {
                    let stages = Stages { read: *read, explain, write: Duration::ZERO };
                    self.finish(path, &[item], stages, place, report)
                });
                each.collect()
            }
            // One of them is at fault, and the others are done.
            Err(error) if photos.len() > 1 && model::is_about_the_image(error.kind()) => {
                photos.into_iter().flat_map(|one| self.photos(vec![one], place, report)).collect()
            }
            Err(error) => vec![Err(failure(first, &error))],
        }
    }

    fn explained(&self, photos: &[(&Path, Photo, Duration)]) -> gradcam::Result<Vec<Item>> {
        let pictures: Vec<&Photo> = photos.iter().map(|(_, photo, _)| photo).collect();
        let item = |(path, ..): &(&Path, Photo, Duration)| Item::new(names::stem(path));
        let mut items: Vec<Item> = photos.iter().map(item).collect();
        for explainer in &self.explainers {
            let explained = explainer.explain_photos(&pictures, &self.targets)?;
            for ((item, photo), (some, placement)) in items.iter_mut().zip(&pictures).zip(explained)
            {
                item.explanations.extend(some);
                item.photo = Some(((*photo).clone(), placement));
            }
        }
        Ok(items)
    }

    /// Explains the images of a tensor and writes their files; gives what is to be said of them.
    fn tensor(
        &self,
        path: &Path,
        x: &ArrayD<f32>,
        read: Duration,
        place: &mut Place,
        report: &mut Report<'_>,
    ) -> Result<String> {
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
        for explainer in &self.explainers {
            for (start, items) in (0..count).step_by(a_run).zip(items.chunks_mut(a_run)) {
                let range = Slice::from(start..start + items.len());
                let explained = explainer.explain_all(x.slice_axis(Axis(0), range), &self.targets);
                for (item, some) in items.iter_mut().zip(explained.map_err(|e| failure(path, &e))?)
                {
                    item.explanations.extend(some);
                }
            }
        }
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        let (read, explain) = (read / count, started.elapsed() / count);
        self.finish(path, &items, Stages { read, explain, write: Duration::ZERO }, place, report)
    }

    /// Writes the files of the images of one path; gives what is to be said of them.
    fn finish(
        &self,
        path: &Path,
        items: &[Item],
        mut stages: Stages,
        place: &mut Place,
        report: &mut Report<'_>,
    ) -> Result<String> {
        let mut text = String::new();
        for item in items {
            let started = Instant::now();
            let files = self.write(item, path, place, report)?;
            stages.write = started.elapsed();
            text += &report.item(&path.display().to_string(), item, &files, stages);
        }
        Ok(text)
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

/// An error about one image, or one that would be the same for every image.
fn failure(path: &Path, error: &gradcam::Error) -> Failure {
    if model::is_about_the_image(error.kind()) {
        Failure::Failed(format!("{}: {error}", path.display()))
    } else {
        Failure::Stop(error.to_string())
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
