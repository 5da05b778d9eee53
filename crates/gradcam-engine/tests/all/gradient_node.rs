//! The operator Gradient of the standard: ONNX's backend tests of it, and functions that are differentiated by hand.

use std::{collections::BTreeMap, fs};

use gradcam_engine::{EngineKind, Tensor, TensorView};
use ndarray::ArrayD;
use onnx_grad::{
    ErrorKind, Graph, Model, Sizes,
    proto::{
        AttributeProto, FunctionProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto,
        attribute_proto::AttributeType, tensor_proto::DataType,
    },
};
use prost::Message;
use testkit::{
    Suite,
    build::{self, node, text},
    fixture,
};

use crate::common::shared;

const DOMAIN: &str = "ai.onnx.preview.training";

pub(crate) fn tests(suite: &mut Suite) {
    for kind in EngineKind::ALL {
        for name in ["test_gradient_of_add", "test_gradient_of_add_and_mul"] {
            suite.test(format!("gradient_node::{name}::{kind}"), move || backend(name, kind));
        }
        for row in rows() {
            suite.test(format!("gradient_node::{}::{kind}", row.name), move || by_hand(&row, kind));
        }
    }
    testkit::tests!(suite, in_a_function, what_does_not_fit_is_refused,);
}

/// Runs a test of ONNX's backend suite from its files.
fn backend(name: &str, kind: EngineKind) {
    let file = |file: &str| fixture(&format!("onnx_backend/{name}/{file}"));
    let tensor = |prefix: &str, at: usize| {
        let bytes = fs::read(file(&format!("{prefix}_{at}.pb"))).ok()?;
        Some(TensorProto::decode(bytes.as_slice()).expect("a tensor"))
    };
    let tensors = |prefix: &str| (0..).map_while(|at| tensor(prefix, at)).collect::<Vec<_>>();
    let model = Model::open(file("model.onnx")).expect("a model");
    let array = |tensor: &TensorProto| {
        let bytes = model.tensor_bytes(tensor).expect("bytes");
        let numbers = bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap()));
        let shape: Vec<usize> =
            tensor.dims.iter().map(|size| (*size).try_into().unwrap()).collect();
        ArrayD::from_shape_vec(shape, numbers.collect()).expect("an array")
    };
    let (inputs, wanted) = (tensors("input"), tensors("output"));
    assert_eq!((inputs.len(), wanted.len()), (2, 3));
    let values: Vec<_> = inputs.iter().map(|input| (input.label(), array(input))).collect();
    let feeds: Vec<_> = values.iter().map(|(name, v)| (*name, TensorView::from(v))).collect();
    let names: Vec<&str> = wanted.iter().map(TensorProto::label).collect();
    let session = shared(kind).compile(&model).expect("a session");
    let outputs = session.run(&feeds, &names).expect("a run");
    for (wanted, output) in wanted.iter().zip(outputs) {
        assert_eq!(output.into_f32().expect("floats"), array(wanted), "{}", wanted.label());
    }
}

fn gradient(inputs: &[&str], outputs: &[&str], xs: &[&str], zs: &[&str], y: &str) -> NodeProto {
    let names = |name: &str, values: &[&str]| AttributeProto {
        name: Some(name.to_owned()),
        r#type: Some(AttributeType::Strings as i32),
        strings: values.iter().map(|value| value.as_bytes().to_vec().into()).collect(),
        ..AttributeProto::default()
    };
    let mut attributes = vec![names("xs", xs), text("y", y)];
    if !zs.is_empty() {
        attributes.push(names("zs", zs));
    }
    NodeProto { domain: Some(DOMAIN.to_owned()), ..node("Gradient", inputs, outputs, attributes) }
}

