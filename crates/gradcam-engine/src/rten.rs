//! The engine rten, written in Rust and part of this crate: what it takes, lacks and computes wrongly.

#[cfg(feature = "rten")]
mod cores;
#[cfg(feature = "rten")]
mod home;
#[cfg(feature = "rten")]
mod loader;
#[cfg(feature = "rten")]
mod panics;
#[cfg(feature = "rten")]
mod session;

use onnx_grad::proto::tensor_proto::DataType;

use super::{
    EngineConstructor,
    lower::{
        DefinitionRow, Dialect, OperatorRow, OtherOperators, attributes,
        definition::{
            always, has_dots, has_statistics, has_window, is_not_linear_2d, is_saturating,
            is_training,
        },
        layout::{REFLECTION, pad, resize, slice, space_to_depth},
        nodes::{
            MASK_OUTPUT, NO_AXES, PARTIAL_INDICES, STATISTICS_OUTPUT, TRAINING_MODE,
            TRAINING_OUTPUT, TRAINING_RANK, arg_extreme, arithmetic, as_floats, batch_norm, cast,
            choice, concat, dropout, identity, is_inf, layer_norm, matmul, pow, quantize, reduce,
            scatter_elements, sign, softmax, softplus,
        },
        recurrent::{LENGTHS, full_length, is_unusual_gru, is_unusual_lstm},
        rewritten, row, unchecked,
        windows::{
            INDICES_OUTPUT, PADS, SPATIAL_AXES, conv, conv_transpose, global_lp_pool, lp_pool, pool,
        },
    },
    processor,
};

pub(super) const ID: &str = "rten";

#[cfg(feature = "rten")]
pub(super) const NEW: Option<EngineConstructor> =
    Some(|options| Ok(Box::new(session::Rten::new(options))));
#[cfg(not(feature = "rten"))]
pub(super) const NEW: Option<EngineConstructor> = None;

/// The dialect of rten 0.27.
pub(super) static DIALECT: Dialect = Dialect {
    engine: "rten",
    newest_opset: None,
    types: Some(TYPES),
    operators: OPERATORS,
    other_operators: OtherOperators::Refuse,
    domains: &[],
    model_functions: false,
    definitions: DEFINITIONS,
    final_passes: &[],
    saturates,
    // WebAssembly loads no libraries.
    alternative: if cfg!(target_family = "wasm") { None } else { Some("onnxruntime") },
};

/// Whether its kernels saturate. They use VNNI only in its 512-bit form.
fn saturates() -> bool {
    processor::instruction_sets().is_some_and(|has| has.avx2 && !has.avx512_vnni)
}

const DEFINITIONS: &[DefinitionRow] = &[
    DefinitionRow { op: "Attention", when: has_window },
    DefinitionRow { op: "BatchNormalization", when: is_training },
    // rten computes it wrongly with pads and zero points.
    DefinitionRow { op: "ConvInteger", when: always },
    DefinitionRow { op: "Einsum", when: has_dots },
    DefinitionRow { op: "GRU", when: is_unusual_gru },
    DefinitionRow { op: "GridSample", when: is_not_linear_2d },
    DefinitionRow { op: "LSTM", when: is_unusual_lstm },
    DefinitionRow { op: "LayerNormalization", when: has_statistics },
    DefinitionRow { op: "MatMulInteger", when: is_saturating },
];

/// The element types that rten 0.27 loads, and bfloat16, which is widened first.
const TYPES: &[DataType] = &[
    DataType::Float,
    DataType::Uint8,
    DataType::Int8,
    DataType::Int32,
    DataType::Int64,
    DataType::Bool,
    DataType::Float16,
    DataType::Double,
    DataType::Bfloat16,
];

