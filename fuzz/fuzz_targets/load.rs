//! Reads bytes as a model. The result must be a model or an error, equal for a file and for bytes,
//! and writing a model must be lossless.

#![no_main]

use std::{fs, path::PathBuf, sync::LazyLock};

use gradcam_fuzz::mutate;
use libfuzzer_sys::{fuzz_mutator, fuzz_target};
use onnx_grad::{
    Graph, Model, Sizes, extract_values, inputs, live_values, to_text, verify, verify_graph,
};

static FILE: LazyLock<PathBuf> = LazyLock::new(|| {
    std::env::temp_dir().join(format!("gradcam-fuzz-{}.onnx", std::process::id()))
});

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    mutate(data, size, max_size, seed)
});

fuzz_target!(|bytes: &[u8]| {
    let model = Model::from_bytes(bytes);
    fs::write(&*FILE, bytes).expect("a temporary file");
    let opened = Model::open(&*FILE);
    let Ok(model) = model else {
        // The external data of a file can be the file itself.
        return;
    };
    let saved = model.to_bytes().expect("a small model can be written");
    let opened = opened.expect("a model from bytes is a model from a file");
    assert!(saved == opened.to_bytes().expect("written"), "a file gives another model than bytes");
    let again = Model::from_bytes(saved.clone()).expect("what was written can be read");
    assert!(saved == again.to_bytes().expect("written"), "writing changes the model");

    to_text(&model);
    inputs(&model);
    let sound = verify(&model).is_ok();
    let Ok(graph) = Graph::new(&model, &Sizes::new()) else { return };
    verify_graph(&graph).expect("the tables of a graph are those of its nodes");
    let Some((middle, _)) = graph.nodes().nth(graph.node_count() / 2) else { return };
    let live = live_values(&graph, middle, graph.outputs());
    if let Ok(cut) = extract_values(&graph, &live, graph.outputs()) {
        verify(&cut).or_else(|error| if sound { Err(error) } else { Ok(()) }).expect("a sound cut");
    }
});
