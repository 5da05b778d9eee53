//! Loads and runs graphs with rten.
//!
//! rten stores float32, int32, int8 and uint8. When it loads a model, int64 becomes int32, and float16 and float64
//! become float32. An input with a number that does not fit is an error.

use std::{
    collections::HashSet,
    num::NonZeroUsize,
    sync::{
        Arc, Mutex, OnceLock, PoisonError, Weak,
        mpsc::{self, RecvError},
    },
};

use ndarray::{ArrayD, CowArray, IxDyn};
use onnx_grad::{
    Model, Weight,
    proto::{TensorProto, tensor_proto::DataType as Elem},
};
use prost::Message;
use rten::{DataType, NodeId, RunOptions, ThreadPool, Value, ValueType, ValueView};
use rten_tensor::Layout;

use super::{
    DIALECT, ID, cores,
    home::Home,
    loader::{LoadRequest, Loader},
    panics::guarded,
};
use crate::{
    Engine, EngineError, EngineErrorKind, EngineOptions, Session,
    error::{Result, bail},
    lower::{Saturation, lower},
    tensor::{Signature, Tensor, TensorView, contiguous, elements},
    weights::{set_location, visit_tensors, widen},
};

pub(crate) struct Rten {
    /// `None` if runs use rten's own pool, which has all cores.
    pools: Option<Arc<ThreadPools>>,
    home: Home,
    weight_sets: Mutex<WeightSets>,
}

/// Thread pools of one size. A run occupies its pool, so concurrent callers use different pools.
struct ThreadPools {
    threads: NonZeroUsize,
    idle: Mutex<Vec<Arc<ThreadPool>>>,
}

impl ThreadPools {
    fn with<T>(&self, work: impl FnOnce(Arc<ThreadPool>) -> T) -> T {
        let idle = || self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let pool = idle().pop();
        let pool = pool.unwrap_or_else(|| {
            let pool = ThreadPool::with_num_threads(self.threads.get());
            cores::spread(&pool);
            Arc::new(pool)
        });
        let done = work(pool.clone());
        idle().push(pool);
        done
    }
}

/// The weights of graphs that come from one model. rten takes ownership of each tensor, and graphs that are loaded with
/// the same options share it. The loader has them, until the last session ends.
struct WeightSet {
    loaded: Mutex<HashSet<u64>>,
    loader: Loader,
}

impl WeightSet {
    fn new() -> Result<Self> {
        Ok(Self { loaded: Mutex::default(), loader: Loader::new()? })
    }

    fn load(&self, wanted: &[(&Weight, Elem)], skeleton: Vec<u8>) -> Result<rten::Model> {
        let (reply, answer) = mpsc::channel();
        {
            let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
            let mut weights = Vec::new();
            let mut new = HashSet::new();
            for (weight, elem) in wanted {
                if !loaded.contains(&weight.id()) && new.insert(weight.id()) {
                    let bytes = weight.read()?;
                    let bytes = widen(*elem, &bytes).unwrap_or(bytes);
                    weights.push((location(weight), bytes));
                }
            }
            // Requests are handled in the order in which they are sent, so under this lock a weight counts as loaded as soon as
            // its request is sent.
            loaded.extend(new);
            self.loader.send(LoadRequest { skeleton, weights, reply });
        }
        let lost = |e| {
            EngineError::new(EngineErrorKind::Model, "rten's loader thread stopped unexpectedly")
                .because(e)
        };
        answer.recv().map_err(|e: RecvError| lost(e))?
    }
}

/// Declares a tensor whose floats are widened as float32 and returns the number of its bytes then. rten would
/// widen it again for every graph, and has no bfloat16.
fn widened_len(tensor: &mut TensorProto, len: usize) -> usize {
    let len = match tensor.elem() {
        Elem::Float16 | Elem::Bfloat16 => 2 * len,
        Elem::Double => len / 2,
        _ => return len,
    };
    tensor.data_type = Some(Elem::Float as i32);
    len
}

