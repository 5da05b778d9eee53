//! Reads and writes models: round trips are lossless, and hostile bytes are errors.

use std::{
    fs,
    path::{Path, PathBuf},
};

use onnx_grad::{
    ErrorKind, MemoryFiles, Model,
    graph::{Graph, Sizes},
    proto::{
        AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto,
        SparseTensorProto, StringStringEntryProto, TensorProto, TrainingInfoProto, ValueInfoProto,
        attribute_proto::AttributeType,
        tensor_proto::{DataLocation, DataType},
    },
};
use prost::Message;

/// A separate folder for each test, removed at its end.
struct TestFolder(PathBuf);

impl TestFolder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("onnx-grad-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).expect("a folder");
        Self(path)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, bytes).expect("a file");
        path
    }
}

impl Drop for TestFolder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// 0, 1, 2, … as little-endian floats.
fn counted(count: u16) -> Vec<u8> {
    (0..count).flat_map(|i| f32::from(i).to_le_bytes()).collect()
}

fn floats(name: &str, count: u16) -> TensorProto {
    TensorProto {
        name: Some(name.to_owned()),
        data_type: Some(DataType::Float as i32),
        dims: vec![count.into()],
        raw_data: Some(counted(count).into()),
        ..TensorProto::default()
    }
}

fn entry(key: &str, value: &str) -> StringStringEntryProto {
    StringStringEntryProto { key: Some(key.to_owned()), value: Some(value.to_owned()) }
}

/// A model with small and large tensors in every possible place, and a long text.
fn rich() -> ModelProto {
    let attribute = |name: &str, kind: AttributeType| AttributeProto {
        name: Some(name.to_owned()),
        r#type: Some(kind as i32),
        ..AttributeProto::default()
    };
    let text = AttributeProto {
        s: Some("long ".repeat(1000).into_bytes().into()),
        ..attribute("text", AttributeType::String)
    };
    let tensor =
        AttributeProto { t: Some(floats("", 700)), ..attribute("value", AttributeType::Tensor) };
    let constant = NodeProto {
        op_type: Some("Constant".to_owned()),
        output: vec!["c".to_owned()],
        attribute: vec![tensor],
        ..NodeProto::default()
    };
    let node = NodeProto {
        op_type: Some("Strange".to_owned()),
        domain: Some("own".to_owned()),
        input: vec!["small".to_owned(), "large".to_owned(), "c".to_owned()],
        output: vec!["y".to_owned()],
        attribute: vec![text],
        metadata_props: vec![entry("namespace", "x")],
        ..NodeProto::default()
    };
    let function = FunctionProto {
        name: Some("F".to_owned()),
        domain: Some("own".to_owned()),
        output: vec!["c".to_owned()],
        node: vec![constant.clone()],
        ..FunctionProto::default()
    };
    let training = TrainingInfoProto {
        algorithm: Some(GraphProto {
            initializer: vec![floats("momentum", 500)],
            ..GraphProto::default()
        }),
        ..TrainingInfoProto::default()
    };
    let sparse = SparseTensorProto {
        values: Some(floats("sparse", 600)),
        indices: Some(TensorProto {
            data_type: Some(DataType::Int64 as i32),
            dims: vec![600],
            raw_data: Some(vec![1; 4800].into()),
            ..TensorProto::default()
        }),
        dims: vec![100_000],
    };
    let graph = GraphProto {
        node: vec![constant, node],
        initializer: vec![floats("small", 3), floats("large", 1000)],
        sparse_initializer: vec![sparse],
        output: vec![ValueInfoProto { name: Some("y".to_owned()), ..ValueInfoProto::default() }],
        doc_string: Some("a graph".to_owned()),
        ..GraphProto::default()
    };
    ModelProto {
        ir_version: Some(8),
        opset_import: vec![OperatorSetIdProto { domain: None, version: Some(17) }],
        metadata_props: vec![entry("author", "somebody")],
        functions: vec![function],
        training_info: vec![training],
        graph: Some(graph),
        ..ModelProto::default()
    }
}

#[test]
fn open_and_save_lose_nothing() {
    let folder = TestFolder::new("round-trip");
    let proto = rich();
    let bytes = proto.encode_to_vec();
    let path = folder.write("model.onnx", &bytes);
    let from_file = Model::open(&path).expect("a model");
    let from_bytes = Model::from_bytes(bytes.clone()).expect("a model");
    for model in [&from_file, &from_bytes] {
        // Outside the message: an initializer, one in an attribute, the two of the sparse tensor, one in a function
        // and one of the training information.
        assert_eq!(model.weights().len(), 6);
        assert!(model.proto().encoded_len() < 8000, "{}", model.proto().encoded_len());
        let back = ModelProto::decode(model.to_bytes().expect("bytes").as_slice());
        assert_eq!(back.expect("a model"), proto);
        let copy = folder.0.join("copy.onnx");
        model.save(&copy).expect("saved");
        assert_eq!(fs::read(copy).expect("read"), bytes);
    }
    assert_eq!(from_file.metadata().collect::<Vec<_>>(), [("author", "somebody")]);
    assert!(from_file.weights()[0].location().is_some());
    assert!(from_bytes.weights()[0].location().is_none());
}

