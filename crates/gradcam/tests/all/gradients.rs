//! Models with gradients as further outputs, worked out by hand; whole networks are in `parity`.

use gradcam::{
    ErrorKind, GradientModel, GradientSettings, Model,
    engine::{EngineKind, TensorView},
    onnx_grad::{
        Dim,
        proto::{NodeProto, tensor_proto::DataType},
    },
    with_gradients,
};
use ndarray::ArrayD;
use prost::Message;
use testkit::{
    Suite,
    build::{self, f32s, node},
};

use crate::common;

pub(crate) fn tests(suite: &mut Suite) {
    for kind in EngineKind::ALL {
        suite.test(format!("gradients::numbers::{kind}"), move || numbers(kind));
    }
    testkit::tests!(suite, what_a_file_says_of_its_gradients, mistakes,);
}

/// x `[N, 3]`, squared by the module `body` and multiplied by w `[3, 2]`.
fn model() -> Model {
    let named = |name: &str, node: NodeProto| NodeProto { name: Some(name.to_owned()), ..node };
    let nodes = vec![
        named("/body/Mul", node("Mul", &["x", "x"], &["h"], vec![])),
        named("/head/MatMul", node("MatMul", &["h", "w"], &["y"], vec![])),
        named("/Shape", node("Shape", &["y"], &["count"], vec![])),
        named("/aside/Neg", node("Neg", &["x"], &["aside"], vec![])),
    ];
    let outputs = [("y", DataType::Float), ("count", DataType::Int64), ("aside", DataType::Float)];
    let inputs = [("x", DataType::Float, &[-1, 3][..])];
    let w = f32s("w", &[3, 2], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    let proto = build::model(17, &inputs, &outputs, vec![w], nodes);
    Model::from_bytes(proto.encode_to_vec()).expect("a model")
}

fn settings(of: &str, wrt: &[&str], seed: Option<&str>) -> GradientSettings {
    GradientSettings {
        of: of.to_owned(),
        wrt: wrt.iter().map(|name| (*name).to_owned()).collect(),
        seed: seed.map(str::to_owned),
        ..GradientSettings::default()
    }
}

/// Runs a written model on two rows, x = (1, 2, 3) and (4, 5, 6).
fn ran(
    made: &GradientModel,
    kind: EngineKind,
    seed: Option<&ArrayD<f32>>,
    names: &[&str],
) -> Vec<Vec<f32>> {
    let model = Model::from_bytes(made.model.to_bytes().expect("bytes")).expect("a model");
    let x = array(&[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    let mut feeds = vec![("x", TensorView::from(&x))];
    feeds.extend(seed.map(|seed| ("seed", TensorView::from(seed))));
    let session = common::shared(kind).compile(&model).expect("a session");
    let outputs = session.run(&feeds, names).expect("a run").into_iter();
    outputs.map(|output| output.into_f32().expect("floats").iter().copied().collect()).collect()
}

fn array(shape: &[usize], numbers: &[f32]) -> ArrayD<f32> {
    ArrayD::from_shape_vec(shape, numbers.to_vec()).expect("an array")
}

fn numbers(kind: EngineKind) {
    let made = with_gradients(&model(), &settings("y", &["x", "w", "body"], None)).expect("rules");
    let names = ["y", "x.grad", "w.grad", "body.grad"];
    let [y, x, w, body] = ran(&made, kind, None, &names).try_into().expect("four outputs");
    assert_eq!(y, [58.0, 72.0, 271.0, 348.0]);
    // 2x · the sums 3, 7 and 11 of the rows of w
    assert_eq!(x, [6.0, 28.0, 66.0, 24.0, 70.0, 132.0]);
    // Of both rows of x² together.
    assert_eq!(w, [17.0, 17.0, 29.0, 29.0, 45.0, 45.0]);
    assert_eq!(body, [3.0, 7.0, 11.0, 3.0, 7.0, 11.0]);

    let made = with_gradients(&model(), &settings("y", &["x"], Some("seed"))).expect("rules");
    let seed = array(&[2, 2], &[1.0, 0.0, 0.0, -1.0]);
    // 2x · the first column of w, and its second one
    let wanted = [2.0, 12.0, 30.0, -16.0, -40.0, -72.0];
    assert_eq!(ran(&made, kind, Some(&seed), &["x.grad"]), [wanted]);

    let again = with_gradients(&made.model, &settings("x.grad", &["x"], None)).expect("rules");
    // 2 · the same
    let wanted = [2.0, 6.0, 10.0, -4.0, -8.0, -12.0];
    assert_eq!(ran(&again, kind, Some(&seed), &["x.grad.grad"]), [wanted]);
}

fn what_a_file_says_of_its_gradients() {
    let made = with_gradients(&model(), &settings("y", &["body"], Some("seed"))).expect("rules");
    let open = |size| vec![Dim::Batch(1), Dim::Fixed(size)];
    assert_eq!(made.of, ("y".to_owned(), open(2)));
    assert_eq!(made.outputs, [("body.grad".to_owned(), open(3))]);
    let (before, graph) = (model(), made.model.graph());
    let own = before.graph();
    assert_eq!(graph.node[..own.node.len()], own.node, "the nodes of the model are untouched");
    let names: Vec<&str> = graph.output.iter().map(|info| info.name()).collect();
    assert_eq!(names, ["y", "count", "aside", "body.grad"]);
    let inputs = onnx_grad::inputs(&made.model);
    assert_eq!(inputs[1].name, "seed");
    assert_eq!(
        inputs[1].dims,
        inputs[0]
            .dims
            .clone()
            .map(|dims| { vec![dims[0].clone(), onnx_grad::DeclaredDim::Size(2)] })
    );
    let metadata: Vec<_> = made.model.metadata().collect();
    let said = "the gradient of \"y\", times the input \"seed\", with respect to \"h\"";
    assert_eq!(metadata, [("gradcam.gradient.body.grad", said)]);
    let differentiates =
        |node: &NodeProto| node.doc_string.as_deref() == Some("gradient of /head/MatMul (MatMul)");
    assert!(graph.node[own.node.len()..].iter().any(differentiates));
}

fn mistakes() {
    let sized = |name: &str, sizes: &[i64]| {
        let sizes = sizes.iter().map(|size| Dim::Fixed(*size)).collect();
        let sizes = [(name.to_owned(), sizes)].into();
        GradientSettings { sizes, ..settings("y", &["x"], None) }
    };
    let rows = [
        (settings("z", &["x"], None), ErrorKind::Layer, "no layer named \"z\""),
        (settings("z", &["x"], None), ErrorKind::Layer, "inputs x and the outputs y, count, aside"),
        (settings("y", &["aside"], None), ErrorKind::Layer, "\"aside\" does not reach"),
        (settings("count", &["x"], None), ErrorKind::Unsupported, "of the type int64"),
        (settings("y", &["h", "body"], None), ErrorKind::Layer, "are the same value"),
        (settings("y", &["x"], Some("w")), ErrorKind::Model, "cannot be called \"w\""),
        (sized("x", &[1, 4]), ErrorKind::Model, "the model says 3, given is 4"),
        (sized("w", &[3, 2]), ErrorKind::Model, "no input named \"w\""),
    ];
    for (settings, kind, phrase) in rows {
        let error = with_gradients(&model(), &settings).expect_err(phrase);
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(phrase), "{error}");
    }
}
