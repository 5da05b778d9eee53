//! Inlining of small models.

use super::*;
use crate::{
    ErrorKind, attrs,
    graph::{Graph, Sizes},
    proto::{OperatorSetIdProto, StringStringEntryProto, TensorProto, tensor_proto::DataType},
    prune,
    testing::{self, floats, node, subgraph, truth},
    verify,
};

/// A model with those nodes, the float input x of shape [2, 3] and the output y.
fn model(nodes: Vec<NodeProto>, functions: Vec<FunctionProto>) -> Model {
    let base = testing::model(&[("x", &[2, 3])], &[], "y");
    let mut proto = base.proto().clone();
    proto.graph.as_mut().expect("a graph").node = nodes;
    proto.functions = functions;
    Model::from_bytes(prost::Message::encode_to_vec(&proto)).expect("a model")
}

fn own(node: NodeProto) -> NodeProto {
    NodeProto { domain: Some("own".to_owned()), ..node }
}

/// A function `own.F(a) -> (out)`.
fn function(nodes: Vec<NodeProto>) -> FunctionProto {
    FunctionProto {
        name: Some("F".to_owned()),
        domain: Some("own".to_owned()),
        input: vec!["a".to_owned()],
        output: vec!["out".to_owned()],
        node: nodes,
        opset_import: vec![OperatorSetIdProto { domain: None, version: Some(17) }],
        ..FunctionProto::default()
    }
}

fn choice(condition: &str, then: AttributeProto, otherwise: AttributeProto) -> NodeProto {
    NodeProto { attribute: vec![then, otherwise], ..node("If", &[condition], &["y"]) }
}

fn constant(name: &str, tensor: TensorProto) -> NodeProto {
    NodeProto { attribute: vec![attrs::tensor("value", tensor)], ..node("Constant", &[], &[name]) }
}

/// The nodes of the graph of a model, as `out = Op(in)`, and its initializers.
fn read(model: &Model) -> Vec<String> {
    let graph = Graph::new(model, &Sizes::new()).expect("a graph");
    let whole = prune(&graph, graph.outputs()).expect("a model");
    verify(&whole).expect("a legal model");
    assert!(graph.model().proto().functions.is_empty());
    let line =
        |n: &NodeProto| format!("{} = {}({})", n.output.join(","), n.op(), n.input.join(","));
    graph.nodes().map(|(_, node)| line(node)).collect()
}

fn error(model: &Model) -> crate::Error {
    Graph::new(model, &Sizes::new()).expect_err("an error")
}

#[test]
fn a_call_is_replaced_by_the_body() {
    let mut leaky = node("LeakyRelu", &["b"], &["out"]);
    leaky.attribute.push(AttributeProto {
        ref_attr_name: Some("slope".to_owned()),
        ..attrs::float("alpha", 0.0)
    });
    let mut body = function(vec![node("Add", &["a", "a"], &["b"]), leaky]);
    body.attribute_proto.push(attrs::float("slope", 0.25));
    let mut given = own(node("F", &["t"], &["y"]));
    given.attribute.push(attrs::float("slope", 0.5));
    let model = model(vec![own(node("F", &["x"], &["t"])), given], vec![body]);
    let want = ["t/b = Add(x,x)", "t = LeakyRelu(t/b)", "y/b = Add(t,t)", "y = LeakyRelu(y/b)"];
    assert_eq!(read(&model), want);
    let graph = Graph::new(&model, &Sizes::new()).expect("a graph");
    let alphas: Vec<_> = graph.nodes().filter_map(|(_, n)| n.attr_float("alpha")).collect();
    assert_eq!(alphas, [0.25, 0.5], "the default, then what the call says");
}

#[test]
fn two_calls_of_one_name_do_not_share_values() {
    let body = function(vec![node("Neg", &["a"], &["b"]), node("Relu", &["b"], &["out"])]);
    let named = |node: NodeProto| NodeProto { name: Some("same".to_owned()), ..own(node) };
    let calls = vec![named(node("F", &["x"], &["t"])), named(node("F", &["t"], &["y"]))];
    let text = read(&model(calls, vec![body])).join("\n");
    assert_eq!(text, "same/b = Neg(x)\nt = Relu(same/b)\nsame/b_1 = Neg(t)\ny = Relu(same/b_1)");
}

