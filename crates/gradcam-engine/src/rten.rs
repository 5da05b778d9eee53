//! rten: pure Rust, a part of this crate. Here is what it takes, lacks and computes wrongly.

#[cfg(feature = "rten")]
mod cores;
#[cfg(feature = "rten")]
mod session;

use onnx_grad::proto::tensor_proto::DataType;

use super::{
    EngineConstructor,
    lower::{
        DefinitionRow, Dialect, OperatorRow, OtherOperators,
        definition::{
            always, has_dots, has_statistics, has_window, is_not_linear_2d, is_saturating,
            is_training,
        },
        layout::{pad, resize, slice, space_to_depth},
        nodes::{
            PARTIAL_INDICES, TRAINING_MODE, TRAINING_OUTPUT, TRAINING_RANK, arg_extreme,
            arithmetic, batch_norm, cast, concat, dropout, identity, is_inf, layer_norm, matmul,
            pow, quantize, reduce, scatter_elements, sign, softmax, softplus,
        },
        rewritten, row, unchecked,
        windows::{
            INDICES_OUTPUT, SPATIAL_AXES, conv, conv_transpose, global_lp_pool, lp_pool, pool,
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

/// rten 0.27.
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
    alternative: Some("onnxruntime"),
};

/// Its kernels use VNNI in its 512-bit form only.
fn saturates() -> bool {
    processor::features().is_some_and(|has| has.avx2 && !has.avx512_vnni)
}

const DEFINITIONS: &[DefinitionRow] = &[
    DefinitionRow { op: "Attention", when: has_window },
    DefinitionRow { op: "BatchNormalization", when: is_training },
    // It is wrong where it has pads and zero points.
    DefinitionRow { op: "ConvInteger", when: always },
    DefinitionRow { op: "Einsum", when: has_dots },
    DefinitionRow { op: "GridSample", when: is_not_linear_2d },
    DefinitionRow { op: "LayerNormalization", when: has_statistics },
    DefinitionRow { op: "MatMulInteger", when: is_saturating },
];

/// The types of tensors that rten 0.27 loads, and bfloat16, which is widened before.
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

/// All operators of rten 0.27 as it is built here (without its features `contrib`, `fft` and
/// `random`), read in its `op_registry/onnx_registry.rs`. Types are numbers of `TensorProto`.
#[rustfmt::skip]
const OPERATORS: &[OperatorRow] = &[
    row("Abs", ""),
    row("Acos", ""),
    row("Acosh", ""),
    rewritten("Add", "", arithmetic),
    row("And", ""),
    rewritten("ArgMax", "axis keepdims select_last_index", arg_extreme),
    rewritten("ArgMin", "axis keepdims select_last_index", arg_extreme),
    row("Asin", ""),
    row("Asinh", ""),
    row("Atan", ""),
    row("Atanh", ""),
    row("Attention", "is_causal kv_num_heads q_num_heads qk_matmul_output_mode scale softcap softmax_precision"),
    rewritten("AveragePool", "auto_pad ceil_mode count_include_pad dilations kernel_shape pads strides", pool),
    rewritten("BatchNormalization", "epsilon ~is_test ~momentum spatial=1 training_mode", batch_norm).refusing(&[TRAINING_OUTPUT, TRAINING_RANK]),
    row("BitCast", "to=1|2|3|6"),
    rewritten("Cast", "round_mode=up saturate=1 to=1|2|3|6|7|9|10|11|16", cast),
    row("CastLike", "round_mode=up saturate=1"),
    row("Ceil", ""),
    row("Clip", "max min"),
    rewritten("Concat", "axis", concat),
    row("ConcatFromSequence", "axis new_axis"),
    row("Constant", "value value_float value_floats value_int value_ints"),
    row("ConstantOfShape", "value"),
    rewritten("Conv", "auto_pad dilations group kernel_shape pads strides", conv).refusing(&[SPATIAL_AXES]),
    rewritten("ConvInteger", "auto_pad dilations group kernel_shape pads strides", conv).refusing(&[SPATIAL_AXES]),
    rewritten("ConvTranspose", "auto_pad dilations group kernel_shape output_padding output_shape pads strides", conv_transpose).refusing(&[SPATIAL_AXES]),
    row("Cos", ""),
    row("Cosh", ""),
    row("CumSum", "exclusive reverse"),
    row("DepthToSpace", "blocksize mode=DCR|CRD"),
    row("DequantizeLinear", "axis block_size=0 output_dtype=0"),
    rewritten("Div", "", arithmetic),
    rewritten("Dropout", "is_test ratio seed", dropout).refusing(&[TRAINING_MODE]),
    row("DynamicQuantizeLinear", ""),
    row("Einsum", "equation"),
    row("Elu", "alpha"),
    row("Equal", ""),
    row("Erf", ""),
    row("Exp", ""),
    row("Expand", ""),
    row("EyeLike", "dtype=1|2|3|6|7|9|10|11 k"),
    row("Flatten", "axis"),
    row("Floor", ""),
    row("GRU", "activation_alpha activation_beta activations clip=0 direction hidden_size layout=0 linear_before_reset"),
    row("Gather", "axis"),
    row("GatherElements", "axis"),
    row("GatherND", "batch_dims"),
    row("Gelu", "approximate=none|tanh"),
    row("Gemm", "alpha beta transA transB"),
    row("GlobalAveragePool", ""),
    rewritten("GlobalLpPool", "p", global_lp_pool),
    row("GlobalMaxPool", ""),
    row("Greater", ""),
    row("GreaterOrEqual", ""),
    row("GridSample", "align_corners mode=bilinear|linear padding_mode=zeros"),
    row("HardSigmoid", "alpha beta"),
    row("HardSwish", ""),
    rewritten("Identity", "", identity),
    row("If", "else_branch then_branch"),
    row("InstanceNormalization", "epsilon"),
    rewritten("IsInf", "detect_negative detect_positive", is_inf),
    row("IsNaN", ""),
    row("LSTM", "activation_alpha activation_beta activations clip=0 direction hidden_size input_forget=0 layout=0"),
    rewritten("LayerNormalization", "axis epsilon stash_type=1", layer_norm),
    row("LeakyRelu", "alpha"),
    row("Less", ""),
    row("LessOrEqual", ""),
    row("Log", ""),
    rewritten("LogSoftmax", "axis", softmax),
    row("Loop", "body"),
    row("LpNormalization", "axis p=1|2"),
    rewritten("LpPool", "auto_pad ceil_mode dilations kernel_shape p pads strides", lp_pool),
    rewritten("MatMul", "", matmul),
    row("MatMulInteger", ""),
    row("Max", ""),
    rewritten("MaxPool", "auto_pad ceil_mode dilations kernel_shape pads ~storage_order strides", pool).refusing(&[INDICES_OUTPUT]),
    row("Mean", ""),
    row("Min", ""),
    row("Mod", "fmod"),
    rewritten("Mul", "", arithmetic),
    row("Neg", ""),
    row("NonMaxSuppression", "center_point_box"),
    row("NonZero", ""),
    row("Not", ""),
    row("OneHot", "axis"),
    row("Or", ""),
    row("PRelu", ""),
    rewritten("Pad", "mode=constant|edge|reflect|wrap pads value", pad),
    rewritten("Pow", "", pow),
    rewritten("QuantizeLinear", "axis block_size=0 output_dtype=0|2|3 precision=0 saturate=1", quantize),
    row("RMSNormalization", "axis epsilon stash_type=1"),
    row("Range", "stash_type=1"),
    row("Reciprocal", ""),
    rewritten("ReduceL1", "axes keepdims noop_with_empty_axes", reduce),
    rewritten("ReduceL2", "axes keepdims noop_with_empty_axes", reduce),
    rewritten("ReduceLogSum", "axes keepdims noop_with_empty_axes", reduce),
    rewritten("ReduceLogSumExp", "axes keepdims noop_with_empty_axes", reduce),
    rewritten("ReduceMax", "axes keepdims noop_with_empty_axes", reduce),
    rewritten("ReduceMean", "axes keepdims noop_with_empty_axes", reduce),
    rewritten("ReduceMin", "axes keepdims noop_with_empty_axes", reduce),
    rewritten("ReduceProd", "axes keepdims noop_with_empty_axes", reduce),
    row("ReduceSum", "axes keepdims noop_with_empty_axes"),
    rewritten("ReduceSumSquare", "axes keepdims noop_with_empty_axes", reduce),
    row("Relu", ""),
    row("Reshape", "allowzero shape"),
    unchecked("Resize", resize),
    row("ReverseSequence", "batch_axis time_axis"),
    row("RotaryEmbedding", "interleaved num_heads rotary_embedding_dim"),
    row("Round", ""),
    row("Scatter", "axis"),
    rewritten("ScatterElements", "axis reduction", scatter_elements).refusing(&[PARTIAL_INDICES]),
    row("ScatterND", "reduction"),
    row("SequenceAt", ""),
    row("SequenceConstruct", ""),
    row("SequenceEmpty", "dtype=1|2|3|6|7|9|10|11"),
    row("SequenceErase", ""),
    row("SequenceInsert", ""),
    row("SequenceLength", ""),
    row("Shape", "end start"),
    row("Sigmoid", ""),
    rewritten("Sign", "", sign),
    row("Sin", ""),
    row("Sinh", ""),
    row("Size", ""),
    rewritten("Slice", "axes ends starts", slice),
    rewritten("Softmax", "axis", softmax),
    rewritten("Softplus", "", softplus),
    row("Softsign", ""),
    rewritten("SpaceToDepth", "blocksize mode=DCR|CRD", space_to_depth),
    row("Split", "axis num_outputs split"),
    row("SplitToSequence", "axis keepdims"),
    row("Sqrt", ""),
    row("Squeeze", "axes"),
    rewritten("Sub", "", arithmetic),
    row("Sum", ""),
    row("Swish", "alpha"),
    row("Tan", ""),
    row("Tanh", ""),
    row("Tile", ""),
    row("TopK", "axis k largest sorted"),
    row("Transpose", "perm"),
    row("Trilu", "upper"),
    row("Unsqueeze", "axes"),
    unchecked("Upsample", resize),
    row("Where", ""),
    row("Xor", ""),
];
