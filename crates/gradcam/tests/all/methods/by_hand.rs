//! Methods by hand: maps of 2×2 positions and little more, worked out on paper.

use gradcam::{Explainer, LayerMap, MethodSettings, Model, Target, engine::EngineKind};
use ndarray::ArrayD;
use onnx_grad::proto::{NodeProto, TensorProto, tensor_proto::DataType};
use prost::Message;
use testkit::build::{self, f32s, int, node};
use testkit::{Suite, largest_error};

use super::{builder, method};
use crate::one_each::OneEach;

pub(crate) fn tests(suite: &mut Suite) {
    testkit::tests!(
        suite,
        methods_of_one_gradient,
        principal_components_of_products,
        kpca_cam_of_two_kinds_of_positions,
        fem_of_one_peak,
        shapley_cam_of_squares,
        finer_cam_of_two_classes_is_their_difference,
        finer_cam_needs_classes,
        cam_takes_the_row_of_the_class,
        cam_refuses_other_layers,
        random_cam_follows_from_the_seed,
        grad_cam_plus_plus,
        eigen_cam_of_one_direction,
        ablation_cam_in_front_of_a_convolution,
    );
}

/// x [1, 2, n, n] → the nodes → y, and the image.
fn model(size: usize, constants: Vec<TensorProto>, nodes: Vec<NodeProto>) -> Model {
    let size = i64::try_from(size).expect("a small number");
    let inputs = [("x", DataType::Float, &[1, 2, size, size][..])];
    let proto = build::model(17, &inputs, &[("y", DataType::Float)], constants, nodes);
    Model::from_bytes(proto.encode_to_vec()).expect("a model")
}

/// y = W·a, a the image.
fn linear(rows: &[[f32; 8]]) -> Model {
    let classes = i64::try_from(rows.len()).expect("a small number");
    let nodes = vec![
        node("Identity", &["x"], &["a"], vec![]),
        node("Flatten", &["a"], &["f"], vec![]),
        node("Gemm", &["f", "w"], &["y"], vec![int("transB", 1)]),
    ];
    model(2, vec![f32s("w", &[classes, 8], &rows.concat())], nodes)
}

fn image(numbers: &[f32]) -> ArrayD<f32> {
    let size = if numbers.len() == 8 { 2 } else { 4 };
    ArrayD::from_shape_vec(vec![1, 2, size, size], numbers.to_vec()).expect("an input")
}

fn explained(explainer: &Explainer, x: &ArrayD<f32>, target: Target) -> LayerMap {
    explainer.explain_one_each(x.view(), &[target]).expect("an explanation")[0].layers[0].clone()
}

/// The map and the weights of a method at layer "a", for class 0, on every engine.
fn check(id: &str, model: &Model, x: &ArrayD<f32>, map: &[f64], weights: &[f64]) {
    for kind in EngineKind::ALL {
        let explainer = builder(model, kind).layer("a").method(method(id)).build();
        let layer = explained(&explainer.expect("an explainer"), x, Target::Class(0));
        let got: Vec<f32> = layer.map.iter().copied().collect();
        assert!(largest_error(&got, map) < 1e-6, "{id} on {kind}: {got:?}, not {map:?}");
        assert_eq!(layer.weights.len(), weights.len(), "{id}");
        if !weights.is_empty() {
            assert!(largest_error(&layer.weights, weights) < 1e-6, "{id}: {:?}", layer.weights);
        }
    }
}

/// A and g of a linear model.
const A: [f32; 8] = [1.0, 2.0, 0.0, -2.0, 0.0, 1.0, 2.0, -2.0];
const G: [f32; 8] = [0.5, 0.0, 0.0, 0.5, -1.0, 1.0, -2.0, 4.0];

