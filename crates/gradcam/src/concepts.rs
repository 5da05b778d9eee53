//! Concepts: what deep feature factorization finds in a layer.

use std::sync::Arc;

use ndarray::{ArcArray, ArrayD, ArrayView3, Axis, IxDyn};
use serde::Serialize;

use crate::{
    Result,
    error::bail,
    explanation::Class,
    image::{self, Photo, Placement},
    warning::Warning,
};

/// The concepts of a layer: the parts that its activation is a sum of, the same ones for all images of a call.
///
/// Deep feature factorization, Collins et al. 2018, arXiv:1806.10206, as in pytorch-grad-cam: of the activation, channels by
/// positions of all images, the least value of each channel is subtracted; the rest is W·H, the product of two factors without
/// negative entries. A column of W is a concept, a row of H says where it is. The factors start from the singular vectors
/// (NNDSVDa), so that they are always the same; pytorch-grad-cam starts from random numbers.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Concepts {
    /// The layer's module path, or the name of its value.
    pub layer: String,
    /// The value's name in the model.
    pub value: String,
    /// The components, that with the largest share first.
    pub components: Vec<Component>,
    /// For each image where they are.
    pub images: Vec<ImageConcepts>,
    /// What the components leave out: ‖X − W·H‖ over ‖X‖.
    pub error: f32,
    /// The engine.
    pub engine: &'static str,
    /// The warnings, those about the model among them.
    pub warnings: Vec<Warning>,
}

/// A concept.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Component {
    /// The concept as an activation, `[K]`: the column of W at the position where it is strongest, with what was subtracted.
    pub vector: Arc<[f32]>,
    /// Its share of the activation of all images: Σ W·H of the component over that of all.
    pub share: f32,
    /// The classes, that with the largest score first, by the part of the network behind the layer, where all positions of the
    /// layer, and tokens outside the picture, hold the concept. Empty where that part reads other values too, or the model has no classes; a warning says which.
    pub classes: Vec<Class>,
}

/// Where the concepts are in an image.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ImageConcepts {
    /// A raw map of each component, `[components, h, w]` (`[components, l]` for a 1-D model, `[components, d, h, w]` for a 3-D
    /// one): its row of H, at least 0, over the largest entry in all images.
    pub maps: ArcArray<f32, IxDyn>,
    /// The share of each component in the activation of this image.
    pub shares: Vec<f32>,
    /// The size of the network's input: `[height, width]`, `[length]` or `[depth, height, width]`.
    pub input_size: Vec<usize>,
    /// The part of the photo that the network saw. `None` where a tensor was explained.
    pub placement: Option<Placement>,
}

/// A component in an image, for JSON.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ComponentSummary<'a> {
    /// The share of the activation of the image.
    pub share: f32,
    /// The color in pictures: red, green and blue.
    pub color: [u8; 3],
    /// The classes with the largest scores.
    pub classes: &'a [Class],
}

impl Concepts {
    /// The components in an image, each with its `top` best classes.
    pub fn summary<'a>(&'a self, image: &ImageConcepts, top: usize) -> Vec<ComponentSummary<'a>> {
        let count = self.components.len();
        let of_image = self.components.iter().zip(&image.shares).enumerate();
        let each = of_image.map(|(at, (component, share))| ComponentSummary {
            share: *share,
            color: image::concept_color(at, count),
            classes: &component.classes[..top.min(component.classes.len())],
        });
        each.collect()
    }
}

impl ImageConcepts {
    /// The maps in 0..1 at the size of the network's input, `[components, H, W]`: each normalized by its own range and resized
    /// (bilinear), as in pytorch-grad-cam. Where the network's input has another number of axes, they keep their size.
    ///
    /// # Errors
    /// `Image` where a map is not finite.
    pub fn heatmaps(&self) -> Result<ArrayD<f32>> {
        let own = &self.maps.shape()[1..];
        let size = if own.len() == self.input_size.len() { &self.input_size } else { own };
        let each = self.maps.outer_iter().map(|map| image::scaled_map(&map, size));
        let each = each.collect::<Result<Vec<_>, _>>()?;
        let views: Vec<_> = each.iter().map(|map| map.view()).collect();
        match ndarray::stack(Axis(0), &views) {
            Ok(all) => Ok(all),
            Err(error) => bail!(Layer, "the maps have an impossible shape: {error}"),
        }
    }

    /// The concepts in their colors over the part of the photo that the network saw; over the whole photo where a tensor was
    /// explained. `alpha` is the share of the colors, 0..1.
    ///
    /// # Errors
    /// As [`ImageConcepts::heatmaps`], and `Layer` where the maps are no pictures.
    pub fn overlay(&self, photo: &Photo, alpha: f32) -> Result<Photo> {
        let heatmaps = self.heatmaps()?;
        let heatmaps = picture(&heatmaps)?;
        let placement = self.placement.unwrap_or_else(|| {
            let side = |axis| u32::try_from(heatmaps.len_of(Axis(axis))).unwrap_or(u32::MAX);
            Placement::whole((photo.width(), photo.height()), (side(2), side(1)))
        });
        Ok(image::concept_overlay(photo, heatmaps, &placement, alpha)?)
    }

    /// The concepts in their colors on black, at the size of the network's input, where there is no photo.
    ///
    /// # Errors
    /// As [`ImageConcepts::overlay`].
    pub fn picture(&self) -> Result<Photo> {
        Ok(image::concept_picture(picture(&self.heatmaps()?)?)?)
    }
}

fn picture(heatmaps: &ArrayD<f32>) -> Result<ArrayView3<'_, f32>> {
    heatmaps.view().into_dimensionality().or_else(|_| {
        bail!(
            Layer,
            "the maps of the concepts have {} spatial axes; a picture needs two, so write them with the format npy",
            heatmaps.ndim().saturating_sub(1)
        )
    })
}
