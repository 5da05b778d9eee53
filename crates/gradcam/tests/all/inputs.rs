//! Networks that take more than one float photo, against float64 PyTorch, on every engine.

use std::{
    collections::BTreeMap,
    fs,
    sync::{Arc, LazyLock, Mutex},
};

use gradcam::{
    Explainer, ExplainerBuilder, Model, Network, Target,
    engine::{EngineKind, Tensor},
    ndarray::{ArrayD, Axis, Slice},
};
use onnx_grad::{
    Dim, Fact,
    graph::declare,
    proto::{ModelProto, tensor_proto::DataType},
};
use prost::Message;
use testkit::{
    InputCase, InputValue, Suite,
    build::{self, node},
    fixture, input_cases, largest_error,
};

use crate::common;
use crate::one_each::OneEach;

/// What an engine refuses, and what it says. A network that runs all the same is an error.
const REFUSED: &[(EngineKind, &str, &str)] =
    &[(EngineKind::Rten, "volume", "it has 3 spatial axes; rten takes 1 and 2")];

static CASES: LazyLock<BTreeMap<String, InputCase>> = LazyLock::new(input_cases);

pub(crate) fn tests(suite: &mut Suite) {
    for (name, case) in &*CASES {
        for kind in EngineKind::ALL {
            suite.test(format!("inputs::maps::{name}::{kind}"), move || {
                maps_equal_float64_pytorch(name, case, kind);
            });
        }
        suite.test(format!("inputs::default_layer::{name}"), move || {
            the_default_layer_is_that_of_the_image(name, case);
        });
    }
    for name in ["all_types", "two_branches", "two_pictures"] {
        for kind in EngineKind::ALL {
            suite.test(format!("inputs::hooks::{name}::{kind}"), move || {
                grad_cam_by_hooks_is_that_of_float64_pytorch(&CASES[name], name, kind);
            });
        }
    }
    testkit::tests!(
        suite,
        a_network_gets_another_value,
        a_value_without_a_batch_is_used_for_each_image,
        an_input_gets_another_value,
        programs_of_values_of_other_shapes_are_kept,
        any_number_of_images_for_a_fixed_batch,
        types_that_an_engine_lacks_are_refused_by_name,
    );
}

fn open(name: &str) -> Model {
    Model::open(fixture(&format!("inputs/{name}.onnx"))).expect(name)
}

#[expect(clippy::cast_possible_truncation, reason = "the numbers are of the declared type")]
fn floats(value: &InputValue) -> ArrayD<f32> {
    let numbers = value.data.iter().map(|number| *number as f32).collect();
    ArrayD::from_shape_vec(value.shape.as_slice(), numbers).expect("an input")
}

#[expect(clippy::cast_possible_truncation, reason = "whole numbers")]
fn tensor(value: &InputValue) -> Tensor {
    match value.dtype.starts_with("float") {
        true => floats(value).into(),
        false => floats(value).mapv(|number| number as i64).into(),
    }
}

fn on(kind: EngineKind, builder: ExplainerBuilder) -> ExplainerBuilder {
    builder.engine(kind).library_places(common::library())
}

/// An explainer of some layers, with all inputs given but the image, of the images of that range.
fn explainer(name: &str, case: &InputCase, kind: EngineKind, images: Slice) -> Explainer {
    let builder = Explainer::builder(open(name)).layers(case.layers.keys());
    let given = case.inputs.iter().filter(|(name, _)| *name != "image");
    let builder = given.fold(on(kind, builder), |builder, (name, value)| {
        let rows = value.shape.first() == Some(&case.classes.len());
        builder.input(
            name,
            match tensor(value) {
                Tensor::F32(array) if rows => array.slice_axis(Axis(0), images).to_owned().into(),
                Tensor::I64(array) if rows => array.slice_axis(Axis(0), images).to_owned().into(),
                whole => whole,
            },
        )
    });
    builder.build().expect(name)
}

