//! Inputs that are no photos of a fixed size: recordings, spectrograms, and pictures of any size.

use std::num::NonZeroUsize;

use gradcam::{
    Explainer, ExplainerBuilder, Model, Target,
    engine::EngineKind,
    image::{Overrides, Photo},
};
use ndarray::{ArrayD, Axis, IxDyn};
use onnx_grad::proto::{NodeProto, TensorProto, tensor_proto::DataType};
use prost::Message;
use testkit::{
    Suite,
    build::{float, i64s, int, ints, model, node, weights},
};

use crate::common;
use crate::one_each::OneEach;

pub(crate) fn tests(suite: &mut Suite) {
    testkit::tests!(
        suite,
        the_graph_says_which_axis_holds_the_channels,
        a_spectrogram_is_explained_as_a_picture_of_one_channel,
        hidden_units_are_no_positions,
        the_image_input_is_found_among_others,
        a_tensor_says_the_size_that_a_model_leaves_open,
        photos_keep_their_shape_where_any_size_is_taken,
        photos_of_two_shapes_share_their_concepts,
        layers_behind_refused_operators_are_no_candidates,
    );
}

const F32: DataType = DataType::Float;

fn built(input: &[i64], constants: Vec<TensorProto>, nodes: Vec<NodeProto>) -> Model {
    let mut proto = model(17, &[("x", F32, input)], &[("y", F32)], constants, nodes);
    // A size of 0 stays open.
    let graph = proto.graph.as_mut().expect("a graph");
    graph.input[0] = testkit::build::value("x", F32, Some(input));
    Model::from_bytes(proto.encode_to_vec()).expect("a model")
}

/// The nodes from x to `read`, then Conv → Relu `a` → mean over all positions → linear.
fn classifier(input: &[i64], to: Vec<NodeProto>, read: &str, kernel: &[i64]) -> Model {
    let space = kernel.len() - 2;
    let pads = [ints("pads", &vec![1; 2 * space]), ints("strides", &vec![2; space])];
    let axes: Vec<i64> = (2..).take(space).collect();
    let mean = vec![ints("axes", &axes), int("keepdims", 0)];
    let rest = vec![
        node("Conv", &[read, "w"], &["c"], pads.to_vec()),
        node("Relu", &["c"], &["a"], vec![]),
        node("ReduceMean", &["a"], &["p"], mean),
        node("Gemm", &["p", "head"], &["y"], vec![int("transB", 1)]),
    ];
    let constants =
        vec![weights("w", kernel), weights("head", &[5, kernel[0]]), i64s("one", &[1], &[1])];
    built(input, constants, [to, rest].concat())
}

fn numbers(shape: &[usize]) -> ArrayD<f32> {
    let count = shape.iter().product();
    let numbers = (0..count).map(|at: usize| ((at * 31 + at / 7) % 23) as f32 / 11.0 - 0.9);
    ArrayD::from_shape_vec(IxDyn(shape), numbers.collect()).expect("numbers")
}

fn transposed(perm: &[i64]) -> Vec<NodeProto> {
    vec![node("Transpose", &["x"], &["t"], vec![ints("perm", perm)])]
}

fn with_axis() -> Vec<NodeProto> {
    vec![node("Unsqueeze", &["x", "one"], &["t"], vec![])]
}

