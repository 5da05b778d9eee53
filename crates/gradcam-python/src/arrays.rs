//! Arrays and pictures of Python as those of Rust.

use std::path::PathBuf;

use gradcam::{
    Mask,
    image::{Limits, Photo},
    ndarray::{ArrayD, Axis, Ix3},
};
use half::f16;
use numpy::{
    Element, PyArrayDyn, PyArrayMethods, PyUntypedArray, PyUntypedArrayMethods, ToPyArray,
};
use pyo3::{
    prelude::*,
    sync::PyOnceLock,
    types::{PyBytes, PyString, PyTuple},
};

use crate::errors::{self, OrRaise};

/// What is explained: a photo, or a tensor that is ready for the network.
pub(crate) enum Picture {
    Photo(Photo),
    Tensor(ArrayD<f32>),
}

/// Calls a function of `onnx_gradcam._arrays`, which knows the types of other libraries.
pub(crate) fn helper<'py>(
    cell: &PyOnceLock<Py<PyAny>>,
    name: &str,
    value: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    cell.import(value.py(), "onnx_gradcam._arrays", name)?.call1((value,))
}

/// A photo from a path, the bytes of a file, a PIL image or an array of bytes [H, W, 3]; a tensor from any other array.
pub(crate) fn picture(value: &Bound<'_, PyAny>) -> PyResult<Picture> {
    static IMAGE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let py = value.py();
    let value = helper(&IMAGE, "image", value)?;
    if let Ok(bytes) = value.cast::<PyBytes>() {
        let bytes = bytes.as_bytes();
        let photo = py.detach(|| Photo::decode(bytes, &Limits::default()));
        return photo.or_raise(py).map(Picture::Photo);
    }
    if value.is_instance_of::<PyString>() {
        let path: PathBuf = value.extract()?;
        let photo = py.detach(|| Photo::open(path, &Limits::default()));
        return photo.or_raise(py).map(Picture::Photo);
    }
    if let Ok(pixels) = value.cast::<PyArrayDyn<u8>>()
        && pixels.ndim() == 3
    {
        return pixels_of(pixels).map(Picture::Photo);
    }
    read(&value).map(Picture::Tensor)
}

/// A photo, as [`picture`] reads it.
pub(crate) fn photo(value: &Bound<'_, PyAny>) -> PyResult<Photo> {
    match picture(value)? {
        Picture::Photo(photo) => Ok(photo),
        Picture::Tensor(_) => {
            let message = "the photo is an array of floats; give a path, a PIL image or uint8 pixels [H, W, 3]";
            Err(errors::new(value.py(), "ImageError", message, None))
        }
    }
}

/// The photo of an array of bytes [H, W, 3].
fn pixels_of(pixels: &Bound<'_, PyArrayDyn<u8>>) -> PyResult<Photo> {
    let py = pixels.py();
    let pixels = pixels.readonly();
    let pixels = pixels.as_array();
    let side = |axis| u32::try_from(pixels.len_of(Axis(axis))).unwrap_or(u32::MAX);
    let (height, width) = (side(0), side(1));
    let rgb = pixels.iter().copied().collect();
    Photo::from_rgb8(width, height, rgb).or_raise(py)
}

/// Floats from an array of any layout and type, copied once.
pub(crate) fn floats(value: &Bound<'_, PyAny>) -> PyResult<ArrayD<f32>> {
    static ARRAY: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    read(&helper(&ARRAY, "array", value)?)
}