#[test]
fn a_model_in_memory_has_its_external_data_beside_it() {
    let folder = TestFolder::new("in-memory");
    let mut proto = rich();
    let tensor = &mut proto.graph.as_mut().expect("a graph").initializer[1];
    let bytes = tensor.raw_data.take().expect("bytes");
    tensor.data_location = Some(DataLocation::External as i32);
    tensor.external_data = vec![entry("location", "weights.bin"), entry("offset", "4")];
    let message = proto.encode_to_vec();
    let data = [&[0; 4][..], &bytes].concat();
    folder.write("weights.bin", &data);
    let on_disk = Model::open(folder.write("model.onnx", &message)).expect("a model");
    for path in ["model.onnx", "some/folder/model.onnx", "./model.onnx"] {
        let files: MemoryFiles = [message.clone(), data.clone()]
            .into_iter()
            .zip(["model.onnx", "weights.bin"])
            .map(|(bytes, name)| {
                (Path::new(path.trim_start_matches("./")).with_file_name(name), bytes)
            })
            .collect();
        let model = Model::open_in(files, path).expect("a model");
        assert_eq!(model.to_bytes().expect("bytes"), on_disk.to_bytes().expect("bytes"));
        assert_eq!(model.path(), Some(Path::new(path)));
        assert!(model.weights().iter().all(|weight| weight.location().is_none()));
        assert!(model.files().is_some() && on_disk.files().is_none());
    }
    let alone = MemoryFiles::from([("model.onnx", message.clone())]);
    let error = Model::open_in(alone, "model.onnx").unwrap_err().to_string();
    assert!(error.contains("\"large\" needs the external data file weights.bin"), "{error}");
    let cut = MemoryFiles::from([("model.onnx", message), ("weights.bin", vec![0; 9])]);
    let error = Model::open_in(cut, "model.onnx").unwrap_err().to_string();
    assert!(error.contains("of weights.bin, which has 9 bytes"), "{error}");
}

#[test]
fn a_file_that_is_replaced_keeps_its_weights() {
    let folder = TestFolder::new("replaced");
    let path = folder.write("model.onnx", &rich().encode_to_vec());
    let model = Model::open(&path).expect("a model");
    let other = folder.write("other.onnx", b"something else");
    fs::rename(other, &path).expect("renamed");
    let bytes = model.tensor_bytes(&model.graph().initializer[1]).expect("the old bytes");
    assert_eq!(bytes[4..8], 1f32.to_le_bytes());
}

fn external(location: &str, length: Option<&str>) -> Vec<u8> {
    let mut proto = rich();
    let tensor = &mut proto.graph.as_mut().expect("a graph").initializer[1];
    tensor.raw_data = None;
    tensor.data_location = Some(DataLocation::External as i32);
    tensor.external_data = vec![entry("location", location), entry("offset", "8")];
    tensor.external_data.extend(length.map(|length| entry("length", length)));
    proto.encode_to_vec()
}

#[test]
fn external_data_beside_the_model_is_found() {
    let folder = TestFolder::new("external");
    folder.write("weights.bin", &[vec![0; 8], counted(1000)].concat());
    for length in [None, Some("4000")] {
        let path = folder.write("model.onnx", &external("weights.bin", length));
        let model = Model::open(&path).expect("a model");
        // The saved file contains the weights.
        let back = Model::from_bytes(model.to_bytes().expect("bytes")).expect("a model");
        let bytes = back.tensor_bytes(&back.graph().initializer[1]).expect("bytes");
        assert_eq!(bytes[4..8], 1f32.to_le_bytes());
    }
}

