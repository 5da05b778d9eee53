//! Lists: the methods, and the layers of a model.

use gradcam::{Explainer, LayerInfo, METHODS, MethodInfo};
use pyo3::{prelude::*, types::PyTuple};

use crate::{errors::OrRaise, settings};

/// Id, name, formula, use, paper, whether it takes a layer, and cost.
type MethodRow =
    (&'static str, &'static str, &'static str, &'static str, &'static str, bool, Option<f32>);

/// Path, kind, value, shape, stride, whether a map can be made there, and whether it is the default.
type LayerRow<'py> = (String, String, String, Bound<'py, PyTuple>, i64, bool, bool);

/// The methods.
#[pyfunction]
pub(crate) fn methods() -> Vec<MethodRow> {
    let row = |method: &MethodInfo| {
        let (id, name, formula) = (method.id, method.name, method.formula);
        let takes_layer = method.site.takes_layer();
        (id, name, formula, method.use_for, method.paper, takes_layer, method.inferences())
    };
    METHODS.iter().map(row).collect()
}

/// The layers of a model.
#[pyfunction]
pub(crate) fn layers<'py>(
    py: Python<'py>,
    model: &Bound<'py, PyAny>,
) -> PyResult<Vec<LayerRow<'py>>> {
    let model = settings::model(model)?;
    let layers = py.detach(|| Explainer::builder(model).layer_list()).or_raise(py)?;
    let row = |layer: LayerInfo| {
        let shape = PyTuple::new(py, layer.shape)?;
        let LayerInfo { path, kind, value, stride, candidate, default, .. } = layer;
        Ok((path, kind, value, shape, stride, candidate, default))
    };
    layers.into_iter().map(row).collect()
}
