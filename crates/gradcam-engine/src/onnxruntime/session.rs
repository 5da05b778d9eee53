//! Loads the library of ONNX Runtime and runs graphs with it.

use std::{
    collections::HashSet,
    num::NonZeroUsize,
    path::{Path, PathBuf},
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    thread,
};

use ndarray::{ArrayD, CowArray, IxDyn};
use onnx_grad::{
    Model,
    proto::{ModelProto, tensor_proto::DataType as Elem},
};
use ort::{
    environment::Environment,
    ep::{self, ExecutionProvider, ExecutionProviderDispatch},
    logging::LogLevel,
    session::{
        OutputSelector, RunOptions, SessionInputValue,
        builder::{GraphOptimizationLevel, SessionBuilder},
    },
    value::{DynValue, PrimitiveTensorElementType, TensorRef},
};
use prost::Message;

use super::{DIALECT, ID};
use crate::{
    Engine, EngineError, EngineErrorKind, EngineOptions, Provider, Session,
    error::{Result, bail},
    lower::{Saturation, lower, saturation::saturating_nodes},
    places::candidates,
    tensor::{Signature, Tensor, TensorView, contiguous, elements},
    weights::{set_location, visit_tensors, widen},
};

/// The library that this process has loaded. It cannot be replaced by another.
static LOADED: Mutex<Option<(PathBuf, Environment)>> = Mutex::new(None);

/// The entry with which products of 8-bit integers do not saturate but take longer. ONNX Runtime 1.32 fails with it where
/// two nodes read a weight, as forward and backward pass do.
const EXACT: (&str, &str) = ("session.x64quantprecision", "1");

pub(super) struct OnnxRuntime {
    environment: Environment,
    threads: Option<usize>,
    /// The execution provider; `None` is the processor.
    device: Option<Provider>,
    /// Entries of the session configuration.
    config: Vec<(String, String)>,
}

impl OnnxRuntime {
    pub(super) fn new(options: &EngineOptions) -> Result<Self> {
        let (library, environment) = load(&options.library)?;
        if let Some(wanted) = options.provider
            && !has(wanted)
        {
            let there = Provider::ALL.into_iter().filter(|provider| has(*provider));
            let there = there.map(Provider::name).collect::<Vec<_>>().join(", ");
            bail!(
                Unavailable,
                "ONNX Runtime from {} has no execution provider \"{wanted}\"; it has: {there}; choose \
                 one of these, or set ORT_DYLIB_PATH to a library that was built with it",
                library.display()
            );
        }
        let device = options.provider.filter(|provider| *provider != Provider::Cpu);
        let threads = options.threads.map(NonZeroUsize::get);
        Ok(Self { environment, threads, device, config: options.session_config.clone() })
    }
}

/// Whether the loaded library includes a provider.
fn has(provider: Provider) -> bool {
    matches!(functions_of(provider).0(), Ok(true))
}

/// Whether the library includes a provider, and how to register it.
type ProviderFunctions = (fn() -> ort::Result<bool>, fn() -> ExecutionProviderDispatch);

fn functions_of(provider: Provider) -> ProviderFunctions {
    fn of<E: ExecutionProvider + Default + Into<ExecutionProviderDispatch>>() -> ProviderFunctions {
        (E::is_available, || E::default().into().error_on_failure())
    }
    match provider {
        Provider::Cpu => of::<ep::CPU>(),
        Provider::CoreMl => of::<ep::CoreML>(),
        Provider::Cuda => of::<ep::CUDA>(),
        Provider::DirectMl => of::<ep::DirectML>(),
        Provider::MiGraphX => of::<ep::MIGraphX>(),
        Provider::Nvrtx => of::<ep::NVRTX>(),
        Provider::OneDnn => of::<ep::OneDNN>(),
        Provider::OpenVino => of::<ep::OpenVINO>(),
        Provider::Qnn => of::<ep::QNN>(),
        Provider::Rocm => of::<ep::ROCm>(),
        Provider::TensorRt => of::<ep::TensorRT>(),
        Provider::WebGpu => of::<ep::WebGPU>(),
        Provider::Xnnpack => of::<ep::XNNPACK>(),
    }
}

