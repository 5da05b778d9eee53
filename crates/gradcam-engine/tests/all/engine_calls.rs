//! How sessions are called, and what they say when they are called wrongly.

use std::{path::Path, thread};

use gradcam_engine::{
    EngineErrorKind, EngineKind, EngineOptions, Provider, Session, Tensor, TensorView, engine,
    library_places,
};
use ndarray::{Array, ArrayD, ShapeBuilder};
use onnx_grad::{
    Model,
    proto::{ModelProto, tensor_proto::DataType},
};
use prost::Message;
use testkit::{
    Suite,
    build::{self, int, ints, model, node, text, weights},
};

use crate::common::{self, shared};

pub(crate) fn tests(suite: &mut Suite) {
    testkit::tests!(
        suite,
        outputs_come_in_the_order_in_which_they_are_asked_for,
        inputs_and_constants_can_be_outputs,
        inputs_of_any_strides_are_read_in_order,
        wrong_calls_are_errors_that_say_what_is_right,
        rten_says_when_an_integer_is_too_large_for_it,
        a_failing_node_is_named,
        callers_do_not_see_each_other,
        all_nodes_that_cannot_run_are_listed,
        impossible_windows_are_errors,
        a_wrong_engine_name_gives_the_names,
        execution_providers_are_those_of_the_library,
        places_begin_with_what_the_user_says,
    );
}

fn read(proto: &ModelProto) -> Model {
    Model::from_bytes(proto.encode_to_vec()).unwrap()
}

/// y = x · w, and z = rows of x by index.
fn two_inputs() -> Model {
    let nodes = vec![
        node("MatMul", &["x", "w"], &["y"], vec![]),
        node("Gather", &["x", "rows"], &["z"], vec![]),
    ];
    let inputs: [(&str, DataType, &[i64]); 2] =
        [("x", DataType::Float, &[-1, 3]), ("rows", DataType::Int64, &[2])];
    let outputs = [("y", DataType::Float), ("z", DataType::Float)];
    read(&model(13, &inputs, &outputs, vec![weights("w", &[3, 2])], nodes))
}

fn x(rows: usize) -> ArrayD<f32> {
    Array::from_shape_fn((rows, 3), |(i, j)| (3 * i + j) as f32).into_dyn()
}

fn rows(at: [i64; 2]) -> ArrayD<i64> {
    Array::from_vec(at.to_vec()).into_dyn()
}

fn outputs_come_in_the_order_in_which_they_are_asked_for() {
    for engine in EngineKind::ALL.map(shared) {
        let session = engine.compile(&two_inputs()).unwrap();
        let (x, at) = (x(2), rows([1, 0]));
        let inputs = [("rows", TensorView::I64(at.view())), ("x", TensorView::from(&x))];
        let outputs = session.run(&inputs, &["z", "y", "z"]).unwrap();
        let shapes: Vec<_> = outputs.iter().map(Tensor::shape).collect();
        assert_eq!(shapes, [[2, 3], [2, 2], [2, 3]], "{}", engine.name());
        assert_eq!(outputs[0], outputs[2]);
        let wanted = Tensor::F32(ndarray::arr2(&[[3.0, 4.0, 5.0], [0.0, 1.0, 2.0]]).into_dyn());
        assert_eq!(outputs[0], wanted, "{}", engine.name());
        assert!(session.run(&inputs, &[]).unwrap().is_empty());
    }
}

