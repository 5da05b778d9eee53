//! Tests of listings.

use crate::{
    Graph, Options, Sizes, attrs, gradient,
    proto::{FunctionProto, NodeProto, OperatorSetIdProto},
    testing::{self, floats, node, subgraph, truth},
    to_text,
};

#[test]
fn a_small_gradient_is_listed() {
    let model = testing::model(&[("x", &[2, 3])], &[("Relu", &["x"], "y")], "y");
    let model = gradient(&model, "y", &["x"], &Options::default()).expect("a gradient");
    let want = "\
ir_version 8, opset 17

graph \n\
input x: float[2,3]
const grad/y/constant_3: float[] = {0.0}
y: float[2,3] = Relu(x)
grad/y/Greater_4: bool[2,3] = Greater(y, grad/y/constant_3)
grad/y/Cast_5: float[2,3] = Cast(grad/y/Greater_4) {to=1}
x.grad: float[2,3] = Identity(grad/y/Cast_5)
output y: float[2,3]
output x.grad: float[2,3]
";
    assert_eq!(to_text(&model), want);
}

#[test]
fn everything_is_listed_without_control_characters() {
    let base = testing::model(&[("x", &[2])], &[], "y");
    let mut graph = base.graph().clone();
    graph.name = Some("main\x1b[2J".to_owned());
    graph.initializer =
        vec![truth("c", true), floats("half", &[0.1, -0.5]), floats("many", &[1.0; 9])];
    let mut choice = node("If", &["c"], &["t"]);
    choice.attribute = vec![
        subgraph("then_branch", vec![node("Neg", &["x"], &["a"])], &["a"]),
        subgraph("else_branch", vec![], &["half"]),
    ];
    let mut call = node("F", &["t", "", "x"], &["y"]);
    call.domain = Some("own".to_owned());
    call.name = Some("/call".to_owned());
    call.attribute = vec![attrs::ints("axes", &[0, 1]), attrs::tensor("v", floats("", &[2.0]))];
    graph.node = vec![choice, call];
    let mut proto = testing::wrap(graph).proto().clone();
    proto.producer_name = Some("maker".to_owned());
    proto.producer_version = Some("1.2".to_owned());
    let own = OperatorSetIdProto { domain: Some("own".to_owned()), version: Some(1) };
    proto.opset_import.push(own);
    let leaky = NodeProto {
        attribute: vec![crate::proto::AttributeProto {
            ref_attr_name: Some("slope".to_owned()),
            ..attrs::float("alpha", 0.0)
        }],
        ..node("LeakyRelu", &["a"], &["out"])
    };
    proto.functions.push(FunctionProto {
        name: Some("F".to_owned()),
        domain: Some("own".to_owned()),
        input: ["a", "b", "c"].map(str::to_owned).into(),
        output: vec!["out".to_owned()],
        node: vec![leaky],
        ..FunctionProto::default()
    });
    let want = r"ir_version 8, opset 17, opset 1 of own, producer maker 1.2

graph main\u{1b}[2J
input x: float[2]
const c: bool[] = {true}
const half: float[2] = {0.1, -0.5}
const many: float[9]
t = If(c)
  then_branch:
    a = Neg(x)
    output a
  else_branch:
    output half
y: float = own.F(t, _, x) {axes=[0, 1], v=float[1] = {2.0}} # /call
output y: float

function own.F(a, b, c) -> (out)
out = LeakyRelu(a) {alpha=@slope}
";
    assert_eq!(to_text(&base.with_proto(proto)), want);
}

#[test]
fn a_graph_lists_its_known_shapes() {
    let model =
        testing::model(&[("x", &[2, 3])], &[("Relu", &["x"], "a"), ("Shape", &["a"], "y")], "y");
    let graph = Graph::new(&model, &Sizes::new()).expect("a graph");
    let text = graph.to_string();
    let nodes = "\na: float[2,3] = Relu(x)\ny: int64[2] = Shape(a)\noutput y: int64[2]\n";
    assert!(text.ends_with(nodes), "{text}");
}
