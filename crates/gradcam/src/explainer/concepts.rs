//! The concepts of a layer, and their classes.

use std::num::NonZeroUsize;

use nalgebra::DMatrix;
use ndarray::{ArcArray, ArrayD, ArrayViewD, Axis};

use super::{Explainer, batches::floats, key::Key, slot::RunImage};
use crate::{
    Result,
    concepts::{Component, Concepts, ImageConcepts},
    engine::TensorView,
    error::{ErrorKind, bail},
    explanation::{Class, scores_of},
    head::{Form, HeadKind},
    image::{Photo, Placement},
    images::Images,
    memory::{Holder, human},
    method::Factors,
    warning::Warning,
};

/// The activation of an image, before it is factored.
struct ImageActivation {
    /// [K, …].
    picture: ArrayD<f32>,
    /// The shape of the network's input in the run.
    shape: Vec<usize>,
    placement: Option<Placement>,
}

/// The activations of all images: the transpose of X, [positions, channels], at least 0, and what was subtracted from each channel.
struct Activations {
    xt: DMatrix<f64>,
    least: Vec<f64>,
}

impl Explainer {
    /// Factors the activation of the explainer's layer into `components` concepts, which all images share.
    ///
    /// Methods, targets and what is made of maps do not matter. Images may have different sizes.
    ///
    /// # Errors
    /// `Method` for more components than the layer has channels or positions, `Layer` where the explainer has no layer or
    /// several, or the activation is the same at all positions or not finite; else as [`Explainer::explain`].
    pub fn concepts<'a>(
        &self,
        images: impl Into<Images<'a>>,
        components: NonZeroUsize,
    ) -> Result<Concepts> {
        let layer = self.only_layer()?;
        let mut warnings = self.setup.warnings.clone();
        let images = match images.into() {
            Images::Tensor(x) => self.activations(x, layer)?,
            Images::Photos(photos) => {
                let guess = self.preprocessing()?.guess.clone();
                warnings.extend(guess.map(|guess| Warning::PreprocessingGuessed { guess }));
                self.activations_of_photos(&photos, layer)?
            }
        };
        let (path, value) = self.setup.layers[layer].clone();
        let sizes = Sizes::of(&images);
        sizes.check(&path, components.get())?;
        let bytes = sizes.bytes(components.get());
        let memory = self.setup.runtime.memory();
        if bytes > memory.limit {
            bail!(
                Memory, RaiseMemoryLimit;
                "factoring {} positions of {} channels would need {} of memory, the limit is {}",
                sizes.positions, sizes.channels, human(bytes), human(memory.limit)
            );
        }
        // Given back before the runs that follow, which would wait for it.
        let lease = memory.take(bytes, Holder::Run);
        let Activations { xt, least } = Activations::of(&images, &sizes, &path)?;
        let factors = Factors::of(&xt, components.get());
        let error = factors.error(&xt);
        drop(xt);
        drop(lease);
        let found = Found::of(factors, &least);
        let vectors: Vec<Vec<f32>> = found.vectors();
        let classes = match self.classes_of(layer, &images, &vectors) {
            Ok(classes) => classes,
            // The part of the network behind the layer is no function of its channels alone.
            Err(error) if error.kind() == ErrorKind::Layer => {
                let why = error.message().to_owned();
                warnings.push(Warning::NoConceptScores { layer: path.clone(), why });
                vec![Vec::new(); vectors.len()]
            }
            Err(error) => return Err(error),
        };
        let components = vectors.into_iter().zip(classes).zip(found.shares(0..sizes.positions));
        let components = components.map(|((vector, classes), share)| Component {
            vector: vector.into(),
            share,
            classes,
        });
        Ok(Concepts {
            layer: path,
            value,
            components: components.collect(),
            images: found.images(&images, |image| self.input_size(&image.shape))?,
            #[expect(clippy::cast_possible_truncation, reason = "maps are float32")]
            error: error as f32,
            engine: self.engine_name(),
            warnings,
        })
    }

    /// The layer, where it is one.
    fn only_layer(&self) -> Result<usize> {
        match self.setup.layers.as_slice() {
            [_] => Ok(0),
            [] => {
                bail!(Layer, NameLayer; "concepts are those of a layer, and the methods of this explainer take none")
            }
            several => {
                let names: Vec<&str> = several.iter().map(|(path, _)| path.as_str()).collect();
                bail!(
                    Layer, NameLayer;
                    "concepts are those of one layer, and there are {}: {}",
                    several.len(), names.join(", ")
                )
            }
        }
    }

    fn activations_of_photos(
        &self,
        photos: &[&Photo],
        layer: usize,
    ) -> Result<Vec<ImageActivation>> {
        let prepared =
            photos.iter().map(|photo| self.prepare(photo)).collect::<Result<Vec<_>>>()?;
        let mut all = Vec::with_capacity(photos.len());
        for batch in prepared.chunk_by(|(a, _), (b, _)| a.shape() == b.shape()) {
            let views: Vec<_> = batch.iter().map(|(x, _)| x.view()).collect();
            let Ok(x) = ndarray::concatenate(Axis(0), &views) else {
                bail!(Image, "the photos become inputs of different sizes")
            };
            let of_batch = self.activations(x.view().into_dyn(), layer);
            let of_batch = of_batch.map_err(|error| self.with_size(error, x.shape()))?;
            let placed = of_batch.into_iter().zip(batch).map(|(one, (_, placement))| {
                ImageActivation { placement: Some(*placement), ..one }
            });
            all.extend(placed);
        }
        Ok(all)
    }

    /// Runs the network up to the layer, as many images at once as the model fixes, else one.
    fn activations(&self, x: ArrayViewD<'_, f32>, layer: usize) -> Result<Vec<ImageActivation>> {
        let count = self.inputs.image.check(x.shape())?;
        let a_run = self.inputs.image.batch().unwrap_or(1).max(1);
        let mut shape = x.shape().to_vec();
        shape[0] = a_run;
        let compiled = self.compiled(Key::Activation(shape.clone(), layer))?;
        let mut all = Vec::with_capacity(count);
        for start in (0..count).step_by(a_run) {
            // The last batch is padded by repeating its last image.
            let numbers = (start..start + a_run).map(|number| number.min(count - 1));
            let images: Vec<RunImage> = numbers.map(RunImage::plain).collect();
            let batch = self.batch(&x, &images)?;
            let pictures = floats(self.feed(&compiled, &batch, &[])?.pop())?;
            let pictures =
                pictures.outer_iter().take(count - start).map(|picture| ImageActivation {
                    picture: picture.to_owned(),
                    shape: shape.clone(),
                    placement: None,
                });
            all.extend(pictures);
        }
        Ok(all)
    }

    /// The classes of each vector of channels, by the part of the network behind the layer, where all positions hold the
    /// vector.
    ///
    /// # Errors
    /// `Layer` where that part reads other values too, or the model has no classes.
    fn classes_of(
        &self,
        layer: usize,
        images: &[ImageActivation],
        vectors: &[Vec<f32>],
    ) -> Result<Vec<Vec<Class>>> {
        let head = &self.setup.head;
        let is_classifier = matches!(head.form, Form::Classes(_) | Form::Binary);
        if !is_classifier || head.info.kind == HeadKind::Embedding {
            bail!(
                Layer,
                "the scores of this model are those of {}, not of classes",
                head.info.kind
            );
        }
        // The part behind the layer may fix the number of positions, so they are those of an image.
        let Some(first) = images.first() else { return Ok(Vec::new()) };
        let compiled = self.compiled(Key::Rest(first.shape.clone(), layer))?;
        let Some(known) = &compiled.channels else {
            bail!(Layer, "the channels of the layer are not known")
        };
        let [channels] = known.of_elements.as_slice() else {
            bail!(Layer, "the channels of the layer are not known")
        };
        let name = self.setup.layers[layer].1.as_str();
        let each = vectors.iter().map(|vector| {
            let elements = channels.iter().map(|channel| vector[*channel]).cycle();
            let count = known.shape.iter().product();
            let filled: Vec<f32> = elements.take(count).collect();
            let filled = ArrayD::from_shape_vec(known.shape.as_slice(), filled);
            let Ok(filled) = filled else { bail!(Layer, "the layer has an impossible shape") };
            let scores = compiled.program.run(&[(name, TensorView::from(&filled))])?;
            let scores = floats(scores.into_iter().next())?;
            let row: Vec<f32> = scores.index_axis(Axis(0), 0).iter().copied().collect();
            Ok(self.classes_of_row(&row))
        });
        each.collect()
    }

    /// The classes of a row of scores, that with the largest score first.
    fn classes_of_row(&self, row: &[f32]) -> Vec<Class> {
        let (scores, probabilities) = scores_of(&self.setup.head, row);
        let labels = self.labels().unwrap_or_default();
        let class = |(index, score): (usize, &f32)| Class {
            index,
            label: labels.get(index).cloned(),
            score: *score,
            probability: probabilities.get(index).copied(),
        };
        let mut classes: Vec<Class> = scores.iter().enumerate().map(class).collect();
        classes.sort_by(|a, b| b.score.total_cmp(&a.score));
        classes
    }
}