/// Floats from an array that `onnx_gradcam._arrays.array` made, of one of its types.
#[expect(clippy::cast_possible_truncation, reason = "networks compute in 32-bit floats")]
#[expect(clippy::cast_precision_loss, reason = "networks compute in 32-bit floats")]
fn read(array: &Bound<'_, PyAny>) -> PyResult<ArrayD<f32>> {
    fn with<T: Element + Copy>(
        array: &Bound<'_, PyAny>,
        float: impl Fn(T) -> f32,
    ) -> Option<ArrayD<f32>> {
        let array = array.cast::<PyArrayDyn<T>>().ok()?.readonly();
        Some(array.as_array().mapv(float))
    }
    let found = with(array, |value: f32| value)
        .or_else(|| with(array, |value: f64| value as f32))
        // The bits of float16.
        .or_else(|| with(array, |bits: u16| f16::from_bits(bits).to_f32()))
        .or_else(|| with(array, |value: u8| f32::from(value)))
        .or_else(|| with(array, |value: i64| value as f32));
    found.ok_or_else(|| {
        let dtype = array.cast::<PyUntypedArray>().map(|array| array.dtype().to_string());
        let dtype = dtype.unwrap_or_else(|_| array.get_type().to_string());
        let message = format!("the array holds {dtype}; give one of floats");
        errors::new(array.py(), "InputTypeError", &message, None)
    })
}

/// The mask of a picture, or of an array of booleans, or of two numbers, [H, W].
pub(crate) fn mask(value: &Bound<'_, PyAny>) -> PyResult<Mask> {
    static MASK: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let py = value.py();
    let picture = photo(&helper(&MASK, "mask", value)?)?;
    Mask::of(&picture).or_raise(py)
}

/// A value of an input beside the image: integers stay integers.
pub(crate) fn tensor(value: &Bound<'_, PyAny>) -> PyResult<gradcam::engine::Tensor> {
    static ARRAY: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let array = helper(&ARRAY, "array", value)?;
    if let Ok(integers) = array.cast::<PyArrayDyn<i64>>() {
        return Ok(integers.to_owned_array().into());
    }
    if let Ok(bytes) = array.cast::<PyArrayDyn<u8>>() {
        return Ok(bytes.to_owned_array().mapv(i64::from).into());
    }
    read(&array).map(Into::into)
}

/// The pixels of a photo, [H, W, 3], or [H, W, 4] where it has opacity.
pub(crate) fn pixels<'py>(py: Python<'py>, photo: &Photo) -> PyResult<Bound<'py, PyAny>> {
    let (width, height) = (photo.width() as usize, photo.height() as usize);
    let (bytes, channels) = match photo.alpha() {
        None => (photo.rgb().to_vec(), 3),
        Some(alpha) => {
            let pixels = photo.rgb().chunks_exact(3).zip(alpha);
            (pixels.flat_map(|(rgb, alpha)| [rgb[0], rgb[1], rgb[2], *alpha]).collect(), 4)
        }
    };
    let shape = Ix3(height, width, channels);
    match gradcam::ndarray::Array::from_shape_vec(shape, bytes) {
        Ok(pixels) => Ok(pixels.to_pyarray(py).into_any()),
        Err(error) => Err(errors::new(py, "ImageError", &error.to_string(), None)),
    }
}

/// Arrays as a tuple of NumPy's.
pub(crate) fn tuple<'py>(
    py: Python<'py>,
    arrays: &[&ArrayD<f32>],
) -> PyResult<Bound<'py, PyTuple>> {
    PyTuple::new(py, arrays.iter().map(|array| array.to_pyarray(py)))
}

/// The images of an array: photos where it holds bytes [N, H, W, 3] and the network takes floats, else a tensor.
pub(crate) fn pictures(
    value: &Bound<'_, PyAny>,
    takes_floats: bool,
) -> PyResult<Result<ArrayD<f32>, Vec<Photo>>> {
    static ARRAY: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let array = helper(&ARRAY, "array", value)?;
    let pixels = array.cast::<PyArrayDyn<u8>>().ok();
    let pixels = pixels.filter(|pixels| takes_floats && matches!(pixels.shape(), [_, _, _, 3]));
    let Some(pixels) = pixels else { return read(&array).map(Ok) };
    let photo = |image: Bound<'_, PyAny>| pixels_of(image.cast::<PyArrayDyn<u8>>()?);
    pixels.try_iter()?.map(|image| photo(image?)).collect::<PyResult<_>>().map(Err)
}
