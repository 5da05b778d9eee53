//! Several targets in one run, and several callers at once.

use std::{collections::HashSet, num::NonZeroUsize, thread};

use gradcam::{
    Explainer, ExplainerBuilder, Explanation, HeadKind, Model, Target, TargetSpec,
    engine::EngineKind,
};
use ndarray::{Array4, ArrayD, Axis};
use onnx_grad::{
    Dim, Fact, attrs,
    graph::declare,
    proto::{
        AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto,
        tensor_proto::DataType,
    },
};
use prost::Message;
use testkit::Suite;

use crate::common;
use crate::one_each::OneEach;

pub(crate) fn tests(suite: &mut Suite) {
    testkit::tests!(
        suite,
        several_targets_are_one_run,
        the_best_classes_come_in_order,
        equal_scores_are_ranked_by_number,
        callers_get_what_one_caller_gets,
    );
}

fn node(op: &str, inputs: &[&str], output: &str, attribute: Vec<AttributeProto>) -> NodeProto {
    NodeProto {
        op_type: Some(op.to_owned()),
        name: Some(format!("/{output}/{op}")),
        input: inputs.iter().map(|&name| name.to_owned()).collect(),
        output: vec![output.to_owned()],
        attribute,
        ..NodeProto::default()
    }
}

/// Numbers between −1 and 1.
fn scattered(place: usize) -> f32 {
    (place * place * 7 + place * 13) as f32 % 29.0 / 14.0 - 1.0
}

fn weights(name: &str, dims: &[i64]) -> TensorProto {
    let count = usize::try_from(dims.iter().product::<i64>()).expect("a number");
    TensorProto {
        name: Some(name.to_owned()),
        data_type: Some(DataType::Float as i32),
        dims: dims.to_vec(),
        float_data: (0..count).map(|place| scattered(place + dims.len())).collect(),
        ..TensorProto::default()
    }
}

/// x [N, 2, 4, 4] → a = Relu(Conv(x)) → Conv → b = Relu → y, with N open or 1: a linear layer of so many
/// classes, or a segmentation.
fn model(batch: Dim, classes: i64, pixels: bool) -> Model {
    let conv = || {
        let each = |name, value| attrs::ints(name, &[value; 2]);
        vec![each("strides", 1), each("dilations", 1), attrs::ints("pads", &[1; 4])]
    };
    let mut nodes = vec![
        node("Conv", &["x", "v"], "u", conv()),
        node("Relu", &["u"], "a", vec![]),
        node("Conv", &["a", "w"], "c", conv()),
        node("Relu", &["c"], "b", vec![]),
    ];
    let mut initializer = vec![weights("v", &[3, 2, 3, 3]), weights("w", &[4, 3, 3, 3])];
    if pixels {
        initializer.push(weights("k", &[classes, 4, 3, 3]));
        nodes.push(node("Conv", &["b", "k"], "y", conv()));
    } else {
        initializer.push(weights("k", &[classes, 4]));
        nodes.push(node("GlobalAveragePool", &["b"], "p", vec![]));
        nodes.push(node("Flatten", &["p"], "f", vec![]));
        nodes.push(node("Gemm", &["f", "k"], "y", vec![attrs::int("transB", 1)]));
    }
    let shape = [batch, Dim::Fixed(2), Dim::Fixed(4), Dim::Fixed(4)];
    let graph = GraphProto {
        node: nodes,
        initializer,
        input: vec![declare("x", &Fact::new(DataType::Float, shape))],
        output: vec![declare("y", &Fact { elem: DataType::Float, ..Fact::default() })],
        ..GraphProto::default()
    };
    let proto = ModelProto {
        ir_version: Some(8),
        opset_import: vec![OperatorSetIdProto { domain: None, version: Some(17) }],
        graph: Some(graph),
        ..ModelProto::default()
    };
    Model::from_bytes(proto.encode_to_vec()).expect("a model")
}

/// Images of different colors, bright and dark.
fn images(count: usize) -> ArrayD<f32> {
    let color = |n: usize, c: usize| [[3.0, 0.0], [0.0, 3.0], [-3.0, 0.0], [0.0, -3.0]][n % 4][c];
    let pixel = |(n, c, y, x)| color(n, c) + common::wave(n * 977 + c * 131 + y * 17 + x * 5);
    Array4::from_shape_fn((count, 2, 4, 4), pixel).into_dyn()
}

fn builder(model: &Model, kind: EngineKind) -> ExplainerBuilder {
    let builder = Explainer::builder(model.clone()).layer("a").layer("b").engine(kind);
    builder.threads(NonZeroUsize::MIN).library_places(common::library())
}

fn explainer(model: &Model, kind: EngineKind) -> Explainer {
    builder(model, kind).build().expect("an explainer")
}

/// Compares two explanations of one image and class.
fn assert_same(got: &Explanation, want: &Explanation, what: &str) {
    assert_eq!(got.class.index, want.class.index, "{what}");
    // A row alone and a row of several are added up in another order by kernels without AVX.
    let largest = want.scores.iter().fold(0.0f32, |largest, v| largest.max(v.abs()));
    let pairs = got.scores.iter().zip(want.scores.iter());
    let off = pairs.fold(0.0f32, |off, (got, want)| off.max((got - want).abs()));
    assert!(off <= 1e-6 * largest, "{what}: {:?}, not {:?}", got.scores, want.scores);
    assert_eq!(got.scores.len(), want.scores.len(), "{what}");
    for (got, want) in got.layers.iter().zip(&want.layers) {
        let largest = want.map.iter().fold(0.0f32, |largest, v| largest.max(v.abs()));
        assert!(largest > 0.0, "{what}: a map without values compares nothing");
        let off = (&got.map - &want.map).iter().fold(0.0f32, |off, v| off.max(v.abs()));
        assert!(off <= 1e-6 * largest, "{what} at {}: off by {off} of {largest}", got.layer);
    }
}

