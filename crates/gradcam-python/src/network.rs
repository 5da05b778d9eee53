//! Networks: forward, backward, and hooks under torch's names.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use gradcam::{BackwardCall, ForwardCall, ForwardPreCall, FullBackwardCall};
use numpy::{PyArrayDyn, ToPyArray};
use pyo3::{IntoPyObjectExt, PyTraverseError, PyVisit, prelude::*, types::PyTuple};

use crate::{
    arrays,
    engine::EngineSetup,
    errors::{self, OrRaise},
    hooks::{HookHandle, HookStore},
    settings,
};

/// A network that is run by hand: forward, backward, and hooks at its layers, as in torch.
#[pyclass(frozen, module = "onnx_gradcam._native", subclass, weakref)]
pub(crate) struct Network {
    inner: gradcam::Network,
    /// The last forward pass, from which `backward` goes back.
    last: Mutex<Option<Arc<gradcam::ForwardPass>>>,
    hooks: Arc<HookStore>,
}

/// A forward pass, from which backward passes start.
#[pyclass(frozen, module = "onnx_gradcam._native")]
pub(crate) struct ForwardPass(Arc<gradcam::ForwardPass>);

#[pymethods]
impl ForwardPass {
    /// The scores: the first output of the model.
    #[getter]
    fn scores<'py>(&self, py: Python<'py>) -> Bound<'py, PyArrayDyn<f32>> {
        self.0.scores().to_pyarray(py)
    }
}

/// Values of inputs beside the image, by their names.
type Inputs<'py> = Option<HashMap<String, Bound<'py, PyAny>>>;

impl Network {
    /// Runs the network with the interpreter free for other threads.
    fn pass(
        &self,
        x: &Bound<'_, PyAny>,
        inputs: Inputs<'_>,
    ) -> PyResult<Arc<gradcam::ForwardPass>> {
        let py = x.py();
        let x = arrays::floats(x)?;
        let mut network = self.inner.clone();
        for (name, value) in inputs.unwrap_or_default() {
            network = network.with_input(&name, arrays::tensor(&value)?).or_raise(py)?;
        }
        let pass = py.detach(|| network.forward(&x)).or_raise(py)?;
        Ok(Arc::new(pass))
    }

    fn last(&self) -> MutexGuard<'_, Option<Arc<gradcam::ForwardPass>>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stores a function of Python and registers a hook that calls it.
    fn register(
        &self,
        py: Python<'_>,
        hook: Py<PyAny>,
        register: impl FnOnce(
            &gradcam::Network,
            Arc<HookStore>,
            u64,
        ) -> gradcam::Result<gradcam::HookHandle>
        + Send,
    ) -> PyResult<HookHandle> {
        if !hook.bind(py).is_callable() {
            let message = format!("a hook is a function; it is a {}", hook.bind(py).get_type());
            return Err(errors::new(py, "InputTypeError", &message, None));
        }
        let number = self.hooks.add(hook);
        // Another thread that runs the network calls hooks, for which it needs the interpreter.
        match py.detach(|| register(&self.inner, self.hooks.clone(), number)) {
            Ok(handle) => Ok(HookHandle::new(handle, &self.hooks, number)),
            Err(error) => {
                self.hooks.remove(number);
                Err(errors::exception(py, &error))
            }
        }
    }
}