/// All operators of rten 0.27 without its features `contrib`, `fft` and `random`, from its
/// `op_registry/onnx_registry.rs`. Element types are numbers of `TensorProto`.
#[rustfmt::skip]
const OPERATORS: &[OperatorRow] = &[
    row("Abs", &[]),
    row("Acos", &[]),
    row("Acosh", &[]),
    rewritten("Add", &[], arithmetic),
    row("And", &[]),
    rewritten("ArgMax", attributes![axis, keepdims, select_last_index], arg_extreme),
    rewritten("ArgMin", attributes![axis, keepdims, select_last_index], arg_extreme),
    row("Asin", &[]),
    row("Asinh", &[]),
    row("Atan", &[]),
    row("Atanh", &[]),
    row("Attention", attributes![is_causal, kv_num_heads, q_num_heads, qk_matmul_output_mode, scale, softcap, softmax_precision]),
    rewritten("AveragePool", attributes![auto_pad, ceil_mode, count_include_pad, dilations, kernel_shape, pads, strides], pool).refusing(&[PADS]),
    rewritten("BatchNormalization", attributes![epsilon, spatial = 1, training_mode], batch_norm).ignoring(&["is_test", "momentum"]).refusing(&[TRAINING_OUTPUT, TRAINING_RANK]),
    row("BitCast", attributes![to = 1 | 2 | 3 | 6]),
    rewritten("Cast", attributes![round_mode = up, saturate = 1, to = 1 | 2 | 3 | 6 | 7 | 9 | 10 | 11 | 16], cast),
    row("CastLike", attributes![round_mode = up, saturate = 1]),
    row("Ceil", &[]),
    rewritten("Clip", attributes![max, min], as_floats),
    rewritten("Concat", attributes![axis], concat),
    row("ConcatFromSequence", attributes![axis, new_axis]),
    row("Constant", attributes![value, value_float, value_floats, value_int, value_ints]),
    row("ConstantOfShape", attributes![value]),
    rewritten("Conv", attributes![auto_pad, dilations, group, kernel_shape, pads, strides], conv).refusing(&[PADS, SPATIAL_AXES]),
    rewritten("ConvInteger", attributes![auto_pad, dilations, group, kernel_shape, pads, strides], conv).refusing(&[PADS, SPATIAL_AXES]),
    rewritten("ConvTranspose", attributes![auto_pad, dilations, group, kernel_shape, output_padding, output_shape, pads, strides], conv_transpose).refusing(&[SPATIAL_AXES]),
    row("Cos", &[]),
    row("Cosh", &[]),
    row("CumSum", attributes![exclusive, reverse]),
    rewritten("DepthToSpace", attributes![blocksize, mode = DCR | CRD], as_floats),
    row("DequantizeLinear", attributes![axis, block_size = 0, output_dtype = 0]),
    rewritten("Div", &[], arithmetic),
    rewritten("Dropout", attributes![is_test, ratio, seed], dropout).refusing(&[MASK_OUTPUT, TRAINING_MODE]),
    row("DynamicQuantizeLinear", &[]),
    row("Einsum", attributes![equation]),
    row("Elu", attributes![alpha]),
    row("Equal", &[]),
    row("Erf", &[]),
    row("Exp", &[]),
    row("Expand", &[]),
    row("EyeLike", attributes![dtype = 1 | 2 | 3 | 6 | 7 | 9 | 10 | 11, k]),
    row("Flatten", attributes![axis]),
    row("Floor", &[]),
    rewritten("GRU", attributes![activations, clip = 0, direction, hidden_size, layout = 0, linear_before_reset], full_length).ignoring(&["activation_alpha", "activation_beta"]).refusing(&[LENGTHS]),
    row("Gather", attributes![axis]),
    row("GatherElements", attributes![axis]),
    row("GatherND", attributes![batch_dims]),
    row("Gelu", attributes![approximate = none | tanh]),
    row("Gemm", attributes![alpha, beta, transA, transB]),
    row("GlobalAveragePool", &[]),
    rewritten("GlobalLpPool", attributes![p], global_lp_pool),
    row("GlobalMaxPool", &[]),
    row("Greater", &[]),
    row("GreaterOrEqual", &[]),
    row("GridSample", attributes![align_corners, mode = bilinear | linear, padding_mode = zeros]),
    row("HardSigmoid", attributes![alpha, beta]),
    row("HardSwish", &[]),
    rewritten("Identity", &[], identity),
    row("If", attributes![else_branch, then_branch]),
    row("InstanceNormalization", attributes![epsilon]),
    rewritten("IsInf", attributes![detect_negative, detect_positive], is_inf),
    row("IsNaN", &[]),
    rewritten("LSTM", attributes![activations, clip = 0, direction, hidden_size, input_forget = 0, layout = 0], full_length).ignoring(&["activation_alpha", "activation_beta"]).refusing(&[LENGTHS]),
    rewritten("LayerNormalization", attributes![axis, epsilon, stash_type = 1], layer_norm).refusing(&[STATISTICS_OUTPUT]),
    row("LeakyRelu", attributes![alpha]),
    row("Less", &[]),
    row("LessOrEqual", &[]),
    row("Log", &[]),
    rewritten("LogSoftmax", attributes![axis], softmax),
    row("Loop", attributes![body]),
    row("LpNormalization", attributes![axis, p = 1 | 2]),
    rewritten("LpPool", attributes![auto_pad, ceil_mode, dilations, kernel_shape, p, pads, strides], lp_pool).refusing(&[PADS]),
    rewritten("MatMul", &[], matmul),
    row("MatMulInteger", &[]),
    rewritten("Max", &[], as_floats),
    rewritten("MaxPool", attributes![auto_pad, ceil_mode, dilations, kernel_shape, pads, strides], pool).ignoring(&["storage_order"]).refusing(&[PADS, INDICES_OUTPUT]),
    row("Mean", &[]),
    rewritten("Min", &[], as_floats),
    row("Mod", attributes![fmod]),
    rewritten("Mul", &[], arithmetic),
    row("Neg", &[]),
    row("NonMaxSuppression", attributes![center_point_box]),
    row("NonZero", &[]),
    row("Not", &[]),
    row("OneHot", attributes![axis]),
    row("Or", &[]),
    row("PRelu", &[]),
    rewritten("Pad", attributes![mode = constant | edge | reflect | wrap, pads, value], pad).refusing(&[REFLECTION]),
    rewritten("Pow", &[], pow),
    rewritten("QuantizeLinear", attributes![axis, block_size = 0, output_dtype = 0 | 2 | 3, precision = 0, saturate = 1], quantize),
    row("RMSNormalization", attributes![axis, epsilon, stash_type = 1]),
    row("Range", attributes![stash_type = 1]),
    row("Reciprocal", &[]),
    rewritten("ReduceL1", attributes![axes, keepdims, noop_with_empty_axes], reduce).refusing(&[NO_AXES]),
    rewritten("ReduceL2", attributes![axes, keepdims, noop_with_empty_axes], reduce).refusing(&[NO_AXES]),
    rewritten("ReduceLogSum", attributes![axes, keepdims, noop_with_empty_axes], reduce).refusing(&[NO_AXES]),
    rewritten("ReduceLogSumExp", attributes![axes, keepdims, noop_with_empty_axes], reduce).refusing(&[NO_AXES]),
    rewritten("ReduceMax", attributes![axes, keepdims, noop_with_empty_axes], reduce),
    rewritten("ReduceMean", attributes![axes, keepdims, noop_with_empty_axes], reduce),
    rewritten("ReduceMin", attributes![axes, keepdims, noop_with_empty_axes], reduce),
    rewritten("ReduceProd", attributes![axes, keepdims, noop_with_empty_axes], reduce),
    row("ReduceSum", attributes![axes, keepdims, noop_with_empty_axes]),
    rewritten("ReduceSumSquare", attributes![axes, keepdims, noop_with_empty_axes], reduce).refusing(&[NO_AXES]),
    row("Relu", &[]),
    row("Reshape", attributes![allowzero, shape]),
    unchecked("Resize", resize),
    row("ReverseSequence", attributes![batch_axis, time_axis]),
    row("RotaryEmbedding", attributes![interleaved, num_heads, rotary_embedding_dim]),
    row("Round", &[]),
    row("Scatter", attributes![axis]),
    rewritten("ScatterElements", attributes![axis, reduction], scatter_elements).refusing(&[PARTIAL_INDICES]),
    row("ScatterND", attributes![reduction]),
    row("SequenceAt", &[]),
    row("SequenceConstruct", &[]),
    row("SequenceEmpty", attributes![dtype = 1 | 2 | 3 | 6 | 7 | 9 | 10 | 11]),
    row("SequenceErase", &[]),
    row("SequenceInsert", &[]),
    row("SequenceLength", &[]),
    row("Shape", attributes![end, start]),
    row("Sigmoid", &[]),
    rewritten("Sign", &[], sign),
    row("Sin", &[]),
    row("Sinh", &[]),
    row("Size", &[]),
    rewritten("Slice", attributes![axes, ends, starts], slice),
    rewritten("Softmax", attributes![axis], softmax),
    rewritten("Softplus", &[], softplus),
    row("Softsign", &[]),
    rewritten("SpaceToDepth", attributes![blocksize, mode = DCR | CRD], space_to_depth),
    row("Split", attributes![axis, num_outputs, split]),
    row("SplitToSequence", attributes![axis, keepdims]),
    row("Sqrt", &[]),
    row("Squeeze", attributes![axes]),
    rewritten("Sub", &[], arithmetic),
    row("Sum", &[]),
    row("Swish", attributes![alpha]),
    row("Tan", &[]),
    row("Tanh", &[]),
    row("Tile", &[]),
    row("TopK", attributes![axis, k, largest, sorted]),
    row("Transpose", attributes![perm]),
    row("Trilu", attributes![upper]),
    row("Unsqueeze", attributes![axes]),
    unchecked("Upsample", resize),
    rewritten("Where", &[], choice),
    row("Xor", &[]),
];
