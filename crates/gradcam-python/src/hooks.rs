//! The hooks of a network, as objects of Python.
//!
//! A network's own closures hold the numbers of hooks, not the hooks: the functions are in a store that Python's collector of
//! garbage can see, so that a hook which refers to its network is collected with it.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, TryLockError, Weak,
        atomic::{AtomicU64, Ordering},
    },
};

use gradcam::ndarray::ArrayD;
use pyo3::{PyTraverseError, PyVisit, prelude::*, types::PyTuple};

use crate::arrays;

/// The functions of hooks by their numbers.
#[derive(Default)]
pub(crate) struct HookStore {
    functions: Mutex<BTreeMap<u64, Py<PyAny>>>,
    registered: AtomicU64,
}

impl HookStore {
    fn functions(&self) -> MutexGuard<'_, BTreeMap<u64, Py<PyAny>>> {
        self.functions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stores a function and gives its number.
    pub(crate) fn add(&self, function: Py<PyAny>) -> u64 {
        let number = self.registered.fetch_add(1, Ordering::Relaxed);
        self.functions().insert(number, function);
        number
    }

    /// Calls the function of a number, if it is still there.
    pub(crate) fn call(
        &self,
        number: u64,
        arguments: impl for<'py> FnOnce(Python<'py>) -> PyResult<Bound<'py, PyTuple>>,
    ) -> PyResult<Option<Vec<ArrayD<f32>>>> {
        Python::attach(|py| {
            let function = self.functions().get(&number).map(|function| function.clone_ref(py));
            let Some(function) = function else { return Ok(None) };
            reply(&function.bind(py).call1(arguments(py)?)?)
        })
    }

    /// Forgets a function.
    pub(crate) fn remove(&self, number: u64) {
        // The function is dropped when the lock is free again: that may run code of Python.
        let removed = self.functions().remove(&number);
        drop(removed);
    }

    /// Forgets all functions.
    pub(crate) fn clear(&self) {
        let removed = std::mem::take(&mut *self.functions());
        drop(removed);
    }

    /// Shows the functions to Python's collector.
    pub(crate) fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        let functions = match self.functions.try_lock() {
            Ok(functions) => functions,
            Err(TryLockError::Poisoned(functions)) => functions.into_inner(),
            // Another thread adds or removes a function; the collector comes again.
            Err(TryLockError::WouldBlock) => return Ok(()),
        };
        functions.values().try_for_each(|function| visit.call(function))
    }
}

/// The tensors that a hook returned: none, one, or a tuple or list of them.
fn reply(answer: &Bound<'_, PyAny>) -> PyResult<Option<Vec<ArrayD<f32>>>> {
    if answer.is_none() {
        return Ok(None);
    }
    if answer.is_instance_of::<PyTuple>() || answer.is_instance_of::<pyo3::types::PyList>() {
        let tensors = answer.try_iter()?.map(|tensor| arrays::floats(&tensor?));
        return tensors.collect::<PyResult<_>>().map(Some);
    }
    arrays::floats(answer).map(|tensor| Some(vec![tensor]))
}

/// Removes a hook, as torch's handle of this name.
#[pyclass(frozen, module = "onnx_gradcam._native", weakref)]
pub(crate) struct HookHandle {
    handle: gradcam::HookHandle,
    store: Weak<HookStore>,
    number: u64,
}

impl HookHandle {
    pub(crate) fn new(handle: gradcam::HookHandle, store: &Arc<HookStore>, number: u64) -> Self {
        Self { handle, store: Arc::downgrade(store), number }
    }
}

#[pymethods]
impl HookHandle {
    /// Removes the hook: it is not called again.
    fn remove(&self) {
        self.handle.remove();
        if let Some(store) = self.store.upgrade() {
            store.remove(self.number);
        }
    }

    fn __enter__(this: Bound<'_, Self>) -> Bound<'_, Self> {
        this
    }

    fn __exit__(
        &self,
        _class: &Bound<'_, PyAny>,
        _exception: &Bound<'_, PyAny>,
        _traceback: &Bound<'_, PyAny>,
    ) {
        self.remove();
    }
}