/// The products g·A are [1/2, 0, 0, −1] and [0, 1, −4, −8], the sums of A are 1.
fn methods_of_one_gradient() {
    let (model, x) = (linear(&[G, [0.0; 8]]), image(&A));
    let means = [0.25, 0.5];
    check("gradcam", &model, &x, &[0.25, 1.0, 1.0, -1.5], &means);
    check("hirescam", &model, &x, &[0.5, 1.0, -4.0, -9.0], &means);
    check("gradcam-elementwise", &model, &x, &[0.5, 1.0, 0.0, 0.0], &means);
    check("layercam", &model, &x, &[0.5, 1.0, 0.0, -9.0], &means);
    check("xgradcam", &model, &x, &[-0.5, -12.0, -22.0, 23.0], &[-0.5, -11.0]);
}

/// Where the second channel has no gradient, the component is the product of the first: [−1/2, 0, 0, −1] without its mean, or
/// [1/2, 0, 0, −1] with the absolute gradient.
fn principal_components_of_products() {
    let row = [-0.5, 0.0, 0.0, 0.5, 0.0, 0.0, 0.0, 0.0];
    let (model, x) = (linear(&[row, [0.0; 8]]), image(&A));
    check("eigengradcam", &model, &x, &[0.125, -0.375, -0.375, 0.625], &[-1.0, 0.0]);
    check("segeigencam", &model, &x, &[-0.625, -0.125, -0.125, 0.875], &[-1.0, 0.0]);
}

/// x = [3, −1, −1, −1] beside a constant channel. The kernel is tanh(x·y/2 + 1), and all but one eigenvalue are 0: that of
/// v = x/√12, λ = (9·k(3, 3) − 18·k(3, −1) + 9·k(−1, −1))/12.
fn kpca_cam_of_two_kinds_of_positions() {
    let model = linear(&[G, [0.0; 8]]);
    let kernel = |product: f64| (product / 2.0 + 1.0).tanh();
    let value = (9.0 * kernel(9.0) - 18.0 * kernel(-3.0) + 9.0 * kernel(1.0)) / 12.0;
    let map = [3.0, -1.0, -1.0, -1.0].map(|v: f64| v / 12.0f64.sqrt() * value.sqrt());
    for sign in [1.0, -1.0] {
        let first = [3.0, -1.0, -1.0, -1.0].map(|v| 7.0 + sign * v);
        check("kpcacam", &model, &image(&[first, [1.0; 4]].concat()), &map, &[]);
    }
}

/// Of 16 positions with mean 1 and σ = √15, the one of 16 lies above 1 + 2σ; of a constant channel none does.
fn fem_of_one_peak() {
    let nodes = vec![
        node("Identity", &["x"], &["a"], vec![]),
        node("GlobalAveragePool", &["a"], &["p"], vec![]),
        node("Flatten", &["p"], &["y"], vec![]),
    ];
    let (mut peak, mut map) = ([0.0; 32], [0.0; 16]);
    (peak[4], map[4]) = (16.0, 1.0);
    peak[16..].fill(5.0);
    check("fem", &model(4, vec![], nodes), &image(&peak), &map, &[1.0 / 16.0, 0.0]);
}

/// y = Σ r·a², so that g = 2·r·A, H·A = 2·r·A, and w = the mean of r·A.
fn shapley_cam_of_squares() {
    let nodes = vec![
        node("Identity", &["x"], &["a"], vec![]),
        node("Mul", &["a", "a"], &["s"], vec![]),
        node("Flatten", &["s"], &["f"], vec![]),
        node("Gemm", &["f", "w"], &["y"], vec![int("transB", 1)]),
    ];
    let model = model(2, vec![f32s("w", &[2, 8], &[G, [0.0; 8]].concat())], nodes);
    check("shapleycam", &model, &image(&A), &[-0.125, -3.0, -5.5, 5.75], &[-0.125, -2.75]);
    check("shapleycam", &linear(&[G, [0.0; 8]]), &image(&A), &[0.25, 1.0, 1.0, -1.5], &[0.25, 0.5]);
}

