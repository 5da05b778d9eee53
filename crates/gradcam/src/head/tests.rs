//! The kinds of heads on small graphs.

use onnx_grad::{
    Model,
    graph::Sizes,
    proto::{NodeProto, TensorProto, tensor_proto::DataType},
};
use prost::Message;
use testkit::build::{self, node};

use super::*;

/// A graph from x to the outputs.
fn graph(x: &[i64], constants: Vec<TensorProto>, nodes: Vec<NodeProto>, outputs: &[&str]) -> Graph {
    let outputs: Vec<_> = outputs.iter().map(|name| (*name, DataType::Float)).collect();
    let proto = build::model(17, &[("x", DataType::Float, x)], &outputs, constants, nodes);
    let model = Model::from_bytes(proto.encode_to_vec()).unwrap();
    Graph::new(&model, &Sizes::new()).unwrap()
}

fn plain(op: &str, from: &str, to: &str) -> NodeProto {
    node(op, &[from], &[to], vec![])
}

/// What ends a model without another meaning is stepped over on the way to the activation; what reorders numbers is not.
#[test]
fn the_end_of_a_model_says_what_its_scores_are() {
    let number = |value: f32| build::f32s("c", &[1], &[value]);
    let with = |op: &str| node(op, &["p", "c"], &["y"], vec![]);
    let clip = |low: f32, high: f32| {
        (
            vec![build::f32s("low", &[], &[low]), build::f32s("high", &[], &[high])],
            node("Clip", &["p", "low", "high"], &["y"], vec![]),
        )
    };
    let softmax = || plain("Softmax", "z", "p");
    let rows = [
        (
            "carried",
            softmax(),
            vec![],
            plain("Identity", "p", "y"),
            HeadKind::Softmax,
            "z",
            Scale::Softmax,
        ),
        (
            "flattened",
            softmax(),
            vec![],
            plain("Flatten", "p", "y"),
            HeadKind::Softmax,
            "z",
            Scale::Softmax,
        ),
        (
            "bent",
            softmax(),
            vec![],
            plain("Relu", "p", "y"),
            HeadKind::Softmax,
            "y",
            Scale::Softmax,
        ),
        (
            "logarithm",
            plain("LogSoftmax", "z", "p"),
            vec![],
            plain("Identity", "p", "y"),
            HeadKind::Softmax,
            "z",
            Scale::Softmax,
        ),
        (
            "labels",
            plain("Sigmoid", "z", "p"),
            vec![],
            plain("Identity", "p", "y"),
            HeadKind::Sigmoid,
            "z",
            Scale::Sigmoid,
        ),
        (
            "percent",
            softmax(),
            vec![number(100.0)],
            with("Mul"),
            HeadKind::Softmax,
            "z",
            Scale::Softmax,
        ),
        (
            "quotient",
            softmax(),
            vec![number(2.0)],
            with("Div"),
            HeadKind::Softmax,
            "z",
            Scale::Softmax,
        ),
        (
            "turned",
            softmax(),
            vec![number(-1.0)],
            with("Mul"),
            HeadKind::Softmax,
            "y",
            Scale::Softmax,
        ),
        (
            "clipped",
            softmax(),
            clip(1e-7, 1.0).0,
            clip(1e-7, 1.0).1,
            HeadKind::Softmax,
            "z",
            Scale::Softmax,
        ),
        (
            "cut",
            softmax(),
            clip(0.2, 0.5).0,
            clip(0.2, 0.5).1,
            HeadKind::Softmax,
            "y",
            Scale::Softmax,
        ),
        (
            "logits",
            plain("Relu", "z", "p"),
            vec![],
            plain("Identity", "p", "y"),
            HeadKind::Softmax,
            "y",
            Scale::Softmax,
        ),
        (
            "unit",
            plain("LpNormalization", "z", "p"),
            vec![],
            plain("Identity", "p", "y"),
            HeadKind::Softmax,
            "y",
            Scale::Softmax,
        ),
    ];
    for (name, activation, constants, last, kind, value, scale) in rows {
        let nodes = vec![plain("Relu", "x", "z"), activation, last];
        let graph = graph(&[2, 3], constants, nodes, &["y"]);
        let found = head(&graph, &HeadSettings::default()).unwrap();
        assert_eq!(
            (found.info.kind, graph.name(found.value), found.scale),
            (kind, value, scale),
            "{name}"
        );
    }
}