fn inputs_and_constants_can_be_outputs() {
    let inputs: [(&str, DataType, &[i64]); 2] =
        [("x", DataType::Float, &[2, 3]), ("h", DataType::Float16, &[1])];
    let outputs = ["x", "h", "w", "y"].map(|name| (name, DataType::Float));
    let nodes = vec![node("Relu", &["x"], &["y"], vec![])];
    let mut proto = model(13, &inputs, &outputs, vec![weights("w", &[2])], nodes);
    proto.graph.as_mut().unwrap().output[1] = build::value("h", DataType::Float16, None);
    let (x, h) = (x(2), Array::from_elem(1, 0.5f32).into_dyn());
    for engine in EngineKind::ALL.map(shared) {
        let session = engine.compile(&read(&proto)).unwrap();
        let inputs = [("x", TensorView::from(&x)), ("h", TensorView::from(&h))];
        let outputs = session.run(&inputs, &["x", "h", "w"]).unwrap();
        assert_eq!(outputs[..2], [Tensor::F32(x.clone()), Tensor::F32(h.clone())]);
        assert_eq!(outputs[2].shape(), [2], "{}", engine.name());
    }
}

fn inputs_of_any_strides_are_read_in_order() {
    let column_major = Array::from_shape_vec((2, 3).f(), vec![0., 3., 1., 4., 2., 5.]).unwrap();
    let at = rows([0, 1]);
    for engine in EngineKind::ALL.map(shared) {
        let session = engine.compile(&two_inputs()).unwrap();
        let inputs = [("x", TensorView::from(&column_major)), ("rows", TensorView::I64(at.view()))];
        let outputs = session.run(&inputs, &["z"]).unwrap();
        assert_eq!(outputs, [Tensor::F32(x(2))], "{}", engine.name());
    }
}

fn wrong_calls_are_errors_that_say_what_is_right() {
    let (good, wide, at) = (x(2), Array::<f32, _>::zeros((2, 4)).into_dyn(), rows([1, 0]));
    let integers = Array::<i64, _>::zeros((2, 3)).into_dyn();
    let (x, rows) = (TensorView::from(&good), TensorView::I64(at.view()));
    type Call<'a> = (Vec<(&'a str, TensorView<'a>)>, &'a [&'a str], &'a str);
    let calls: Vec<Call<'_>> = vec![
        (vec![("x", x.clone())], &["y"], "input \"rows\" is missing"),
        (
            vec![("x", x.clone()), ("rows", rows.clone()), ("q", x.clone())],
            &["y"],
            "the model has no input \"q\"; its inputs are: \"x\", \"rows\"",
        ),
        (
            vec![("x", x.clone()), ("x", x.clone()), ("rows", rows.clone())],
            &["y"],
            "input \"x\" is given twice",
        ),
        (
            vec![("x", TensorView::from(&wide)), ("rows", rows.clone())],
            &["y"],
            "input \"x\" has the shape [2, 4]; the model takes [?, 3]",
        ),
        (
            vec![("x", TensorView::I64(integers.view())), ("rows", rows.clone())],
            &["y"],
            "input \"x\" is given integers; the model takes float",
        ),
        (
            vec![("x", x.clone()), ("rows", rows.clone())],
            &["y", "w"],
            "the model has no output \"w\"; its outputs are: \"y\", \"z\"",
        ),
    ];
    for engine in EngineKind::ALL.map(shared) {
        let session = engine.compile(&two_inputs()).unwrap();
        for (inputs, outputs, message) in &calls {
            let error = session.run(inputs, outputs).unwrap_err();
            assert_eq!(error.to_string(), *message, "{}", engine.name());
            let outputs = error.kind() == EngineErrorKind::UnknownOutput;
            assert!(outputs || error.kind() == EngineErrorKind::InvalidInput);
        }
    }
}

fn rten_says_when_an_integer_is_too_large_for_it() {
    let engine = engine(EngineKind::Rten, &EngineOptions::default()).unwrap();
    let session = engine.compile(&two_inputs()).unwrap();
    let (x, at) = (x(2), rows([1, 1 << 40]));
    let inputs = [("x", TensorView::from(&x)), ("rows", TensorView::I64(at.view()))];
    let error = session.run(&inputs, &["z"]).unwrap_err();
    assert!(
        error.to_string().starts_with("input \"rows\" has the number 1099511627776"),
        "{error}"
    );
}