#[test]
fn calls_in_subgraphs_are_replaced_too() {
    let body = || function(vec![node("Neg", &["a"], &["b"]), node("Relu", &["b"], &["out"])]);
    let call = own(node("F", &["x"], &["inner"]));
    // Known when the graph is built.
    let known = vec![
        node("Shape", &["x"], &["s"]),
        node("Size", &["s"], &["n"]),
        node("Equal", &["n", "n"], &["c"]),
        choice(
            "c",
            subgraph("then_branch", vec![call.clone()], &["inner"]),
            subgraph("else_branch", vec![node("Relu", &["x"], &["other"])], &["other"]),
        ),
    ];
    let lines = read(&model(known, vec![body()]));
    assert_eq!(lines[3..], ["inner/b = Neg(x)", "y = Relu(inner/b)"]);
    // Unknown.
    let unknown = vec![
        node("ReduceMax", &["x"], &["m"]),
        NodeProto { attribute: vec![attrs::int("to", 9)], ..node("Cast", &["m"], &["c"]) },
        choice(
            "c",
            subgraph("then_branch", vec![call], &["inner"]),
            subgraph("else_branch", vec![node("Relu", &["x"], &["other"])], &["other"]),
        ),
    ];
    let model = model(unknown, vec![body()]);
    read(&model);
    let graph = Graph::new(&model, &Sizes::new()).expect("a graph");
    let branches = graph.nodes().filter(|(_, n)| n.op() == "If");
    let attributes = branches.flat_map(|(_, n)| n.attribute.iter().filter_map(|a| a.g.as_ref()));
    let ops: Vec<_> = attributes.flat_map(|g| g.node.iter().map(NodeProto::op)).collect();
    assert_eq!(ops, ["Neg", "Relu", "Relu"]);
}

#[test]
fn subgraphs_in_functions_see_attributes_inputs_and_names_of_the_call() {
    let mut leaky = node("LeakyRelu", &["b"], &["local"]);
    leaky.attribute.push(AttributeProto {
        ref_attr_name: Some("slope".to_owned()),
        ..attrs::float("alpha", 0.0)
    });
    let inner = NodeProto {
        output: vec!["out".to_owned()],
        ..choice(
            "cond",
            subgraph("then_branch", vec![leaky], &["local"]),
            subgraph("else_branch", vec![node("Neg", &["a"], &["local"])], &["local"]),
        )
    };
    let mut body = function(vec![
        node("Neg", &["a"], &["b"]),
        node("ReduceMax", &["a"], &["m"]),
        NodeProto { attribute: vec![attrs::int("to", 9)], ..node("Cast", &["m"], &["cond"]) },
        inner,
    ]);
    body.attribute_proto.push(attrs::float("slope", 0.25));
    let calls = vec![own(node("F", &["x"], &["t"])), own(node("F", &["t"], &["y"]))];
    let model = model(calls, vec![body]);
    read(&model);
    let graph = Graph::new(&model, &Sizes::new()).expect("a graph");
    let ifs: Vec<&NodeProto> = graph.nodes().map(|(_, n)| n).filter(|n| n.op() == "If").collect();
    let then = ifs[1].attr("then_branch").and_then(|a| a.g.as_ref()).expect("a branch");
    assert_eq!(then.node[0].input, ["y/b"]);
    assert_eq!(then.node[0].attr_float("alpha"), Some(0.25));
    assert_eq!(then.node[0].attribute[0].ref_attr_name, None);
    let otherwise = ifs[1].attr("else_branch").and_then(|a| a.g.as_ref()).expect("a branch");
    assert_eq!(otherwise.node[0].input, ["t"]);
}

#[test]
fn inputs_and_outputs_that_a_call_leaves_out() {
    let mut body = function(vec![
        node("Clip", &["a", "low", "high"], &["clipped"]),
        node("Neg", &["clipped"], &["spare"]),
    ]);
    body.input = ["a", "low", "high"].map(str::to_owned).into();
    // An input that is an output, and a duplicate output.
    body.output = ["clipped", "a", "clipped", "spare"].map(str::to_owned).into();
    let call = own(node("F", &["x"], &["t", "u", "v"]));
    let sum = node("Sum", &["t", "u", "v"], &["y"]);
    let want = [
        "t = Clip(x,,)",
        "t/spare = Neg(t)",
        "u = Identity(x)",
        "v = Identity(t)",
        "y = Sum(t,u,v)",
    ];
    assert_eq!(read(&model(vec![call, sum], vec![body])), want);
}

