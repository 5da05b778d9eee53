//! Networks: forward, backward, and hooks under torch's names.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

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

impl Network {
    /// Runs the network with the interpreter free for other threads.
    fn pass(&self, x: &Bound<'_, PyAny>) -> PyResult<Arc<gradcam::ForwardPass>> {
        let py = x.py();
        let x = arrays::floats(x)?;
        let pass = py.detach(|| self.inner.forward(&x)).or_raise(py)?;
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
    #[pyo3(signature = (model, *, engine = "auto", provider = None, threads = None, max_memory = None))]
    fn new(
        model: &Bound<'_, PyAny>,
        engine: &str,
        provider: Option<&str>,
        threads: Option<usize>,
        max_memory: Option<u64>,
    ) -> PyResult<Self> {
        let py = model.py();
        let model = settings::model(model)?;
        let setup = EngineSetup::new(py, engine, provider)?;
        let mut builder =
            gradcam::Network::builder(model).engine(setup.kind).library_places(setup.places);
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
    fn forward<'py>(&self, x: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyArrayDyn<f32>>> {
        let pass = self.pass(x)?;
        *self.last() = Some(pass.clone());
        Ok(pass.scores().to_pyarray(x.py()))
    }

    fn __call__<'py>(&self, x: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyArrayDyn<f32>>> {
        self.forward(x)
    }

    /// Runs the network, and gives a pass that stays as it is when the network runs again.
    fn forward_pass(&self, x: &Bound<'_, PyAny>) -> PyResult<ForwardPass> {
        self.pass(x).map(ForwardPass)
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
