//! The cases that are no windows.

use onnx_grad::proto::{TensorProto, tensor_proto::DataType};

use testkit::build::{
    constant, f32s, float, floats, graph, i64s, int, ints, model, node, text, weights,
};

use super::cases::{Case, F32, case, one};

fn not_on(mut case: Case, excluded: &'static [(&'static str, &'static str)]) -> Case {
    case.excluded = excluded;
    case
}

pub(crate) fn normalized() -> Vec<Case> {
    let soft = |op, opset, attributes| {
        one(opset, &[2, 3, 4], vec![], node(op, &["x"], &["y"], attributes))
    };
    // The evaluator normalizes one axis at every opset; the standard says this.
    let flat = |name, op, axis, old| {
        let nodes = vec![
            node("Flatten", &["x"], &["flat"], vec![int("axis", axis)]),
            node(op, &["flat"], &["normal"], vec![int("axis", 1)]),
            node("Reshape", &["normal", "shape"], &["y"], vec![]),
        ];
        let shape = vec![i64s("shape", &[3], &[2, 3, 4])];
        let new = model(13, &[("x", F32, &[2, 3, 4])], &[("y", F32)], shape, nodes);
        Case { reference: Some(new), ..case(name, old) }
    };
    let branch = |name| {
        graph(name, vec![node("Softmax", &["x"], &["inner"], vec![int("axis", 1)])], "inner")
    };
    let norm_of = |opset, outputs: &[&str], attributes| {
        let constants = vec![
            f32s("scale", &[2], &[1.0, 0.5]),
            f32s("bias", &[2], &[0.0, -1.0]),
            f32s("mean", &[2], &[0.25, 0.5]),
            f32s("var", &[2], &[1.0, 4.0]),
        ];
        let inputs = ["x", "scale", "bias", "mean", "var"];
        one(
            opset,
            &[1, 2, 2, 2],
            constants,
            node("BatchNormalization", &inputs, outputs, attributes),
        )
    };
    let norm = |opset, attributes| norm_of(opset, &["y"], attributes);
    let training = |outputs| {
        let attributes =
            vec![int("training_mode", 1), float("epsilon", 0.01), float("momentum", 0.8)];
        norm_of(15, outputs, attributes)
    };
    vec![
        // As many images as channels: the evaluator counts the ones for the others.
        case(
            "lrn even",
            one(
                13,
                &[4, 4, 1, 2],
                vec![],
                node("LRN", &["x"], &["y"], vec![int("size", 2), float("alpha", 0.5)]),
            ),
        ),
        flat("softmax 11", "Softmax", 1, soft("Softmax", 11, vec![])),
        flat("softmax 11 axis 0", "Softmax", 0, soft("Softmax", 11, vec![int("axis", 0)])),
        flat("softmax 11 axis -2", "Softmax", 1, soft("Softmax", 11, vec![int("axis", -2)])),
        flat("softmax 11 last axis", "Softmax", 2, soft("Softmax", 11, vec![int("axis", 2)])),
        case("softmax 13", soft("Softmax", 13, vec![int("axis", 1)])),
        flat("log softmax 11", "LogSoftmax", 1, soft("LogSoftmax", 11, vec![])),
        case("log softmax 13", soft("LogSoftmax", 13, vec![int("axis", 0)])),
        flat(
            "softmax 11 in a branch",
            "Softmax",
            1,
            model(
                11,
                &[("x", F32, &[2, 3, 4])],
                &[("y", F32)],
                vec![constant("yes", DataType::Bool, &[], vec![1])],
                vec![node(
                    "If",
                    &["yes"],
                    &["y"],
                    vec![branch("then_branch"), branch("else_branch")],
                )],
            ),
        ),
        Case {
            reference: Some(norm(15, vec![float("epsilon", 0.01)])),
            ..case("batch norm 7", norm(7, vec![float("momentum", 0.8), float("epsilon", 0.01)]))
        },
        case("batch norm training", training(&["y", "m", "v"])),
        case("batch norm running mean", training(&["n", "y", "v"])),
        case("batch norm running var", training(&["n", "m", "y"])),
        case("dropout 7", soft("Dropout", 7, vec![float("ratio", 0.5)])),
        case(
            "dropout 13",
            one(
                13,
                &[2, 3],
                vec![f32s("ratio", &[], &[0.5]), constant("no", DataType::Bool, &[], vec![0])],
                node("Dropout", &["x", "ratio", "no"], &["y", "mask"], vec![int("seed", 3)]),
            ),
        ),
        case(
            "quantize default axis",
            model(
                13,
                &[("x", F32, &[2, 2, 3])],
                &[("y", DataType::Uint8)],
                vec![
                    f32s("scale", &[2], &[0.25, 0.0625]),
                    constant("zero", DataType::Uint8, &[2], vec![128, 100]),
                ],
                vec![node("QuantizeLinear", &["x", "scale", "zero"], &["y"], vec![])],
            ),
        ),
    ]
}

