//! The concepts of a layer.

use std::sync::Arc;

use gradcam::{
    ImageConcepts,
    image::{Photo, concept_color},
};
use numpy::{IntoPyArray, PyArray1, PyArrayDyn, ToPyArray};
use pyo3::{prelude::*, types::PyBytes};

use crate::{
    arrays,
    errors::OrRaise,
    explanation::{ClassRow, WarningRow, row, warning_row},
};

/// The concepts of a layer, and the photos that they were found in.
#[pyclass(frozen, module = "onnx_gradcam._native")]
pub(crate) struct Concepts {
    inner: gradcam::Concepts,
    photos: Vec<Option<Arc<Photo>>>,
}

/// Vector, share, color and classes of a component.
type ComponentRow<'py> = (Bound<'py, PyArray1<f32>>, f32, (u8, u8, u8), Vec<ClassRow>);

impl Concepts {
    pub(crate) fn new(inner: gradcam::Concepts, photos: Vec<Option<Arc<Photo>>>) -> Self {
        Self { inner, photos }
    }

    /// What belongs to an image. Numbers come from `images()`.
    fn image(&self, number: usize) -> PyResult<&ImageConcepts> {
        let found = self.inner.images.get(number);
        found.ok_or_else(|| pyo3::exceptions::PyIndexError::new_err(number))
    }

    /// The picture of an image: over a photo, or on black where there is none.
    fn picture(
        &self,
        py: Python<'_>,
        number: usize,
        given: Option<&Photo>,
        alpha: f32,
    ) -> PyResult<Photo> {
        let image = self.image(number)?;
        let photo = given.or_else(|| self.photos.get(number)?.as_deref());
        let drawn = py.detach(|| match photo {
            Some(photo) => image.overlay(photo, alpha),
            None => image.picture(),
        });
        drawn.or_raise(py)
    }
}

#[pymethods]
impl Concepts {
    /// The path of the layer.
    fn layer(&self) -> &str {
        &self.inner.layer
    }

    /// The name of the engine.
    fn engine(&self) -> &'static str {
        self.inner.engine
    }

    /// What the components leave out: ‖X − W·H‖ over ‖X‖.
    fn error(&self) -> f32 {
        self.inner.error
    }

    /// Id, level and text of each warning and note.
    fn warnings(&self) -> Vec<WarningRow> {
        self.inner.warnings.iter().map(warning_row).collect()
    }

    /// The components.
    fn components<'py>(&self, py: Python<'py>) -> Vec<ComponentRow<'py>> {
        let count = self.inner.components.len();
        let each = self.inner.components.iter().enumerate().map(|(at, component)| {
            let vector = PyArray1::from_slice(py, &component.vector);
            let classes = component.classes.iter().map(row).collect();
            let [red, green, blue] = concept_color(at, count);
            (vector, component.share, (red, green, blue), classes)
        });
        each.collect()
    }

    /// The number of images.
    fn images(&self) -> usize {
        self.inner.images.len()
    }

    /// A raw map of each component in an image.
    fn maps<'py>(&self, py: Python<'py>, image: usize) -> PyResult<Bound<'py, PyArrayDyn<f32>>> {
        Ok(self.image(image)?.maps.to_pyarray(py))
    }

    /// The share of each component in an image.
    fn shares<'py>(&self, py: Python<'py>, image: usize) -> PyResult<Bound<'py, PyArray1<f32>>> {
        Ok(PyArray1::from_slice(py, &self.image(image)?.shares))
    }

    /// The heatmap of each component in an image.
    fn heatmaps<'py>(
        &self,
        py: Python<'py>,
        image: usize,
    ) -> PyResult<Bound<'py, PyArrayDyn<f32>>> {
        let image = self.image(image)?;
        let heatmaps = py.detach(|| image.heatmaps()).or_raise(py)?;
        Ok(heatmaps.into_pyarray(py))
    }

    /// The components of an image in their colors, over a photo where there is one, as pixels.
    fn overlay<'py>(
        &self,
        py: Python<'py>,
        image: usize,
        photo: Option<&Bound<'py, PyAny>>,
        alpha: f32,
    ) -> PyResult<Bound<'py, PyAny>> {
        let given = photo.map(arrays::photo).transpose()?;
        let drawn = self.picture(py, image, given.as_ref(), alpha)?;
        arrays::pixels(py, &drawn)
    }

    /// The same as PNG.
    fn to_png<'py>(
        &self,
        py: Python<'py>,
        image: usize,
        alpha: f32,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let drawn = self.picture(py, image, None, alpha)?;
        let png = py.detach(|| drawn.to_png()).or_raise(py)?;
        Ok(PyBytes::new(py, &png))
    }
}
