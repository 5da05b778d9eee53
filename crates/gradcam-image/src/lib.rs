//! Photos are decoded, oriented, resized and normalized into a network's input; maps become heatmaps and overlays.
//!
//! This crate knows nothing of models, engines or methods. [`Preprocess::apply`] turns a [`Photo`] into the network's
//! input and returns the [`Placement`], the part of the photo that the network saw. [`heatmap()`] normalizes a raw map,
//! and [`overlay()`] draws it at the photo's own size. [`resolve`] determines the preprocessing that a model expects.
//!
//! ```
//! use gradcam_image::{Overrides, OverlayStyle, Photo, heatmap, overlay, preprocess::Numbers, resolve};
//!
//! # fn main() -> Result<(), gradcam_image::ImageError> {
//! let photo = Photo::from_rgb8(4, 2, vec![128; 24])?;
//! let input_shape = [None, Some(3), Some(8), Some(8)];
//! let resolved = resolve(&Overrides::default(), &[], None, &input_shape, Numbers::Floats)?;
//! let (input, placement) = resolved.preprocess.apply(&photo)?;
//! assert_eq!(input.shape(), [1, 3, 8, 8]);
//!
//! let map = ndarray::arr2(&[[0.0, 1.0], [0.0, -1.0]]); // from the network
//! let heat = heatmap(&[map.view()], (8, 8))?;
//! let picture = overlay(&photo, heat.view(), &placement, &OverlayStyle::default())?;
//! assert_eq!((picture.width(), picture.height()), (4, 2));
//! # Ok(())
//! # }
//! ```

mod colorbar;
pub mod colormap;
mod concepts;
mod contours;
mod error;
mod files;
mod frame;
pub mod fusion;
pub mod gradient;
pub mod heatmap;
pub mod overlay;
pub mod photo;
pub mod preprocess;
pub mod resize;
mod strokes;

pub use colormap::Colormap;
pub use concepts::{concept_color, concept_overlay, concept_picture};
pub use error::{ImageError, ImageErrorKind, ImageHint};
pub use files::Files;
pub use fusion::{FUSIONS, Fusion, FusionInfo};
pub use gradient::{gradient_heatmap, gradient_picture, magnitude_picture};
pub use heatmap::{HeatmapRules, HeatmapSettings, heatmap, heatmap_nd, scaled_map, shown_heatmap};
pub use overlay::{
    OverlayKind, OverlayStyle, PictureSize, heatmap_picture, overlay, overlay_with_frame,
};
pub use photo::{Limits, Photo, PhotoFile};
pub use preprocess::{Overrides, Placement, Preprocess, PreprocessChoice, resolve, resolve_in};
pub use resize::{
    Filter, resize, resize_bicubic, resize_linear, resize_linear_aligned, resize_map,
    resize_nearest,
};
