//! The forms that engines lack or compute wrongly, one small model each.

use gradcam_engine::Tensor;
use ndarray::ArrayD;
use onnx_grad::proto::{
    ModelProto, NodeProto, TensorProto, elem_type, tensor_proto::DataType,
    tensor_shape_proto::dimension::Value as DimValue, type_proto,
};

use testkit::build::{f32s, int, ints, model, node, ramp, text, weights};

use super::nodes::{bytes, excluded, normalized, shaped, typed};

/// A model with the input `x`, filled with the ramp (integers: 0, 1, 2, …), and the output `y`.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) model: ModelProto,
    /// What the reference evaluator runs, where it cannot run the model itself.
    pub(crate) reference: Option<ModelProto>,
    /// Engines that cannot run the case, and why: a part of their error.
    pub(crate) excluded: &'static [(&'static str, &'static str)],
}

pub(crate) const F32: DataType = DataType::Float;

pub(crate) fn case(name: &'static str, model: ModelProto) -> Case {
    Case { name, model, reference: None, excluded: &[] }
}

/// One node on a float input.
pub(crate) fn one(
    opset: i64,
    x: &[i64],
    constants: Vec<TensorProto>,
    node: NodeProto,
) -> ModelProto {
    model(opset, &[("x", F32, x)], &[("y", F32)], constants, vec![node])
}

pub(crate) fn all() -> Vec<Case> {
    [windows(), transposed(), normalized(), typed(), bytes(), shaped(), excluded()]
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
    let solid = |kernel: &[i64], attributes| {
        let constants = vec![
            weights("w", &[&[4, 1], kernel].concat()),
            f32s("b", &[4], &[0.5, -1.0, 0.0, 2.0]),
        ];
        one(13, &[2, 2, 3, 4, 5], constants, node("Conv", &["x", "w", "b"], &["y"], attributes))
    };
    vec![
        case(
            "conv 3-d flat",
            solid(&[3, 3, 1], vec![int("group", 2), ints("pads", &[1, 1, 0, 1, 0, 0])]),
        ),
        case(
            "conv 3-d flat in the middle",
            solid(&[2, 1, 3], vec![int("group", 2), ints("strides", &[1, 1, 2])]),
        ),
        case(
            "conv 3-d flat first",
            solid(&[1, 2, 2], vec![int("group", 2), ints("dilations", &[1, 2, 3])]),
        ),
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
        Case {
            reference: Some(pool(
                "MaxPool",
                vec![ints("kernel_shape", &[2, 2]), ints("strides", &[3, 3])],
            )),
            ..case(
                "max pool same with gaps",
                pool("MaxPool", {
                    let kernel = ints("kernel_shape", &[2, 2]);
                    vec![same("SAME_UPPER"), kernel, ints("strides", &[3, 3])]
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