/// The mean of probabilities has no logits: it is explained itself, and is not squashed again.
#[test]
fn a_mean_of_probabilities_is_a_probability() {
    let axes = || vec![build::ints("axes", &[1]), build::int("keepdims", 0)];
    let squeezed = || node("Squeeze", &["p", "two"], &["s"], vec![]);
    for (x, op, kind, form) in [
        (vec![2, 5, 3], "Softmax", HeadKind::Softmax, Form::Classes(3)),
        (vec![2, 5, 3], "Sigmoid", HeadKind::Sigmoid, Form::Classes(3)),
        (vec![2, 5, 1], "Sigmoid", HeadKind::Binary, Form::Binary),
    ] {
        let mut nodes = vec![plain(op, "x", "p")];
        let from = if x[2] == 1 { "s" } else { "p" };
        nodes.extend((x[2] == 1).then(squeezed));
        nodes.push(node("ReduceMean", &[from], &["y"], axes()));
        let two = build::i64s("two", &[1], &[2]);
        let graph = graph(&x, vec![two], nodes, &["y"]);
        let found = head(&graph, &HeadSettings::default()).unwrap();
        assert_eq!(
            (found.info.kind, found.form, found.scale),
            (kind, form, Scale::Probabilities),
            "{op}"
        );
        assert_eq!(graph.name(found.value), "y");
    }
}

#[test]
fn the_shape_of_scores_says_what_they_are() {
    let rows: [(&[i64], HeadKind, Form); 9] = [
        (&[2], HeadKind::Regression, Form::Classes(1)),
        (&[2, 1], HeadKind::Regression, Form::Classes(1)),
        (&[2, 1, 1, 1], HeadKind::Regression, Form::Classes(1)),
        (&[2, 7], HeadKind::Softmax, Form::Classes(7)),
        (&[2, 7, 1, 1], HeadKind::Softmax, Form::Classes(7)),
        (&[2, 7, 4, 4], HeadKind::Segmentation, Form::Pixels(7)),
        (&[2, 1, 4, 4], HeadKind::Segmentation, Form::Mask),
        (&[1, 9, 7], HeadKind::Sequence, Form::Steps { classes: 7, time_first: false }),
        (&[9, 1, 7], HeadKind::Sequence, Form::Steps { classes: 7, time_first: true }),
    ];
    for (shape, kind, form) in rows {
        let graph = graph(shape, vec![], vec![plain("Relu", "x", "y")], &["y"]);
        let found = head(&graph, &HeadSettings::default()).unwrap();
        assert_eq!((found.info.kind, found.form), (kind, form), "{shape:?}");
    }
}

/// The kind that a user names wins over a file's, which wins over the graph's where it fits.
#[test]
fn a_kind_may_be_named() {
    let graph = graph(&[2, 7], vec![], vec![plain("Sigmoid", "x", "y")], &["y"]);
    let file = |kind| Some((kind, "config.json".to_owned()));
    let found = |kind, task| head(&graph, &HeadSettings { kind, task, ..HeadSettings::default() });
    let of_file = found(None, file(HeadKind::Regression)).unwrap();
    assert_eq!(
        (of_file.info.kind, graph.name(of_file.value), of_file.scale),
        (HeadKind::Regression, "y", Scale::Values)
    );
    assert!(of_file.info.why.contains("config.json"));
    let of_user = found(Some(HeadKind::Softmax), file(HeadKind::Regression)).unwrap();
    // The activation of the model decides how probabilities follow.
    assert_eq!(
        (of_user.info.kind, graph.name(of_user.value), of_user.scale),
        (HeadKind::Softmax, "x", Scale::Sigmoid)
    );
    assert_eq!(found(None, file(HeadKind::Segmentation)).unwrap().info.kind, HeadKind::Sigmoid);
    let refused = found(Some(HeadKind::Binary), None).unwrap_err().to_string();
    assert!(
        refused.contains("[2, 7] cannot be read as binary: that is one number for each image"),
        "{refused}"
    );
}

#[test]
fn labels_make_a_number_two_classes() {
    let graph = graph(&[2, 1], vec![], vec![plain("Relu", "x", "y")], &["y"]);
    let of = |labels| {
        head(&graph, &HeadSettings { labels, ..HeadSettings::default() }).unwrap().info.kind
    };
    assert_eq!(
        [of(None), of(Some(1)), of(Some(2))],
        [HeadKind::Regression, HeadKind::Regression, HeadKind::Binary]
    );
}

/// [N, A, 5 + K] and [N, 4 + K, A] with the number of cells of an image of 64×64.
#[test]
fn grids_of_cells_are_detectors() {
    let count = 64 + 16 + 4;
    let rows = [
        ([1, count * 3, 11], None, 2, 6, Some(4)),
        ([1, count, 11], None, 2, 6, Some(4)),
        ([1, count, 11], Some(7), 2, 7, None),
        ([1, 11, count], None, 1, 7, None),
        ([1, 11, count], Some(6), 1, 6, Some(4)),
    ];
    for (shape, labels, class_axis, classes, objectness) in rows {
        let nodes = vec![
            plain("Flatten", "x", "f"),
            node("MatMul", &["f", "w"], &["g"], vec![]),
            node("Reshape", &["g", "shape"], &["y"], vec![]),
        ];
        let size = shape[1] * shape[2];
        let constants =
            vec![build::weights("w", &[3 * 64 * 64, size]), build::i64s("shape", &[3], &shape)];
        let graph = graph(&[1, 3, 64, 64], constants, nodes, &["y"]);
        let found = head(&graph, &HeadSettings { labels, ..HeadSettings::default() }).unwrap();
        let Form::Anchors(anchors) = &found.form else { panic!("{shape:?}: {:?}", found.form) };
        let seen = (anchors.class_axis, anchors.classes, anchors.objectness);
        assert_eq!(seen, (class_axis, classes, objectness), "{shape:?}");
    }
}

