//! Differentiates generated models with respect to inputs and intermediate values, with an open and
//! with a bound batch size. The result must be a valid graph or an error, and the model's nodes
//! must not change.

#![no_main]

use gradcam_fuzz::mutate;
use libfuzzer_sys::{fuzz_mutator, fuzz_target};
use onnx_grad::{
    DeclaredDim, Dim, GradientForm, Graph, Input, Model, Sizes, builder::Builder, differentiate,
    graph::ValueId, inputs, proto::NodeProto, prune, verify, verify_graph,
};

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    mutate(data, size, max_size, seed)
});

fuzz_target!(|bytes: &[u8]| {
    let Ok(model) = Model::from_bytes(bytes) else { return };
    let sound = verify(&model).is_ok();
    for batch in [Dim::Batch(1), Dim::Fixed(2)] {
        let Ok(graph) = Graph::new(&model, &bound(&model, batch)) else { continue };
        let middle = graph.nodes().nth(graph.node_count() / 2).map(|(id, _)| id);
        let middle = middle.and_then(|id| *graph.node_outputs(id).first()?);
        let wanted = graph.inputs().iter().copied().take(2).chain(middle);
        for value in wanted.collect::<Vec<_>>() {
            for want in [GradientForm::Full, GradientForm::SpatialSum] {
                check(&graph, value, want, sound);
            }
        }
    }
});

/// Sizes for open dims: the batch size for the first axis, 8 for the others.
fn bound(model: &Model, batch: Dim) -> Sizes {
    let size = |(axis, dim): (usize, &DeclaredDim)| match dim {
        DeclaredDim::Size(size) => Dim::Fixed(*size),
        _ if axis == 0 => batch,
        _ => Dim::Fixed(8),
    };
    let bind = |input: Input| {
        (input.name, input.dims.unwrap_or_default().iter().enumerate().map(size).collect())
    };
    inputs(model).into_iter().map(bind).collect()
}

fn check(graph: &Graph, value: ValueId, want: GradientForm, sound: bool) {
    let mut graph = graph.clone();
    let Some(&target) = graph.outputs().first() else { return };
    let before: Vec<NodeProto> = graph.nodes().map(|(_, node)| node.clone()).collect();
    let mut b = Builder::new(&mut graph, "grad");
    let made = b
        .scalar(target, 1.0)
        .and_then(|seed| differentiate(&mut b, &[(target, seed)], &[(value, want)], &[]));
    let after = graph.nodes().map(|(_, node)| node);
    // Compares text, because a number in an attribute can be NaN.
    let same = before.iter().zip(after).all(|(a, b)| format!("{a:?}") == format!("{b:?}"));
    assert!(same, "a node of the model was changed");
    let Ok(gradients) = made else { return };
    verify_graph(&graph).expect("the tables of a graph are those of its nodes");
    let gradient = gradients[0];
    if want == GradientForm::Full {
        let (of, is) = (&graph.fact(value).shape, &graph.fact(gradient).shape);
        assert_eq!(of, is, "the gradient of \"{}\"", graph.name(value));
    }
    match prune(&graph, &[target, gradient]).and_then(|model| verify(&model)) {
        Err(error) if sound => panic!("a sound model became an unsound one: {error}"),
        _ => {}
    }
}
