//! Programs: graphs compiled for named inputs and outputs, with the memory of a run.
//!
//! Explanations, plain inference, the parts of a network that a method runs again and the segments between hooks are
//! programs. A program checks its memory before it is compiled, and takes its share of the budget while it runs.

use std::sync::{Arc, Mutex, PoisonError};

use onnx_grad::Model;

use crate::{
    Result,
    engine::{Engine, Session, Tensor, TensorView},
    error::bail,
    memory::{self, Budget, Holder},
};

/// The engine that programs run on, and the memory that their runs share.
pub(crate) struct Runtime {
    engine: Box<dyn Engine>,
    memory: Arc<Budget>,
}

impl Runtime {
    /// Concurrent runs take at most `limit` bytes together.
    pub(crate) fn new(engine: Box<dyn Engine>, limit: u64) -> Self {
        Self { engine, memory: Arc::new(Budget::new(limit)) }
    }

    pub(crate) fn engine_name(&self) -> &'static str {
        self.engine.name()
    }

    /// The memory that runs and callers may take together.
    pub(crate) fn memory(&self) -> &Arc<Budget> {
        &self.memory
    }

    /// Compiles a model that declares the shapes of its values.
    ///
    /// # Errors
    /// `Memory` where one run would pass the limit, `Unsupported`, `Model`, `Engine`.
    pub(crate) fn program(&self, model: &Model) -> Result<Program> {
        self.compiled(model, |model| self.engine.compile(model))
    }

    /// As [`Runtime::program`], with the engine's own products of 8-bit integers.
    pub(crate) fn program_as_deployed(&self, model: &Model) -> Result<Program> {
        self.compiled(model, |model| self.engine.compile_as_deployed(model))
    }

    fn compiled(
        &self,
        model: &Model,
        compile: impl Fn(&Model) -> crate::engine::Result<Box<dyn Session>>,
    ) -> Result<Program> {
        let bytes = memory::check([model], self.memory.limit)?;
        let names = |declared: &[onnx_grad::proto::ValueInfoProto]| -> Vec<String> {
            declared.iter().filter_map(|value| value.name.clone()).collect()
        };
        let inputs = onnx_grad::inputs(model).into_iter().map(|input| input.name).collect();
        let outputs = names(&model.graph().output);
        let session = compile(model)?;
        Ok(Program { session, inputs, outputs, bytes, memory: self.memory.clone() })
    }
}

/// A compiled graph. Any number of callers may run it at once.
pub(crate) struct Program {
    session: Box<dyn Session>,
    inputs: Vec<String>,
    outputs: Vec<String>,
    /// The memory of a run.
    bytes: u64,
    memory: Arc<Budget>,
}

impl Program {
    /// The names of its inputs.
    pub(crate) fn inputs(&self) -> &[String] {
        &self.inputs
    }

    /// The names of its outputs.
    pub(crate) fn outputs(&self) -> &[String] {
        &self.outputs
    }

    /// Runs on the named tensors that the graph reads, and gives its outputs in their order. Waits while other runs leave too
    /// little memory.
    ///
    /// # Errors
    /// `Input` where an input is missing or does not fit, `Engine`.
    pub(crate) fn run(&self, named: &[(&str, TensorView<'_>)]) -> Result<Vec<Tensor>> {
        let reads = |name: &str| self.inputs.iter().any(|input| input == name);
        let inputs: Vec<_> = named.iter().filter(|(name, _)| reads(name)).cloned().collect();
        let outputs: Vec<&str> = self.outputs.iter().map(String::as_str).collect();
        let _lease = self.memory.take(self.bytes, Holder::Run);
        let made = self.session.run(&inputs, &outputs)?;
        if made.len() != outputs.len() {
            bail!(Engine, "the engine gave {} outputs instead of {}", made.len(), outputs.len());
        }
        Ok(made)
    }
}

/// The capacity of a cache. Inputs of ever new sizes would fill the memory.
const KEPT: usize = 12;

/// A cache of values by key, the most recently used last. The least recently used one is evicted.
pub(crate) struct Cache<K, V> {
    kept: Mutex<Vec<(K, Arc<V>)>>,
    /// Held while something is made.
    making: Mutex<()>,
}

impl<K: PartialEq, V> Cache<K, V> {
    pub(crate) fn new() -> Self {
        Self { kept: Mutex::default(), making: Mutex::default() }
    }

    /// The value of the key, from the cache or from `make`. One caller makes it; the others wait.
    ///
    /// # Errors
    /// Those of `make`.
    pub(crate) fn get(&self, key: K, make: impl FnOnce(&K) -> Result<V>) -> Result<Arc<V>> {
        if let Some(found) = self.find(&key) {
            return Ok(found);
        }
        let _making = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = self.find(&key) {
            return Ok(found);
        }
        let made = Arc::new(make(&key)?);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= KEPT {
            kept.remove(0);
        }
        kept.push((key, made.clone()));
        Ok(made)
    }

    fn find(&self, key: &K) -> Option<Arc<V>> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let place = kept.iter().position(|(known, _)| known == key)?;
        let entry = kept.remove(place);
        let found = entry.1.clone();
        kept.push(entry);
        Some(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_evicts_the_least_recently_used() {
        let cache = Cache::new();
        let made = |key: usize| {
            let mut new = false;
            cache
                .get(key, |key| {
                    new = true;
                    Ok(*key)
                })
                .map(|value| (*value, new))
                .unwrap()
        };
        for key in 0..KEPT {
            assert_eq!(made(key), (key, true));
        }
        assert_eq!(made(0), (0, false));
        assert_eq!(made(KEPT), (KEPT, true));
        assert_eq!(made(0), (0, false), "it was used after 1");
        assert_eq!(made(1), (1, true), "it had to go");
    }

    #[test]
    fn what_cannot_be_made_is_not_kept() {
        let cache: Cache<u8, u8> = Cache::new();
        let fail = |_: &u8| bail!(Input, "no");
        assert!(cache.get(1, fail).is_err());
        assert_eq!(*cache.get(1, |key| Ok(*key)).unwrap(), 1);
    }
}