#[test]
fn overloads_are_told_apart_and_domains_are_taken_over() {
    let mut first = function(vec![node("Neg", &["a"], &["out"])]);
    first.overload = Some("one".to_owned());
    let strange = NodeProto { domain: Some("ext".to_owned()), ..node("Odd", &["a"], &["out"]) };
    let mut second = function(vec![strange]);
    second.overload = Some("two".to_owned());
    let import =
        |domain: &str| OperatorSetIdProto { domain: Some(domain.to_owned()), version: Some(1) };
    second.opset_import.push(import("ext"));
    let call = |overload: &str, input: &str, output: &str| NodeProto {
        overload: Some(overload.to_owned()),
        ..own(node("F", &[input], &[output]))
    };
    let base = model(vec![call("two", "x", "t"), call("one", "t", "y")], vec![first, second]);
    let mut proto = base.proto().clone();
    proto.opset_import.push(import("own"));
    let model = base.with_proto(proto);
    assert_eq!(read(&model), ["t = Odd(x)", "y = Neg(t)"]);
    let graph = Graph::new(&model, &Sizes::new()).expect("a graph");
    let imports = graph.model().proto().opset_import.iter();
    let domains: Vec<_> = imports.map(|i| i.domain.as_deref().unwrap_or_default()).collect();
    assert_eq!(domains, ["", "ext"]);
}

#[test]
fn nodes_can_be_traced_to_their_call() {
    let mut inner = node("Neg", &["a"], &["out"]);
    inner.name = None;
    let mut call = own(node("F", &["x"], &["y"]));
    call.name = Some("/layer1/conv".to_owned());
    let scope = StringStringEntryProto {
        key: Some("pkg.torch.onnx.name_scopes".to_owned()),
        value: Some("['', 'layer1']".to_owned()),
    };
    call.metadata_props.push(scope.clone());
    let model = model(vec![call], vec![function(vec![inner])]);
    let graph = Graph::new(&model, &Sizes::new()).expect("a graph");
    let (_, node) = graph.nodes().next().expect("a node");
    assert_eq!(node.label(), "/layer1/conv/Neg");
    assert_eq!(node.metadata_props, [scope]);
}

#[test]
fn functions_that_do_not_fit_are_refused() {
    let mut other = function(vec![node("Neg", &["a"], &["out"])]);
    other.opset_import[0].version = Some(15);
    let free = function(vec![node("Add", &["a", "x"], &["out"])]);
    let itself = function(vec![own(node("F", &["a"], &["out"]))]);
    let plain = function(vec![node("Neg", &["a"], &["out"])]);
    let call = own(node("F", &["x"], &["y"]));
    let many = own(node("F", &["x", "x"], &["y"]));
    let rows = [
        ("another opset", call.clone(), other, ErrorKind::Unsupported, "own.F"),
        ("outer value", call.clone(), free, ErrorKind::InvalidModel, "\"x\""),
        ("recursion", call, itself, ErrorKind::InvalidModel, "calls itself"),
        ("inputs", many, plain, ErrorKind::InvalidModel, "2 inputs"),
    ];
    for (name, call, function, kind, phrase) in rows {
        let error = error(&model(vec![call], vec![function]));
        assert_eq!(error.kind(), kind, "{name}: {error}");
        assert!(error.to_string().contains(phrase), "{name}: {error}");
    }
}

#[test]
fn calls_that_expand_exponentially_are_refused() {
    // Each function calls the next one eight times; the last only makes constants.
    let named = |level: usize| format!("F{level}");
    let mut functions: Vec<FunctionProto> = (0..20)
        .map(|level| {
            let next = named(level + 1);
            let call = |i: usize| own(node(&next, &["a"], &[&format!("t{i}")]));
            let mut nodes: Vec<NodeProto> = (0..8).map(call).collect();
            nodes.push(node("Neg", &["t0"], &["out"]));
            FunctionProto { name: Some(named(level)), ..function(nodes) }
        })
        .collect();
    let last = vec![constant("out", floats("", &[1.0]))];
    functions.push(FunctionProto { name: Some(named(20)), ..function(last) });
    let error = error(&model(vec![own(node("F0", &["x"], &["y"]))], functions));
    assert_eq!(error.kind(), ErrorKind::TooLarge, "{error}");
}

#[test]
fn an_if_takes_the_branch_of_a_condition_that_is_known() {
    let branches = || {
        let then = subgraph("then_branch", vec![node("Relu", &["x"], &["inner"])], &["inner"]);
        let otherwise = subgraph("else_branch", vec![node("Neg", &["x"], &["inner"])], &["inner"]);
        choice("c", then, otherwise)
    };
    let condition = constant("c", truth("", false));
    assert_eq!(read(&model(vec![condition, branches()], vec![])), ["y = Neg(x)"]);
    let negated = vec![
        constant("d", truth("", false)),
        node("Not", &["d"], &["e"]),
        node("Identity", &["e"], &["c"]),
        branches(),
    ];
    assert_eq!(read(&model(negated, vec![]))[2..], ["y = Relu(x)"]);
}