pub(crate) fn typed() -> Vec<Case> {
    let to = |elem: DataType| vec![int("to", elem as i64)];
    let bool_then_float = vec![
        node("Cast", &["x"], &["b"], to(DataType::Bool)),
        node("Cast", &["b"], &["y"], to(F32)),
    ];
    let through = |inner: DataType| {
        model(
            13,
            &[("x", inner, &[2, 3])],
            &[("y", inner)],
            vec![],
            vec![node("Relu", &["x"], &["y"], vec![])],
        )
    };
    let ints_in = |elem: DataType| {
        let nodes = vec![
            node("Cast", &["x"], &["f"], to(F32)),
            node("Mul", &["f", "half"], &["y"], vec![]),
        ];
        model(13, &[("x", elem, &[2, 3])], &[("y", F32)], vec![f32s("half", &[], &[0.5])], nodes)
    };
    let half = vec![0x00, 0x3c, 0x00, 0xc0, 0x01, 0x00, 0x66, 0x2e];
    vec![
        case(
            "cast to bool",
            model(13, &[("x", F32, &[4, 25])], &[("y", F32)], vec![], bool_then_float),
        ),
        case("float64 border", through(DataType::Double)),
        case("float16 border", through(DataType::Float16)),
        case(
            "bool out",
            model(
                13,
                &[("x", F32, &[2, 3])],
                &[("y", DataType::Bool)],
                vec![f32s("zero", &[], &[0.0])],
                vec![node("Greater", &["x", "zero"], &["y"], vec![])],
            ),
        ),
        case("int64 in", ints_in(DataType::Int64)),
        case("int32 in", ints_in(DataType::Int32)),
        case("uint8 in", ints_in(DataType::Uint8)),
        case("bool in", ints_in(DataType::Bool)),
        case(
            "float16 weights",
            model(
                13,
                &[("x", F32, &[2, 4])],
                &[("y", F32)],
                vec![constant("h", DataType::Float16, &[4], half)],
                vec![
                    node("Cast", &["h"], &["w"], to(F32)),
                    node("Mul", &["x", "w"], &["y"], vec![]),
                ],
            ),
        ),
        case(
            "float to an integer power",
            one(
                13,
                &[2, 3],
                vec![i64s("two", &[], &[2])],
                node("Pow", &["x", "two"], &["y"], vec![]),
            ),
        ),
    ]
}