/// What is wrong with the maps of one network on one engine, of the whole batch and of each image alone.
fn wrong(name: &str, case: &InputCase, kind: EngineKind) -> gradcam::Result<Vec<String>> {
    let image = floats(&case.inputs["image"]);
    let targets: Vec<Target> = case.classes.iter().map(|&class| Target::Class(class)).collect();
    let whole = explainer(name, case, kind, Slice::from(..));
    let explained = whole.explain_one_each(image.view(), &targets)?;
    let mut wrong = Vec::new();
    let mut check = |what: String, got: Vec<f32>, want: &[f64]| {
        let error = largest_error(&got, want);
        if error > case.bound {
            wrong.push(format!("{what}: {error:.1e}"));
        }
    };
    let scores = explained.iter().flat_map(|e| e.scores.iter().copied()).collect();
    check("scores".to_owned(), scores, &case.scores.data);
    for (at, target) in targets.iter().enumerate() {
        // Alone it has the same map, also where the model fixes the batch.
        let one = Slice::from(at..=at);
        let alone = explainer(name, case, kind, one);
        let alone =
            alone.explain_one_each(image.slice_axis(Axis(0), one), std::slice::from_ref(target))?;
        for (place, (layer, want)) in case.layers.iter().enumerate() {
            let size = want.data.len() / want.shape[0];
            for (how, got) in [("batch", &explained[at]), ("alone", &alone[0])] {
                let map = &got.layers[place].map;
                assert_eq!(map.shape(), &want.shape[1..], "{name} at {layer}");
                let what = format!("{layer} of image {at}, {how}");
                check(what, map.iter().copied().collect(), &want.data[at * size..][..size]);
            }
        }
    }
    Ok(wrong)
}

fn maps_equal_float64_pytorch(name: &str, case: &InputCase, kind: EngineKind) {
    let refused = REFUSED.iter().find(|(engine, of, _)| *engine == kind && *of == name);
    match (wrong(name, case, kind), refused) {
        (Ok(wrong), None) => assert!(wrong.is_empty(), "{}", wrong.join("\n")),
        (Err(error), Some((.., phrase))) if error.to_string().contains(phrase) => {}
        (Ok(_), Some(_)) => panic!("it runs, but is excluded"),
        (Err(error), _) => panic!("{error}"),
    }
}

fn the_default_layer_is_that_of_the_image(name: &str, case: &InputCase) {
    let given = case.inputs.iter().filter(|(name, _)| *name != "image");
    let builder = given.fold(Explainer::builder(open(name)), |builder, (name, value)| {
        builder.input(name, tensor(value))
    });
    let listed = builder.layer_list().expect("a list");
    let explainer = builder.build().expect("an explainer");
    let (default, _) = explainer.layers().next().expect("a layer");
    assert!(default.contains("late"), "{default}");
    let listed = listed.iter().find(|layer| layer.default).map(|layer| layer.path.as_str());
    assert_eq!(listed, Some(default));
}

/// A network whose inputs beside the image have these values.
fn network(name: &str, kind: EngineKind, given: &[(&String, Tensor)]) -> Network {
    let builder = Network::builder(open(name)).engine(kind);
    let builder = match kind {
        EngineKind::OnnxRuntime => builder.library_places(common::library()),
        _ => builder,
    };
    let builder =
        given.iter().fold(builder, |builder, (name, value)| builder.input(*name, value.clone()));
    builder.build().expect(name)
}

fn given(case: &InputCase) -> Vec<(&String, Tensor)> {
    let beside = case.inputs.iter().filter(|(name, _)| *name != "image");
    beside.map(|(name, value)| (name, tensor(value))).collect()
}

fn grad_cam_by_hooks_is_that_of_float64_pytorch(case: &InputCase, name: &str, kind: EngineKind) {
    let network = network(name, kind, &given(case));
    for (layer, want) in &case.layers {
        let seen: Arc<Mutex<Vec<ArrayD<f32>>>> = Arc::default();
        let (outputs, gradients) = (seen.clone(), seen.clone());
        let forward = network
            .register_forward_hook(layer, move |call| {
                outputs.lock().expect("free").push(call.output.clone())
            })
            .expect(layer);
        let backward = network
            .register_backward_hook(layer, move |call| {
                gradients.lock().expect("free").push(call.grad_output[0].clone());
            })
            .expect(layer);
        let pass = network.forward(&floats(&case.inputs["image"])).expect("a pass");
        let mut seed = ArrayD::zeros(pass.scores().shape());
        case.classes.iter().enumerate().for_each(|(image, class)| seed[[image, *class]] = 1.0);
        network.backward(&pass, &seed).expect("gradients");
        forward.remove();
        backward.remove();
        let seen = seen.lock().expect("free");
        let [activation, gradient] = seen.as_slice() else {
            panic!("{} calls at {layer}", seen.len())
        };
        let positions = gradient.len() / gradient.shape()[..2].iter().product::<usize>();
        let mut weights = gradient.clone();
        while weights.ndim() > 2 {
            weights = weights.sum_axis(Axis(2));
        }
        weights /= positions as f32;
        let ones = vec![1; activation.ndim() - 2];
        let weights = weights.into_shape_with_order([&activation.shape()[..2], &ones].concat());
        let map = (activation * &weights.expect("weights")).sum_axis(Axis(1));
        assert_eq!(map.shape(), want.shape, "{layer}");
        let map: Vec<f32> = map.iter().copied().collect();
        let error = largest_error(&map, &want.data);
        assert!(error <= case.bound, "{layer}: {error:.1e}");
    }
}