fn the_graph_says_which_axis_holds_the_channels() {
    let product = vec![
        node("MatMul", &["x", "m"], &["a"], vec![]),
        node("ReduceMean", &["a"], &["y"], vec![ints("axes", &[1]), int("keepdims", 0)]),
    ];
    let rows = [
        // Input, nodes before the convolution, kernel, the axis of the channels, size of the input.
        (vec![1, 12, 18], with_axis(), vec![4, 1, 3, 3], None, vec![12, 18]),
        (vec![1, 40], with_axis(), vec![4, 1, 3], None, vec![40]),
        (vec![1, 30, 6], transposed(&[0, 2, 1]), vec![4, 6, 3], Some(2), vec![30]),
        (vec![1, 6, 30], transposed(&[0, 1, 2]), vec![4, 6, 3], Some(1), vec![30]),
        (vec![1, 12, 18, 1], transposed(&[0, 3, 1, 2]), vec![4, 1, 3, 3], Some(3), vec![12, 18]),
        // Neither size is that of a photo's channels, or both are.
        (vec![1, 8, 8, 8], transposed(&[0, 3, 1, 2]), vec![4, 8, 3, 3], Some(3), vec![8, 8]),
        (vec![1, 3, 8, 3], transposed(&[0, 3, 1, 2]), vec![4, 3, 3, 3], Some(3), vec![3, 8]),
        (vec![1, 3, 8, 3], transposed(&[0, 1, 2, 3]), vec![4, 3, 3, 3], Some(1), vec![8, 3]),
    ];
    let mut wrong = Vec::new();
    let mut check = |model: Model, input: &[i64], channels: Option<usize>, size: &[usize]| {
        let shape: Vec<usize> = input.iter().map(|size| *size as usize).collect();
        let explainer = Explainer::builder(model).layer("a").build().expect("an explainer");
        let found = explainer.image_input().channel_axis;
        let one = explainer.explain_one_each(numbers(&shape).view(), &[Target::Class(1)]);
        let one = one.expect("a map").remove(0);
        let heatmap = one.heatmap_nd(0).expect("a heatmap");
        if found != channels || one.input_size != size || heatmap.shape() != size {
            wrong.push(format!(
                "{input:?}: {found:?}, {:?}, {:?}",
                one.input_size,
                heatmap.shape()
            ));
        }
    };
    for (input, nodes, kernel, channels, size) in rows {
        check(classifier(&input, nodes, "t", &kernel), &input, channels, &size);
    }
    let features = built(&[1, 30, 6], vec![weights("m", &[6, 5])], product);
    check(features, &[1, 30, 6], Some(2), &[30]);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The same numbers as [N, T, F] and as [N, 1, T, F].
fn a_spectrogram_is_explained_as_a_picture_of_one_channel() {
    let kernel = [4, 1, 3, 3];
    let spectrogram = classifier(&[1, 12, 18], with_axis(), "t", &kernel);
    let picture = classifier(&[1, 1, 12, 18], vec![], "x", &kernel);
    let methods = ["gradcam", "layercam", "scorecam", "ablationcam", "saliency"];
    for method in methods {
        let map = |model: &Model, shape: &[usize]| {
            let builder = Explainer::builder(model.clone()).method(method.parse().expect(method));
            let explainer = builder.build().expect(method);
            let x = numbers(shape);
            let all = explainer.explain_one_each(x.view(), &[Target::Class(2)]).expect(method);
            (all[0].layers[0].map.to_owned(), all[0].heatmap(0).expect("a heatmap"))
        };
        let (got, heatmap) = map(&spectrogram, &[1, 12, 18]);
        assert_eq!((got, heatmap.clone()), map(&picture, &[1, 1, 12, 18]), "{method}");
        assert_eq!(heatmap.shape(), [12, 18], "{method}");
    }
}

/// A convolution over [N, 1, T, F], whose maps become rows of a sequence: [N, T, K·F], then [N, T, hidden].
fn hidden_units_are_no_positions() {
    let nodes = vec![
        node("Conv", &["x", "w"], &["c"], vec![ints("pads", &[1; 4])]),
        node("Transpose", &["c"], &["t"], vec![ints("perm", &[0, 2, 1, 3])]),
        node("Reshape", &["t", "rows"], &["s"], vec![]),
        node("Relu", &["s"], &["units"], vec![]),
        node("MatMul", &["units", "m"], &["h"], vec![]),
        node("Relu", &["h"], &["a"], vec![]),
        node("ReduceMean", &["a"], &["p"], vec![ints("axes", &[1]), int("keepdims", 0)]),
        node("Gemm", &["p", "head"], &["y"], vec![int("transB", 1)]),
    ];
    let constants = vec![
        weights("w", &[4, 1, 3, 3]),
        weights("m", &[24, 7]),
        weights("head", &[5, 7]),
        i64s("rows", &[3], &[1, 10, 24]),
    ];
    let model = built(&[1, 1, 10, 6], constants, nodes);
    for (layer, channels) in [("units", 24), ("a", 7)] {
        let explainer = Explainer::builder(model.clone()).layer(layer).build().expect(layer);
        let x = numbers(&[1, 1, 10, 6]);
        let one = explainer.explain_one_each(x.view(), &[Target::Class(1)]).expect(layer).remove(0);
        assert_eq!(one.layers[0].map.shape(), [10], "{layer}");
        assert_eq!(one.layers[0].weights.len(), channels, "{layer}");
    }
}

fn the_image_input_is_found_among_others() {
    // What stands before the input x; x, and the name of what takes the images.
    type Row<'a> = (&'a str, DataType, &'a [i64], &'a [i64], &'a str);
    let photo: &[i64] = &[1, 3, 8, 8];
    let rows: [Row<'_>; 7] = [
        ("flow", F32, &[1, 2, 16, 16], photo, "x"),
        ("sr", DataType::Int64, &[], &[1, 400], "x"),
        ("flag", DataType::Bool, &[1, 3, 8, 8], photo, "x"),
        ("state", F32, &[2, 1, 128], photo, "x"),
        ("mask", DataType::Int64, &[1, 8, 8], photo, "x"),
        ("large", F32, &[1, 3, 16, 16], photo, "large"),
        ("image", F32, &[1, 3, 8, 8], photo, "image"),
    ];
    for (name, elem, shape, x, wanted) in rows {
        let nodes = vec![
            node("Cast", &[name], &["f"], vec![int("to", 1)]),
            node("ReduceMean", &["f"], &["mean"], vec![int("keepdims", 0)]),
            node("Add", &["x", "mean"], &["s"], vec![]),
            node("Flatten", &["s"], &["y"], vec![]),
        ];
        let inputs = [(name, elem, shape), ("x", F32, x)];
        let proto = model(17, &inputs, &[("y", F32)], vec![], nodes);
        let model = Model::from_bytes(proto.encode_to_vec()).expect("a model");
        let error = Explainer::builder(model).build().expect_err("an input is missing");
        let message = error.to_string();
        assert!(message.starts_with(&format!("the images are for \"{wanted}\" ")), "{message}");
        let other = if wanted == "x" { name } else { "x" };
        assert!(message.contains(&format!("the model takes more: \"{other}\" (")), "{message}");
    }
}

/// A linear layer behind 8x8 positions, in a model that declares any size, or nothing.
fn linear(declared: Option<&[i64]>) -> Model {
    let nodes = vec![
        node("Conv", &["x", "w"], &["a"], vec![ints("pads", &[1; 4])]),
        node("Flatten", &["a"], &["f"], vec![]),
        node("MatMul", &["f", "m"], &["y"], vec![]),
    ];
    let constants = vec![weights("w", &[4, 3, 3, 3]), weights("m", &[256, 5])];
    let mut proto = model(17, &[("x", F32, &[1, 3, 8, 8])], &[("y", F32)], constants, nodes);
    let graph = proto.graph.as_mut().expect("a graph");
    graph.input[0] = testkit::build::value("x", F32, declared);
    Model::from_bytes(proto.encode_to_vec()).expect("a model")
}

fn a_tensor_says_the_size_that_a_model_leaves_open() {
    for declared in [Some(&[0, 3, 0, 0][..]), None] {
        let assumed = Explainer::builder(linear(declared)).build().expect_err("224x224");
        let message = assumed.to_string();
        assert!(message.contains("224, 224] was assumed"), "{message}");
        assert!(message.contains("`Overrides::size`"), "{message}");
        for shape in [&[1, 3, 8, 8][..], &[3, 8, 8]] {
            // The number of axes is not known where the model declares nothing.
            if declared.is_none() && shape.len() == 3 {
                continue;
            }
            let of_shape = Explainer::builder(linear(declared)).image_shape(shape);
            let explainer = of_shape.layer("a").build().expect("an explainer");
            let x = numbers(&[1, 3, 8, 8]);
            let map = explainer.explain_one_each(x.view(), &[Target::Class(1)]).expect("a map");
            assert_eq!(map[0].layers[0].map.shape(), [8, 8]);
        }
        let size = Overrides { size: Some((8, 8)), imagenet: true, ..Overrides::default() };
        assert!(Explainer::builder(linear(declared)).preprocess(size).build().is_ok());
    }
}

fn photos_keep_their_shape_where_any_size_is_taken() {
    let conv =
        |read: &str, to: &str| node("Conv", &[read, "w"], &[to], vec![ints("pads", &[1; 4])]);
    let pixels = || vec![conv("x", "a"), node("Relu", &["a"], &["y"], vec![])];
    let scores = || {
        vec![
            conv("x", "a"),
            node("GlobalAveragePool", &["a"], &["p"], vec![]),
            node("Flatten", &["p"], &["y"], vec![]),
        ]
    };
    let weight = || vec![weights("w", &[3, 3, 3, 3])];
    let photo = Photo::from_rgb8(300, 100, vec![90; 300 * 100 * 3]).expect("a photo");
    let size = |builder: ExplainerBuilder| {
        let explainer = builder.layer("a").build().expect("an explainer");
        let (x, placement) = explainer.prepare(&photo).expect("an input");
        assert_eq!(placement.network_width as usize, x.shape()[3]);
        [x.shape()[2], x.shape()[3]]
    };
    let open = |nodes| Explainer::builder(built(&[1, 3, 0, 0], weight(), nodes));
    // A segmentation takes the photo as it is, a line of text its height; a classifier learned one size.
    assert_eq!(size(open(pixels())), [96, 288]);
    assert_eq!(size(open(scores())), [224, 224]);
    let line = built(&[1, 3, 48, 0], weight(), scores());
    assert_eq!(size(Explainer::builder(line.clone())), [48, 144]);
    let with = |size| Overrides { size: Some(size), ..Overrides::default() };
    assert_eq!(size(open(pixels()).preprocess(with((64, 32)))), [32, 64]);
    assert_eq!(size(Explainer::builder(line.clone()).preprocess(with((320, 48)))), [48, 320]);
    let other = Explainer::builder(line).preprocess(with((320, 32))).build();
    let message = other.expect_err("another height").to_string();
    assert!(message.contains("a width of any and a height of 48"), "{message}");
    let large = Photo::from_rgb8(1000, 500, vec![90; 1000 * 500 * 3]).expect("a photo");
    let explainer = open(pixels()).layer("a").build().expect("an explainer");
    let (x, _) = explainer.prepare(&large).expect("an input");
    assert_eq!(x.shape(), [1, 3, 320, 640]);
    let explained = explainer.explain(&large, Target::Class(1)).expect("a map");
    assert_eq!(explained[0][0].heatmap(0).expect("a heatmap").shape(), [320, 640]);
}

/// An operator without a gradient, and a form of one that its rule refuses: what is behind can be explained.
fn layers_behind_refused_operators_are_no_candidates() {
    let rows = [
        ("ReverseSequence", vec!["a", "lengths"], vec![]),
        ("Celu", vec!["a"], vec![float("alpha", -1.0)]),
    ];
    for (op, read, attributes) in rows {
        let nodes = vec![
            node("Conv", &["x", "w"], &["a"], vec![ints("pads", &[1; 4])]),
            node(op, &read, &["odd"], attributes),
            node("Conv", &["odd", "w"], &["b"], vec![ints("pads", &[1; 4])]),
            node("GlobalAveragePool", &["b"], &["p"], vec![]),
            node("Flatten", &["p"], &["y"], vec![]),
        ];
        let constants = vec![weights("w", &[3, 3, 3, 3]), i64s("lengths", &[3], &[1; 3])];
        let model = built(&[1, 3, 8, 8], constants, nodes);
        let x = numbers(&[1, 3, 8, 8]);
        let listed = Explainer::builder(model.clone()).layer_list().expect("a list");
        let explainer = Explainer::builder(model.clone()).build().expect("an explainer");
        assert_eq!(explainer.layer_list(), listed);
        for layer in listed.iter().filter(|layer| layer.shape.len() == 4 && layer.shape[2] > 1) {
            // It computes Celu as it is.
            let builder = Explainer::builder(model.clone()).engine(EngineKind::OnnxRuntime);
            let explainer = builder.library_places(common::library()).layer(&layer.path).build();
            let explained = explainer.expect("an explainer");
            let explained = explained.explain_one_each(x.view(), &[Target::Class(1)]);
            assert_eq!(layer.candidate, explained.is_ok(), "{op}: {}", layer.path);
        }
        let named = |path: &str| listed.iter().find(|layer| layer.path == path).expect(path);
        assert!(!named("a").candidate && named("odd").candidate && named("b").candidate, "{op}");
    }
}

/// A photo and the same one upright: the positions of both are factored together.
fn photos_of_two_shapes_share_their_concepts() {
    let conv = node("Conv", &["x", "w"], &["a"], vec![ints("pads", &[1; 4])]);
    let nodes = vec![conv, node("Relu", &["a"], &["y"], vec![])];
    let open = built(&[1, 3, 0, 0], vec![weights("w", &[3, 3, 3, 3])], nodes);
    let explainer = Explainer::builder(open).layer("a").build().expect("an explainer");
    let photo = |width: u32, height: u32, seed: u32| {
        let value = |at: u32| u8::try_from((at * at + seed * at) % 251).expect("a byte");
        let rgb = (0..3 * width * height).map(value).collect();
        Photo::from_rgb8(width, height, rgb).expect("a photo")
    };
    let photos = [photo(96, 64, 1), photo(64, 96, 7)];
    let two = NonZeroUsize::new(2).expect("a number");
    let concepts = explainer.concepts(&photos[..], two).expect("concepts");
    let shapes: Vec<&[usize]> = concepts.images.iter().map(|one| one.maps.shape()).collect();
    assert_eq!(shapes, [[2, 64, 96], [2, 96, 64]]);
    for at in 0..2 {
        let of_images = concepts.images.iter().map(|one| one.maps.index_axis(Axis(0), at));
        let most = of_images.flat_map(|map| map.iter().copied().collect::<Vec<f32>>());
        assert_eq!(most.fold(0.0, f32::max), 1.0, "the largest entry, in one of the images");
    }
    for image in &concepts.images {
        assert!(image.placement.is_some());
        assert!((image.shares.iter().sum::<f32>() - 1.0).abs() < 1e-6);
    }
}
