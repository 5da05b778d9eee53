//! Snapshots of the nodes that some rules emit; g is the cotangent of y. `UPDATE_EXPECT=1` rewrites the listings;
//! review them before committing.

use expect_test::{Expect, expect};
use onnx_grad::{
    Model, Options, attrs, gradient,
    proto::{AttributeProto, tensor_proto::DataType},
    to_text,
};
use testkit::build;

/// The gradient of an operator at opset 17 with respect to its inputs, or to the first input of a normalization.
fn check(op: &str, inputs: &[(&str, &[i64])], with: Vec<AttributeProto>, want: &Expect) {
    let names: Vec<&str> = inputs.iter().map(|(name, _)| *name).collect();
    let declared: Vec<_> =
        inputs.iter().map(|&(name, dims)| (name, DataType::Float, dims)).collect();
    let node = build::node(op, &names, &["y"], with);
    let proto = build::model(17, &declared, &[("y", DataType::Float)], vec![], vec![node]);
    let model = Model::from_bytes(prost::Message::encode_to_vec(&proto)).expect("a model");
    let wrt = match op {
        "Clip" | "LayerNormalization" | "BatchNormalization" => &names[..1],
        _ => &names,
    };
    let options = Options { seed_input: Some("g".to_owned()), ..Options::default() };
    let text = to_text(&gradient(&model, "y", wrt, &options).expect("a gradient"));
    let is_shown = |line: &&str| line.contains(" = ") && !line.starts_with("y:");
    let lines: Vec<&str> = text.lines().filter(is_shown).collect();
    want.assert_eq(&lines.join("\n").replace(&format!("grad/{op}.y/"), ""));
}