/// The location of a weight for rten, which requires that it ends in `.data`.
fn location(weight: &Weight) -> String {
    format!("{}.data", weight.id())
}

/// The weight sets that sessions still use, and the last one, which is often used again.
#[derive(Default)]
struct WeightSets {
    last: Option<Arc<WeightSet>>,
    used: Vec<Weak<WeightSet>>,
}

impl WeightSets {
    /// The set that has one of these weights already, or a new one.
    fn of(&mut self, wanted: &[(&Weight, Elem)]) -> Result<Arc<WeightSet>> {
        self.used.retain(|weight_set| weight_set.strong_count() > 0);
        let related = self.used.iter().filter_map(Weak::upgrade).find(|weight_set| {
            let loaded = weight_set.loaded.lock().unwrap_or_else(PoisonError::into_inner);
            wanted.is_empty() || wanted.iter().any(|(weight, _)| loaded.contains(&weight.id()))
        });
        let weight_set = match related {
            Some(weight_set) => weight_set,
            None => Arc::new(WeightSet::new()?),
        };
        if self.used.iter().all(|used| !std::ptr::eq(used.as_ptr(), &*weight_set)) {
            self.used.push(Arc::downgrade(&weight_set));
        }
        self.last = Some(weight_set.clone());
        Ok(weight_set)
    }
}

impl Rten {
    pub(crate) fn new(options: &EngineOptions) -> Self {
        /// The process that has the threads of rten's own pool.
        static COMMON: OnceLock<Home> = OnceLock::new();
        let common = || {
            *COMMON.get_or_init(|| {
                cores::spread(rten::thread_pool());
                Home::here()
            })
        };
        let home = options.threads.map_or_else(common, |_| Home::here());
        let pools = |threads| Arc::new(ThreadPools { threads, idle: Mutex::default() });
        Self { pools: options.threads.map(pools), home, weight_sets: Mutex::default() }
    }
}

impl Engine for Rten {
    fn name(&self) -> &'static str {
        ID
    }

    fn compile(&self, model: &Model) -> Result<Box<dyn Session>> {
        Ok(Box::new(self.session(model, Saturation::Avoid)?))
    }

    fn compile_as_deployed(&self, model: &Model) -> Result<Box<dyn Session>> {
        Ok(Box::new(self.session(model, Saturation::Keep)?))
    }
}

impl Rten {
    fn session(&self, model: &Model, saturation: Saturation) -> Result<RtenSession> {
        self.home.check()?;
        let mut proto = lower(model, &DIALECT, saturation)?;
        let mut wanted = Vec::new();
        visit_tensors(&mut proto, &mut |tensor| {
            if let Some(weight) = model.weight_of(tensor) {
                let elem = tensor.elem();
                let len = widened_len(tensor, weight.len());
                set_location(tensor, &location(weight), 0, len);
                wanted.push((weight, elem));
            } else if tensor.elem() == Elem::Bfloat16
                && let Some(wide) = widen(Elem::Bfloat16, &model.tensor_bytes(tensor)?)
            {
                tensor.data_type = Some(Elem::Float as i32);
                tensor.int32_data.clear();
                tensor.raw_data = Some(wide.into());
            }
            Ok(())
        })?;
        let signature = Signature::of(proto.graph.as_ref().unwrap_or(model.graph()));
        let weight_set =
            self.weight_sets.lock().unwrap_or_else(PoisonError::into_inner).of(&wanted)?;
        let model = weight_set.load(&wanted, proto.encode_to_vec())?;
        let pools = self.pools.clone();
        Ok(RtenSession { model, signature, pools, home: self.home, _weight_set: weight_set })
    }
}

struct RtenSession {
    model: rten::Model,
    signature: Signature,
    pools: Option<Arc<ThreadPools>>,
    home: Home,
    /// Keeps the weights, so that further graphs of the model share them.
    _weight_set: Arc<WeightSet>,
}