#[test]
fn bad_models_are_errors_with_a_reason() {
    let folder = TestFolder::new("bad");
    folder.write("short.bin", &[0; 100]);
    let plain = rich().encode_to_vec();
    let with_dims = |dims: Vec<i64>| {
        let mut proto = rich();
        proto.graph.as_mut().expect("a graph").initializer[1].dims = dims;
        proto.encode_to_vec()
    };
    let mut no_opset = rich();
    no_opset.opset_import.clear();
    let no_graph = ModelProto { graph: None, ..rich() };
    use ErrorKind::{InvalidModel, NotAModel};
    let rows: Vec<(&str, Vec<u8>, ErrorKind, &str)> = vec![
        ("empty", vec![], NotAModel, "empty"),
        ("text", b"this text is not a model".to_vec(), NotAModel, "not an ONNX model"),
        ("truncated", plain[..plain.len() / 2].to_vec(), NotAModel, "cut short"),
        ("no graph", no_graph.encode_to_vec(), NotAModel, "no graph"),
        ("no opset", no_opset.encode_to_vec(), InvalidModel, "declares no opset"),
        ("too few bytes", with_dims(vec![2000]), InvalidModel, "needs 8000 bytes"),
        ("negative dim", with_dims(vec![-5]), InvalidModel, "impossible shape"),
        ("huge dims", with_dims(vec![i64::MAX, i64::MAX]), InvalidModel, "impossible shape"),
        ("missing data", external("none.bin", None), InvalidModel, "none.bin"),
        ("short data", external("short.bin", None), InvalidModel, "which has 100 bytes"),
        ("up and out", external("../x.bin", None), InvalidModel, "outside the model's folder"),
        ("absolute", external("/etc/hostname", None), InvalidModel, "outside the model's folder"),
        ("bad length", external("short.bin", Some("many")), InvalidModel, "is not a number"),
    ];
    for (name, bytes, kind, phrase) in rows {
        let path = folder.write("model.onnx", &bytes);
        let error = Model::open(&path).expect_err(name);
        assert_eq!(error.kind(), kind, "{name}: {error}");
        assert!(error.to_string().contains(phrase), "{name}: {error}");
    }
    let error = Model::open(&folder.0).expect_err("a folder");
    assert!(error.to_string().ends_with("is a folder; name the file in it: model.onnx"), "{error}");
    let error = Model::open(Path::new("no/such/model.onnx")).expect_err("no file");
    assert_eq!(error.kind(), ErrorKind::Io);
    let error = Model::from_bytes(external("short.bin", None)).expect_err("no folder");
    assert!(error.to_string().contains("open the model from its file"), "{error}");
}

#[test]
fn every_cut_and_every_flipped_byte_is_survived() {
    let folder = TestFolder::new("cuts");
    let bytes = rich().encode_to_vec();
    // The structure is at both ends; the weights between them are long and uniform.
    let end = bytes.len();
    let places = (0..end).filter(|at| *at < 300 || at % 97 == 0 || *at + 300 > end);
    for at in places {
        let _ = Model::from_bytes(bytes[..at].to_vec());
        let path = folder.write("model.onnx", &bytes[..at]);
        let _ = Model::open(&path);
        let mut wrong = bytes.clone();
        wrong[at] ^= 0xff;
        if let Ok(model) = Model::from_bytes(wrong) {
            let _ = onnx_grad::to_text(&model);
            let _ = onnx_grad::verify(&model);
            let _ = Graph::new(&model, &Sizes::new());
        }
    }
}

/// In Protobuf a field can occur twice, and the last one counts. The decoder drops the first placeholder; small
/// tensors that are read later must not be confused with it.
#[test]
fn a_field_that_is_repeated_counts_once() {
    let folder = TestFolder::new("repeated");
    let tensor = |name: &str, dims: Vec<i64>, raw: Vec<u8>| TensorProto {
        name: Some(name.to_owned()),
        data_type: Some(DataType::Uint8 as i32),
        dims,
        raw_data: Some(raw.into()),
        ..TensorProto::default()
    };
    let mut model = rich();
    let graph = model.graph.as_mut().expect("a graph");
    graph.initializer = (0..64).map(|n| tensor(&format!("small{n}"), vec![1], vec![n])).collect();
    let mut bytes = model.encode_to_vec();
    // Repeated messages are merged: a graph with one more tensor, whose bytes occur twice.
    let mut twice = tensor("twice", vec![2048], vec![1; 2048]).encode_to_vec();
    twice.extend(
        TensorProto { raw_data: Some(vec![2; 2048].into()), ..TensorProto::default() }
            .encode_to_vec(),
    );
    let mut front = Vec::new();
    prost::encoding::encode_key(5, prost::encoding::WireType::LengthDelimited, &mut front);
    prost::encoding::encode_varint(twice.len() as u64, &mut front);
    front.extend(twice);
    let mut graph = Vec::new();
    prost::encoding::encode_key(7, prost::encoding::WireType::LengthDelimited, &mut graph);
    prost::encoding::encode_varint(front.len() as u64, &mut graph);
    graph.extend(front);
    graph.append(&mut bytes);
    let opened = Model::open(folder.write("model.onnx", &graph)).expect("a model");
    let named = |t: &&TensorProto| t.name.as_deref() == Some("twice");
    let tensor = opened.graph().initializer.iter().find(named).expect("the tensor");
    let weight = opened.weight_of(tensor).expect("a weight");
    assert_eq!(weight.read().expect("bytes"), vec![2; 2048]);
    let small = opened
        .graph()
        .initializer
        .iter()
        .filter(|t| t.name.as_deref().is_some_and(|name| name.starts_with("small")));
    let small: Vec<u8> = small.map(|t| t.raw_data.as_ref().expect("bytes")[0]).collect();
    assert_eq!(small, (0..64).collect::<Vec<u8>>());
}