fn a_failing_node_is_named() {
    let (x, at) = (x(2), rows([1, 5]));
    for engine in EngineKind::ALL.map(shared) {
        let session = engine.compile(&two_inputs()).unwrap();
        let inputs = [("x", TensorView::from(&x)), ("rows", TensorView::I64(at.view()))];
        let error = session.run(&inputs, &["z"]).unwrap_err();
        assert_eq!(error.kind(), EngineErrorKind::Run);
        assert_eq!(error.node(), Some("Gather.z"), "{error}");
        // The session still works.
        let at = rows([1, 0]);
        let inputs = [("x", TensorView::from(&x)), ("rows", TensorView::I64(at.view()))];
        session.run(&inputs, &["z"]).unwrap();
    }
}

fn callers_do_not_see_each_other() {
    let image = |caller: usize| Array::from_elem((1, 1, 16, 16), caller as f32).into_dyn();
    let conv = node("Conv", &["x", "w"], &["y"], vec![text("auto_pad", "SAME_UPPER")]);
    let model = read(&model(
        13,
        &[("x", DataType::Float, &[1, 1, 16, 16])],
        &[("y", DataType::Float)],
        vec![weights("w", &[8, 1, 5, 5])],
        vec![conv],
    ));
    for engine in EngineKind::ALL.map(shared) {
        let session = engine.compile(&model).unwrap();
        let run = |session: &dyn Session, caller| {
            let x = image(caller);
            session.run(&[("x", TensorView::from(&x))], &["y"]).unwrap()
        };
        let alone: Vec<_> = (0..4).map(|caller| run(&*session, caller)).collect();
        thread::scope(|scope| {
            for caller in 0..4 {
                let (session, alone) = (&session, &alone);
                scope.spawn(move || {
                    for _ in 0..8 {
                        assert_eq!(run(&**session, caller), alone[caller]);
                    }
                });
            }
        });
    }
}

fn all_nodes_that_cannot_run_are_listed() {
    let mut custom = node("Sharpen", &["d"], &["y"], vec![]);
    custom.domain = Some("org.example".to_owned());
    let nodes = vec![
        node("LRN", &["x"], &["a"], vec![int("size", 0)]),
        node("LpNormalization", &["a"], &["b"], vec![int("p", 3)]),
        node("Relu", &["b"], &["c"], vec![int("slope", 1)]),
        node("Softmax", &["c"], &["d"], vec![]),
        custom,
    ];
    let inputs: [(&str, DataType, &[i64]); 1] = [("x", DataType::Float, &[1, 4, 6, 6])];
    let mut proto = model(12, &inputs, &[("y", DataType::Float)], vec![], nodes);
    let message = |proto: &ModelProto, at: usize| {
        let error = shared(EngineKind::ALL[at]).compile(&read(proto)).map(|_| ()).unwrap_err();
        assert_eq!(error.kind(), EngineErrorKind::Unsupported);
        assert_eq!(error.node(), Some("LRN.a"));
        error.to_string()
    };
    assert_eq!(
        message(&proto, 0),
        "rten cannot run 4 nodes of this model; try the engine onnxruntime:\
         \n  \"LRN.a\" (LRN, opset 12): rten has no LRN\
         \n  \"LpNormalization.b\" (LpNormalization, opset 12): attribute p is 3; rten takes 1|2\
         \n  \"Relu.c\" (Relu, opset 12): rten has no attribute slope\
         \n  \"Sharpen.y\" (Sharpen, opset 12): operators of the domain org.example are unknown to \
         it; only operators of the ONNX standard run here"
    );
    assert_eq!(
        message(&proto, 1),
        "ONNX Runtime cannot run 2 nodes of this model:\
         \n  \"LRN.a\" (LRN, opset 12): attribute size is 0; it must be odd\
         \n  \"Sharpen.y\" (Sharpen, opset 12): operators of the domain org.example are unknown to \
         it; only operators of the ONNX standard run here"
    );
    proto.opset_import[0].version = Some(29);
    let error = shared(EngineKind::OnnxRuntime).compile(&read(&proto)).map(|_| ()).unwrap_err();
    assert!(
        error.to_string().starts_with("the model uses opset 29; ONNX Runtime supports"),
        "{error}"
    );
}

