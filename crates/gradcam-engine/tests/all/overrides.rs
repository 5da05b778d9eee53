//! Rule overrides, on networks that are worked out by hand.

use gradcam_engine::{Engine, EngineKind, Tensor, TensorView};
use ndarray::{ArrayD, IxDyn};
use onnx_grad::{
    GUIDED_BACKPROP, GradientForm, Graph, Model, Override, Sizes,
    builder::Builder,
    differentiate,
    proto::{NodeProto, TensorProto, tensor_proto::DataType},
    prune,
};
use prost::Message;
use testkit::{
    Suite,
    build::{self, f32s, float, node},
};

use crate::common::shared;

/// The derivative, and guided backpropagation.
const PLAIN: &[Override] = &[];
const GUIDED: &[Override] = &GUIDED_BACKPROP;

pub(crate) fn tests(suite: &mut Suite) {
    for kind in EngineKind::ALL {
        for row in rows() {
            suite.test(format!("overrides::{}::{kind}", row.0), move || passes(row, kind));
        }
        for op in ["Sigmoid", "LeakyRelu", "HardSwish", "Tanh"] {
            let name = format!("overrides::{op}_keeps_its_derivative::{kind}");
            suite.test(name, move || keeps_its_derivative(op, kind));
        }
        for op in ["Asin", "Acos", "Atanh"] {
            let name = format!("overrides::{op}_is_differentiated_near_one::{kind}");
            suite.test(name, move || is_differentiated_near_one(op, kind));
        }
    }
}

/// x [1, 1, 2, 2] → the given nodes → y, with the constants `w`, `v` of x's shape and scalars.
fn model(opset: i64, nodes: Vec<NodeProto>, w: [f32; 4], v: [f32; 4]) -> Model {
    let dims = [1, 1, 2, 2];
    let scalar = |name: &str, number: f32| f32s(name, &[], &[number]);
    let constants: Vec<TensorProto> = vec![
        f32s("w", &dims, &w),
        f32s("v", &dims, &v),
        scalar("zero", 0.0),
        scalar("six", 6.0),
        scalar("below", -1.0),
    ];
    let inputs = [("x", DataType::Float, &dims[..])];
    let outputs = [("y", DataType::Float)];
    let proto = build::model(opset, &inputs, &outputs, constants, nodes);
    Model::from_bytes(proto.encode_to_vec()).expect("a model")
}

/// What arrives at `x` from the sum of `y`.
fn at_x(
    engine: &dyn Engine,
    model: &Model,
    x: [f32; 4],
    want: GradientForm,
    overrides: &'static [Override],
) -> Vec<f32> {
    let mut graph = Graph::new(model, &Sizes::new()).expect("a graph");
    let (value, y) = (graph.value("x").expect("an input"), graph.value("y").expect("an output"));
    let mut b = Builder::new(&mut graph, "grad");
    let seed = b.scalar(y, 1.0).expect("a seed");
    let found = differentiate(&mut b, &[(y, seed)], &[(value, want)], overrides).expect("rules");
    let model = prune(b.graph(), &found).expect("a model");
    let session = engine.compile(&model).expect("a session");
    let x = ArrayD::from_shape_vec(IxDyn(&[1, 1, 2, 2]), x.to_vec()).expect("four numbers");
    // A gradient that does not depend on the input has none.
    let feeds = match onnx_grad::inputs(&model).as_slice() {
        [] => vec![],
        _ => vec![("x", TensorView::from(&x))],
    };
    let name = model.graph().output[0].name.as_deref().expect("a name");
    let outputs = session.run(&feeds, &[name]).expect("a run");
    outputs.into_iter().next().and_then(Tensor::into_f32).expect("floats").iter().copied().collect()
}