#[test]
fn add_sums_what_is_broadcast() {
    check(
        "Add",
        &[("a", &[2, 3]), ("b", &[3])],
        vec![],
        &expect![[r#"
        const constant_1: int64[1] = {0}
        const constant_4: int64[1] = {3}
        ReduceSum_2: float[1,3] = ReduceSum(g, constant_1) {keepdims=1}
        Reshape_5: float[3] = Reshape(ReduceSum_2, constant_4)
        a.grad: float[2,3] = Identity(g)
        b.grad: float[3] = Identity(Reshape_5)"#]],
    );
}

#[test]
fn mul() {
    check(
        "Mul",
        &[("a", &[2, 3]), ("b", &[2, 3])],
        vec![],
        &expect![[r#"
        Mul_0: float[2,3] = Mul(g, b)
        Mul_1: float[2,3] = Mul(g, a)
        a.grad: float[2,3] = Identity(Mul_0)
        b.grad: float[2,3] = Identity(Mul_1)"#]],
    );
}

#[test]
fn div() {
    check(
        "Div",
        &[("a", &[2]), ("b", &[2])],
        vec![],
        &expect![[r#"
        Div_0: float[2] = Div(g, b)
        Mul_1: float[2] = Mul(Div_0, y)
        Neg_2: float[2] = Neg(Mul_1)
        a.grad: float[2] = Identity(Div_0)
        b.grad: float[2] = Identity(Neg_2)"#]],
    );
}

#[test]
fn pow() {
    check(
        "Pow",
        &[("x", &[2]), ("p", &[2])],
        vec![],
        &expect![[r#"
        const constant_0: float[] = {1.0}
        const constant_2: float[] = {0.0}
        Sub_1: float[2] = Sub(p, constant_0)
        Equal_3: bool[2] = Equal(p, constant_2)
        Cast_4: float[2] = Cast(Equal_3) {to=1}
        Add_5: float[2] = Add(Sub_1, Cast_4)
        Pow_6: float[2] = Pow(x, Add_5)
        Mul_7: float[2] = Mul(p, Pow_6)
        Mul_8: float[2] = Mul(g, Mul_7)
        Equal_9: bool[2] = Equal(x, constant_2)
        Cast_10: float[2] = Cast(Equal_9) {to=1}
        Add_11: float[2] = Add(x, Cast_10)
        Log_12: float[2] = Log(Add_11)
        Mul_13: float[2] = Mul(y, Log_12)
        Mul_14: float[2] = Mul(g, Mul_13)
        x.grad: float[2] = Identity(Mul_8)
        p.grad: float[2] = Identity(Mul_14)"#]],
    );
}

#[test]
fn max_shares_among_ties() {
    check(
        "Max",
        &[("a", &[2]), ("b", &[2])],
        vec![],
        &expect![[r#"
        Equal_0: bool[2] = Equal(a, y)
        Cast_1: float[2] = Cast(Equal_0) {to=1}
        Equal_2: bool[2] = Equal(b, y)
        Cast_3: float[2] = Cast(Equal_2) {to=1}
        Add_4: float[2] = Add(Cast_1, Cast_3)
        Div_5: float[2] = Div(g, Add_4)
        Mul_6: float[2] = Mul(Div_5, Cast_1)
        Mul_7: float[2] = Mul(Div_5, Cast_3)
        a.grad: float[2] = Identity(Mul_6)
        b.grad: float[2] = Identity(Mul_7)"#]],
    );
}

#[test]
fn sqrt() {
    check(
        "Sqrt",
        &[("x", &[2])],
        vec![],
        &expect![[r#"
        const constant_0: float[] = {2.0}
        Mul_1: float[2] = Mul(y, constant_0)
        Div_2: float[2] = Div(g, Mul_1)
        x.grad: float[2] = Identity(Div_2)"#]],
    );
}

#[test]
fn relu() {
    check(
        "Relu",
        &[("x", &[2])],
        vec![],
        &expect![[r#"
        const constant_0: float[] = {0.0}
        Greater_1: bool[2] = Greater(y, constant_0)
        Cast_2: float[2] = Cast(Greater_1) {to=1}
        Mul_3: float[2] = Mul(g, Cast_2)
        x.grad: float[2] = Identity(Mul_3)"#]],
    );
}

#[test]
fn leaky_relu() {
    check(
        "LeakyRelu",
        &[("x", &[2])],
        vec![attrs::float("alpha", 0.25)],
        &expect![[r#"
        const constant_0: float[] = {0.0}
        const constant_3: float[] = {0.75}
        const constant_5: float[] = {0.25}
        Greater_1: bool[2] = Greater(x, constant_0)
        Cast_2: float[2] = Cast(Greater_1) {to=1}
        Mul_4: float[2] = Mul(Cast_2, constant_3)
        Add_6: float[2] = Add(Mul_4, constant_5)
        Mul_7: float[2] = Mul(g, Add_6)
        x.grad: float[2] = Identity(Mul_7)"#]],
    );
}

#[test]
fn clip() {
    check(
        "Clip",
        &[("x", &[2]), ("lo", &[]), ("hi", &[])],
        vec![],
        &expect![[r#"
        Greater_0: bool[2] = Greater(y, lo)
        Less_1: bool[2] = Less(y, hi)
        And_2: bool[2] = And(Greater_0, Less_1)
        Cast_3: float[2] = Cast(And_2) {to=1}
        Mul_4: float[2] = Mul(g, Cast_3)
        x.grad: float[2] = Identity(Mul_4)"#]],
    );
}

#[test]
fn sigmoid() {
    check(
        "Sigmoid",
        &[("x", &[2])],
        vec![],
        &expect![[r#"
        const constant_0: float[] = {1.0}
        Sub_1: float[2] = Sub(constant_0, y)
        Mul_2: float[2] = Mul(y, Sub_1)
        Mul_3: float[2] = Mul(g, Mul_2)
        x.grad: float[2] = Identity(Mul_3)"#]],
    );
}

#[test]
fn tanh() {
    check(
        "Tanh",
        &[("x", &[2])],
        vec![],
        &expect![[r#"
        const constant_1: float[] = {1.0}
        Mul_0: float[2] = Mul(y, y)
        Sub_2: float[2] = Sub(constant_1, Mul_0)
        Mul_3: float[2] = Mul(g, Sub_2)
        x.grad: float[2] = Identity(Mul_3)"#]],
    );
}

#[test]
fn elu() {
    check(
        "Elu",
        &[("x", &[2])],
        vec![],
        &expect![[r#"
        const constant_3: float[] = {1.0}
        const constant_4: float[] = {0.0}
        Relu_0: float[2] = Relu(x)
        Sub_1: float[2] = Sub(x, Relu_0)
        Exp_2: float[2] = Exp(Sub_1)
        Greater_5: bool[2] = Greater(x, constant_4)
        Cast_6: float[2] = Cast(Greater_5) {to=1}
        Sub_7: float[2] = Sub(constant_3, Cast_6)
        Mul_8: float[2] = Mul(Sub_7, Exp_2)
        Add_9: float[2] = Add(Cast_6, Mul_8)
        Mul_10: float[2] = Mul(g, Add_9)
        x.grad: float[2] = Identity(Mul_10)"#]],
    );
}

#[test]
fn softsign() {
    check(
        "Softsign",
        &[("x", &[2])],
        vec![],
        &expect![[r#"
        const constant_1: float[] = {1.0}
        Abs_0: float[2] = Abs(x)
        Add_2: float[2] = Add(Abs_0, constant_1)
        Mul_3: float[2] = Mul(Add_2, Add_2)
        Div_4: float[2] = Div(g, Mul_3)
        x.grad: float[2] = Identity(Div_4)"#]],
    );
}

#[test]
fn hard_swish() {
    check(
        "HardSwish",
        &[("x", &[2])],
        vec![],
        &expect![[r#"
        const constant_0: float[] = {-3.0}
        const constant_3: float[] = {3.0}
        const constant_6: float[] = {0.33333334}
        const constant_8: float[] = {0.5}
        const constant_12: float[] = {1.0}
        Greater_1: bool[2] = Greater(x, constant_0)
        Cast_2: float[2] = Cast(Greater_1) {to=1}
        Less_4: bool[2] = Less(x, constant_3)
        Cast_5: float[2] = Cast(Less_4) {to=1}
        Mul_7: float[2] = Mul(x, constant_6)
        Add_9: float[2] = Add(Mul_7, constant_8)
        Mul_10: float[2] = Mul(Cast_2, Cast_5)
        Mul_11: float[2] = Mul(Add_9, Mul_10)
        Sub_13: float[2] = Sub(constant_12, Cast_5)
        Add_14: float[2] = Add(Mul_11, Sub_13)
        Mul_15: float[2] = Mul(g, Add_14)
        x.grad: float[2] = Identity(Mul_15)"#]],
    );
}

#[test]
fn erf() {
    check(
        "Erf",
        &[("x", &[2])],
        vec![],
        &expect![[r#"
        const constant_1: float[] = {-1.0}
        const constant_4: float[] = {1.1283792}
        Mul_0: float[2] = Mul(x, x)
        Mul_2: float[2] = Mul(Mul_0, constant_1)
        Exp_3: float[2] = Exp(Mul_2)
        Mul_5: float[2] = Mul(Exp_3, constant_4)
        Mul_6: float[2] = Mul(g, Mul_5)
        x.grad: float[2] = Identity(Mul_6)"#]],
    );
}

#[test]
fn atanh() {
    check(
        "Atanh",
        &[("x", &[2])],
        vec![],
        &expect![[r#"
        const constant_0: float[] = {1.0}
        Sub_1: float[2] = Sub(constant_0, x)
        Add_2: float[2] = Add(x, constant_0)
        Mul_3: float[2] = Mul(Sub_1, Add_2)
        Div_4: float[2] = Div(g, Mul_3)
        x.grad: float[2] = Identity(Div_4)"#]],
    );
}

#[test]
fn softmax() {
    check(
        "Softmax",
        &[("x", &[2, 3])],
        vec![],
        &expect![[r#"
        const constant_1: int64[1] = {1}
        Mul_0: float[2,3] = Mul(g, y)
        ReduceSum_2: float[2,1] = ReduceSum(Mul_0, constant_1) {keepdims=1}
        Sub_3: float[2,3] = Sub(g, ReduceSum_2)
        Mul_4: float[2,3] = Mul(y, Sub_3)
        x.grad: float[2,3] = Identity(Mul_4)"#]],
    );
}

#[test]
fn reduce_mean() {
    check(
        "ReduceMean",
        &[("x", &[2, 3])],
        vec![attrs::ints("axes", &[1])],
        &expect![[r#"
        const constant_0: float[] = {0.33333334}
        const constant_2: int64[2] = {2, 3}
        Mul_1: float[2,1] = Mul(g, constant_0)
        Expand_3: float[2,3] = Expand(Mul_1, constant_2)
        x.grad: float[2,3] = Identity(Expand_3)"#]],
    );
}

#[test]
fn reduce_l2() {
    check(
        "ReduceL2",
        &[("x", &[2, 3])],
        vec![attrs::ints("axes", &[1])],
        &expect![[r#"
        const constant_0: float[] = {0.0}
        Equal_1: bool[2,1] = Equal(y, constant_0)
        Cast_2: float[2,1] = Cast(Equal_1) {to=1}
        Add_3: float[2,1] = Add(y, Cast_2)
        Div_4: float[2,1] = Div(g, Add_3)
        Mul_5: float[2,3] = Mul(Div_4, x)
        x.grad: float[2,3] = Identity(Mul_5)"#]],
    );
}

#[test]
fn layer_normalization() {
    check(
        "LayerNormalization",
        &[("x", &[2, 3]), ("scale", &[3])],
        vec![],
        &expect![[r#"
            const constant_4: float[] = {1e-5}
            ReduceMean_0: float[2,1] = ReduceMean(x) {axes=[1], keepdims=1}
            Sub_1: float[2,3] = Sub(x, ReduceMean_0)
            Mul_2: float[2,3] = Mul(Sub_1, Sub_1)
            ReduceMean_3: float[2,1] = ReduceMean(Mul_2) {axes=[1], keepdims=1}
            Add_5: float[2,1] = Add(ReduceMean_3, constant_4)
            Sqrt_6: float[2,1] = Sqrt(Add_5)
            Div_7: float[2,3] = Div(Sub_1, Sqrt_6)
            Mul_8: float[2,3] = Mul(g, scale)
            ReduceMean_9: float[2,1] = ReduceMean(Mul_8) {axes=[1], keepdims=1}
            Mul_10: float[2,3] = Mul(Mul_8, Div_7)
            ReduceMean_11: float[2,1] = ReduceMean(Mul_10) {axes=[1], keepdims=1}
            Mul_12: float[2,3] = Mul(Div_7, ReduceMean_11)
            Sub_13: float[2,3] = Sub(Mul_8, ReduceMean_9)
            Sub_14: float[2,3] = Sub(Sub_13, Mul_12)
            Div_15: float[2,3] = Div(Sub_14, Sqrt_6)
            x.grad: float[2,3] = Identity(Div_15)"#]],
    );
}

#[test]
fn batch_normalization() {
    check(
        "BatchNormalization",
        &[("x", &[2, 3, 4]), ("scale", &[3]), ("bias", &[3]), ("mean", &[3]), ("var", &[3])],
        vec![],
        &expect![[r#"
            const constant_0: float[] = {1e-5}
            const constant_4: int64[3] = {1, 3, 1}
            Add_1: float[3] = Add(var, constant_0)
            Sqrt_2: float[3] = Sqrt(Add_1)
            Div_3: float[3] = Div(scale, Sqrt_2)
            Reshape_5: float[1,3,1] = Reshape(Div_3, constant_4)
            Mul_6: float[2,3,4] = Mul(g, Reshape_5)
            x.grad: float[2,3,4] = Identity(Mul_6)"#]],
    );
}

/// Nodes that break the standard are errors, with the reason.
#[test]
fn unsound_nodes_are_refused() {
    let refused = |node, constants, inputs: &[&str]| {
        let declared: Vec<(&str, DataType, &[i64])> = inputs
            .iter()
            .zip([[2, 2, 5, 6].as_slice(), &[3]])
            .map(|(name, dims)| (*name, DataType::Float, dims))
            .collect();
        let mut proto =
            build::model(13, &declared, &[("y", DataType::Float)], constants, vec![node]);
        let output = build::value("y", DataType::Float, Some(&[2, 2, 5]));
        proto.graph.as_mut().expect("a graph").output = vec![output];
        let model = Model::from_bytes(prost::Message::encode_to_vec(&proto)).expect("a model");
        gradient(&model, "y", &["x"], &Options::default()).expect_err("a reason").to_string()
    };
    let gather = build::node("GatherND", &["x", "index"], &["y"], vec![]);
    let error = refused(gather, vec![build::i64s("index", &[0], &[])], &["x"]);
    assert!(error.contains("its indices are empty"), "{error}");
    let resize = build::node("Resize", &["x", "", "", "sizes"], &["y"], vec![]);
    let error = refused(resize, vec![], &["x", "sizes"]);
    assert!(error.contains("it resizes 4 axes to 3"), "{error}");
}