/// Loads the library from the first place that has a usable one, or returns the one that is already loaded.
fn load(places: &[PathBuf]) -> Result<(PathBuf, Environment)> {
    let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
    let found: Vec<PathBuf> = places.iter().flat_map(|place| candidates(place)).collect();
    if let Some((path, environment)) = &*loaded {
        if found.iter().any(|other| same_file(path, other)) {
            return Ok((path.clone(), environment.clone()));
        }
        bail!(
            Unavailable,
            "this process has loaded ONNX Runtime from {} and cannot load another library",
            path.display()
        );
    }
    let mut failures = Vec::new();
    let mut too_old = false;
    for path in &found {
        match ort::init_from(path) {
            Ok(builder) => {
                let environment = builder.with_telemetry(false).build().map_err(|e| {
                    let path = path.display();
                    let message = format!("ONNX Runtime from {path} does not start: {e}");
                    EngineError::new(EngineErrorKind::Unavailable, message).because(e)
                })?;
                *loaded = Some((path.clone(), environment.clone()));
                return Ok((path.clone(), environment));
            }
            Err(ort::LoadDynamicError::BadVersion { version_str, path }) => {
                too_old = true;
                failures.push(format!("{} is version {version_str}", path.display()));
            }
            Err(e) => failures.push(e.to_string()),
        }
    }
    let list = |lines: &[String]| lines.iter().map(|l| format!("\n  {l}")).collect::<String>();
    if too_old {
        bail!(
            Unavailable,
            "ONNX Runtime is too old: version 1.{} or newer is needed; get it with \
             `pip install -U onnxruntime` or set ORT_DYLIB_PATH to another library; tried:{}",
            ort::MINOR_VERSION,
            list(&failures)
        );
    }
    let places: Vec<_> = places.iter().map(|place| place.display().to_string()).collect();
    let tried = if failures.is_empty() {
        String::new()
    } else {
        format!("\nfiles that could not be loaded:{}", list(&failures))
    };
    bail!(
        Unavailable,
        "the library of ONNX Runtime is not found; get it with `pip install onnxruntime`, or set \
         ORT_DYLIB_PATH to the file, or choose the engine rten; looked in:{}{tried}",
        list(&places)
    );
}

fn same_file(one: &Path, other: &Path) -> bool {
    one == other || matches!((one.canonicalize(), other.canonicalize()), (Ok(a), Ok(b)) if a == b)
}

impl Engine for OnnxRuntime {
    fn name(&self) -> &'static str {
        ID
    }

    fn compile(&self, model: &Model) -> Result<Box<dyn Session>> {
        // Other devices have kernels of their own, some of which take signed integers only.
        let on_processor = self.device.is_none();
        self.compiled(model, if on_processor { Saturation::Avoid } else { Saturation::Keep })
    }

    fn compile_as_deployed(&self, model: &Model) -> Result<Box<dyn Session>> {
        self.compiled(model, Saturation::Keep)
    }

    fn saturating_nodes(&self, model: &Model) -> Vec<String> {
        let exact = self.config.iter().any(|(key, value)| key == EXACT.0 && value == EXACT.1);
        match self.device {
            None if !exact && (DIALECT.saturates)() => saturating_nodes(model),
            _ => Vec::new(),
        }
    }
}

impl OnnxRuntime {
    fn compiled(&self, model: &Model, saturation: Saturation) -> Result<Box<dyn Session>> {
        let proto = lower(model, &DIALECT, saturation)?;
        let mut config = self.config.clone();
        if saturation == Saturation::Avoid {
            // The graph is exact without it.
            config.retain(|(key, _)| key != EXACT.0);
        }
        let signature = Signature::of(proto.graph.as_ref().unwrap_or(model.graph()));
        let source = SessionSource {
            environment: self.environment.clone(),
            threads: self.threads,
            device: self.device,
            config,
            model: model.clone(),
            proto,
        };
        let pool = SessionPool { idle: vec![source.session()?], made: 1 };
        // Each further session holds the weights once more in ONNX Runtime's own layout (155 MB for ResNet-50, even with
        // a container of prepacked weights). More threads than cores are no faster, and a device has little memory.
        let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let most = match (self.threads, self.device) {
            (Some(threads), None) => cores.div_ceil(threads),
            _ => 1,
        };
        let pool = Mutex::new(pool);
        Ok(Box::new(OnnxRuntimeSession { source, signature, most, pool, returned: Condvar::new() }))
    }
}

