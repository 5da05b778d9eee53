//! The work of a sheet: models, photos and the pictures of their maps.

use std::{ops::ControlFlow, path::Path};

use gradcam::{
    Explainer, Explanation, MemoryLease, Model, Warning,
    image::{Filter, Limits, OverlayStyle, Photo, PhotoFile, PictureSize, resize},
    ndarray::{ArrayD, Axis, Slice},
};
use indicatif::ProgressBar;

use super::{
    label,
    sheet::{self, Cell, Column, Row},
};
use crate::{
    Host,
    args::CompareArgs,
    explain::{
        draw,
        input::{self, Content},
        paths::ImagePath,
        target::{self, Targets},
    },
    failure::{Failure, Result, failed},
    hints, model, npy,
};

/// Points of a millimeter.
const POINTS: f64 = 72.0 / 25.4;

/// What is the same for all images.
pub(super) struct Job<'a> {
    args: &'a CompareArgs,
    bar: &'a ProgressBar,
    /// The first model reads the images.
    first: SheetModel,
    others: Vec<SheetModel>,
}

/// A model with its targets.
struct SheetModel {
    /// Its name in labels.
    name: String,
    explainer: Explainer,
    targets: Targets,
}

/// What is explained.
enum Image {
    Photo(Photo),
    /// Images that are ready for the network, [N, …].
    Tensor(ArrayD<f32>),
}

/// What a file adds to a sheet.
pub(super) struct ExplainedFile {
    pub(super) columns: Vec<Column>,
    pub(super) rows: Vec<Row>,
    /// With the name of the model, where there are several.
    pub(super) warnings: Vec<(Option<String>, Warning)>,
    /// That of the pictures.
    pub(super) memory: MemoryLease,
}

/// The maps of one target by one model: an explanation and the place of its layer for each column.
type Maps<'a> = Vec<(&'a Explanation, usize)>;

impl<'a> Job<'a> {
    pub(super) fn new(
        args: &'a CompareArgs,
        images: &[ImagePath],
        bar: &'a ProgressBar,
        host: &Host,
    ) -> Result<Self> {
        let mut paths = args.models.iter().map(|path| Some(path.as_path()));
        // The size of a tensor is known before a model is read for it.
        let shape = images.first().and_then(|first| npy::shape(&first.path));
        let model = |path| SheetModel::new(args, path, shape.as_deref(), bar, host);
        Ok(Self {
            first: model(paths.next().flatten())?,
            others: paths.map(model).collect::<Result<_>>()?,
            args,
            bar,
        })
    }

    fn models(&self) -> impl Iterator<Item = &SheetModel> {
        [&self.first].into_iter().chain(&self.others)
    }

    /// The number of steps of the bar for some files.
    pub(super) fn runs(&self, files: usize) -> u64 {
        (files * self.models().count()) as u64
    }

    /// The width of a column in points.
    pub(super) fn column(&self) -> f64 {
        f64::from(self.args.sheet.cell) * POINTS
    }

    /// Takes memory beside that of the pictures that are drawn already, which are held until the sheet is made.
    pub(super) fn reserve(&self, bytes: u64) -> Result<MemoryLease> {
        self.first.explainer.try_take_memory(bytes).ok_or_else(|| {
            failed(
                "photos and sheet would need more memory than the limit; raise it with --max-memory if that is right, or \
                 give fewer images, or a smaller --cell or --dpi",
            )
        })
    }