/// The number of channels and that of positions, over all images.
struct Sizes {
    channels: usize,
    positions: usize,
}

impl Sizes {
    fn of(images: &[ImageActivation]) -> Self {
        let channels = images.first().map_or(0, |image| image.picture.len_of(Axis(0)));
        let all: usize = images.iter().map(|image| image.picture.len()).sum();
        Self { channels, positions: all.checked_div(channels).unwrap_or(0) }
    }

    /// Refuses more components than a matrix of this size has.
    fn check(&self, layer: &str, components: usize) -> Result<()> {
        let Self { channels, positions } = *self;
        let most = channels.min(positions);
        if components > most {
            bail!(
                Method,
                "{components} components are more than layer \"{layer}\" can have, with {channels} channels and {positions} \
                 positions in all images; ask for at most {most}"
            );
        }
        Ok(())
    }

    /// The matrix, its float32 numbers, and the factors with what a sweep over them needs.
    fn bytes(&self, components: usize) -> u64 {
        let [channels, positions, components] =
            [self.channels, self.positions, components].map(|size| size as u64);
        let matrix = channels.saturating_mul(positions).saturating_mul(8 + 4);
        let factors = channels.saturating_add(positions).saturating_mul(components + 200);
        matrix.saturating_add(factors.saturating_mul(2 * 8))
    }
}