fn impossible_windows_are_errors() {
    let same = || text("auto_pad", "SAME_LOWER");
    let windows = [
        vec![same(), ints("kernel_shape", &[i64::MIN, 2])],
        vec![same(), ints("kernel_shape", &[i64::MAX, 2])],
        vec![same(), ints("kernel_shape", &[2, 2]), ints("strides", &[0, 1])],
        vec![ints("kernel_shape", &[2, 2]), ints("strides", &[1])],
        vec![ints("kernel_shape", &[2, 2]), ints("pads", &[-1, 0, 0, 0])],
        vec![ints("kernel_shape", &[2, 2]), ints("pads", &[i64::MAX, 0, i64::MAX, 0])],
        vec![ints("kernel_shape", &[2; 9])],
        vec![],
    ];
    let x = Array::<f32, _>::zeros((1, 1, 4, 4)).into_dyn();
    for (engine, attributes) in
        EngineKind::ALL.map(shared).iter().flat_map(|e| windows.iter().map(move |w| (e, w)))
    {
        let pool = node("MaxPool", &["x"], &["y"], attributes.clone());
        let inputs: [(&str, DataType, &[i64]); 1] = [("x", DataType::Float, &[1, 1, 4, 4])];
        let proto = model(13, &inputs, &[("y", DataType::Float)], vec![], vec![pool]);
        let session = engine.compile(&read(&proto));
        let result = session.and_then(|s| s.run(&[("x", TensorView::from(&x))], &["y"]));
        assert!(result.is_err(), "{}: {attributes:?}", engine.name());
    }
}

fn a_wrong_engine_name_gives_the_names() {
    let error = "tensorrt".parse::<EngineKind>().unwrap_err();
    assert_eq!(error.to_string(), "no engine named \"tensorrt\"; there are: rten, onnxruntime");
    for kind in EngineKind::ALL {
        assert_eq!(kind.to_string().parse::<EngineKind>().unwrap(), kind);
    }
}

fn execution_providers_are_those_of_the_library() {
    let names = Provider::ALL.map(Provider::name);
    assert!(names.is_sorted(), "they are listed by name");
    let error = "abacus".parse::<Provider>().unwrap_err();
    assert!(error.to_string().ends_with(&names.join(", ")), "{error}");
    let mut options = EngineOptions::default();
    options.library = common::library();
    // No library has the providers of two vendors.
    let errors = ["cuda", "migraphx"].map(|name| {
        options.provider = Some(name.parse().unwrap());
        engine(EngineKind::OnnxRuntime, &options).err()
    });
    let error = errors.into_iter().flatten().next().unwrap();
    assert_eq!(error.kind(), EngineErrorKind::Unavailable);
    assert!(error.to_string().contains("it has: "), "{error}");
    options.provider = Some(Provider::Cpu);
    engine(EngineKind::OnnxRuntime, &options).unwrap().compile(&two_inputs()).unwrap();
    let error = engine(EngineKind::Rten, &options).map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("rten has no execution provider \"cpu\""), "{error}");
}

fn places_begin_with_what_the_user_says() {
    let places = library_places(Some("/opt/ort/lib.so".as_ref()), &[Path::new("/venv")]);
    assert_eq!(places, [Path::new("/opt/ort/lib.so")], "no other library in its stead");
    let places = library_places(None, &[Path::new("/own"), Path::new("/venv")]);
    assert_eq!(places[..2], [Path::new("/own"), Path::new("/venv")]);
    let places = library_places(Some("".as_ref()), &[]);
    assert!(places.iter().all(|place| !place.as_os_str().is_empty()));
}