    /// Explains the images of a file by all models, and draws their rows.
    pub(super) fn explain(&self, image: &ImagePath) -> Result<ExplainedFile> {
        let about = |failure: Failure| failure.about(&input::shown(&image.path));
        let (content, _memory) = self.read(&image.path).map_err(about)?;
        let mut explained = Vec::new();
        for model in self.models() {
            self.bar.set_message(image.name.clone());
            let mut maps = model.explain(self.args, &content).map_err(|error| {
                let message = error.worded(hints::words);
                if model::is_about_the_image(error.kind()) {
                    about(failed(message))
                } else {
                    failed(message)
                }
            })?;
            maps.iter_mut().for_each(|of_image| model.targets.annotate(of_image));
            explained.push(maps);
            self.bar.inc(1);
        }
        let warnings = explained.iter().zip(self.models()).flat_map(|(maps, model)| {
            let name = self.name(model);
            let all = maps.iter().flatten().flat_map(|one| one.warnings.clone());
            all.map(move |warning| (name.clone(), warning))
        });
        let warnings = warnings.collect();
        let photo = match &content {
            Image::Photo(photo) => Some(photo),
            Image::Tensor(_) => None,
        };
        let count = explained.iter().map(Vec::len).min().unwrap_or(0);
        let grids: Vec<Vec<Vec<Maps<'_>>>> = (0..count)
            .map(|at| {
                let of_models = explained.iter().zip(self.models());
                of_models
                    .map(|(maps, model)| grid(&maps[at], model.explainer.methods().len()))
                    .collect()
            })
            .collect();
        let columns = grids.first().map(|grids| self.columns(grids)).unwrap_or_default();
        let cells = grids.iter().map(|grids| grids.iter().map(Vec::len).max().unwrap_or(0));
        let cells = columns.len() * cells.sum::<usize>();
        let (width, height) = match photo {
            Some(photo) => self.pixels(photo),
            None => heatmap_pixels(&explained),
        };
        let bytes = 3u64.saturating_mul(width.into()).saturating_mul(height.into());
        let memory = self.reserve(bytes.saturating_mul(cells as u64))?;
        let mut rows = Vec::new();
        for (at, grids) in grids.iter().enumerate() {
            let name = match count {
                1 => image.name.clone(),
                _ => format!("{}.{at}", image.name),
            };
            rows.extend(self.rows(&name, photo, grids).map_err(about)?);
        }
        Ok(ExplainedFile { rows, columns, warnings, memory })
    }

    /// Reads the images of a file, and takes the memory that a photo needs until it is drawn.
    fn read(&self, path: &Path) -> Result<(Image, Option<MemoryLease>)> {
        let explainer = &self.first.explainer;
        let content = input::read_content(path, explainer.image_input()).map_err(failed)?;
        let bytes = match content {
            Content::Tensor(x) => return Ok((Image::Tensor(x), None)),
            Content::Picture(bytes) => bytes,
        };
        let file = PhotoFile::new(&bytes, &Limits::default())?;
        let memory = self.reserve(input::memory(&file, explainer, &self.args.style.style()))?;
        Ok((Image::Photo(file.decode()?), Some(memory)))
    }

