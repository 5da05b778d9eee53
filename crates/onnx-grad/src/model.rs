//! A model: the ONNX message without its weights, and the locations of the weights.
//!
//! The message has some kilobytes. Every tensor of 1 KiB or more is marked external with location
//! `w<i>.data`, where `i` is the index in [`Model::weights`]. A weight is a range of the file that
//! is read on demand. A model is therefore cheap to clone and to extend, and an engine never
//! receives its weights twice.

mod files;
mod foreign;
mod half;
mod save;
mod source;

use std::{
    collections::HashMap,
    io,
    path::{Component, Path, PathBuf},
    sync::Arc,
};

use prost::{Message, bytes::Bytes};

use files::Disk;
pub use files::{FileBytes, Files, MemoryFiles};
use foreign::Sample;
pub use source::Weight;
use source::{DataFile, OUTSIDE_FROM, SkippingReader};

use crate::{
    error::{Error, ErrorKind, Result, bail},
    proto::{
        AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, SparseTensorProto,
        StringStringEntryProto, TensorProto, tensor_proto::DataLocation,
    },
};

/// An ONNX model. Its weights stay in the file.
#[derive(Clone, Debug)]
pub struct Model {
    proto: ModelProto,
    weights: Vec<Weight>,
    origin: Option<Origin>,
}

/// Where a model was opened.
#[derive(Clone, Debug)]
struct Origin {
    /// `None` on disk.
    files: Option<Arc<dyn Files>>,
    path: PathBuf,
}

impl Origin {
    fn open(&self, path: &Path) -> io::Result<DataFile> {
        DataFile::open(self.files.as_deref().unwrap_or(&Disk), path)
    }
}

