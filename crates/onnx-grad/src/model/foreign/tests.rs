//! Files of each kind, as short as they can be.

use prost::Message;

use super::*;
use crate::{Model, testing};

/// A local file header of a zip archive with a name, and some content.
fn zip(names: &[&str]) -> Vec<u8> {
    let entry = |name: &&str| {
        let mut bytes = b"PK\x03\x04\x14\0\0\0\0\0".to_vec();
        bytes.resize(26, 0);
        bytes.extend([name.len() as u8, 0, 0, 0]);
        [bytes, name.as_bytes().to_vec(), vec![0; 40]].concat()
    };
    names.iter().flat_map(entry).collect()
}

fn refused(bytes: Vec<u8>) -> String {
    Model::from_bytes(bytes).unwrap_err().to_string()
}

#[test]
fn each_kind_of_file_is_named() {
    let long = |start: &[u8], length: usize| [start, &vec![b'x'; length]].concat();
    let rows: Vec<(Vec<u8>, &str)> = vec![
        (long(b"\x1c\0\0\0TFL3\x14\0", 40), "a TensorFlow Lite model"),
        (long(b"\x24\0\0\0ORTM\0\0", 40), "a model in ONNX Runtime's own format (ORT)"),
        (long(b"ptrt\x18\0\0\0", 40), "an engine of TensorRT"),
        (long(b"ftrt\x18\0\0\0", 40), "an engine of TensorRT"),
        (zip(&["net/data.pkl", "net/code/__torch__.py"]), "a TorchScript archive"),
        (zip(&["net/data.pkl", "net/data/0", "net/constants.pkl"]), "a TorchScript archive"),
        (zip(&["m/archive_format", "m/models/model.json"]), "a program of torch.export"),
        (zip(&["archive/data.pkl", "archive/data/0"]), "a PyTorch checkpoint"),
        (b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.".to_vec(), "a PyTorch checkpoint"),
        (b"\x80\x04\x95\x10\0\0\0\0\0\0\0}".to_vec(), "a PyTorch checkpoint"),
        (zip(&["metadata.json", "config.json", "model.weights.h5"]), "a Keras model"),
        (long(b"\x89HDF\r\n\x1a\n", 40), "an HDF5 file, such as a Keras model"),
        (zip(&["resnet50/model.onnx"]), "a zip archive with an ONNX model in it"),
        (zip(&["readme.md"]), "a zip archive"),
        (long(b"\x10\0\0\0\0\0\0\0{\"a\":{}}      ", 20), "a safetensors file"),
        (
            b"<?xml version=\"1.0\"?>\n<net name=\"m\" version=\"11\">".to_vec(),
            "a model of OpenVINO",
        ),
        (b"\n<!DOCTYPE html><html lang=en>".to_vec(), "a web page"),
        (b"<HTML><head>".to_vec(), "a web page"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n".to_vec(),
            "a pointer of Git LFS",
        ),
        (long(b"\x1f\x8b\x08\0", 40), "a file packed by gzip"),
        (b"{\"error\": \"Repository not found\"}".to_vec(), "a JSON text"),
        (long(b"\x89PNG\r\n\x1a\n", 40), "a picture"),
        (long(b"\xff\xd8\xff\xe0", 40), "a picture"),
        (long(b"\x93NUMPY\x01\0", 40), "an array of NumPy"),
        // The specification's version, a description of two bytes, and a neural network (field 500).
        (long(b"\x08\x04\x12\x02\x0a\0\xa2\x1f\x28", 40), "a Core ML model"),
        (long(b"\x08\x01\x12\xa0\x8d\x06\x0a\x40\x12", 4000), "a TensorFlow SavedModel"),
        (long(b"\x0a\x28\x0a\x05input\x12\x0bPlaceholder", 40), "a frozen graph of TensorFlow"),
        (long(b"\x0a\x99\x10\x08\0\x10\xff\xff", 4000), "a model of PaddlePaddle"),
    ];
    let named: Vec<&str> = rows.iter().map(|(_, name)| *name).collect();
    for kind in KINDS {
        assert!(named.contains(&kind.name), "no case for {}", kind.name);
    }
    for (bytes, name) in rows {
        let message = refused(bytes);
        let start = format!("the data is {name}, not an ONNX model; ");
        assert!(message.starts_with(&start), "{message}; expected {start}");
    }
}

#[test]
fn names_are_found_at_the_end_of_large_archives() {
    let large = [zip(&["net/version"]), vec![0; 600_000], zip(&["net/constants.pkl"])].concat();
    assert!(refused(large).contains("TorchScript"));
}

#[test]
fn what_is_missing_is_counted() {
    let model = testing::model(&[("x", &[2, 3])], &[("Relu", &["x"], "y")], "y");
    let whole = model.proto().encode_to_vec();
    let graph = model.graph().encoded_len();
    let end = whole.windows(graph).position(|part| part == model.graph().encode_to_vec());
    let end = end.unwrap() + graph;
    for missing in [1, 2, graph / 2] {
        let message = refused(whole[..end - missing].to_vec());
        let phrase = format!("cut short: at least {missing} byte");
        assert!(message.contains(&phrase), "{message}");
    }
    // Noise that begins like a model, and a length that no field has.
    assert!(refused(b"\x08\x08\x3a\xff\xff\xff\xff\xff\x03".to_vec()).contains("damaged"));
    assert!(refused(b"\x08\x08\x7a\xff\xff\x03".to_vec()).contains("damaged"));
}
