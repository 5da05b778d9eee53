//! The maps of an explanation as heatmaps and pictures.

use ndarray::{
    Array2, ArrayD, ArrayView, ArrayView2, ArrayViewD, Axis, Dimension, Ix3, IxDyn, ShapeError,
};

use super::{AugmentedMaps, Explanation, LayerMap, TargetPlace};
use crate::{
    Result,
    error::bail,
    image::{self, Fusion, HeatmapRules, OverlayStyle, Photo, Placement},
    method::PictureStyle,
};

impl Explanation {
    /// The map of one layer as [h, w].
    ///
    /// # Errors
    /// `Layer` where the layer has another number of spatial axes.
    pub fn map2(&self, layer: usize) -> Result<ArrayView2<'_, f32>> {
        self.map_of(layer)
    }

    /// The number of heatmaps: one for each layer, or one where layers are fused.
    pub fn heatmaps(&self) -> usize {
        if self.is_fused() { 1 } else { self.layers.len() }
    }

    /// Whether one heatmap is made of the maps of several layers.
    pub fn is_fused(&self) -> bool {
        self.heatmap_settings.fusion != Fusion::None
    }

    fn map_of<D: Dimension>(&self, layer: usize) -> Result<ArrayView<'_, f32, D>> {
        let Some(map) = self.layers.get(layer) else {
            bail!(Layer, "the explanation has {} layers, not {}", self.layers.len(), layer + 1);
        };
        match map.map.view().into_dimensionality() {
            Ok(view) => Ok(view),
            Err(_) => bail!(
                Layer,
                "the map of layer \"{}\" has shape {:?}; a picture needs two spatial axes",
                map.layer,
                map.map.shape()
            ),
        }
    }

    /// A heatmap in 0..1, [H, W] at the size of the network's input: of the layer with this number, or, where layers are fused, of
    /// all of them, with the number 0. A map is rectified, normalized, resized and normalized again, as pytorch-grad-cam does.
    /// With test-time augmentation it is the mean of the heatmaps of the passes. For a method whose map has the channels of the network's
    /// input: the largest magnitude over them, normalized.
    ///
    /// By the profile of another library it has the numbers of that library: of TorchCAM the size of the layer, or of the largest
    /// one, and of Captum the signs and numbers of the raw map. [`Explanation::shown_heatmap`] is always in 0..1.
    ///
    /// # Errors
    /// `Layer` where there is no such heatmap or a map is not two-dimensional, `Image` where one is not finite.
    pub fn heatmap(&self, at: usize) -> Result<Array2<f32>> {
        self.picture(at, self.heatmap_nd(at)?)
    }

    /// A heatmap with as many axes as its map: `[L]` for a 1-D model, `[H, W]` as [`Explanation::heatmap`],
    /// `[D, H, W]` for a 3-D model. Where the network's input has another number of axes, the map keeps its size. By the profile
    /// of Captum, a method whose map has the channels of the network's input gives its attributions, `[C, H, W]`.
    ///
    /// # Errors
    /// `Layer` where there is no such heatmap, `Image` where a map is not finite, or fused maps have different numbers of axes.
    pub fn heatmap_nd(&self, at: usize) -> Result<ArrayD<f32>> {
        let mut sum = self.heatmap_of(&self.layers, at)?;
        for AugmentedMaps { augmentation, layers } in &self.augmented {
            let mut heatmap = self.heatmap_of(layers, at)?;
            if augmentation.flipped {
                heatmap.invert_axis(Axis(heatmap.ndim() - 1));
            }
            sum += &heatmap;
        }
        #[expect(clippy::cast_precision_loss, reason = "a handful of passes")]
        let passes = (1 + self.augmented.len()) as f32;
        Ok(if passes > 1.0 { sum / passes } else { sum })
    }

    /// The heatmap of one pass.
    fn heatmap_of(&self, layers: &[LayerMap], at: usize) -> Result<ArrayD<f32>> {
        if self.site.picture().is_some() {
            let map = self.map_of::<IxDyn>(at)?;
            return match (self.heatmap_settings.rules, self.method) {
                // The default of its parameter `abs`.
                (HeatmapRules::Captum, "saliency") => Ok(map.mapv(f32::abs)),
                (HeatmapRules::Captum, _) => Ok(map.to_owned()),
                _ => magnitude(&map),
            };
        }
        let maps = self.made_of(layers, at)?;
        Ok(image::heatmap_nd(&maps, &self.heatmap_size(&maps), &self.heatmap_settings)?)
    }

    /// The maps of layers that a heatmap is made of: that of one, or all where layers are fused.
    fn made_of<'a>(&self, layers: &'a [LayerMap], at: usize) -> Result<Vec<ArrayViewD<'a, f32>>> {
        let made_of = match self.is_fused() {
            true => (at == 0).then_some(layers),
            false => layers.get(at..=at),
        };
        match made_of {
            Some(layers) => Ok(layers.iter().map(|layer| layer.map.view()).collect()),
            None => {
                bail!(Layer, "the explanation has {} heatmaps, not {}", self.heatmaps(), at + 1)
            }
        }
    }

    /// The size of the network's input, or that of the largest map, where the input has another number of axes.
    fn heatmap_size(&self, maps: &[ArrayViewD<'_, f32>]) -> Vec<usize> {
        if maps.iter().all(|map| map.ndim() == self.input_size.len()) {
            return self.input_size.clone();
        }
        let axes = maps.iter().map(ArrayViewD::ndim).max().unwrap_or(0);
        let longest = |axis| maps.iter().filter_map(|map| map.shape().get(axis)).max().copied();
        (0..axes).map(|axis| longest(axis).unwrap_or(0)).collect()
    }

    /// A heatmap as pictures show it: in 0..1, at the size of the network's input, by the rules of every profile.
    ///
    /// # Errors
    /// As [`Explanation::heatmap_nd`].
    pub fn shown_heatmap(&self, at: usize) -> Result<ArrayD<f32>> {
        if self.site.picture().is_some() {
            return magnitude(&self.map_of(at)?);
        }
        let size = self.heatmap_size(&self.made_of(&self.layers, at)?);
        Ok(image::shown_heatmap(self.heatmap_nd(at)?, &size, self.heatmap_settings.rules)?)
    }

    fn picture(&self, at: usize, heatmap: ArrayD<f32>) -> Result<Array2<f32>> {
        let axes = heatmap.ndim();
        heatmap.into_dimensionality().or_else(|_| {
            bail!(
                Layer,
                "the map of layer \"{}\" has {axes} spatial axes; a picture needs two",
                self.layers[at].layer
            )
        })
    }

    /// The map of the network's input as a picture of its size, in the style of the method. `None` for a method whose
    /// map is drawn as a heatmap, and for an input that is not a picture.
    ///
    /// # Errors
    /// As [`Explanation::heatmap`], and `Image` where the input has no colors.
    pub fn input_picture(&self, layer: usize) -> Result<Option<Photo>> {
        let Some(drawn) = self.site.picture() else { return Ok(None) };
        if self.input_size.len() != 2 {
            return Ok(None);
        }
        let map = self.map_of::<Ix3>(layer)?;
        let picture = match drawn {
            PictureStyle::Magnitude => image::magnitude_picture(map)?,
            PictureStyle::Colors => image::gradient_picture(map, self.channels)?,
        };
        Ok(Some(picture))
    }

    /// A heatmap over the part of the photo that the network saw, at the photo's size or the network's. Over the whole photo
    /// where a tensor was explained. The box of a detector is drawn as a thin frame.
    ///
    /// # Errors
    /// As [`Explanation::heatmap`].
    pub fn overlay(&self, at: usize, photo: &Photo, style: &OverlayStyle) -> Result<Photo> {
        let heatmap = self.picture(at, self.shown_heatmap(at)?)?;
        let placement = self.placement.unwrap_or_else(|| {
            let side = |axis| u32::try_from(heatmap.shape()[axis]).unwrap_or(u32::MAX);
            Placement::whole((photo.width(), photo.height()), (side(1), side(0)))
        });
        let heatmap = heatmap.view();
        Ok(match self.place {
            Some(TargetPlace::Box { area, .. }) => {
                image::overlay_with_frame(photo, heatmap, &placement, style, area.edges())?
            }
            _ => image::overlay(photo, heatmap, &placement, style)?,
        })
    }
}

/// The magnitude of a gradient [C, …] at the network's input: the largest one over the channels, normalized.
fn magnitude(map: &ArrayViewD<'_, f32>) -> Result<ArrayD<f32>> {
    let space = map.shape().get(1..).unwrap_or_default().to_vec();
    let flat = (map.shape().first().copied().unwrap_or(1), 1, space.iter().product());
    let flat = map.to_shape(flat).map_err(|error| torn(&error))?;
    let heatmap = image::gradient_heatmap(flat.view())?;
    heatmap.into_shape_with_order(space).map_err(|error| torn(&error))
}

fn torn(error: &ShapeError) -> crate::Error {
    crate::Error::new(crate::ErrorKind::Layer, format!("the map has an impossible shape: {error}"))
}
