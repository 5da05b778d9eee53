//! `gradcam concepts`: what a layer is made of, and where that is in photos.

mod legend;
mod report;

use gradcam::{
    Concepts, Explainer, ImageConcepts, MemoryLease,
    image::{Limits, OverlayStyle, Photo, PhotoFile},
    ndarray::{ArrayD, Axis},
};

use crate::{
    Host,
    args::{ConceptsArgs, Format},
    engine::EngineSetup,
    explain::{
        input::{self, Content},
        paths::{self, ImagePath},
        place::{self, Place},
    },
    failure::{Failure, Result, failed},
    model, npy,
};
use report::{Report, ReportedImage};

/// What is factored.
enum Subject {
    /// Photos, and the memory that they take until they are drawn.
    Photos(Vec<(Photo, MemoryLease)>),
    /// Images that are ready for the network, [N, …].
    Tensor(ArrayD<f32>),
}

/// Factors the layer for all images together and writes their files. Nothing is written where one of them fails.
pub(crate) fn run(args: &ConceptsArgs, host: &Host) -> Result<()> {
    let output = args.output.output.as_deref();
    place::check(output, args.output.json)?;
    host.begin_files();
    let images = paths::expand(&args.images, output)?;
    let engine = args.engine.setup(args.model.is_none(), host)?;
    let explainer = explainer(args, &engine, &images)?;
    let subject = read(&images, &explainer)?;
    let concepts = match &subject {
        Subject::Photos(photos) => {
            let photos: Vec<&Photo> = photos.iter().map(|(photo, _)| photo).collect();
            explainer.concepts(photos, args.components)?
        }
        Subject::Tensor(x) => explainer.concepts(x, args.components)?,
    };
    let reported = reported(&images, &subject, &concepts);
    let each: usize = args.output.formats.iter().map(|format| files_of(*format)).sum();
    let given = args.signature.inputs.iter().map(|(_, path)| path);
    let read = images.iter().map(|image| &image.path).chain(&args.model).chain(given);
    let mut place = Place::new(output, read, each * reported.len())?;
    let report = Report::new(args, &engine, &explainer, &concepts)?;
    let mut drawn = Vec::with_capacity(reported.len());
    for image in &reported {
        let files = files(args, &concepts, image, &report);
        drawn.push(files.map_err(|failure| failure.about(&image.shown))?);
    }
    for (image, files) in reported.iter().zip(drawn) {
        let mut written = Vec::new();
        for (extension, bytes) in files {
            let name = format!("{}.concepts.{extension}", image.stem);
            written.push(place.write(&image.stem, &name, &bytes)?);
        }
        report.say(image, &written)?;
    }
    report.warn();
    Ok(())
}

fn explainer(args: &ConceptsArgs, engine: &EngineSetup, images: &[ImagePath]) -> Result<Explainer> {
    let mut builder = model::builder(model::open(args.model.as_deref())?, &args.signature)?
        .layers(&args.layer)
        .grid(args.tokens.grid())
        .preprocess(args.prepare.overrides());
    builder = engine.set(builder, args.engine.threads);
    if let Some(shape) = images.first().and_then(|first| npy::shape(&first.path)) {
        builder = builder.image_shape(&shape);
    }
    if let Some(bytes) = args.engine.max_memory {
        builder = builder.max_memory(bytes);
    }
    Ok(builder.build()?)
}

/// Reads photos, or one tensor.
fn read(images: &[ImagePath], explainer: &Explainer) -> Result<Subject> {
    let mut photos = Vec::with_capacity(images.len());
    for image in images {
        let about = |failure: Failure| failure.about(&input::shown(&image.path));
        let content = input::read_content(&image.path, explainer.image_input());
        let bytes = match content.map_err(|why| about(failed(why)))? {
            Content::Picture(bytes) => bytes,
            Content::Tensor(x) if images.len() == 1 => return Ok(Subject::Tensor(x)),
            Content::Tensor(_) => {
                return Err(about(failed(
                    "tensors share their concepts within one file; save all images in one array [N, …], and give that alone",
                )));
            }
        };
        let file = PhotoFile::new(&bytes, &Limits::default()).map_err(|e| about(e.into()))?;
        let needed = input::memory(&file, explainer, &OverlayStyle::default());
        let memory = explainer.try_take_memory(needed).ok_or_else(|| {
            failed(
                "the photos, which share their concepts, would need more memory than the limit; raise it with --max-memory if \
                 that is right, or give fewer",
            )
        })?;
        photos.push((file.decode().map_err(|e| about(e.into()))?, memory));
    }
    Ok(Subject::Photos(photos))
}

/// The images with their names.
fn reported<'a>(
    paths: &[ImagePath],
    subject: &'a Subject,
    concepts: &'a Concepts,
) -> Vec<ReportedImage<'a>> {
    let named = |(number, found): (usize, &'a ImageConcepts)| {
        let (path, photo, index) = match subject {
            Subject::Photos(photos) => (&paths[number], Some(&photos[number].0), None),
            Subject::Tensor(x) => (&paths[0], None, (x.len_of(Axis(0)) > 1).then_some(number)),
        };
        let (shown, name) = (input::shown(&path.path), &path.name);
        let stem = index.map_or_else(|| name.clone(), |index| format!("{name}.{index}"));
        ReportedImage { shown, stem, index, photo, found }
    };
    concepts.images.iter().enumerate().map(named).collect()
}

fn files_of(format: Format) -> usize {
    match format {
        Format::Png | Format::Json => 1,
        Format::Npy => 2,
    }
}

/// The files of an image: extension and bytes.
fn files(
    args: &ConceptsArgs,
    concepts: &Concepts,
    image: &ReportedImage<'_>,
    report: &Report<'_>,
) -> Result<Vec<(&'static str, Vec<u8>)>> {
    let mut files = Vec::new();
    for format in &args.output.formats {
        match format {
            Format::Png => {
                let picture = match image.photo {
                    Some(photo) => image.found.overlay(photo, args.output.alpha as f32)?,
                    None => image.found.picture()?,
                };
                let entries = concepts.summary(image.found, args.output.top);
                files.push(("png", legend::beside(&picture, &entries)?.to_png()?));
            }
            Format::Npy => {
                files.push(("raw.npy", npy::bytes_of(&image.found.maps)));
                files.push(("heatmap.npy", npy::bytes_of(&image.found.heatmaps()?)));
            }
            Format::Json => files.push(("json", report.json(image)?.into_bytes())),
        }
    }
    Ok(files)
}
