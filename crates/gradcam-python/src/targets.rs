//! Targets, as Python gives them: None, numbers, texts, and the classes of `onnx_gradcam._targets`.

use gradcam::{Area, Explainer, Target, TargetSpec, Warning};
use pyo3::{
    prelude::*,
    sync::PyOnceLock,
    types::{PyString, PyType},
};

use crate::{
    arrays,
    errors::{self, OrRaise},
};

/// A target, and the note about its text.
pub(crate) type ReadTarget = (TargetSpec, Option<Warning>);

/// `onnx_gradcam.BoxTarget`.
#[derive(FromPyObject)]
struct BoxTarget<'py> {
    x: f64,
    y: f64,
    width: f64,
    height: f64,
    target: Bound<'py, PyAny>,
}

/// `onnx_gradcam.MaskTarget`.
#[derive(FromPyObject)]
struct MaskTarget<'py> {
    mask: Bound<'py, PyAny>,
    target: Bound<'py, PyAny>,
}

/// `onnx_gradcam.SimilarTarget`.
#[derive(FromPyObject)]
struct SimilarTarget<'py> {
    vector: Bound<'py, PyAny>,
}

/// Reads a target for the scores of an explainer.
pub(crate) fn read(target: &Bound<'_, PyAny>, explainer: &Explainer) -> PyResult<ReadTarget> {
    static BOX: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    static MASK: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    static SIMILAR: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    let py = target.py();
    if target.is_none() {
        return Ok((Target::Argmax.into(), None));
    }
    if let Ok(text) = target.cast::<PyString>() {
        let text = text.to_str()?;
        let spec = explainer.parse_target(text).or_raise(py)?;
        let note = spec.note(text);
        return Ok((spec, note));
    }
    if is_a(target, &BOX, "BoxTarget")? {
        let of_box: BoxTarget<'_> = target.extract()?;
        let (class, note) = class(&of_box.target, explainer, "box")?;
        return Ok((Target::Box(class, area(py, &of_box)?).into(), note));
    }
    if is_a(target, &MASK, "MaskTarget")? {
        let masked: MaskTarget<'_> = target.extract()?;
        let (class, note) = class(&masked.target, explainer, "mask")?;
        return Ok((Target::Masked(class, arrays::mask(&masked.mask)?.into()).into(), note));
    }
    if is_a(target, &SIMILAR, "SimilarTarget")? {
        let similar: SimilarTarget<'_> = target.extract()?;
        return Ok((Target::Similar(vector(&similar.vector)?).into(), None));
    }
    match target.extract::<i64>().map(usize::try_from) {
        Ok(Ok(class)) => Ok((Target::Class(class).into(), None)),
        Ok(Err(_)) => {
            let message = format!("class {target} is negative; classes count from 0");
            Err(errors::new(py, "TargetError", &message, None))
        }
        Err(_) => {
            let message = format!(
                "a target is None, the number of a class, a text such as a label, \"A-B\" or \"top:3\", or a BoxTarget, \
                 MaskTarget or SimilarTarget; it is a {}",
                target.get_type()
            );
            Err(errors::new(py, "TargetTypeError", &message, None))
        }
    }
}

/// Whether a target is of a class of `onnx_gradcam._targets`.
fn is_a(target: &Bound<'_, PyAny>, class: &PyOnceLock<Py<PyType>>, name: &str) -> PyResult<bool> {
    target.is_instance(class.import(target.py(), "onnx_gradcam._targets", name)?)
}

/// The class of a target that is at a place; None for the best one.
fn class(
    target: &Bound<'_, PyAny>,
    explainer: &Explainer,
    place: &str,
) -> PyResult<(Option<usize>, Option<Warning>)> {
    match read(target, explainer)? {
        (TargetSpec::One(Target::Argmax), note) => Ok((None, note)),
        (TargetSpec::One(Target::Class(class)), note) => Ok((Some(class), note)),
        _ => {
            let message = format!("a {place} goes with a class or None, and not with {target:?}");
            Err(errors::new(target.py(), "TargetError", &message, None))
        }
    }
}

fn area(py: Python<'_>, of_box: &BoxTarget<'_>) -> PyResult<Area> {
    let BoxTarget { x, y, width, height, .. } = *of_box;
    let finite = [x, y, width, height].iter().all(|number| number.is_finite());
    if finite && width > 0.0 && height > 0.0 {
        return Ok(Area { x, y, width, height });
    }
    let message = format!(
        "the box has x {x}, y {y}, width {width} and height {height}; give finite numbers, and a width and a height above 0"
    );
    Err(errors::new(py, "TargetError", &message, None))
}

fn vector(value: &Bound<'_, PyAny>) -> PyResult<std::sync::Arc<[f32]>> {
    let py = value.py();
    let vector = arrays::floats(value)?;
    if vector.ndim() == 1 {
        return Ok(vector.iter().copied().collect());
    }
    let message = format!(
        "the vector has shape {:?}; give one of one axis, such as explainer.embedding(image)",
        vector.shape()
    );
    Err(errors::new(py, "TargetError", &message, None))
}