impl Activations {
    /// What is no number counts as 0, as in pytorch-grad-cam.
    fn of(images: &[ImageActivation], sizes: &Sizes, layer: &str) -> Result<Self> {
        let Sizes { channels, positions } = *sizes;
        let of_channel = |channel: usize| {
            let views = images.iter().map(move |one| one.picture.index_axis(Axis(0), channel));
            views.flat_map(|view| {
                let numbers = view.iter().map(|v| if v.is_nan() { 0.0 } else { f64::from(*v) });
                numbers.collect::<Vec<f64>>()
            })
        };
        let least = |channel| of_channel(channel).fold(f64::INFINITY, f64::min);
        let least: Vec<f64> = (0..channels).map(least).collect();
        let numbers = (0..channels).zip(&least);
        let numbers =
            numbers.flat_map(|(channel, least)| of_channel(channel).map(move |v| v - least));
        // Columns are channels, each one behind the other.
        let xt = DMatrix::from_iterator(positions, channels, numbers);
        let most = xt.max();
        if !xt.iter().all(|value| value.is_finite()) {
            bail!(Layer, "the activation of layer \"{layer}\" holds values that are not finite");
        }
        if most == 0.0 {
            bail!(
                Layer,
                "the activation of layer \"{layer}\" is the same at all positions, so it has no concepts; choose another layer"
            );
        }
        Ok(Self { xt, least })
    }
}

/// Concepts and maps, each map with the largest entry 1, in the order of their shares.
struct Found {
    /// W, [channels, components].
    concepts: DMatrix<f64>,
    /// The transpose of H, [positions, components].
    maps: DMatrix<f64>,
    least: DMatrix<f64>,
}

impl Found {
    fn of(mut factors: Factors, least: &[f64]) -> Self {
        let sum = |at: usize| factors.w.column(at).sum() * factors.ht.column(at).sum();
        let mut order: Vec<(usize, f64)> = (0..factors.w.ncols()).map(|at| (at, sum(at))).collect();
        order.sort_by(|a, b| b.1.total_cmp(&a.1));
        let order: Vec<usize> = order.into_iter().map(|(at, _)| at).collect();
        for at in 0..factors.w.ncols() {
            let most = factors.ht.column(at).max();
            if most > 0.0 {
                factors.ht.column_mut(at).unscale_mut(most);
                factors.w.column_mut(at).scale_mut(most);
            }
        }
        Self {
            concepts: factors.w.select_columns(&order),
            maps: factors.ht.select_columns(&order),
            least: DMatrix::from_column_slice(least.len(), 1, least),
        }
    }

    /// Each concept as an activation.
    #[expect(clippy::cast_possible_truncation, reason = "activations are float32")]
    fn vectors(&self) -> Vec<Vec<f32>> {
        let vector = |concept: nalgebra::DVectorView<'_, f64>| {
            concept.iter().zip(&self.least).map(|(entry, least)| (entry + least) as f32).collect()
        };
        self.concepts.column_iter().map(|column| vector(column.as_view())).collect()
    }

    /// The share of each component at some positions.
    #[expect(clippy::cast_possible_truncation, reason = "shares are float32")]
    fn shares(&self, positions: std::ops::Range<usize>) -> Vec<f32> {
        let rows = self.maps.rows(positions.start, positions.len());
        let sums = self.concepts.column_iter().zip(rows.column_iter());
        let sums: Vec<f64> = sums.map(|(concept, map)| concept.sum() * map.sum()).collect();
        let all: f64 = sums.iter().sum();
        let share = |sum: f64| if all > 0.0 { (sum / all) as f32 } else { 0.0 };
        sums.into_iter().map(share).collect()
    }

    /// The maps of each image.
    fn images(
        &self,
        images: &[ImageActivation],
        input_size: impl Fn(&ImageActivation) -> Vec<usize>,
    ) -> Result<Vec<ImageConcepts>> {
        let mut start = 0;
        let mut all = Vec::with_capacity(images.len());
        for image in images {
            let mut shape = image.picture.shape().to_vec();
            let positions: usize = shape[1..].iter().product();
            let rows = self.maps.rows(start, positions);
            #[expect(clippy::cast_possible_truncation, reason = "maps are float32")]
            let maps: Vec<f32> = rows.iter().map(|entry| *entry as f32).collect();
            shape[0] = self.maps.ncols();
            let Ok(maps) = ArcArray::from_shape_vec(shape, maps) else {
                bail!(Engine, "the activation has an impossible shape")
            };
            let shares = self.shares(start..start + positions);
            let (input_size, placement) = (input_size(image), image.placement);
            all.push(ImageConcepts { maps, shares, input_size, placement });
            start += positions;
        }
        Ok(all)
    }
}