impl Model {
    /// Opens a model file and checks its external data files.
    ///
    /// Reads only the structure; weights are read from the file on demand.
    ///
    /// # Errors
    /// `Io`, `NotAModel`, or `InvalidModel` if external data is missing, too short or outside the
    /// model's folder.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        if path.is_dir() {
            bail!(NotAModel, "{}", foreign::folder(path));
        }
        Self::open_at(Origin { files: None, path: path.to_owned() })
    }

    /// Opens a model among `files` and checks its external data, which are the files of the same folder, such as
    /// [`MemoryFiles`] where they are not on disk.
    ///
    /// Reads only the structure; weights are read on demand.
    ///
    /// # Errors
    /// Those of [`Model::open`].
    pub fn open_in(files: impl Files + 'static, path: impl AsRef<Path>) -> Result<Self> {
        Self::open_at(Origin { files: Some(Arc::new(files)), path: path.as_ref().to_owned() })
    }

    fn open_at(origin: Origin) -> Result<Self> {
        let path = &origin.path;
        let shown = path.display();
        let file = origin.open(path).map_err(|e| {
            Error::new(ErrorKind::Io, format!("cannot open {shown}: {e}")).because(e)
        })?;
        if file.len() == 0 {
            bail!(NotAModel, "{shown} is empty, not an ONNX model; download or copy it again");
        }
        let file = Arc::new(file);
        let mut reader = SkippingReader::new(&file);
        let decoded = ModelProto::decode(&mut reader);
        let skipped = reader.finish().map_err(|e| {
            Error::new(ErrorKind::Io, format!("cannot read {shown}: {e}")).because(e)
        })?;
        let cut = || foreign::missing(SkippingReader::new(&file));
        let shown = shown.to_string();
        let proto = foreign::checked(decoded, &shown, || Sample::of_file(&file), cut)?;
        let mut outside = ExternalTensors { origin: Some(&origin), ..ExternalTensors::default() };
        outside.ranges = skipped
            .into_iter()
            .map(|(at, (placeholder, offset, len))| {
                let weight = Weight::in_file(file.clone(), offset, len);
                (at, Range { placeholder, weight })
            })
            .collect();
        Self::assemble(proto, outside, &shown)
    }

    /// Reads a model from bytes. External data is not accessible; use [`Model::open`] or [`Model::open_in`].
    ///
    /// # Errors
    /// `NotAModel`, or `InvalidModel` if a tensor has external data.
    pub fn from_bytes(bytes: impl Into<Vec<u8>>) -> Result<Self> {
        Self::decode(Bytes::from(bytes.into()))
    }

    /// Reads a model that is embedded in the program, without copying it.
    ///
    /// # Errors
    /// Those of [`Model::from_bytes`].
    pub fn from_static(bytes: &'static [u8]) -> Result<Self> {
        Self::decode(Bytes::from_static(bytes))
    }

    fn decode(bytes: Bytes) -> Result<Self> {
        if bytes.is_empty() {
            bail!(NotAModel, "the data is empty, not an ONNX model");
        }
        let decoded = ModelProto::decode(bytes.clone());
        let cut = || foreign::missing(bytes.clone());
        let proto = foreign::checked(decoded, "the data", || Sample::of_bytes(&bytes), cut)?;
        Self::assemble(proto, ExternalTensors::default(), "the model")
    }

    fn assemble(
        mut proto: ModelProto,
        mut outside: ExternalTensors<'_>,
        shown: &str,
    ) -> Result<Self> {
        if proto.opset_import.is_empty() {
            bail!(InvalidModel, "{shown} declares no opset");
        }
        visit(&mut proto, &mut |part| match part {
            MessagePart::Tensor(tensor) => outside.take(tensor),
            MessagePart::Text(text) => outside.restore(text),
        })?;
        // The last occurrence of a repeated field counts; the message has dropped the others.
        if outside.ranges.values().any(|range| !range.placeholder.is_unique()) {
            bail!(InvalidModel, "{shown} has tensors where the standard allows none");
        }
        let origin = outside.origin.cloned();
        Ok(Self { proto, weights: outside.weights, origin })
    }

    /// The message with nodes, small tensors and metadata, without the weights.
    pub fn proto(&self) -> &ModelProto {
        &self.proto
    }

    /// The main graph of the message.
    pub fn graph(&self) -> &GraphProto {
        static EMPTY: std::sync::OnceLock<GraphProto> = std::sync::OnceLock::new();
        self.proto.graph.as_ref().unwrap_or_else(|| EMPTY.get_or_init(GraphProto::default))
    }

    pub(crate) fn with_proto(&self, proto: ModelProto) -> Self {
        Self { proto, weights: self.weights.clone(), origin: self.origin.clone() }
    }

    /// The weights, by their index in the message.
    pub fn weights(&self) -> &[Weight] {
        &self.weights
    }

    /// The file from which the model was opened.
    pub fn path(&self) -> Option<&Path> {
        self.origin.as_ref().map(|origin| origin.path.as_path())
    }

    /// The files among which the model was opened, at [`Model::path`]; `None` if they are on disk.
    pub fn files(&self) -> Option<&dyn Files> {
        self.origin.as_ref()?.files.as_deref()
    }

    /// The opset of the default domain.
    pub fn opset(&self) -> i64 {
        let default = |domain: Option<&str>| matches!(domain.unwrap_or(""), "" | "ai.onnx");
        let import = self.proto.opset_import.iter().find(|o| default(o.domain.as_deref()));
        import.and_then(|o| o.version).unwrap_or(1)
    }

    /// The model's own key–value pairs (`metadata_props`).
    pub fn metadata(&self) -> impl Iterator<Item = (&str, &str)> {
        self.proto.metadata_props.iter().map(|entry| {
            (entry.key.as_deref().unwrap_or_default(), entry.value.as_deref().unwrap_or_default())
        })
    }

    /// The model with further key–value pairs.
    #[must_use]
    pub fn with_metadata<'a>(&self, pairs: impl IntoIterator<Item = (&'a str, String)>) -> Self {
        let mut proto = self.proto.clone();
        let entry = |(key, value): (&str, String)| StringStringEntryProto {
            key: Some(key.to_owned()),
            value: Some(value),
        };
        proto.metadata_props.extend(pairs.into_iter().map(entry));
        self.with_proto(proto)
    }

    /// The bytes of a tensor of this model, little-endian, inside or outside the message.
    ///
    /// # Errors
    /// `Io` if the file is no longer readable, `InvalidModel` if the tensor holds text.
    pub fn tensor_bytes(&self, tensor: &TensorProto) -> Result<Vec<u8>> {
        match self.weight_of(tensor) {
            Some(weight) => weight.read(),
            None => crate::tensor::to_bytes(tensor),
        }
    }

    /// The weight of an external tensor in the message.
    pub fn weight_of(&self, tensor: &TensorProto) -> Option<&Weight> {
        self.weights.get(weight_index(tensor)?)
    }
}