impl RtenSession {
    fn node(&self, name: &str) -> Result<NodeId> {
        self.model.node_id(name).map_err(|e| run_error(&e))
    }
}

impl Session for RtenSession {
    fn run(&self, inputs: &[(&str, TensorView<'_>)], outputs: &[&str]) -> Result<Vec<Tensor>> {
        self.home.check()?;
        self.signature.check(inputs, outputs)?;
        let nodes = inputs.iter().map(|(name, _)| self.node(name)).collect::<Result<Vec<_>>>()?;
        let data = inputs.iter().zip(&nodes).map(|((name, tensor), node)| {
            let wanted = self.model.node_info(*node).and_then(|info| info.dtype());
            RtenInput::new(name, tensor, wanted)
        });
        let data = data.collect::<Result<Vec<_>>>()?;
        let given = nodes.iter().zip(&data).map(|(node, given)| Ok((*node, given.view()?.into())));
        let given = given.collect::<Result<Vec<_>>>()?;
        // An output that is requested several times is computed once.
        let mut unique: Vec<&str> = outputs.to_vec();
        unique.sort_unstable();
        unique.dedup();
        let wanted = unique.iter().map(|name| self.node(name)).collect::<Result<Vec<_>>>()?;
        let run = |pool| {
            let options = RunOptions::default().with_thread_pool(pool);
            guarded(|| self.model.run(given, &wanted, Some(options)))
        };
        let values = match &self.pools {
            Some(pools) => pools.with(|pool| run(Some(pool))),
            None => run(None),
        }?;
        let values = values.map_err(|e| run_error(&e))?;
        let values = values.into_iter().map(tensor).collect::<Result<Vec<_>>>()?;
        let mut by_name: Vec<_> = unique.into_iter().zip(values.into_iter().map(Some)).collect();
        let give = |(at, name): (usize, &&str)| {
            let slot = by_name.iter_mut().find(|(unique, _)| unique == name);
            let value = slot.and_then(|(_, value)| {
                if outputs[at + 1..].contains(name) { value.clone() } else { value.take() }
            });
            value.ok_or_else(|| {
                EngineError::new(EngineErrorKind::Run, "rten returned too few outputs")
            })
        };
        outputs.iter().enumerate().map(give).collect()
    }
}

/// An input in an element type that rten takes.
enum RtenInput<'a> {
    F32(CowArray<'a, f32, IxDyn>),
    I32(Vec<usize>, Vec<i32>),
    I8(Vec<usize>, Vec<i8>),
    U8(Vec<usize>, Vec<u8>),
}

impl<'a> RtenInput<'a> {
    fn new(name: &str, tensor: &'a TensorView<'_>, wanted: Option<ValueType>) -> Result<Self> {
        let array = match tensor {
            TensorView::F32(array) => return Ok(Self::F32(contiguous(array))),
            TensorView::I64(array) => array,
        };
        fn narrow<T: TryFrom<i64>>(
            name: &str,
            array: &ndarray::ArrayViewD<'_, i64>,
        ) -> Result<Vec<T>> {
            let each = array.iter().map(|&number| {
                T::try_from(number).map_err(|_| {
                    let bits = 8 * size_of::<T>();
                    EngineError::new(
                        EngineErrorKind::InvalidInput,
                        format!("input \"{name}\" has the number {number}, which exceeds the {bits} bits that rten stores"),
                    )
                })
            });
            each.collect()
        }
        let shape = array.shape().to_vec();
        Ok(match wanted {
            Some(ValueType::Tensor(DataType::Int8)) => Self::I8(shape, narrow(name, array)?),
            Some(ValueType::Tensor(DataType::UInt8)) => Self::U8(shape, narrow(name, array)?),
            _ => Self::I32(shape, narrow(name, array)?),
        })
    }

    fn view(&self) -> Result<ValueView<'_>> {
        let wrong = |e: &dyn std::error::Error| {
            EngineError::new(
                EngineErrorKind::InvalidInput,
                format!("rten does not take this input: {e}"),
            )
        };
        match self {
            Self::F32(array) => {
                ValueView::from_shape(array.shape(), elements(array)).map_err(|e| wrong(&e))
            }
            Self::I32(shape, data) => ValueView::from_shape(shape, data).map_err(|e| wrong(&e)),
            Self::I8(shape, data) => ValueView::from_shape(shape, data).map_err(|e| wrong(&e)),
            Self::U8(shape, data) => ValueView::from_shape(shape, data).map_err(|e| wrong(&e)),
        }
    }
}

/// Converts a value of rten.
fn tensor(value: Value) -> Result<Tensor> {
    fn array<T>(shape: Vec<usize>, data: Vec<T>) -> Result<ArrayD<T>> {
        ArrayD::from_shape_vec(shape, data).map_err(|e| {
            EngineError::new(EngineErrorKind::Run, format!("rten returned an invalid tensor: {e}"))
                .because(e)
        })
    }
    let shape = value.shape().to_vec();
    Ok(match value {
        Value::FloatTensor(t) => Tensor::F32(array(shape, t.into_data())?),
        Value::Int32Tensor(t) => {
            Tensor::I64(array(shape, t.into_data().into_iter().map(i64::from).collect())?)
        }
        Value::Int8Tensor(t) => {
            Tensor::I64(array(shape, t.into_data().into_iter().map(i64::from).collect())?)
        }
        Value::UInt8Tensor(t) => {
            Tensor::I64(array(shape, t.into_data().into_iter().map(i64::from).collect())?)
        }
        _ => bail!(Run, "an output is a sequence, not a tensor"),
    })
}

fn run_error(error: &rten::RunError) -> EngineError {
    let node = error.node_path().last().copied().flatten().map(str::to_owned);
    EngineError::new(EngineErrorKind::Run, format!("rten cannot run the model: {error}"))
        .at_node(node)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn graphs_of_one_model_share_their_weights() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../gradcam-cli/assets");
        let open = || Model::open(folder.join("efficientnet_lite0.onnx")).unwrap();
        let (model, other) = (open(), open());
        let engine = Rten::new(&EngineOptions::default());
        let sessions = [&model, &model.clone(), &other].map(|m| engine.compile(m).unwrap());
        let weight_sets = || {
            let weight_sets = engine.weight_sets.lock().unwrap();
            let loaded = weight_sets.used.iter().filter_map(Weak::upgrade);
            loaded.map(|weight_set| weight_set.loaded.lock().unwrap().len()).collect::<Vec<_>>()
        };
        assert_eq!(weight_sets(), [model.weights().len(), other.weights().len()]);
        drop(sessions);
        assert_eq!(weight_sets(), [other.weights().len()], "only the last model is kept");
    }

    /// Both would wait forever, for the pool and for the loader.
    #[test]
    fn a_forked_process_gets_an_error() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../gradcam-cli/assets");
        let model = Model::open(folder.join("efficientnet_lite0.onnx")).unwrap();
        for threads in [None, NonZeroUsize::new(2)] {
            let mut engine = Rten::new(&EngineOptions { threads, ..EngineOptions::default() });
            engine.home = Home::elsewhere();
            let Err(compiled) = engine.compile(&model) else { panic!("it compiles") };
            engine.home = Home::here();
            let mut session = engine.session(&model, Saturation::Avoid).unwrap();
            session.home = Home::elsewhere();
            let run = session.run(&[], &[]).unwrap_err();
            for error in [compiled, run] {
                assert_eq!(error.kind(), EngineErrorKind::Unavailable);
                assert!(error.to_string().contains("spawn"), "{error}");
            }
        }
    }
}