/// One row: what it is, the model, the input, the derivative, and what guided backpropagation passes.
struct Row(&'static str, Model, [f32; 4], [f32; 4], [f32; 4]);

/// y = w · f(x), so that w arrives at the rectifier f.
fn weighed(opset: i64, rectifier: NodeProto, w: [f32; 4]) -> Model {
    model(opset, vec![rectifier, node("Mul", &["f", "w"], &["y"], vec![])], w, [0.0; 4])
}

fn rows() -> Vec<Row> {
    let w = [2.0, -3.0, 5.0, -4.0];
    let relu = || node("Relu", &["x"], &["f"], vec![]);
    let clip = |bounds: &[&str]| node("Clip", &[&["x"], bounds].concat(), &["f"], vec![]);
    let old_clip =
        |lo: f32| node("Clip", &["x"], &["f"], vec![float("min", lo), float("max", 6.0)]);
    let x = [1.0, 2.0, 7.0, -3.0];
    // What arrives at the rectifier is summed first: 2 − 3 < 0 and −4 + 6 > 0 at active units.
    let two_readers = vec![
        relu(),
        node("Mul", &["f", "w"], &["a"], vec![]),
        node("Mul", &["f", "v"], &["b"], vec![]),
        node("Add", &["a", "b"], &["y"], vec![]),
    ];
    let (w2, v2) = ([2.0, -4.0, 1.0, 1.0], [-3.0, 6.0, 1.0, 1.0]);
    // Behind a global pool every position gets 1/4 of what arrives, as one number until it is needed.
    let pooled = |sign: &str| {
        vec![
            relu(),
            node("GlobalAveragePool", &["f"], &["p"], vec![]),
            node("Mul", &["p", sign], &["y"], vec![]),
        ]
    };
    vec![
        Row(
            "Relu",
            weighed(17, relu(), w),
            [1.0, 2.0, -1.0, 0.0],
            [2.0, -3.0, 0.0, 0.0],
            [2.0, 0.0, 0.0, 0.0],
        ),
        Row(
            "relu6",
            weighed(17, clip(&["zero", "six"]), w),
            x,
            [2.0, -3.0, 0.0, 0.0],
            [2.0, 0.0, 0.0, 0.0],
        ),
        Row(
            "relu6 at its kinks",
            weighed(17, clip(&["zero", "six"]), w),
            [0.0, 3.0, 6.0, 5.0],
            [0.0, -3.0, 0.0, -4.0],
            [0.0; 4],
        ),
        Row(
            "Clip from 0",
            weighed(17, clip(&["zero"]), w),
            x,
            [2.0, -3.0, 5.0, 0.0],
            [2.0, 0.0, 5.0, 0.0],
        ),
        Row(
            "Clip from −1",
            weighed(17, clip(&["below", "six"]), w),
            x,
            [2.0, -3.0, 0.0, 0.0],
            [2.0, -3.0, 0.0, 0.0],
        ),
        Row(
            "relu6 of old",
            weighed(7, old_clip(0.0), w),
            x,
            [2.0, -3.0, 0.0, 0.0],
            [2.0, 0.0, 0.0, 0.0],
        ),
        Row(
            "Clip of old",
            weighed(7, old_clip(-1.0), w),
            x,
            [2.0, -3.0, 0.0, 0.0],
            [2.0, -3.0, 0.0, 0.0],
        ),
        Row(
            "two readers",
            model(17, two_readers, w2, v2),
            x,
            [-1.0, 2.0, 2.0, 0.0],
            [0.0, 2.0, 2.0, 0.0],
        ),
        Row(
            "pooled",
            model(17, pooled("six"), w, w),
            x,
            [1.5, 1.5, 1.5, 0.0],
            [1.5, 1.5, 1.5, 0.0],
        ),
        Row(
            "pooled, against",
            model(17, pooled("below"), w, w),
            x,
            [-0.25, -0.25, -0.25, 0.0],
            [0.0; 4],
        ),
    ]
}

/// Each pass by itself, and the sum over space, which must be taken behind the rectifier: what is
/// overridden in one call is not in the next.
fn passes(Row(_, model, x, derivative, guided): Row, kind: EngineKind) {
    let at = |want, overrides| at_x(shared(kind), &model, x, want, overrides);
    for (overrides, wanted) in [(GUIDED, guided), (PLAIN, derivative), (GUIDED, guided)] {
        let label = if overrides.is_empty() { "the derivative" } else { "guided backpropagation" };
        assert_eq!(at(GradientForm::Full, overrides), wanted, "{label}");
        let sum: f32 = wanted.iter().sum();
        assert_eq!(at(GradientForm::SpatialSum, overrides), [sum], "{label}");
    }
}

fn keeps_its_derivative(op: &str, kind: EngineKind) {
    let model = weighed(17, node(op, &["x"], &["f"], vec![]), [2.0, -3.0, 5.0, -4.0]);
    let x = [1.0, 2.0, 0.5, -0.5];
    let at = |overrides| at_x(shared(kind), &model, x, GradientForm::Full, overrides);
    assert_eq!(at(GUIDED), at(PLAIN));
    assert!(at(PLAIN)[1] < 0.0);
}

/// 1 − x² loses half of its digits where |x| is almost 1; (1 − x)·(1 + x) does not.
fn is_differentiated_near_one(op: &str, kind: EngineKind) {
    let x = [1.0 - 2f32.powi(-22), -1.0 + 2f32.powi(-20), 1.0 - 2f32.powi(-12), 0.5];
    let derivative = |x: f64| {
        let left = (1.0 - x) * (1.0 + x);
        match op {
            "Asin" => 1.0 / left.sqrt(),
            "Acos" => -1.0 / left.sqrt(),
            _ => 1.0 / left,
        }
    };
    let model = model(17, vec![node(op, &["x"], &["y"], vec![])], [0.0; 4], [0.0; 4]);
    let got = at_x(shared(kind), &model, x, GradientForm::Full, PLAIN);
    for (got, x) in got.into_iter().zip(x) {
        let wanted = derivative(f64::from(x));
        let error = (f64::from(got) - wanted).abs() / wanted.abs();
        assert!(error < 4e-7, "{op} at {x}: {got} instead of {wanted}");
    }
}