/// The index of an external tensor among the weights.
fn weight_index(tensor: &TensorProto) -> Option<usize> {
    let location = tensor.is_external().then(|| tensor.external("location"))??;
    location.strip_prefix('w')?.strip_suffix(".data")?.parse().ok()
}

/// The file beside a model that holds its weights where these are too large for one file.
pub fn data_file(model: &Path) -> PathBuf {
    let mut data = model.as_os_str().to_owned();
    data.push(".data");
    data.into()
}

fn external_entries(location: &str, offset: u64, len: usize) -> Vec<StringStringEntryProto> {
    let entry = |key: &str, value: String| StringStringEntryProto {
        key: Some(key.to_owned()),
        value: Some(value),
    };
    vec![
        entry("location", location.to_owned()),
        entry("offset", offset.to_string()),
        entry("length", len.to_string()),
    ]
}

/// A range of the file, with its placeholder in the message.
struct Range {
    placeholder: Bytes,
    weight: Weight,
}

/// Moves large tensors out of the message, and resolves tensors that are already external.
#[derive(Default)]
struct ExternalTensors<'a> {
    origin: Option<&'a Origin>,
    ranges: HashMap<*const u8, Range>,
    files: HashMap<String, Arc<DataFile>>,
    weights: Vec<Weight>,
}

impl ExternalTensors<'_> {
    fn take(&mut self, tensor: &mut TensorProto) -> Result<()> {
        let expected = crate::tensor::byte_len(tensor)?;
        let found = if tensor.is_external() {
            Some(self.external(tensor, expected)?)
        } else if let Some(raw) = &tensor.raw_data {
            match self.ranges.remove(&raw.as_ptr()) {
                Some(range) => Some(range.weight),
                None if raw.len() >= OUTSIDE_FROM => Some(Weight::in_memory(raw.clone())),
                None => None,
            }
        } else {
            None
        };
        let len = match (&found, &tensor.raw_data) {
            (Some(weight), _) => Some(weight.len()),
            (None, Some(raw)) => Some(raw.len()),
            (None, None) => None,
        };
        if let (Some(len), Some(expected)) = (len, expected)
            && len != expected
        {
            let (name, dims) = (tensor.label(), &tensor.dims);
            bail!(
                InvalidModel,
                "tensor \"{name}\" of shape {dims:?} needs {expected} bytes, the model has {len}"
            );
        }
        if let Some(weight) = found {
            tensor.raw_data = None;
            tensor.data_location = Some(DataLocation::External as i32);
            let location = format!("w{}.data", self.weights.len());
            tensor.external_data = external_entries(&location, 0, weight.len());
            self.weights.push(weight);
        }
        Ok(())
    }

    /// Restores a long text in the message.
    fn restore(&mut self, text: &mut Bytes) -> Result<()> {
        if let Some(range) = self.ranges.remove(&text.as_ptr()) {
            *text = range.weight.read()?.into();
        }
        Ok(())
    }

    fn external(&mut self, tensor: &TensorProto, expected: Option<usize>) -> Result<Weight> {
        let name = tensor.label();
        let Some(location) = tensor.external("location") else {
            bail!(InvalidModel, "tensor \"{name}\" is external but names no file");
        };
        let Some(origin) = self.origin else {
            bail!(
                InvalidModel,
                "tensor \"{name}\" is in the external file \"{location}\", which a model from \
                 bytes cannot access; open the model from its file"
            );
        };
        let number = |key: &str| -> Result<Option<u64>> {
            let Some(text) = tensor.external(key) else { return Ok(None) };
            let parsed = text.parse::<u64>();
            parsed.map(Some).map_err(|e| {
                let message =
                    format!("tensor \"{name}\": external {key} \"{text}\" is not a number");
                Error::new(ErrorKind::InvalidModel, message).because(e)
            })
        };
        let file = match self.files.get(location) {
            Some(file) => file.clone(),
            None => {
                let inside = Path::new(location)
                    .components()
                    .all(|c| matches!(c, Component::Normal(_) | Component::CurDir));
                if !inside || location.is_empty() {
                    bail!(
                        InvalidModel,
                        "tensor \"{name}\" points to \"{location}\", outside the model's folder; \
                         external data must be in that folder"
                    );
                }
                let path = origin.path.with_file_name(location);
                let file = Arc::new(origin.open(&path).map_err(|e| {
                    let message = format!(
                        "tensor \"{name}\" needs the external data file {}: {e}; put it beside the \
                         model",
                        path.display()
                    );
                    Error::new(ErrorKind::InvalidModel, message).because(e)
                })?);
                self.files.insert(location.to_owned(), file.clone());
                file
            }
        };
        let offset = number("offset")?.unwrap_or(0);
        let rest = file.len().saturating_sub(offset);
        let len = match number("length")? {
            Some(len) => len,
            None => expected.map_or(rest, |len| len as u64),
        };
        if len > rest {
            bail!(
                InvalidModel,
                "tensor \"{name}\" needs bytes {offset} to {} of {}, which has {} bytes",
                offset.saturating_add(len),
                file.path().display(),
                file.len()
            );
        }
        let Ok(len) = usize::try_from(len) else {
            bail!(
                TooLarge,
                "tensor \"{name}\" has {len} bytes, more than this machine can address"
            );
        };
        Ok(Weight::in_file(file, offset, len))
    }
}