fn a_network_gets_another_value() {
    let case = &CASES["two_branches"];
    let image = floats(&case.inputs["image"]);
    let features = floats(&case.inputs["features"]);
    let row = |at: usize| features.index_axis(Axis(0), at).to_owned();
    for kind in EngineKind::ALL {
        let of =
            |at: usize| network("two_branches", kind, &[(&"features".to_owned(), row(at).into())]);
        let scores = |network: &Network| network.forward(&image).expect("a pass").into_scores();
        let (first, other) = (of(0), of(1));
        let calls = Arc::new(Mutex::new(0));
        let count = calls.clone();
        let hook =
            first.register_forward_hook("trunk.late", move |_| *count.lock().expect("free") += 1);
        let hook = hook.expect("a hook");
        let changed = first.with_input("features", row(1)).expect("another value");
        assert_ne!(scores(&first), scores(&other));
        assert_eq!(scores(&changed), scores(&other));
        assert_eq!(*calls.lock().expect("free"), 2, "both call the hook");
        let pass = changed.forward(&image).expect("a pass");
        let seed = ArrayD::ones(pass.scores().shape());
        first.backward(&pass, &seed).expect("a pass of the network with another value");
        assert!(other.backward(&pass, &seed).is_err());
        hook.remove();
        let error = first.with_input("feature", row(1)).expect_err("no input of that name");
        assert!(error.to_string().contains("has no input \"feature\""), "{error}");
    }
    let error = Network::new(open("two_branches")).expect_err("no value");
    assert!(error.to_string().contains("the model takes more: "), "{error}");
}

fn a_value_without_a_batch_is_used_for_each_image() {
    let case = &CASES["two_branches"];
    let image = floats(&case.inputs["image"]);
    let features = floats(&case.inputs["features"]);
    let row = features.index_axis(Axis(0), 0).to_owned();
    for kind in EngineKind::ALL {
        let maps = |value: ArrayD<f32>| {
            let builder = on(kind, Explainer::builder(open("two_branches")));
            let explainer = builder.input("features", value).build().expect("an explainer");
            let explained =
                explainer.explain_one_each(image.view(), &[Target::Class(1), Target::Class(1)]);
            let maps = explained.expect("maps").into_iter();
            maps.map(|e| e.layers[0].map.clone()).collect::<Vec<_>>()
        };
        let both = ndarray::stack![Axis(0), row, row];
        assert_eq!(maps(row.clone()), maps(both.clone()));
        assert_eq!(maps(row.clone().insert_axis(Axis(0))), maps(both));
    }
}

fn an_input_gets_another_value() {
    let case = &CASES["two_branches"];
    let image = floats(&case.inputs["image"]);
    let features = floats(&case.inputs["features"]);
    let row = |at: usize| features.index_axis(Axis(0), at).to_owned();
    for kind in EngineKind::ALL {
        let of = |row: ArrayD<f32>| {
            let builder = on(kind, Explainer::builder(open("two_branches")));
            builder.input("features", row).build().expect("an explainer")
        };
        let map = |explainer: &Explainer| {
            let one = image.slice_axis(Axis(0), Slice::from(..1));
            let explained = explainer.explain_one_each(one, &[Target::Class(1)]).expect("a map");
            (explained[0].layers[0].map.clone(), explained[0].timings.compile)
        };
        let explainer = of(row(0));
        let (before, _) = map(&explainer);
        assert!(explainer.with_input("feature", row(1)).is_err());
        let other = explainer.with_input("features", row(1)).expect("another value");
        let (after, compile) = map(&other);
        assert_eq!(after, map(&of(row(1))).0);
        assert_ne!(after, before);
        assert!(compile.is_zero(), "the graph is kept");
        assert_eq!(map(&explainer), (before, compile), "the first keeps its value");
    }
}