/// The one other class has all the weight: the target is the difference of the scores.
fn finer_cam_of_two_classes_is_their_difference() {
    let other = [0.25, 0.25, 0.25, 0.25, 1.0, 0.0, 0.0, 0.0];
    // The weights are 1/4 − 1/4 and 1/2 − 1/4.
    let map = [0.0, 0.25, 0.5, -0.5];
    check("finercam", &linear(&[G, other]), &image(&A), &map, &[0.0, 0.25]);
}

fn refusal(model: &Model, id: &str, layer: &str, target: Target) -> String {
    let explainer = builder(model, EngineKind::Rten).layer(layer).method(method(id)).build();
    let error = match explainer {
        Ok(explainer) => {
            let x = ArrayD::ones(vec![1, 2, 2, 2]);
            explainer.explain_one_each(x.view(), &[target]).expect_err("it is refused")
        }
        Err(error) => error,
    };
    error.to_string()
}

fn finer_cam_needs_classes() {
    let (one, two) = (linear(&[G]), linear(&[G, G]));
    let refused = [
        (&one, Target::Argmax, "other classes of an image"),
        (&two, Target::Difference(0, 1), "the target 0-1 is no class"),
        (&two, Target::Probability(0), "the target p:0 is no class"),
    ];
    for (model, target, words) in refused {
        let message = refusal(model, "finercam", "a", target);
        assert!(message.contains(words), "{message}");
    }
}

/// x → a = Relu → the nodes → y.
fn pooled(nodes: Vec<NodeProto>) -> Model {
    let constants = vec![f32s("w", &[2, 2], &[2.0, -1.0, 0.5, 0.5]), f32s("c", &[2], &[1.0, 2.0])];
    let nodes = [vec![node("Relu", &["x"], &["a"], vec![])], nodes].concat();
    model(2, constants, nodes)
}

fn cam_takes_the_row_of_the_class() {
    let gemm = |from: &str| node("Gemm", &[from, "w"], &["y"], vec![]);
    let flat = |from: &str| node("Flatten", &[from], &["f"], vec![]);
    let pool = |op: &str| node(op, &["a"], &["p"], vec![]);
    let mean =
        node("ReduceMean", &["a"], &["f"], vec![build::ints("axes", &[2, 3]), int("keepdims", 0)]);
    let biased = vec![
        pool("GlobalAveragePool"),
        flat("p"),
        node("MatMul", &["f", "w"], &["m"], vec![]),
        node("Add", &["m", "c"], &["y"], vec![]),
    ];
    // Class 0 has the weights of the first column.
    for nodes in [
        vec![pool("GlobalAveragePool"), flat("p"), gemm("f")],
        vec![pool("GlobalMaxPool"), flat("p"), gemm("f")],
        vec![mean, gemm("f")],
        biased,
    ] {
        let x = image(&[1.0, 2.0, 0.0, 3.0, 0.0, 4.0, 1.0, 0.0]);
        check("cam", &pooled(nodes), &x, &[2.0, 6.0, 0.5, 6.0], &[2.0, 0.5]);
    }
}

fn cam_refuses_other_layers() {
    let gemm = |from: &str, to: &str| node("Gemm", &[from, "w"], &[to], vec![]);
    let pool = node("GlobalAveragePool", &["a"], &["p"], vec![]);
    let flat = node("Flatten", &["p"], &["f"], vec![]);
    let relu = vec![
        node("Sigmoid", &["a"], &["b"], vec![]),
        node("GlobalAveragePool", &["b"], &["p"], vec![]),
        flat.clone(),
        gemm("f", "y"),
    ];
    let two = vec![pool.clone(), flat.clone(), gemm("f", "g"), gemm("g", "y")];
    let none = vec![pool.clone(), node("Flatten", &["p"], &["y"], vec![])];
    let once = vec![pool, flat, gemm("f", "y")];
    for (nodes, target, words) in [
        (relu, Target::Argmax, "layer \"a\" is followed by"),
        (two, Target::Argmax, "(Gemm)"),
        (none, Target::Argmax, "no such nodes"),
        (once, Target::Probability(0), "the target p:0 has none"),
    ] {
        let message = refusal(&pooled(nodes), "cam", "a", target);
        assert!(message.contains(words), "{message}");
    }
}