/// What quantized models do with 8-bit integers between their products.
pub(crate) fn bytes() -> Vec<Case> {
    let case_of = |name, op, inputs: &[&str], constants: Vec<TensorProto>, attributes| {
        let nodes = vec![
            node(op, inputs, &["b"], attributes),
            node("Cast", &["b"], &["y"], vec![int("to", F32 as i64)]),
        ];
        case(
            name,
            model(18, &[("x", DataType::Uint8, &[1, 4, 2, 3])], &[("y", F32)], constants, nodes),
        )
    };
    let byte = |name, value| constant(name, DataType::Uint8, &[], vec![value]);
    let scales = || vec![f32s("s", &[4], &[1.0, 1.0, 2.0, 2.0])];
    let up = |mode, coordinates| {
        vec![
            text("mode", mode),
            text("coordinate_transformation_mode", coordinates),
            text("nearest_mode", "floor"),
        ]
    };
    let x = [("x", DataType::Uint8, [1, 4, 2, 3].as_slice())];
    let floored = model(
        18,
        &x,
        &[("y", F32)],
        scales(),
        vec![
            node("Cast", &["x"], &["f"], vec![int("to", F32 as i64)]),
            node("Resize", &["f", "", "s"], &["g"], up("linear", "half_pixel")),
            node("Floor", &["g"], &["y"], vec![]),
        ],
    );
    let inputs = &["x", "", "s"];
    let linear =
        case_of("bytes resize linear", "Resize", inputs, scales(), up("linear", "half_pixel"));
    let large = || constant("large", DataType::Bool, &[3], vec![1, 0, 1]);
    vec![
        case_of(
            "bytes resize nearest",
            "Resize",
            &["x", "", "s"],
            scales(),
            up("nearest", "asymmetric"),
        ),
        // The standard does not say how a mean becomes an integer; ONNX Runtime cuts it off.
        Case { reference: Some(floored), ..linear },
        case_of(
            "bytes resize along axes",
            "Resize",
            &["x", "", "two"],
            vec![f32s("two", &[1], &[2.0])],
            [up("nearest", "asymmetric"), vec![ints("axes", &[2])]].concat(),
        ),
        case_of("bytes depth to space", "DepthToSpace", &["x"], vec![], vec![int("blocksize", 2)]),
        case_of(
            "bytes where",
            "Where",
            &["large", "x", "n"],
            vec![large(), byte("n", 200)],
            vec![],
        ),
        case_of("bytes max", "Max", &["x", "n"], vec![byte("n", 7)], vec![]),
        case_of("bytes min", "Min", &["x", "n"], vec![byte("n", 7)], vec![]),
        case_of("bytes clip", "Clip", &["x", "n"], vec![byte("n", 5)], vec![]),
        case_of("bytes clip above", "Clip", &["x", "", "n"], vec![byte("n", 5)], vec![]),
        case_of("bytes max pool", "MaxPool", &["x"], vec![], vec![ints("kernel_shape", &[2, 2])]),
        case_of("bytes concat", "Concat", &["x", "x"], vec![], vec![int("axis", 1)]),
    ]
}