/// Of several outputs the one that is called as scores are, and a value by its name and index.
#[test]
fn outputs_are_chosen_and_named() {
    let nodes = vec![
        plain("Relu", "x", "features"),
        plain("Neg", "x", "logits"),
        plain("Sigmoid", "logits", "p"),
    ];
    let graph = graph(&[2, 7, 4, 4], vec![], nodes, &["features", "logits"]);
    let found = head(&graph, &HeadSettings::default()).unwrap();
    assert_eq!(found.info.output, "logits");
    assert!(found.info.is_chosen);
    let named = |text: &str| {
        let output = Some(text.parse::<Selection>()?);
        head(&graph, &HeadSettings { output, ..HeadSettings::default() })
    };
    let part = named("p[0,3]").unwrap();
    assert_eq!((part.info.kind, part.info.output.as_str()), (HeadKind::Regression, "p[0,3]"));
    assert!(matches!(part.form, Form::Sum(_)));
    for (text, phrase) in [
        ("q", "\"q\" is no output and no other value"),
        ("p[:,7]", "nothing is at index 1"),
        ("p[:,0,0,0,0]", "has 5 indices"),
        ("p[1,0]", "the first index of"),
        ("p[:,x]", "has no index that can be read"),
        ("p[:,3:3]", "nothing is at index 1"),
    ] {
        let message = named(text).unwrap_err().to_string();
        assert!(message.contains(phrase), "{text}: {message}");
    }
}

fn rounded(from: &str, to: &str) -> [NodeProto; 2] {
    let numbers = format!("{to}.numbers");
    [
        node("QuantizeLinear", &[from, "s"], &[&numbers], vec![]),
        node("DequantizeLinear", &[&numbers, "s"], &[to], vec![]),
    ]
}

fn value_of(nodes: Vec<NodeProto>, shape: &[i64], constants: Vec<TensorProto>) -> String {
    let graph = graph(shape, constants, nodes, &["y"]);
    graph.name(head(&graph, &HeadSettings::default()).unwrap().value).to_owned()
}

/// Scores are those before the first rounding behind which they only change their shape.
#[test]
fn scores_are_taken_before_they_are_rounded() {
    let rows = [
        (&[2, 3][..], "Identity", "logits"),
        (&[2, 3, 1, 1], "Flatten", "logits"),
        (&[2, 3, 1, 1], "Squeeze", "logits"),
        (&[2, 3], "Relu", "made"),
        // Other classes than those of the output.
        (&[2, 3, 2, 1], "Flatten", "made"),
    ];
    for (shape, op, wanted) in rows {
        let mut nodes = vec![node("Neg", &["x"], &["logits"], vec![])];
        nodes.extend(rounded("logits", "first"));
        nodes.push(node(op, &["first"], &["made"], vec![]));
        nodes.extend(rounded("made", "y"));
        let scale = vec![build::f32s("s", &[], &[0.5])];
        assert_eq!(value_of(nodes, shape, scale), wanted, "{shape:?} and {op}");
    }
}

/// A detector is found behind the roundings of its parts.
#[test]
fn quantized_detectors_are_detectors() {
    let four = [build::i64s("zero", &[1], &[0]), build::i64s("four", &[1], &[4])];
    let sizes = [build::i64s("one", &[1], &[1]), build::i64s("seven", &[1], &[7])];
    let scale = [build::f32s("s", &[], &[0.5])];
    let mut nodes = vec![
        node("Slice", &["x", "zero", "four", "one"], &["boxes"], vec![]),
        node("Slice", &["x", "four", "seven", "one"], &["logits"], vec![]),
    ];
    nodes.extend(rounded("logits", "rounded"));
    nodes.push(node("Sigmoid", &["rounded"], &["p"], vec![]));
    nodes.extend(rounded("p", "q"));
    nodes.push(node("Concat", &["boxes", "q"], &["all"], vec![build::int("axis", 1)]));
    nodes.extend(rounded("all", "y"));
    let constants = four.into_iter().chain(sizes).chain(scale).collect();
    assert_eq!(value_of(nodes, &[1, 7, 9], constants), "logits");
}