/// What further sessions are created from.
struct SessionSource {
    environment: Environment,
    threads: Option<usize>,
    device: Option<Provider>,
    config: Vec<(String, String)>,
    model: Model,
    proto: ModelProto,
}

impl SessionSource {
    fn session(&self) -> Result<ort::session::Session> {
        let mut proto = self.proto.clone();
        let folder = self.point_into_files(&mut proto)?;
        let message = proto.encode_to_vec();
        drop(proto);
        let create = || -> ort::Result<ort::session::Session> {
            let mut builder = self.builder()?;
            if let Some(folder) = &folder {
                let key = "session.model_external_initializers_file_folder_path";
                builder = builder.with_config_entry(key, folder)?;
            }
            builder.commit_from_memory(&message)
        };
        create().map_err(|e| {
            let on = self.device.map(|device| format!(" on {device}")).unwrap_or_default();
            let message = format!("ONNX Runtime cannot load the model{on}: {e}");
            EngineError::new(EngineErrorKind::Model, message).because(e)
        })
    }

    fn builder(&self) -> ort::Result<SessionBuilder> {
        let mut builder = SessionBuilder::new(&self.environment)?
            .with_optimization_level(GraphOptimizationLevel::All)?
            .with_inter_threads(1)?
            // Errors are returned; a library does not print them.
            .with_log_level(LogLevel::Fatal)?;
        for (key, value) in &self.config {
            builder = builder.with_config_entry(key, value)?;
        }
        let builder = match self.device {
            Some(device) => builder.with_execution_providers([functions_of(device).1()])?,
            None => builder,
        };
        Ok(match self.threads {
            Some(threads) => builder.with_intra_threads(threads)?,
            None => builder,
        })
    }

    /// Points the tensors into the files of the weights, which ONNX Runtime maps, and returns the folder of the files.
    /// Weights in memory or in another folder are copied into the message.
    fn point_into_files(&self, proto: &mut ModelProto) -> Result<Option<String>> {
        let mut folder: Option<String> = None;
        visit_tensors(proto, &mut |tensor| {
            if tensor.elem() == Elem::Bfloat16
                && let Some(wide) = widen(Elem::Bfloat16, &self.model.tensor_bytes(tensor)?)
            {
                tensor.data_type = Some(Elem::Float as i32);
                tensor.int32_data.clear();
                tensor.external_data.clear();
                tensor.data_location = None;
                tensor.raw_data = Some(wide.into());
                return Ok(());
            }
            let Some(weight) = self.model.weight_of(tensor) else { return Ok(()) };
            // ONNX Runtime refuses links that lead out of the folder.
            let place = weight.location().and_then(|(path, offset)| {
                let path = path.canonicalize().ok()?;
                let name = path.file_name()?.to_str()?.to_owned();
                Some((path.parent()?.to_str()?.to_owned(), name, offset))
            });
            match place {
                Some((place, name, offset)) if folder.as_ref().is_none_or(|f| *f == place) => {
                    set_location(tensor, &name, offset, weight.len());
                    folder = Some(place);
                }
                _ => {
                    tensor.raw_data = Some(weight.read()?.into());
                    tensor.data_location = None;
                    tensor.external_data.clear();
                }
            }
            Ok(())
        })?;
        Ok(folder)
    }
}

struct OnnxRuntimeSession {
    source: SessionSource,
    signature: Signature,
    /// A session of ONNX Runtime serves one caller at a time. More callers get more sessions until all cores are busy;
    /// then they wait.
    pool: Mutex<SessionPool>,
    most: usize,
    returned: Condvar,
}

struct SessionPool {
    idle: Vec<ort::session::Session>,
    made: usize,
}

impl OnnxRuntimeSession {
    fn pool(&self) -> MutexGuard<'_, SessionPool> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a session from the pool for one caller.
    fn lease(&self) -> Result<SessionLease<'_>> {
        let full = |pool: &mut SessionPool| pool.idle.is_empty() && pool.made >= self.most;
        let pool = self.returned.wait_while(self.pool(), full);
        let mut pool = pool.unwrap_or_else(PoisonError::into_inner);
        let idle = pool.idle.pop();
        pool.made += usize::from(idle.is_none());
        drop(pool);
        // From here on, dropping the lease returns the place to the pool, on errors too.
        let mut lease = SessionLease { owner: self, session: idle };
        if lease.session.is_none() {
            lease.session = Some(self.source.session()?);
        }
        Ok(lease)
    }
}