pub(crate) fn shaped() -> Vec<Case> {
    let arg = |op, opset, attributes| {
        let ties = f32s("ties", &[2, 4], &[1.0, 3.0, 3.0, 1.0, -2.0, -2.0, -2.0, -2.0]);
        let nodes = vec![
            node("Mul", &["x", "zero"], &["nothing"], vec![]),
            node("Add", &["nothing", "ties"], &["tied"], vec![]),
            node(op, &["tied"], &["y"], attributes),
        ];
        let constants = vec![ties, f32s("zero", &[], &[0.0])];
        model(opset, &[("x", F32, &[2, 4])], &[("y", DataType::Int64)], constants, nodes)
    };
    let up = |opset, op, inputs: &[&str], constants, attributes| {
        one(opset, &[1, 1, 2, 3], constants, node(op, inputs, &["y"], attributes))
    };
    let scales = || vec![f32s("s", &[4], &[1.0, 1.0, 2.0, 2.0])];
    let linear = || vec![text("mode", "linear")];
    // The evaluator lacks the old forms, which are this one.
    let asymmetric = |name, mode, old| {
        let attributes = vec![
            text("mode", mode),
            text("coordinate_transformation_mode", "asymmetric"),
            text("nearest_mode", "floor"),
        ];
        let new = up(13, "Resize", &["x", "", "s"], scales(), attributes);
        Case { reference: Some(new), ..case(name, old) }
    };
    let by_one = |opset| {
        let divisor = vec![f32s("d", &[1, 1, 1], &[4.0])];
        one(opset, &[2, 3], divisor, node("Div", &["x", "d"], &["y"], vec![]))
    };
    vec![
        case("div by one number of more axes 7", by_one(7)),
        case("div by one number of more axes 14", by_one(14)),
        case("arg max of ties", arg("ArgMax", 13, vec![int("axis", 1)])),
        case("arg max of ties, flat", arg("ArgMax", 13, vec![int("axis", -1), int("keepdims", 0)])),
        case(
            "arg max of ties, last",
            arg("ArgMax", 13, vec![int("axis", 1), int("select_last_index", 1)]),
        ),
        case("arg max of ties, axis 0", arg("ArgMax", 11, vec![])),
        case("arg min of ties", arg("ArgMin", 13, vec![int("axis", 1)])),
        case(
            "pad axes",
            one(
                18,
                &[2, 3],
                vec![
                    i64s("pads", &[2], &[1, 2]),
                    i64s("axes", &[1], &[-1]),
                    f32s("v", &[], &[7.0]),
                ],
                node("Pad", &["x", "pads", "v", "axes"], &["y"], vec![]),
            ),
        ),
        asymmetric("upsample 9", "linear", up(9, "Upsample", &["x", "s"], scales(), linear())),
        asymmetric(
            "upsample 7",
            "nearest",
            up(7, "Upsample", &["x"], vec![], vec![floats("scales", &[1.0, 1.0, 2.0, 2.0])]),
        ),
        asymmetric("resize 10", "linear", up(10, "Resize", &["x", "s"], scales(), linear())),
        asymmetric("resize 10 nearest", "nearest", up(10, "Resize", &["x", "s"], scales(), vec![])),
        case(
            "resize 13",
            up(
                13,
                "Resize",
                &["x", "", "s"],
                scales(),
                vec![
                    text("mode", "linear"),
                    text("coordinate_transformation_mode", "half_pixel"),
                    float("cubic_coeff_a", -0.5),
                ],
            ),
        ),
        case(
            "resize cubic",
            one(
                13,
                &[1, 1, 2, 3],
                vec![f32s("s", &[4], &[1.0, 1.0, 2.0, 2.0])],
                node("Resize", &["x", "", "s"], &["y"], vec![text("mode", "cubic")]),
            ),
        ),
        case(
            "max pool dilated",
            one(
                13,
                &[1, 1, 4, 4],
                vec![],
                node(
                    "MaxPool",
                    &["x"],
                    &["y"],
                    vec![ints("kernel_shape", &[2, 2]), ints("dilations", &[2, 2])],
                ),
            ),
        ),
        case(
            "resize channels last",
            one(
                13,
                &[1, 2, 3, 2],
                vec![f32s("s", &[4], &[1.0, 2.0, 2.0, 1.0])],
                node(
                    "Resize",
                    &["x", "", "s"],
                    &["y"],
                    vec![text("coordinate_transformation_mode", "asymmetric")],
                ),
            ),
        ),
        case(
            "split without sizes",
            model(
                11,
                &[("x", F32, &[2, 4])],
                &[("y", F32)],
                vec![],
                vec![
                    node("Split", &["x"], &["a", "b"], vec![int("axis", 1)]),
                    node("Sub", &["a", "b"], &["y"], vec![]),
                ],
            ),
        ),
    ]
}

pub(crate) fn excluded() -> Vec<Case> {
    vec![
        not_on(
            case(
                "conv 3-d",
                one(
                    13,
                    &[1, 1, 2, 2, 3],
                    vec![weights("w", &[1, 1, 2, 2, 2])],
                    node("Conv", &["x", "w"], &["y"], vec![ints("kernel_shape", &[2, 2, 2])]),
                ),
            ),
            &[("rten", "it has 3 spatial axes")],
        ),
        not_on(
            case(
                "pad reflects beyond the far end",
                one(
                    13,
                    &[1, 3],
                    vec![i64s("pads", &[4], &[0, 3, 0, 0])],
                    node("Pad", &["x", "pads"], &["y"], vec![text("mode", "reflect")]),
                ),
            ),
            &[("rten", "it reflects 3 of 3 elements"), ("onnxruntime", "exceeds maximum allowed")],
        ),
    ]
}