/// x of 4x4 pixels times the mean of s, of which any number of elements is given.
fn programs_of_values_of_other_shapes_are_kept() {
    let nodes = vec![
        node("ReduceMean", &["s"], &["m"], vec![]),
        node("Mul", &["x", "m"], &["f"], vec![]),
        node("GlobalAveragePool", &["f"], &["p"], vec![]),
        node("Flatten", &["p"], &["y"], vec![]),
    ];
    let inputs =
        [("x", DataType::Float, &[1, 3, 4, 4][..]), ("s", DataType::Float, &[0, 1, 1, 1][..])];
    let proto = build::model(17, &inputs, &[("y", DataType::Float)], vec![], nodes);
    let model = Model::from_bytes(proto.encode_to_vec()).expect("a model");
    let of = |numbers: &[f32]| {
        ArrayD::from_shape_vec(vec![numbers.len(), 1, 1, 1], numbers.to_vec()).expect("numbers")
    };
    let x = ArrayD::from_elem(vec![1, 3, 4, 4], 1.0);
    for kind in EngineKind::ALL {
        let builder = on(kind, Explainer::builder(model.clone())).layer("f").input("s", of(&[2.0]));
        let explainer = builder.build().expect("an explainer");
        let mut compiled = Vec::new();
        for numbers in [&[3.0][..], &[1.0, 9.0], &[4.0], &[3.0, 5.0]] {
            let of_call = explainer.with_input("s", of(numbers)).expect("another value");
            let explained =
                of_call.explain(&x, Target::Class(0)).expect("a map").remove(0).remove(0);
            let mean = numbers.iter().sum::<f32>() / numbers.len() as f32;
            assert_eq!(explained.scores[..], [mean; 3], "{numbers:?} on {kind}");
            compiled.push(!explained.timings.compile.is_zero());
        }
        assert_eq!(compiled, [true, true, false, false], "each shape is compiled once on {kind}");
    }
}

fn any_number_of_images_for_a_fixed_batch() {
    let case = &CASES["photo_uint8"];
    let image = floats(&case.inputs["image"]);
    // Six images for a model of four, each for its own class.
    let order = [0, 1, 2, 3, 0, 2];
    let six = image.select(Axis(0), &order);
    let classes = order.map(|at| Target::Class(case.classes[at]));
    for kind in EngineKind::ALL {
        let explainer = explainer("photo_uint8", case, kind, Slice::from(..));
        let explained = explainer.explain_one_each(six.view(), &classes).expect("maps");
        assert_eq!(explained.len(), 6);
        for ((explained, at), target) in explained.iter().zip(order).zip(&classes) {
            assert_eq!(explained.target, *target);
            for (place, want) in case.layers.values().enumerate() {
                let size = want.data.len() / want.shape[0];
                let map: Vec<f32> = explained.layers[place].map.iter().copied().collect();
                let error = largest_error(&map, &want.data[at * size..][..size]);
                assert!(error <= case.bound, "image {at} on {kind}: {error:.1e}");
            }
        }
        let half = six.mapv(|number| number + 0.5);
        let message = explainer.explain_one_each(half.view(), &classes).expect_err("no integers");
        assert!(message.to_string().contains("takes uint8"), "{message}");
    }
}

fn types_that_an_engine_lacks_are_refused_by_name() {
    for elem in [DataType::Uint16, DataType::Int16, DataType::Uint32, DataType::Uint64] {
        let bytes = fs::read(fixture("inputs/photo_int32.onnx")).expect("a fixture");
        let mut proto = ModelProto::decode(bytes.as_slice()).expect("a model");
        let graph = proto.graph.as_mut().expect("a graph");
        let batch = [Dim::Batch(1), Dim::Fixed(3), Dim::Fixed(12), Dim::Fixed(18)];
        graph.input = vec![declare("image", &Fact::new(elem, batch))];
        let model = Model::from_bytes(proto.encode_to_vec()).expect("a model");
        let case = &CASES["photo_int32"];
        let image = floats(&case.inputs["image"]);
        let map = |kind| {
            let explainer = on(kind, Explainer::builder(model.clone())).build()?;
            let explained = explainer.explain_one_each(
                image.view(),
                &[Target::Class(case.classes[0]), Target::Class(case.classes[0])],
            );
            explained
                .map(|explained| explained[0].layers[0].map.iter().copied().collect::<Vec<_>>())
        };
        let error = map(EngineKind::Rten).expect_err("rten").to_string();
        let phrase =
            format!("\"image\" (input): rten has no tensors of type {}", elem.numpy_name());
        assert!(error.contains(&phrase), "{error}");
        let want = &case.layers["trunk.late"].data;
        let error =
            largest_error(&map(EngineKind::OnnxRuntime).expect("a map"), &want[..want.len() / 2]);
        assert!(error <= case.bound, "{elem:?}: {error:.1e}");
    }
}
