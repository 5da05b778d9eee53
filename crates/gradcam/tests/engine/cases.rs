//! The forms that engines lack or compute wrongly, one small model each.

use gradcam::engine::Tensor;
use ndarray::ArrayD;
use onnx_grad::proto::{
    ModelProto, NodeProto, TensorProto, elem_type, tensor_proto::DataType,
    tensor_shape_proto::dimension::Value as DimValue, type_proto,
};

use crate::build::{
    constant, f32s, float, floats, graph, i64s, int, ints, model, node, ramp, text, weights,
};

/// A model with the input `x`, filled with the ramp (integers: 0, 1, 2, …), and the output `y`.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) model: ModelProto,
    /// What the reference evaluator runs, where it cannot run the model itself.
    pub(crate) reference: Option<ModelProto>,
    /// Engines that cannot run the case, and why: a part of their error.
    pub(crate) excluded: &'static [(&'static str, &'static str)],
}

const F32: DataType = DataType::Float;

fn case(name: &'static str, model: ModelProto) -> Case {
    Case { name, model, reference: None, excluded: &[] }
}

fn not_on(mut case: Case, excluded: &'static [(&'static str, &'static str)]) -> Case {
    case.excluded = excluded;
    case
}

/// One node on a float input.
fn one(opset: i64, x: &[i64], constants: Vec<TensorProto>, node: NodeProto) -> ModelProto {
    model(opset, &[("x", F32, x)], &[("y", F32)], constants, vec![node])
}

pub(crate) fn all() -> Vec<Case> {
    [windows(), transposed(), normalised(), typed(), shaped(), excluded()]
        .into_iter()
        .flatten()
        .collect()
}

fn windows() -> Vec<Case> {
    let w = || vec![weights("w", &[2, 2, 3, 2])];
    let conv =
        |attributes| one(13, &[1, 2, 5, 6], w(), node("Conv", &["x", "w"], &["y"], attributes));
    let pool =
        |op, attributes| one(13, &[1, 1, 5, 6], vec![], node(op, &["x"], &["y"], attributes));
    let same = |mode: &'static str| text("auto_pad", mode);
    let square = || vec![weights("w", &[1, 1, 3, 3])];
    let dilated = |padding| {
        let attributes = vec![padding, ints("dilations", &[2, 2]), ints("kernel_shape", &[3, 3])];
        one(13, &[1, 1, 6, 6], square(), node("Conv", &["x", "w"], &["y"], attributes))
    };
    vec![
        case("conv same upper", conv(vec![same("SAME_UPPER"), ints("strides", &[2, 1])])),
        case("conv same lower", conv(vec![same("SAME_LOWER"), ints("strides", &[2, 1])])),
        case("conv valid", conv(vec![same("VALID"), ints("strides", &[2, 2])])),
        case("conv bare", conv(vec![])),
        case("conv pads", conv(vec![ints("pads", &[1, 0, 2, 1])])),
        Case {
            reference: Some(dilated(ints("pads", &[2, 2, 2, 2]))),
            ..case("conv same dilated", dilated(same("SAME_UPPER")))
        },
        case(
            "conv 1-d same lower",
            one(
                13,
                &[1, 2, 7],
                vec![weights("w", &[2, 2, 2])],
                node("Conv", &["x", "w"], &["y"], vec![same("SAME_LOWER")]),
            ),
        ),
        // The evaluator rounds the size of the output down.
        Case {
            reference: Some(pool("MaxPool", {
                let pads = ints("pads", &[1, 1, 0, 0]);
                vec![pads, ints("kernel_shape", &[2, 3]), ints("strides", &[2, 2])]
            })),
            ..case(
                "max pool same lower",
                pool("MaxPool", {
                    let kernel = ints("kernel_shape", &[2, 3]);
                    vec![same("SAME_LOWER"), kernel, ints("strides", &[2, 2])]
                }),
            )
        },
        case("max pool bare", pool("MaxPool", vec![ints("kernel_shape", &[2, 2])])),
        case(
            "max pool ceil",
            pool(
                "MaxPool",
                vec![int("ceil_mode", 1), ints("kernel_shape", &[2, 2]), ints("strides", &[2, 4])],
            ),
        ),
        case(
            "average pool same upper",
            pool(
                "AveragePool",
                vec![same("SAME_UPPER"), ints("kernel_shape", &[2, 3]), ints("strides", &[2, 2])],
            ),
        ),
        case(
            "average pool same lower counted",
            pool(
                "AveragePool",
                vec![
                    same("SAME_LOWER"),
                    int("count_include_pad", 1),
                    ints("kernel_shape", &[2, 3]),
                    ints("strides", &[2, 2]),
                ],
            ),
        ),
    ]
}

