//! `gradcam explain`: maps of photos and tensors.

pub(crate) mod draw;
pub(crate) mod input;
mod job;
mod line;
pub(crate) mod paths;
pub(crate) mod place;
pub(crate) mod report;
pub(crate) mod target;

use std::{
    sync::Mutex,
    time::{Duration, Instant},
};

use gradcam::{Explanation, image::Photo, ndarray::Axis};
use indicatif::{ProgressBar, ProgressStyle};

use crate::{
    Host,
    args::ExplainArgs,
    failure::{Failure, Result},
    in_order::in_order,
    terminal,
};
use job::{Image, Job};
use paths::ImagePath;
use place::Place;
use report::{Report, ReportState};

/// One image with its explanations.
#[derive(Debug)]
struct Item {
    /// Its name in file names.
    stem: String,
    /// Its place in a batch of several.
    index: Option<usize>,
    /// The photo, until its files are drawn.
    photo: Option<Photo>,
    /// The size of the photo, [width, height].
    size: Option<(u32, u32)>,
    explanations: Vec<Explanation>,
}

impl Item {
    fn new(stem: String) -> Self {
        Self { stem, index: None, photo: None, size: None, explanations: Vec::new() }
    }

    fn of_photo(stem: String, photo: Photo) -> Self {
        let size = Some((photo.width(), photo.height()));
        Self { photo: Some(photo), size, ..Self::new(stem) }
    }
}

/// An image with the files of its maps.
#[derive(Debug)]
struct RenderedImage {
    item: Item,
    /// For each explanation its files, name and bytes.
    files: Vec<Vec<(String, Vec<u8>)>>,
    stages: Stages,
}

/// How long the parts of the work on one image took.
#[derive(Clone, Copy, Debug, Default)]
struct Stages {
    read: Duration,
    explain: Duration,
    /// Drawing and writing.
    write: Duration,
}

/// Explains all images. One that fails is reported, and the others are still explained.
///
/// Several images are read, explained and drawn at once, on threads of their own; files and messages are written in the order
/// of the images, on this thread.
pub(crate) fn run(args: ExplainArgs, host: &Host) -> Result<()> {
    place::check(args.output.output.as_deref(), args.output.json)?;
    host.begin_files();
    let started = Instant::now();
    let images = paths::expand(&args.images, args.output.output.as_deref())?;
    let job = Job::new(&args, &images, host)?;
    let report = Report::new(&args, &job.engine, &job.explainer, started.elapsed())?;
    // The number of files decides what -o means; a single image may be a batch of several.
    let mut first = None;
    let items = match images.as_slice() {
        [one] => {
            let started = Instant::now();
            let image = job.load(&one.path, || {})?;
            let items = match &image {
                Image::Photo(..) => 1,
                Image::Tensor(x) => x.len_of(Axis(0)),
            };
            first = Some((image, started.elapsed()));
            items
        }
        several => several.len(),
    };
    let files = job.files_per_item().max(usize::from(images.len() > 1));
    let given = args.signature.inputs.iter().map(|(_, path)| path);
    let read = images.iter().map(|image| &image.path).chain(&args.model).chain(given);
    let read = read.chain(args.target.files());
    let mut place = Place::new(args.output.output.as_deref(), read, items * files)?;
    let mut said = ReportState::of(items);
    let bar = progress(images.len(), args.output.quiet);
    let mut all_done = true;
    let first = Mutex::new(first);
    let chunks: Vec<&[ImagePath]> = images.chunks(job.images_of_a_run()).collect();
    let explain = |at: usize| -> Vec<_> {
        let drawn = job.explain(chunks[at], &first, &report);
        chunks[at].iter().zip(drawn).collect()
    };
    in_order(chunks.len(), job.callers(), explain, |chunk| {
        for (image, drawn) in chunk {
            bar.set_message(image.name.clone());
            match drawn.and_then(|drawn| write(image, drawn, &mut place, &report, &mut said)) {
                Ok(block) => bar.suspend(|| report.say(&block))?,
                Err(Failure::Failed(message)) => {
                    all_done = false;
                    bar.suspend(|| terminal::complain(&message));
                }
                Err(other) => return Err(other),
            }
            bar.inc(1);
        }
        Ok(())
    })?;
    bar.finish_and_clear();
    if all_done { Ok(()) } else { Err(Failure::Said) }
}

/// Writes the files of the images of one path, and gives the message about them.
fn write(
    image: &ImagePath,
    rendered: Vec<RenderedImage>,
    place: &mut Place,
    report: &Report<'_>,
    said: &mut ReportState,
) -> Result<String> {
    let mut text = String::new();
    for RenderedImage { item, files, mut stages } in rendered {
        let started = Instant::now();
        let mut places = Vec::new();
        for files in &files {
            let each = files.iter().map(|(name, bytes)| place.write(&item.stem, name, bytes));
            places.push(each.collect::<Result<Vec<String>>>()?);
        }
        stages.write += started.elapsed();
        text += &report.item(said, &image.path.display().to_string(), &item, &places, stages)?;
    }
    Ok(text)
}

fn progress(images: usize, quiet: bool) -> ProgressBar {
    if images < 2 || quiet {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(images as u64);
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} {eta} {msg}") {
        bar.set_style(style);
    }
    bar
}