#[test]
fn branches_bring_constants_and_do_not_change_other_names() {
    // Both branches, the outer graph and a nested branch use the name "w".
    let weights = |numbers: usize| constant("w", floats("", &vec![1.0; numbers]));
    let nested = NodeProto {
        output: vec!["deep".to_owned()],
        ..choice(
            "c",
            subgraph("then_branch", vec![node("Add", &["x", "w"], &["v"])], &["v"]),
            subgraph("else_branch", vec![node("Neg", &["w"], &["v"])], &["v"]),
        )
    };
    let then = vec![weights(600), nested];
    let mut first = choice(
        "c",
        subgraph("then_branch", then, &["deep"]),
        subgraph("else_branch", vec![weights(1), node("Neg", &["w"], &["n"])], &["n"]),
    );
    first.output = vec!["t".to_owned()];
    // The output of this branch is a value of the outer graph.
    let mut second = choice(
        "c",
        subgraph("then_branch", vec![], &["t"]),
        subgraph("else_branch", vec![node("Neg", &["x"], &["n"])], &["n"]),
    );
    second.output = vec!["u".to_owned()];
    let nodes = vec![
        constant("c", truth("", true)),
        first,
        second,
        node("Neg", &["u"], &["w"]),
        node("Relu", &["w"], &["y"]),
    ];
    let model = model(nodes, vec![]);
    let want = ["t = Add(x,y/w)", "u = Identity(t)", "w = Neg(u)", "y = Relu(w)"];
    assert_eq!(read(&model), want);
    let graph = Graph::new(&model, &Sizes::new()).expect("a graph");
    let weights = graph.initializer(graph.value("y/w").expect("the constant")).expect("a tensor");
    assert_eq!(graph.model().tensor_bytes(weights).expect("its bytes").len(), 2400);
}

#[test]
fn two_ifs_of_one_name_do_not_share_values() {
    let one = |input: &str, output: &str| {
        let nodes = vec![node("Neg", &[input], &["a"]), node("Relu", &["a"], &["b"])];
        let mut both = choice(
            "c",
            subgraph("then_branch", nodes.clone(), &["b"]),
            subgraph("else_branch", nodes, &["b"]),
        );
        both.name = Some("same".to_owned());
        both.output = vec![output.to_owned()];
        both
    };
    let nodes = vec![constant("c", truth("", true)), one("x", "t"), one("t", "y")];
    let want = ["same/a = Neg(x)", "t = Relu(same/a)", "same/a_1 = Neg(t)", "y = Relu(same/a_1)"];
    assert_eq!(read(&model(nodes, vec![])), want);
}

#[test]
fn constants_become_initializers_and_outputs_stay_nodes() {
    let with = |attribute: AttributeProto| NodeProto {
        attribute: vec![attribute],
        ..node("Constant", &[], &["k"])
    };
    let list = AttributeProto { floats: vec![1.0, 2.0], ..attrs::float("value_floats", 0.0) };
    let text = attrs::text("value_string", "a");
    let rows = [
        (attrs::tensor("value", floats("", &[7.0])), Some((DataType::Float, vec![1]))),
        (attrs::float("value_float", 0.5), Some((DataType::Float, vec![]))),
        (list, Some((DataType::Float, vec![2]))),
        (attrs::int("value_int", -1), Some((DataType::Int64, vec![]))),
        (attrs::ints("value_ints", &[1, 2, 3]), Some((DataType::Int64, vec![3]))),
        (text, None),
    ];
    for (attribute, want) in rows {
        let name = attribute.name.clone();
        let model = model(vec![with(attribute), node("Neg", &["k"], &["y"])], vec![]);
        let graph = Graph::new(&model, &Sizes::new()).expect("a graph");
        let tensor = graph.initializer(graph.value("k").expect("k"));
        let got = tensor.map(|tensor| (tensor.elem(), tensor.dims.clone()));
        assert_eq!(got, want, "{name:?}");
    }
    let output = NodeProto { output: vec!["y".to_owned()], ..with(attrs::int("value_int", 1)) };
    assert_eq!(read(&model(vec![output], vec![])), ["y = Constant()"]);
}