#[pymethods]
impl Network {
    #[new]
    #[pyo3(signature = (model = None, *, inputs = None, engine = "auto", provider = None, session_config = None, threads = None,
                        max_memory = None))]
    #[expect(clippy::too_many_arguments, reason = "they are those of Python")]
    fn new(
        py: Python<'_>,
        model: Option<Bound<'_, PyAny>>,
        inputs: Inputs<'_>,
        engine: &str,
        provider: Option<&str>,
        session_config: Option<HashMap<String, String>>,
        threads: Option<usize>,
        max_memory: Option<u64>,
    ) -> PyResult<Self> {
        let built_in = model.is_none();
        let model = settings::model(&model.unwrap_or_else(|| py.None().into_bound(py)))?;
        let session_config = session_config.unwrap_or_default();
        let setup = EngineSetup::new(py, engine, provider, session_config, built_in)?;
        let mut builder =
            gradcam::Network::builder(model).engine(setup.kind).library_places(setup.places);
        for (name, value) in inputs.unwrap_or_default() {
            builder = builder.input(name, arrays::tensor(&value)?);
        }
        for (key, value) in setup.session_config {
            builder = builder.session_config(key, value);
        }
        if let Some(provider) = setup.provider {
            builder = builder.provider(provider);
        }
        if let Some(threads) = threads {
            builder = builder.threads(settings::positive(py, "threads", threads)?);
        }
        if let Some(bytes) = max_memory {
            builder = builder.max_memory(bytes);
        }
        let inner = py.detach(|| builder.build()).or_raise(py)?;
        Ok(Self { inner, last: Mutex::default(), hooks: Arc::default() })
    }

    /// The paths of the modules, outer modules before their parts.
    fn modules(&self) -> Vec<String> {
        self.inner.modules().map(str::to_owned).collect()
    }

    /// Calls `hook(layer, inputs)` before the layer runs.
    fn register_forward_pre_hook(
        &self,
        py: Python<'_>,
        layer: &str,
        hook: Py<PyAny>,
    ) -> PyResult<HookHandle> {
        self.register(py, hook, |network, hooks, number| {
            network.register_forward_pre_hook(layer, move |call: &ForwardPreCall<'_>| {
                hooks.call(number, |py| {
                    PyTuple::new(
                        py,
                        [
                            call.path.into_bound_py_any(py)?,
                            arrays::tuple(py, &call.inputs)?.into_any(),
                        ],
                    )
                })
            })
        })
    }

    /// Calls `hook(layer, inputs, output)` when the layer has run.
    fn register_forward_hook(
        &self,
        py: Python<'_>,
        layer: &str,
        hook: Py<PyAny>,
    ) -> PyResult<HookHandle> {
        self.register(py, hook, |network, hooks, number| {
            network.register_forward_hook(layer, move |call: &ForwardCall<'_>| {
                hooks.call(number, |py| {
                    PyTuple::new(
                        py,
                        [
                            call.path.into_bound_py_any(py)?,
                            arrays::tuple(py, &call.inputs)?.into_any(),
                            call.output.to_pyarray(py).into_any(),
                        ],
                    )
                })
            })
        })
    }

    /// Calls `hook(layer, grad_output)` when the gradient of the layer's output is complete.
    fn register_full_backward_pre_hook(
        &self,
        py: Python<'_>,
        layer: &str,
        hook: Py<PyAny>,
    ) -> PyResult<HookHandle> {
        self.register(py, hook, |network, hooks, number| {
            network.register_backward_hook(layer, move |call: &BackwardCall<'_>| {
                hooks.call(number, |py| {
                    PyTuple::new(
                        py,
                        [
                            call.path.into_bound_py_any(py)?,
                            arrays::tuple(py, &call.grad_output)?.into_any(),
                        ],
                    )
                })
            })
        })
    }

    /// Calls `hook(layer, grad_input, grad_output)` when the gradients of the layer's inputs are complete.
    fn register_full_backward_hook(
        &self,
        py: Python<'_>,
        layer: &str,
        hook: Py<PyAny>,
    ) -> PyResult<HookHandle> {
        self.register(py, hook, |network, hooks, number| {
            network.register_full_backward_hook(layer, move |call: &FullBackwardCall<'_>| {
                hooks.call(number, |py| {
                    PyTuple::new(
                        py,
                        [
                            call.path.into_bound_py_any(py)?,
                            arrays::tuple(py, &call.grad_input)?.into_any(),
                            arrays::tuple(py, &call.grad_output)?.into_any(),
                        ],
                    )
                })
            })
        })
    }

    /// Runs the network on a batch that is ready for it, and gives its first output.
    #[pyo3(signature = (x, inputs = None))]
    fn forward<'py>(
        &self,
        x: &Bound<'py, PyAny>,
        inputs: Inputs<'_>,
    ) -> PyResult<Bound<'py, PyArrayDyn<f32>>> {
        let pass = self.pass(x, inputs)?;
        *self.last() = Some(pass.clone());
        Ok(pass.scores().to_pyarray(x.py()))
    }

    #[pyo3(signature = (x, inputs = None))]
    fn __call__<'py>(
        &self,
        x: &Bound<'py, PyAny>,
        inputs: Inputs<'_>,
    ) -> PyResult<Bound<'py, PyArrayDyn<f32>>> {
        self.forward(x, inputs)
    }

    /// Runs the network, and gives a pass that stays as it is when the network runs again.
    #[pyo3(signature = (x, inputs = None))]
    fn forward_pass(&self, x: &Bound<'_, PyAny>, inputs: Inputs<'_>) -> PyResult<ForwardPass> {
        self.pass(x, inputs).map(ForwardPass)
    }

    /// Propagates a gradient of the scores back, from a forward pass, or the last one of `forward`.
    #[pyo3(signature = (seed, forward_pass = None))]
    fn backward(
        &self,
        seed: &Bound<'_, PyAny>,
        forward_pass: Option<&Bound<'_, ForwardPass>>,
    ) -> PyResult<()> {
        let py = seed.py();
        let given = forward_pass.map(|pass| pass.get().0.clone());
        let Some(pass) = given.or_else(|| self.last().clone()) else {
            let message = "there is no forward pass to go back from; call forward first";
            return Err(errors::new(py, "InputError", message, None));
        };
        let seed = arrays::floats(seed)?;
        py.detach(|| self.inner.backward(&pass, &seed)).or_raise(py)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.hooks.traverse(&visit)
    }

    fn __clear__(&self) {
        self.hooks.clear();
    }
}