/// A tensor or a text of the message, which may be in the file only.
enum MessagePart<'m> {
    Tensor(&'m mut TensorProto),
    Text(&'m mut Bytes),
}

type Visit<'v> = dyn FnMut(MessagePart<'_>) -> Result<()> + 'v;

/// Calls `each` for every tensor and text of the message: initializers, attributes, subgraphs,
/// functions, training information.
fn visit(proto: &mut ModelProto, each: &mut Visit<'_>) -> Result<()> {
    for FunctionProto { node, attribute_proto, .. } in &mut proto.functions {
        visit_nodes(node, each)?;
        visit_attributes(attribute_proto, each)?;
    }
    let training = proto.training_info.iter_mut();
    let graphs =
        training.flat_map(|info| info.initialization.iter_mut().chain(&mut info.algorithm));
    graphs.chain(&mut proto.graph).try_for_each(|graph| visit_graph(graph, each))
}

fn visit_graph(graph: &mut GraphProto, each: &mut Visit<'_>) -> Result<()> {
    for tensor in &mut graph.initializer {
        visit_tensor(tensor, each)?;
    }
    for sparse in &mut graph.sparse_initializer {
        visit_sparse(sparse, each)?;
    }
    visit_nodes(&mut graph.node, each)
}

fn visit_nodes(nodes: &mut [NodeProto], each: &mut Visit<'_>) -> Result<()> {
    nodes.iter_mut().try_for_each(|node| visit_attributes(&mut node.attribute, each))
}

fn visit_attributes(attributes: &mut [AttributeProto], each: &mut Visit<'_>) -> Result<()> {
    for attribute in attributes {
        for text in attribute.s.iter_mut().chain(&mut attribute.strings) {
            each(MessagePart::Text(text))?;
        }
        for tensor in attribute.t.iter_mut().chain(&mut attribute.tensors) {
            visit_tensor(tensor, each)?;
        }
        for sparse in attribute.sparse_tensor.iter_mut().chain(&mut attribute.sparse_tensors) {
            visit_sparse(sparse, each)?;
        }
        for graph in attribute.g.iter_mut().chain(&mut attribute.graphs) {
            visit_graph(graph, each)?;
        }
    }
    Ok(())
}

fn visit_sparse(sparse: &mut SparseTensorProto, each: &mut Visit<'_>) -> Result<()> {
    sparse.values.iter_mut().chain(&mut sparse.indices).try_for_each(|t| visit_tensor(t, each))
}

fn visit_tensor(tensor: &mut TensorProto, each: &mut Visit<'_>) -> Result<()> {
    for text in &mut tensor.string_data {
        each(MessagePart::Text(text))?;
    }
    each(MessagePart::Tensor(tensor))
}
