//! The images of a call: photos, or tensors that are ready for the network.

use ndarray::{ArrayView, ArrayViewD, Data, Dimension};

use crate::image::Photo;

/// The images of a call, one or many.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Images<'a> {
    /// Photos, each to be prepared as the model asks.
    Photos(Vec<&'a Photo>),
    /// A batch of images that are ready for the network, in the shape of the model's input, such as `[N, C, H, W]`, with
    /// any N. For a model that takes integers it holds whole numbers, such as 0 to 255.
    Tensor(ArrayViewD<'a, f32>),
}

impl<'a> From<&'a Photo> for Images<'a> {
    fn from(photo: &'a Photo) -> Self {
        Self::Photos(vec![photo])
    }
}

impl<'a> From<&'a [Photo]> for Images<'a> {
    fn from(photos: &'a [Photo]) -> Self {
        Self::Photos(photos.iter().collect())
    }
}

impl<'a> From<&'a Vec<Photo>> for Images<'a> {
    fn from(photos: &'a Vec<Photo>) -> Self {
        photos.as_slice().into()
    }
}

impl<'a> From<Vec<&'a Photo>> for Images<'a> {
    fn from(photos: Vec<&'a Photo>) -> Self {
        Self::Photos(photos)
    }
}

impl<'a, D: Dimension> From<ArrayView<'a, f32, D>> for Images<'a> {
    fn from(x: ArrayView<'a, f32, D>) -> Self {
        Self::Tensor(x.into_dyn())
    }
}

impl<'a, S: Data<Elem = f32>, D: Dimension> From<&'a ndarray::ArrayBase<S, D>> for Images<'a> {
    fn from(x: &'a ndarray::ArrayBase<S, D>) -> Self {
        x.view().into()
    }
}