/// Nodes on the inputs x, u and v of two numbers each, and the wanted values for x = (2, 3), u = (5, 7), v = (11, 13).
struct Row {
    name: &'static str,
    nodes: Vec<NodeProto>,
    wanted: Vec<(&'static str, [f32; 2])>,
}

fn op(op: &str, inputs: &[&str], output: &str) -> NodeProto {
    node(op, inputs, &[output], vec![])
}

fn rows() -> Vec<Row> {
    // h = x·x, y = h·h·u
    let square = || {
        vec![
            op("Mul", &["x", "x"], "h"),
            op("Mul", &["h", "h"], "hh"),
            op("Mul", &["hh", "u"], "y"),
        ]
    };
    let with = |nodes: Vec<NodeProto>, more: Vec<NodeProto>| [nodes, more].concat();
    let cube = || vec![op("Mul", &["x", "x"], "h"), op("Mul", &["h", "x"], "y")];
    let slope = || gradient(&["x"], &["slope"], &["x"], &[], "y");
    vec![
        Row {
            name: "values_inside_the_graph",
            nodes: with(
                square(),
                vec![gradient(&["h", "u"], &["dh", "du"], &["h", "u"], &[], "y")],
            ),
            // 2hu and h²
            wanted: vec![("dh", [40.0, 126.0]), ("du", [16.0, 81.0])],
        },
        Row {
            name: "at_other_values",
            nodes: with(square(), vec![gradient(&["v", "x"], &["dh"], &["h"], &["u"], "y")]),
            // 2vx
            wanted: vec![("dh", [44.0, 78.0]), ("y", [80.0, 567.0])],
        },
        Row {
            name: "what_is_not_named_is_constant",
            nodes: with(square(), vec![gradient(&["v"], &["dh"], &["h"], &[], "y")]),
            // 2vu
            wanted: vec![("dh", [110.0, 182.0])],
        },
        Row {
            name: "one_value_for_two",
            nodes: vec![
                op("Mul", &["x", "u"], "y"),
                gradient(&["v", "v"], &["dx", "du"], &["x", "u"], &[], "y"),
            ],
            wanted: vec![("dx", [11.0, 13.0]), ("du", [11.0, 13.0])],
        },
        Row {
            name: "values_that_depend_on_each_other",
            nodes: with(cube(), vec![gradient(&["x", "h"], &["dx", "dh"], &["x", "h"], &[], "y")]),
            // The partial derivatives of h·x.
            wanted: vec![("dx", [4.0, 9.0]), ("dh", [2.0, 3.0])],
        },
        Row {
            name: "second_derivative",
            nodes: with(
                cube(),
                vec![
                    slope(),
                    gradient(&["x"], &["bend"], &["x"], &[], "slope"),
                    gradient(&["u"], &["bend at u"], &["x"], &[], "slope"),
                ],
            ),
            // 3x² and 6x
            wanted: vec![
                ("slope", [12.0, 27.0]),
                ("bend", [12.0, 18.0]),
                ("bend at u", [30.0, 42.0]),
            ],
        },
        Row {
            name: "an_output_that_is_left_out",
            nodes: with(square(), vec![gradient(&["h", "u"], &["", "du"], &["h", "u"], &[], "y")]),
            wanted: vec![("du", [16.0, 81.0])],
        },
        Row {
            name: "the_gradient_is_computed_with",
            nodes: with(cube(), vec![slope(), op("Sub", &["x", "slope"], "stepped")]),
            wanted: vec![("stepped", [-10.0, -24.0])],
        },
    ]
}

fn proto(nodes: Vec<NodeProto>, outputs: &[&str]) -> ModelProto {
    let inputs = ["x", "u", "v"].map(|name| (name, DataType::Float, &[2i64][..]));
    let outputs: Vec<_> = outputs.iter().map(|name| (*name, DataType::Float)).collect();
    let mut proto = build::model(17, &inputs, &outputs, vec![], nodes);
    let import = OperatorSetIdProto { domain: Some(DOMAIN.to_owned()), version: Some(1) };
    proto.opset_import.push(import);
    proto
}

fn by_hand(row: &Row, kind: EngineKind) {
    let names: Vec<&str> = row.wanted.iter().map(|(name, _)| *name).collect();
    assert_eq!(computed(proto(row.nodes.clone(), &names), &names, kind), row.wanted);
}

fn computed<'n>(
    proto: ModelProto,
    names: &[&'n str],
    kind: EngineKind,
) -> Vec<(&'n str, [f32; 2])> {
    let model = Model::from_bytes(proto.encode_to_vec()).expect("a model");
    let values: BTreeMap<&str, ArrayD<f32>> =
        [("x", [2.0, 3.0]), ("u", [5.0, 7.0]), ("v", [11.0, 13.0])]
            .map(|(name, pair)| (name, ArrayD::from_shape_vec(vec![2], pair.to_vec()).unwrap()))
            .into();
    let feeds: Vec<_> = values.iter().map(|(name, v)| (*name, TensorView::from(v))).collect();
    let session = shared(kind).compile(&model).expect("a session");
    let outputs = session.run(&feeds, names).expect("a run").into_iter();
    let pair = |output: Tensor| {
        let numbers: Vec<f32> = output.into_f32().expect("floats").iter().copied().collect();
        numbers.try_into().expect("two numbers")
    };
    names.iter().copied().zip(outputs.map(pair)).collect()
}

/// The names in the attributes are those of the function, whose values get others in the graph.
fn in_a_function() {
    let function = FunctionProto {
        name: Some("Slope".to_owned()),
        domain: Some("own".to_owned()),
        input: vec!["a".to_owned()],
        output: vec!["out".to_owned()],
        node: vec![op("Mul", &["a", "a"], "y"), gradient(&["a"], &["out"], &["a"], &[], "y")],
        opset_import: [("", 17), (DOMAIN, 1)]
            .map(|(domain, version)| OperatorSetIdProto {
                domain: Some(domain.to_owned()),
                version: Some(version),
            })
            .into(),
        ..FunctionProto::default()
    };
    let call = |input: &str, output: &str| NodeProto {
        domain: Some("own".to_owned()),
        ..op("Slope", &[input], output)
    };
    let mut model = proto(vec![call("x", "a"), call("u", "b")], &["a", "b"]);
    model.functions.push(function);
    model
        .opset_import
        .push(OperatorSetIdProto { domain: Some("own".to_owned()), version: Some(1) });
    for kind in EngineKind::ALL {
        let wanted = [("a", [4.0, 6.0]), ("b", [10.0, 14.0])];
        assert_eq!(computed(model.clone(), &["a", "b"], kind), wanted, "{kind}");
    }
}

fn what_does_not_fit_is_refused() {
    let product = || op("Mul", &["x", "u"], "y");
    let rows = [
        (
            vec![product(), gradient(&["x"], &["d"], &["x"], &["u"], "y")],
            ErrorKind::InvalidModel,
            "has 1 inputs and 1 outputs; its attributes xs and zs name 2 values",
        ),
        (
            vec![product(), gradient(&["x"], &["d", "e"], &["x"], &[], "y")],
            ErrorKind::InvalidModel,
            "has 1 inputs and 2 outputs",
        ),
        (
            vec![gradient(&["x"], &["d"], &["x"], &[], "y"), product()],
            ErrorKind::InvalidModel,
            "is about \"y\", which is not computed before the node",
        ),
        (
            vec![product(), gradient(&["v"], &["d"], &["v"], &[], "y")],
            ErrorKind::NotConnected,
            "\"v\" does not reach the target \"y\"",
        ),
        (
            vec![
                op("Shape", &["x"], "n"),
                op("Add", &["n", "n"], "y"),
                gradient(&["x"], &["d"], &["x"], &[], "y"),
            ],
            ErrorKind::Unsupported,
            "\"y\" holds numbers of the type int64, which have no derivative",
        ),
    ];
    for (nodes, kind, phrase) in rows {
        let model = Model::from_bytes(proto(nodes, &["d"]).encode_to_vec()).expect("a model");
        let error = Graph::new(&model, &Sizes::new()).expect_err("a fault");
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(phrase), "{error}");
    }
}