struct SessionLease<'a> {
    owner: &'a OnnxRuntimeSession,
    session: Option<ort::session::Session>,
}

impl Drop for SessionLease<'_> {
    fn drop(&mut self) {
        let mut pool = self.owner.pool();
        match self.session.take() {
            Some(session) => pool.idle.push(session),
            None => pool.made -= 1,
        }
        drop(pool);
        self.owner.returned.notify_one();
    }
}

impl Session for OnnxRuntimeSession {
    fn run(&self, inputs: &[(&str, TensorView<'_>)], outputs: &[&str]) -> Result<Vec<Tensor>> {
        self.signature.check(inputs, outputs)?;
        let mut lease = self.lease()?;
        match &mut lease.session {
            Some(session) if !outputs.is_empty() => call(session, inputs, outputs),
            _ => Ok(Vec::new()),
        }
    }
}

enum OnnxRuntimeInput<'a> {
    F32(CowArray<'a, f32, IxDyn>),
    I64(CowArray<'a, i64, IxDyn>),
}

fn call(
    session: &mut ort::session::Session,
    inputs: &[(&str, TensorView<'_>)],
    outputs: &[&str],
) -> Result<Vec<Tensor>> {
    let failed = |e: ort::Error| {
        let message = format!("ONNX Runtime cannot run the model: {e}");
        // The text is "Non-zero status code returned while running Gather node. Name:'/rows' Status …".
        let node = message.split_once("Name:'").and_then(|(_, rest)| rest.split_once('\''));
        let node = node.map(|(name, _)| name.to_owned());
        EngineError::new(EngineErrorKind::Run, message).at_node(node).because(e)
    };
    let data: Vec<OnnxRuntimeInput<'_>> = inputs
        .iter()
        .map(|(_, tensor)| match tensor {
            TensorView::F32(array) => OnnxRuntimeInput::F32(contiguous(array)),
            TensorView::I64(array) => OnnxRuntimeInput::I64(contiguous(array)),
        })
        .collect();
    let given = inputs.iter().zip(&data).map(|((name, _), given)| {
        let value: SessionInputValue<'_> = match given {
            OnnxRuntimeInput::F32(array) => {
                TensorRef::from_array_view((array.shape().to_vec(), elements(array)))?.into()
            }
            OnnxRuntimeInput::I64(array) => {
                TensorRef::from_array_view((array.shape().to_vec(), elements(array)))?.into()
            }
        };
        Ok((*name, value))
    });
    let given = given.collect::<ort::Result<Vec<_>>>().map_err(failed)?;
    let mut selector = OutputSelector::no_default();
    for name in outputs.iter().copied().collect::<HashSet<_>>() {
        selector = selector.with(name);
    }
    let options = RunOptions::new().map_err(failed)?.with_outputs(selector);
    let values = session.run_with_options(given, &options).map_err(failed)?;
    let give = |name: &&str| match values.get(*name) {
        Some(value) => tensor(name, value),
        None => bail!(Run, "ONNX Runtime returned no output \"{name}\""),
    };
    outputs.iter().map(give).collect()
}

/// Converts a value of ONNX Runtime. After lowering, outputs are float32 or int64.
fn tensor(name: &str, value: &DynValue) -> Result<Tensor> {
    fn array<T: PrimitiveTensorElementType + Clone>(value: &DynValue) -> Option<ArrayD<T>> {
        let (shape, data) = value.try_extract_tensor::<T>().ok()?;
        let shape: Option<Vec<usize>> = shape.iter().map(|d| usize::try_from(*d).ok()).collect();
        ArrayD::from_shape_vec(shape?, data.to_vec()).ok()
    }
    if let Some(array) = array::<f32>(value) {
        return Ok(Tensor::F32(array));
    }
    match array::<i64>(value) {
        Some(array) => Ok(Tensor::I64(array)),
        None => bail!(Run, "output \"{name}\" is {}, not a tensor of numbers", value.dtype()),
    }
}