/// The weights follow from the seed, lie in (−1, 1), and make the map.
fn random_cam_follows_from_the_seed() {
    let (model, x) = (linear(&[G, [0.0; 8]]), image(&A));
    let drawn = |seed| {
        let settings = MethodSettings { seed, ..MethodSettings::default() };
        let builder = builder(&model, EngineKind::Rten).layer("a").method(method("randomcam"));
        let explainer = builder.method_settings(settings).build().expect("an explainer");
        explained(&explainer, &x, Target::Argmax)
    };
    let (one, again, other) = (drawn(1), drawn(1), drawn(2));
    assert_eq!((&one.weights, &one.map), (&again.weights, &again.map));
    assert_ne!(one.weights, other.weights);
    assert!(one.weights.iter().all(|weight| weight.abs() < 1.0), "{:?}", one.weights);
    let want: Vec<f64> = (0..4)
        .map(|at| f64::from(one.weights[0] * A[at]) + f64::from(one.weights[1] * A[4 + at]))
        .collect();
    let got: Vec<f32> = one.map.iter().copied().collect();
    assert!(largest_error(&got, &want) < 1e-6, "{got:?}, not {want:?}");
}

/// w_0 = 2·0.5·0.25/(0.5 + 4·0.125 + 1e-6), and so on.
fn grad_cam_plus_plus() {
    let model = linear(&[[0.5, 0.0, 0.0, 0.5, -1.0, 1.0, 0.0, 2.0], [0.0; 8]]);
    let x = image(&[1.0, 2.0, 0.0, 1.0, 0.0, 1.0, 1.0, 0.0]);
    let (first, second) = (0.125 / 1.000_001, 1.0 / 4.000_001 + 8.0 / 24.000_001);
    let map = [2.0 * first, 4.0 * first + second, second, 2.0 * first];
    check("gradcam++", &model, &x, &map, &[2.0 * first, second]);
}

/// EigenCAM of channels along one direction: the projection is the channel itself, its larger side positive.
fn eigen_cam_of_one_direction() {
    let model = linear(&[G, [0.0; 8]]);
    for sign in [1.0, -1.0] {
        // 5 is the mean of the first channel, 1 of the second.
        let first = [3.0, 0.0, -1.0, -2.0].map(|v| 5.0 + sign * v);
        let x = image(&[first, [1.0; 4]].concat());
        check("eigencam", &model, &x, &[3.0, 0.0, -1.0, -2.0], &[f64::from(sign), 0.0]);
    }
}

/// Where the layer is read by the affine step itself, the channels meet in the layer: y = mean of 2·A_0 − A_1, so that
/// w = (y − y_k)/y with y_0 = −mean A_1 and y_1 = 2·mean A_0.
fn ablation_cam_in_front_of_a_convolution() {
    let nodes = vec![
        node("Relu", &["x"], &["a"], vec![]),
        node("Conv", &["a", "w"], &["c"], vec![]),
        node("GlobalAveragePool", &["c"], &["p"], vec![]),
        node("Flatten", &["p"], &["y"], vec![]),
    ];
    let constants = vec![f32s("w", &[2, 2, 1, 1], &[2.0, -1.0, 0.5, 0.5])];
    let model = model(2, constants, nodes);
    let x = image(&[1.0, 0.0, 0.0, 3.0, 0.0, 1.0, 1.0, 0.0]);
    for kind in EngineKind::ALL {
        let builder = builder(&model, kind).layer("a").method(method("ablationcam"));
        // The closed form makes no run of its own.
        let builder = builder.progress(|progress| unreachable!("{progress:?}"));
        let explained =
            builder.build().expect("an explainer").explain_one_each(x.view(), &[Target::Class(0)]);
        let weights = &explained.expect("an explanation")[0].layers[0].weights;
        assert!(largest_error(weights, &[2.0 / 1.5, -0.5 / 1.5]) < 1e-6, "{weights:?} on {kind}");
    }
}
