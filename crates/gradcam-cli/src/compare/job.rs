//! The work of a sheet: models, photos and the pictures of their maps.

use std::{ops::ControlFlow, path::Path};

use gradcam::{
    Explainer, Explanation, MemoryLease, Model, TargetSpec, Warning,
    image::{Filter, Limits, OverlayStyle, Photo, PhotoFile, PictureSize, resize},
};
use indicatif::ProgressBar;

use super::{
    label,
    sheet::{self, Cell, Column, Row},
};
use crate::{
    args::CompareArgs,
    explain::{
        input::{self, Content},
        paths::ImagePath,
        target,
    },
    failure::{Failure, Result, failed},
    hints, model,
};

/// Points of a millimeter.
const POINTS: f64 = 72.0 / 25.4;

/// What is the same for all photos.
pub(super) struct Job<'a> {
    args: &'a CompareArgs,
    bar: &'a ProgressBar,
    /// The first model reads the photos.
    first: SheetModel,
    others: Vec<SheetModel>,
}

/// A model with its targets.
struct SheetModel {
    /// Its name in labels.
    name: String,
    explainer: Explainer,
    targets: Vec<TargetSpec>,
}

/// What a photo adds to a sheet.
pub(super) struct ExplainedPhoto {
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
    pub(super) fn new(args: &'a CompareArgs, bar: &'a ProgressBar) -> Result<Self> {
        let mut paths = args.models.iter().map(|path| Some(path.as_path()));
        Ok(Self {
            first: SheetModel::new(args, paths.next().flatten(), bar)?,
            others: paths.map(|path| SheetModel::new(args, path, bar)).collect::<Result<_>>()?,
            args,
            bar,
        })
    }

    fn models(&self) -> impl Iterator<Item = &SheetModel> {
        [&self.first].into_iter().chain(&self.others)
    }

    /// The number of runs for some photos.
    pub(super) fn runs(&self, photos: usize) -> u64 {
        (photos * self.models().count()) as u64
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

    /// Explains a photo by all models, and draws its rows.
    pub(super) fn explain(&self, image: &ImagePath) -> Result<ExplainedPhoto> {
        let about = |failure: Failure| failure.about(&input::shown(&image.path));
        let (photo, _memory) = self.read(&image.path).map_err(about)?;
        let mut explained = Vec::new();
        for SheetModel { explainer, targets, .. } in self.models() {
            self.bar.set_message(image.name.clone());
            let maps = explainer.explain(&photo, targets.clone()).map_err(|error| {
                let message = error.worded(hints::words);
                if model::is_about_the_image(error.kind()) {
                    about(failed(message))
                } else {
                    failed(message)
                }
            })?;
            explained.push(maps.into_iter().flatten().collect::<Vec<_>>());
            self.bar.inc(1);
        }
        let grids: Vec<Vec<Maps<'_>>> = explained
            .iter()
            .zip(self.models())
            .map(|(maps, model)| grid(maps, model.explainer.methods().len()))
            .collect();
        let warnings = explained.iter().zip(self.models()).flat_map(|(explanations, model)| {
            let name = self.name(model);
            let all = explanations.iter().flat_map(|one| one.warnings.clone());
            all.map(move |warning| (name.clone(), warning))
        });
        let columns = self.columns(&grids);
        let (width, height) = self.pixels(&photo);
        let cells = columns.len() * grids.iter().map(Vec::len).max().unwrap_or(0);
        let bytes = 3 * u64::from(width) * u64::from(height);
        let memory = self.reserve(bytes.saturating_mul(cells as u64))?;
        Ok(ExplainedPhoto {
            rows: self.rows(image, &photo, &grids).map_err(about)?,
            columns,
            warnings: warnings.collect(),
            memory,
        })
    }

    /// Reads a photo, and takes the memory that it needs until it is drawn.
    fn read(&self, path: &Path) -> Result<(Photo, MemoryLease)> {
        let explainer = &self.first.explainer;
        let content = input::read_content(path, explainer.image_input()).map_err(failed)?;
        let Content::Picture(bytes) = content else {
            return Err(failed(
                "a tensor, and a sheet shows photos; explain it with gradcam explain",
            ));
        };
        let file = PhotoFile::new(&bytes, &Limits::default())?;
        let memory = self.reserve(input::memory(&file, explainer, &self.args.style.style()))?;
        Ok((file.decode()?, memory))
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
    fn rows(&self, image: &ImagePath, photo: &Photo, grids: &[Vec<Maps<'_>>]) -> Result<Vec<Row>> {
        let (width, height) = self.pixels(photo);
        let small = resize(photo, width, height, Filter::Bicubic)?;
        let size = PictureSize::Exact { width, height };
        let style = OverlayStyle { size, ..self.args.style.style() };
        let is_single = self.others.is_empty();
        let cell = |(explanation, layer): &(&Explanation, usize)| -> Result<Option<Cell>> {
            let picture = match explanation.input_picture(*layer)? {
                Some(picture) => picture,
                None => explanation.overlay(*layer, photo, &style)?,
            };
            let caption = if is_single { String::new() } else { label::caption(explanation) };
            Ok(Some(Cell { picture, caption }))
        };
        let count = grids.iter().map(Vec::len).max().unwrap_or(0);
        let row = |place: usize| -> Result<Row> {
            let mut cells = vec![Some(Cell { picture: small.clone(), caption: String::new() })];
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
            let asked = || label::asked(&self.first.targets, place);
            let (target, amount) =
                label::row(&explanations).unwrap_or_else(|| (asked(), String::new()));
            Ok(Row { image: image.name.clone(), target, amount, cells })
        };
        (0..count).map(row).collect()
    }
}

impl SheetModel {
    fn new(args: &CompareArgs, path: Option<&Path>, bar: &ProgressBar) -> Result<Self> {
        // Of several models it matters which one is at fault.
        let about = |failure: Failure| match path {
            Some(path) if args.models.len() > 1 => failure.about(&path.display().to_string()),
            _ => failure,
        };
        let explainer = explainer(args, model::open(path)?, path.is_none(), bar).map_err(about)?;
        let mut targets = Vec::new();
        for text in &args.targets {
            let spec = target::parse(text, &explainer, args.sheet.quiet).map_err(about)?;
            explainer.check_target(&spec).map_err(|error| about(error.into()))?;
            // Two names of one target give one row.
            if !targets.contains(&spec) {
                targets.push(spec);
            }
        }
        Ok(Self { name: label::model(path, &args.models), explainer, targets })
    }
}

fn explainer(
    args: &CompareArgs,
    model: Model,
    is_built_in: bool,
    bar: &ProgressBar,
) -> Result<Explainer> {
    let engine = args.engine.setup(is_built_in)?;
    let bar = bar.clone();
    let mut builder = model::builder(model, &args.signature)?
        .layers(&args.layers)
        .grid(args.tokens.grid())
        .methods(args.methods.iter().copied())
        .method_settings(args.numbers.settings())
        .preprocess(args.prepare.overrides())
        .progress(move |progress| {
            bar.set_message(format!("{} {}/{}", progress.method, progress.done, progress.total));
            ControlFlow::Continue(())
        });
    if let Some(bytes) = args.max_memory {
        builder = builder.max_memory(bytes);
    }
    Ok(args.heatmap.set(engine.set(builder, args.threads)).build()?)
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
