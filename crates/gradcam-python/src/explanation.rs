//! Explanations.

use std::{num::NonZeroU32, sync::Arc};

use gradcam::{
    Class, Summary, Warning, WarningLevel,
    image::{Colormap, OverlayKind, OverlayStyle, Photo, PictureSize, heatmap_picture},
};
use numpy::{IntoPyArray, PyArray1, PyArrayDyn, ToPyArray};
use pyo3::{
    prelude::*,
    types::{PyBytes, PyString},
};

use crate::{
    arrays,
    errors::{self, OrRaise},
    hints::words,
    settings,
};

/// The explanation of one image for one target.
#[pyclass(frozen, module = "onnx_gradcam._native")]
#[derive(Clone)]
pub(crate) struct Explanation {
    inner: gradcam::Explanation,
    photo: Option<Arc<Photo>>,
}

/// Index, label, score and probability of a class.
pub(crate) type ClassRow = (usize, Option<String>, f32, Option<f32>);

pub(crate) fn row(class: &Class) -> ClassRow {
    (class.index, class.label.clone(), class.score, class.probability)
}

/// Id, level and text of a warning.
pub(crate) type WarningRow = (&'static str, &'static str, String);

pub(crate) fn warning_row(warning: &Warning) -> WarningRow {
    let level = match warning.level() {
        WarningLevel::Detail => "detail",
        WarningLevel::Note => "note",
        WarningLevel::Warning => "warning",
    };
    (warning.id(), level, warning.worded(words))
}

/// The arguments of `overlay`, by their names in Python.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
struct Style {
    colormap: Option<String>,
    alpha: Option<f64>,
    kind: Option<String>,
    size: Option<Size>,
    max_side: Option<u32>,
    colorbar: bool,
}

/// The size of a picture: by name, or width and height.
#[derive(FromPyObject)]
enum Size {
    Named(String),
    Exact(u32, u32),
}

const SIZES: &[(&str, PictureSize)] =
    &[("photo", PictureSize::Photo), ("network", PictureSize::Network)];

impl Style {
    fn style(self, py: Python<'_>) -> PyResult<OverlayStyle> {
        let mut style = OverlayStyle { colorbar: self.colorbar, ..OverlayStyle::default() };
        if let Some(colormap) = self.colormap {
            style.colormap = colormap.parse::<Colormap>().or_raise(py)?;
        }
        if let Some(alpha) = self.alpha {
            style.alpha = alpha;
        }
        if let Some(kind) = self.kind {
            style.kind = settings::named(py, "kind", &kind, &OverlayKind::ALL)?;
        }
        match self.size {
            None => {}
            Some(Size::Named(name)) => style.size = settings::named(py, "size", &name, SIZES)?,
            Some(Size::Exact(width, height)) => {
                style.size = PictureSize::Exact { width, height };
            }
        }
        if let Some(side) = self.max_side {
            style.max_side = NonZeroU32::new(side);
        }
        Ok(style)
    }
}

impl Explanation {
    pub(crate) fn new(inner: gradcam::Explanation, photo: Option<Arc<Photo>>) -> Self {
        Self { inner, photo }
    }

    /// Adds a note.
    pub(crate) fn note(&mut self, note: &Warning) {
        self.inner.warnings.push(note.clone());
    }

    /// The number of a layer from its number or its name.
    fn layer_at(&self, layer: &Bound<'_, PyAny>) -> PyResult<usize> {
        let py = layer.py();
        let names = || self.inner.layers.iter().map(|map| map.layer.as_str());
        let wrong = |message: String| errors::new(py, "LayerError", &message, None);
        let Ok(name) = layer.cast::<PyString>() else {
            let number: usize = layer.extract()?;
            return match number < self.inner.layers.len() {
                true => Ok(number),
                false => Err(wrong(format!(
                    "the explanation has {} layers, not {}",
                    self.inner.layers.len(),
                    number.saturating_add(1)
                ))),
            };
        };
        let name = name.to_str()?;
        names().position(|known| known == name).ok_or_else(|| {
            let names: Vec<String> = names().map(|name| format!("\"{name}\"")).collect();
            wrong(format!("the explanation has no layer \"{name}\"; it has {}", names.join(", ")))
        })
    }

