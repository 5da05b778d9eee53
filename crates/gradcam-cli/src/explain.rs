//! `gradcam explain`: maps of photos and tensors.

mod draw;
mod input;
mod job;
mod place;
mod report;
mod target;

use std::{
    path::{Path, PathBuf},
    sync::Mutex,
    time::{Duration, Instant},
};

use gradcam::{Explanation, image::Photo, ndarray::Axis};
use indicatif::{ProgressBar, ProgressStyle};

use crate::{
    args::ExplainArgs,
    failure::{Failure, Result},
    files,
    in_order::in_order,
    names, terminal,
};
use input::Image;
use job::Job;
use place::Place;
use report::{Report, ReportState};

/// One image with its explanations.
#[derive(Debug)]
struct Item {
    /// Its name in file names.
    stem: String,
    /// Its place in a batch of several.
    index: Option<usize>,
    photo: Option<Photo>,
    explanations: Vec<Explanation>,
}

impl Item {
    fn new(stem: String) -> Self {
        Self { stem, index: None, photo: None, explanations: Vec::new() }
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
pub(crate) fn run(args: ExplainArgs) -> Result<()> {
    place::check(&args)?;
    files::clean_up_on_interrupt();
    let started = Instant::now();
    let job = Job::new(&args)?;
    let report = Report::new(&args, &job.engine, &job.explainer, started.elapsed())?;
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
    let mut said = ReportState::default();
    let bar = progress(&args);
    let mut all_done = true;
    let first = Mutex::new(first);
    let chunks: Vec<&[PathBuf]> = args.images.chunks(job.images_of_a_run()).collect();
    let explain = |at: usize| -> Vec<_> {
        let drawn = job.explain(chunks[at], &first, &report);
        chunks[at].iter().zip(drawn).collect()
    };
    in_order(chunks.len(), job.callers(), explain, |chunk| {
        for (path, drawn) in chunk {
            bar.set_message(names::stem(path));
            match drawn.and_then(|drawn| write(path, drawn, &mut place, &report, &mut said)) {
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
    path: &Path,
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
        text += &report.item(said, &path.display().to_string(), &item, &places, stages)?;
    }
    Ok(text)
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