fn transposed() -> Vec<Case> {
    let run = |attributes| {
        let node = node("ConvTranspose", &["x", "w"], &["y"], attributes);
        one(13, &[1, 1, 3, 4], vec![weights("w", &[1, 2, 3, 3])], node)
    };
    let explicit = |pads: &[i64], output_padding: &[i64]| {
        run(vec![
            ints("strides", &[2, 2]),
            ints("pads", pads),
            ints("output_padding", output_padding),
        ])
    };
    vec![
        // in 3×4, full 7×9, wanted 6×8: a total of 1 and 1.
        Case {
            reference: Some(explicit(&[0, 0, 1, 1], &[0, 0])),
            ..case(
                "transposed same upper",
                run(vec![text("auto_pad", "SAME_UPPER"), ints("strides", &[2, 2])]),
            )
        },
        Case {
            reference: Some(explicit(&[1, 1, 0, 0], &[0, 0])),
            ..case(
                "transposed same lower",
                run(vec![text("auto_pad", "SAME_LOWER"), ints("strides", &[2, 2])]),
            )
        },
        // Wanted 5×8: totals of 2 and 1, and without auto_pad the beginning is padded more.
        Case {
            reference: Some(explicit(&[1, 1, 1, 0], &[0, 0])),
            ..case(
                "transposed output shape",
                run(vec![ints("output_shape", &[5, 8]), ints("strides", &[2, 2])]),
            )
        },
        case("transposed bare", run(vec![])),
        case("transposed output padding", explicit(&[1, 1, 1, 1], &[1, 1])),
    ]
}

fn normalised() -> Vec<Case> {
    let soft = |op, opset, attributes| {
        one(opset, &[2, 3, 4], vec![], node(op, &["x"], &["y"], attributes))
    };
    // The evaluator normalises one axis at every opset; the standard says this.
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
    let norm = |opset, attributes| {
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
            node("BatchNormalization", &inputs, &["y"], attributes),
        )
    };
    vec![
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

fn typed() -> Vec<Case> {
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

fn shaped() -> Vec<Case> {
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
    vec![
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

fn excluded() -> Vec<Case> {
    let lrn = |size| {
        one(
            13,
            &[1, 4, 1, 2],
            vec![],
            node("LRN", &["x"], &["y"], vec![int("size", size), float("alpha", 0.5)]),
        )
    };
    vec![
        not_on(
            case(
                "resize cubic",
                one(
                    13,
                    &[1, 1, 2, 3],
                    vec![f32s("s", &[4], &[1.0, 1.0, 2.0, 2.0])],
                    node("Resize", &["x", "", "s"], &["y"], vec![text("mode", "cubic")]),
                ),
            ),
            &[("rten", "attribute mode is cubic; rten takes linear|nearest")],
        ),
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
            &[("rten", "attribute dilations is [2, 2]")],
        ),
        not_on(
            case("lrn even", lrn(2)),
            &[("rten", "rten has no LRN"), ("onnxruntime", "attribute size is 2; it must be odd")],
        ),
        not_on(
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
            &[("rten", "resized dimensions")],
        ),
    ]
}

/// The input of a case: the ramp; integers 0, 1, 2, …; booleans by turns.
pub(crate) fn input(model: &ModelProto) -> Tensor {
    let value = &model.graph.as_ref().unwrap().input[0];
    let Some(type_proto::Value::TensorType(tensor)) = &value.r#type.as_ref().unwrap().value else {
        panic!("the input is no tensor");
    };
    let dims = tensor.shape.as_ref().unwrap().dim.iter().map(|dim| match dim.value {
        Some(DimValue::DimValue(size)) => usize::try_from(size).unwrap(),
        _ => panic!("the input has a free size"),
    });
    let dims: Vec<usize> = dims.collect();
    let count = dims.iter().product();
    let elem = elem_type(tensor.elem_type);
    if elem.is_float() {
        return Tensor::F32(ArrayD::from_shape_vec(dims, ramp(count)).unwrap());
    }
    let modulus = if elem == DataType::Bool { 2 } else { i64::MAX };
    let numbers = (0..count).map(|i| i64::try_from(i).unwrap() % modulus).collect();
    Tensor::I64(ArrayD::from_shape_vec(dims, numbers).unwrap())
}