    fn columns(&self, grids: &[Vec<Maps<'_>>]) -> Vec<Column> {
        let photo = Column { labels: vec![label::photo()] };
        let of_model = |(model, grid): (&SheetModel, &Vec<Maps<'_>>)| {
            let name = self.name(model);
            grid.first().map(|maps| label::columns(name.as_deref(), maps)).unwrap_or_default()
        };
        [photo].into_iter().chain(self.models().zip(grids).flat_map(of_model)).collect()
    }

    /// The name of a model, where there are several.
    fn name(&self, model: &SheetModel) -> Option<String> {
        (!self.others.is_empty()).then(|| model.name.clone())
    }

    /// The size of the pictures of a photo.
    fn pixels(&self, photo: &Photo) -> (u32, u32) {
        let (width, height) = sheet::fitted((photo.width(), photo.height()), self.column());
        let pixels =
            |points: f64| (points * f64::from(self.args.sheet.dpi) / 72.0).round().max(1.0);
        (pixels(width) as u32, pixels(height) as u32)
    }

    /// A row for each target.
    fn rows(
        &self,
        image: &str,
        photo: Option<&Photo>,
        grids: &[Vec<Maps<'_>>],
    ) -> Result<Vec<Row>> {
        let mut style = self.args.style.style();
        let mut small = None;
        if let Some(photo) = photo {
            let (width, height) = self.pixels(photo);
            let picture = resize(photo, width, height, Filter::Bicubic)?;
            small = Some(Cell { picture, caption: String::new() });
            style = OverlayStyle { size: PictureSize::Exact { width, height }, ..style };
        }
        let is_single = self.others.is_empty();
        let cell = |(explanation, layer): &(&Explanation, usize)| -> Result<Option<Cell>> {
            let picture = draw::picture(photo, explanation, *layer, &style)?;
            let caption = if is_single { String::new() } else { label::caption(explanation) };
            Ok(Some(Cell { picture, caption }))
        };
        let count = grids.iter().map(Vec::len).max().unwrap_or(0);
        let row = |place: usize| -> Result<Row> {
            let mut cells = vec![small.clone()];
            for grid in grids {
                match grid.get(place) {
                    Some(maps) => {
                        cells.extend(maps.iter().map(cell).collect::<Result<Vec<_>>>()?);
                    }
                    // Of top:K, a model has no more targets than classes.
                    None => cells.extend(grid.iter().take(1).flatten().map(|_| None)),
                }
            }
            let firsts = grids.iter().filter_map(|grid| grid.get(place)?.first());
            let explanations: Vec<&Explanation> = firsts.map(|(first, _)| *first).collect();
            let asked = || label::asked(&self.first.targets.specs, place);
            let (target, amount) =
                label::row(&explanations).unwrap_or_else(|| (asked(), String::new()));
            Ok(Row { image: image.to_owned(), target, amount, cells })
        };
        (0..count).map(row).collect()
    }
}

impl SheetModel {
    fn new(
        args: &CompareArgs,
        path: Option<&Path>,
        shape: Option<&[usize]>,
        bar: &ProgressBar,
        host: &Host,
    ) -> Result<Self> {
        // Of several models it matters which one is at fault.
        let about = |failure: Failure| match path {
            Some(path) if args.models.len() > 1 => failure.about(&path.display().to_string()),
            _ => failure,
        };
        let model = model::open(path)?;
        let explainer = explainer(args, model, path.is_none(), shape, bar, host).map_err(about)?;
        let targets = target::targets(&args.target, &explainer).map_err(about)?;
        Ok(Self { name: label::model(path, &args.models), explainer, targets })
    }

    /// The explanations of each image.
    fn explain(&self, args: &CompareArgs, image: &Image) -> gradcam::Result<Vec<Vec<Explanation>>> {
        let specs = &self.targets.specs;
        let x = match image {
            Image::Photo(photo) => return self.explainer.explain(photo, specs),
            Image::Tensor(x) => x,
        };
        // An input with a row for each image goes with the whole batch.
        let count = x.len_of(Axis(0));
        let of_run = if args.signature.inputs.is_empty() { 1 } else { count.max(1) };
        let mut all = Vec::with_capacity(count);
        for start in (0..count).step_by(of_run) {
            let some = x.slice_axis(Axis(0), Slice::from(start..start + of_run));
            all.extend(self.explainer.explain(some, specs)?);
        }
        Ok(all)
    }
}

/// The size of the largest heatmap without a photo.
fn heatmap_pixels(explained: &[Vec<Vec<Explanation>>]) -> (u32, u32) {
    let size = |explanation: &Explanation| {
        let (height, width) = draw::flat_size(&explanation.input_size).unwrap_or_default();
        let side = |side: usize| u32::try_from(side).unwrap_or(u32::MAX);
        (side(width), side(height))
    };
    let sizes = explained.iter().flatten().flatten().map(size);
    sizes.max_by_key(|(width, height)| u64::from(*width) * u64::from(*height)).unwrap_or_default()
}

fn explainer(
    args: &CompareArgs,
    model: Model,
    is_built_in: bool,
    shape: Option<&[usize]>,
    bar: &ProgressBar,
    host: &Host,
) -> Result<Explainer> {
    let engine = args.engine.setup(is_built_in, host)?;
    let bar = bar.clone();
    let mut builder = model::builder(model, &args.signature)?
        .layers(&args.layers)
        .grid(args.tokens.grid())
        .methods(args.method.methods.iter().copied())
        .method_settings(args.method.numbers.settings())
        .preprocess(args.prepare.overrides())
        .progress(move |progress| {
            bar.set_message(format!("{} {}/{}", progress.method, progress.done, progress.total));
            ControlFlow::Continue(())
        });
    if let Some(bytes) = args.engine.max_memory {
        builder = builder.max_memory(bytes);
    }
    if let Some(shape) = shape {
        builder = builder.image_shape(shape);
    }
    Ok(args.heatmap.set(engine.set(builder, args.engine.threads)).build()?)
}

/// For each target its heatmaps: layer by layer, and for each layer method by method. `explanations` are method by method.
fn grid(explanations: &[Explanation], methods: usize) -> Vec<Maps<'_>> {
    let targets = explanations.len() / methods.max(1);
    let maps = |target: usize| {
        let of_target: Vec<&Explanation> =
            explanations.iter().skip(target).step_by(targets.max(1)).collect();
        let layers = of_target.iter().map(|one| one.heatmaps()).max().unwrap_or(0);
        let at = |layer: usize| {
            let has = move |one: &&Explanation| layer < one.heatmaps();
            of_target.iter().copied().filter(has).map(move |one| (one, layer)).collect::<Vec<_>>()
        };
        (0..layers).flat_map(at).collect()
    };
    (0..targets).map(maps).collect()
}