    /// The picture of a heatmap: over a photo, or alone where there is none.
    fn picture(
        &self,
        at: usize,
        photo: Option<&Photo>,
        style: &OverlayStyle,
    ) -> gradcam::Result<Photo> {
        match photo {
            Some(photo) => self.inner.overlay(at, photo, style),
            None => {
                let heatmap = self.inner.heatmap(at)?;
                Ok(heatmap_picture(heatmap.view(), style)?)
            }
        }
    }
}

#[pymethods]
impl Explanation {
    /// The raw maps, one for each layer.
    fn maps<'py>(&self, py: Python<'py>) -> Vec<Bound<'py, PyArrayDyn<f32>>> {
        self.inner.layers.iter().map(|layer| layer.map.to_pyarray(py)).collect()
    }

    /// The channel weights, one array for each layer.
    fn weights<'py>(&self, py: Python<'py>) -> Vec<Bound<'py, PyArray1<f32>>> {
        self.inner.layers.iter().map(|layer| PyArray1::from_slice(py, &layer.weights)).collect()
    }

    /// The paths of the layers.
    fn layers(&self) -> Vec<&str> {
        self.inner.layers.iter().map(|layer| layer.layer.as_str()).collect()
    }

    /// The heatmap of a layer.
    fn heatmap<'py>(&self, layer: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyArrayDyn<f32>>> {
        let (py, at) = (layer.py(), self.layer_at(layer)?);
        let heatmap = py.detach(|| self.inner.heatmap_nd(at)).or_raise(py)?;
        Ok(heatmap.into_pyarray(py))
    }

    /// A heatmap over the photo, as pixels.
    fn overlay<'py>(
        &self,
        py: Python<'py>,
        photo: Option<&Bound<'py, PyAny>>,
        layer: &Bound<'py, PyAny>,
        style: Style,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (at, style) = (self.layer_at(layer)?, style.style(py)?);
        let given = photo.map(arrays::photo).transpose()?;
        let photo = given.as_ref().or(self.photo.as_deref());
        let drawn = py.detach(|| self.picture(at, photo, &style)).or_raise(py)?;
        arrays::pixels(py, &drawn)
    }

    /// The picture that a notebook shows, as PNG. `None` where the map is no picture.
    fn to_png<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let png = py.detach(|| {
            let drawn = match self.inner.input_picture(0) {
                Ok(Some(picture)) => picture,
                _ => self.picture(0, self.photo.as_deref(), &OverlayStyle::default()).ok()?,
            };
            Some(drawn.to_png())
        });
        Ok(png.transpose().or_raise(py)?.map(|png| PyBytes::new(py, &png)))
    }

    /// The class that is explained.
    fn class_score(&self) -> ClassRow {
        row(&self.inner.class)
    }

    /// The second class of a difference.
    fn against(&self) -> Option<ClassRow> {
        self.inner.other.as_ref().map(row)
    }

    /// The classes with the largest scores.
    fn top(&self, count: usize) -> Vec<ClassRow> {
        self.inner.top(count).iter().map(row).collect()
    }

    /// Id, level and text of each warning and note.
    fn warnings(&self) -> Vec<WarningRow> {
        self.inner.warnings.iter().map(warning_row).collect()
    }

    /// The score of every class.
    fn scores<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray1<f32>> {
        PyArray1::from_slice(py, &self.inner.scores)
    }

    /// The probability of every class; empty where scores have none.
    fn probabilities<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray1<f32>> {
        PyArray1::from_slice(py, &self.inner.probabilities)
    }

    /// The target, as users write it.
    fn target(&self) -> String {
        self.inner.target.to_string()
    }

    /// The value of the target: what is differentiated.
    fn value(&self) -> f32 {
        self.inner.value
    }

    /// What a sequence reads.
    fn text(&self) -> Option<&str> {
        self.inner.text.as_deref()
    }

    /// The id of the method.
    fn method(&self) -> &'static str {
        self.inner.method
    }

    /// The name of the engine.
    fn engine(&self) -> &'static str {
        self.inner.engine
    }

    /// The size of the network's input.
    fn input_size(&self) -> Vec<usize> {
        self.inner.input_size.clone()
    }

    /// Everything but the numbers of the maps, as JSON.
    fn to_json(&self, py: Python<'_>, top: usize) -> PyResult<String> {
        let summary = Summary::of(&self.inner, top, words);
        serde_json::to_string(&summary)
            .map_err(|error| errors::new(py, "GradcamError", &error.to_string(), None))
    }
}