/// What is asked for at once is what one would get one by one, and each image has classes of its own.
fn several_targets_are_one_run() {
    let specs = [
        TargetSpec::One(Target::Class(2)),
        TargetSpec::Top(3),
        TargetSpec::One(Target::Difference(0, 3)),
    ];
    let x = images(5);
    for (batch, pixels) in [(Dim::Batch(1), false), (Dim::Fixed(1), false), (Dim::Batch(1), true)] {
        let model = model(batch, 4, pixels);
        for kind in EngineKind::ALL {
            let explainer = explainer(&model, kind);
            let all = explainer.explain(&x, specs.clone()).expect("maps");
            assert_eq!(all.len(), 5);
            for (item, explained) in all.iter().enumerate() {
                let image = x.slice_axis(Axis(0), (item..=item).into());
                let one = |target| {
                    explainer.explain_one_each(image.view(), &[target]).expect("a map").remove(0)
                };
                let best = one(Target::Argmax);
                let mut wanted = vec![one(Target::Class(2)), best.clone()];
                let rest = best.top(3).into_iter().skip(1);
                wanted.extend(rest.map(|class| one(Target::Class(class.index))));
                wanted.push(one(Target::Difference(0, 3)));
                assert_eq!(explained.len(), wanted.len());
                for (got, want) in explained.iter().zip(&wanted) {
                    let what = format!("{kind}, {pixels}, image {item}, {:?}", want.target);
                    assert_same(got, want, &what);
                    assert_eq!(got.target, want.target, "{what}");
                    // A run measures its time once.
                    assert_eq!(got.timings.run, explained[0].timings.run, "{what}");
                }
            }
            let order = |all: &Vec<Explanation>| -> Vec<usize> {
                all[1..4].iter().map(|one| one.class.index).collect()
            };
            let orders: HashSet<Vec<usize>> = all.iter().map(order).collect();
            assert!(pixels || orders.len() > 1, "the images have different classes");
        }
    }
}

/// More classes than one graph has gradients for, more than there are, and the two of a binary model.
fn the_best_classes_come_in_order() {
    for (classes, count) in [(40, 37), (3, 9), (1, 2)] {
        let model = model(Dim::Batch(1), classes, false);
        for kind in EngineKind::ALL {
            let mut builder = builder(&model, kind);
            if classes == 1 {
                builder = builder.head(HeadKind::Binary);
            }
            let explainer = builder.build().expect("an explainer");
            let x = images(1);
            let all = explainer.explain(&x, TargetSpec::Top(count)).expect("maps").remove(0);
            let order: Vec<usize> = all.iter().map(|one| one.class.index).collect();
            let top: Vec<usize> = all[0].top(count).iter().map(|class| class.index).collect();
            assert_eq!(order, top, "{kind}");
            assert_eq!(order.len(), count.min(explainer.classes()), "{kind}");
            let last = all.last().expect("a map");
            let alone = [Target::Class(last.class.index)];
            let alone = explainer.explain_one_each(x.view(), &alone).expect("a map");
            assert_same(last, &alone[0], &format!("{kind}, {classes} classes"));
        }
    }
}

/// Equal scores: the class with the smaller number comes first.
fn equal_scores_are_ranked_by_number() {
    let mut proto = model(Dim::Batch(1), 4, false).proto().clone();
    let graph = proto.graph.as_mut().expect("a graph");
    let head = graph.initializer.iter_mut().find(|tensor| tensor.name.as_deref() == Some("k"));
    let head = &mut head.expect("weights").float_data;
    let row = head[..4].to_vec();
    head[8..12].copy_from_slice(&row);
    head[12..].copy_from_slice(&row);
    let model = Model::from_bytes(proto.encode_to_vec()).expect("a model");
    for kind in EngineKind::ALL {
        let explainer = explainer(&model, kind);
        let all = explainer.explain(&images(1), TargetSpec::Top(4)).expect("maps").remove(0);
        let order = all.iter().map(|one| one.class.index).filter(|class| *class != 1);
        assert_eq!(order.collect::<Vec<_>>(), [0, 2, 3], "{kind}");
    }
}

/// Whoever else calls, the bytes are the same.
fn callers_get_what_one_caller_gets() {
    let model = model(Dim::Batch(1), 4, false);
    let x = images(8);
    for kind in EngineKind::ALL {
        let run = |explainer: &Explainer, item: usize| {
            let image = x.slice_axis(Axis(0), (item..=item).into());
            let all = explainer.explain(image, TargetSpec::Top(2)).expect("maps").remove(0);
            let maps = all.iter().flat_map(|one| one.layers.iter().map(|layer| &layer.map));
            maps.flat_map(|map| map.iter()).map(|value| value.to_bits()).collect::<Vec<u32>>()
        };
        let alone = explainer(&model, kind);
        let alone: Vec<_> = (0..8).map(|item| run(&alone, item)).collect();
        // The graph is made while all of them wait for it.
        let shared = explainer(&model, kind);
        thread::scope(|scope| {
            for caller in 0..8 {
                let (shared, alone, run) = (&shared, &alone, &run);
                scope.spawn(move || {
                    for step in 0..16 {
                        let item = (caller + step) % 8;
                        assert_eq!(run(shared, item), alone[item], "{kind}, image {item}");
                    }
                });
            }
        });
    }
}
