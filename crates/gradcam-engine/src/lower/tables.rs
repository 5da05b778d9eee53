//! The tables: what each engine takes, and what is rewritten for it.

use onnx_grad::proto::{NodeProto, tensor_proto::DataType};

use super::{
    Refusal,
    layout::{pad, resize, resize_of_two_axes, slice, space_to_depth, wide_axes},
    nodes::{
        absent, arg_extreme, arithmetic, batch_norm, before_22, before_28, cast, concat, dropout,
        identity, is_inf, layer_norm, matmul, odd_size, one_hot, pow, quantize, reduce,
        scatter_elements, sign, softmax, softplus,
    },
    rewrite::Rewrite,
    saturation,
    windows::{conv, conv_transpose, global_lp_pool, lp_pool, new_global_lp_pool, odd_same, pool},
};

/// What is done with one operator.
pub(super) struct Row {
    pub(super) op: &'static str,
    /// The attributes that the engine takes, separated by blanks: `name` with any value,
    /// `name=a|b` with these values; `~` marks an attribute that means nothing to a run, and is
    /// dropped. Any other attribute makes the node unsupported. `None`: not checked here.
    pub(super) attributes: Option<&'static str>,
    /// How it is written in other words; `None`: it stays as it is.
    pub(super) rewrite: Option<Rule>,
    /// What messages say of the forms that `rewrite` refuses, with … for what differs.
    pub(super) refuses: &'static [&'static str],
}

impl Row {
    const fn refusing(mut self, forms: &'static [&'static str]) -> Self {
        self.refuses = forms;
        self
    }
}

/// Writes nodes that mean what one node means, or says why it cannot.
pub(super) type Rule = fn(&mut Rewrite<'_>, NodeProto) -> Result<(), Refusal>;

const fn row(op: &'static str, attributes: &'static str) -> Row {
    Row { op, attributes: Some(attributes), rewrite: None, refuses: &[] }
}

const fn rewritten(op: &'static str, attributes: &'static str, rewrite: Rule) -> Row {
    Row { op, attributes: Some(attributes), rewrite: Some(rewrite), refuses: &[] }
}

const fn unchecked(op: &'static str, rewrite: Rule) -> Row {
    Row { op, attributes: None, rewrite: Some(rewrite), refuses: &[] }
}

const fn until_21(op: &'static str) -> Row {
    unchecked(op, before_22).refusing(&["ONNX Runtime takes it up to opset 21"])
}

const fn until_27(op: &'static str) -> Row {
    unchecked(op, before_28).refusing(UNTIL_27)
}

const UNTIL_27: &[&str] = &["ONNX Runtime takes it up to opset 27"];

/// The newest opset of ONNX Runtime 1.32.
pub(super) const ONNX_RUNTIME_OPSET: i64 = 28;

/// The domains that every build of ONNX Runtime has.
pub(super) const ONNX_RUNTIME_DOMAINS: &[&str] = &["ai.onnx.ml", "com.microsoft"];

/// ONNX Runtime has nearly every operator; these have forms that it refuses.
pub(super) const ONNX_RUNTIME: &[Row] = &[
    unchecked("AveragePool", odd_same),
    until_21("Bernoulli"),
    unchecked("Conv", odd_same),
    unchecked("ConvInteger", saturation::product),
    unchecked("DequantizeLinear", saturation::dequantize).refusing(UNTIL_27),
    unchecked("GlobalLpPool", new_global_lp_pool),
    unchecked("ImageDecoder", absent).refusing(&["ONNX Runtime has no ImageDecoder"]),
    unchecked("LRN", odd_size).refusing(&["attribute size is …; it must be odd"]),
    unchecked("LpPool", odd_same),
    unchecked("MatMulInteger", saturation::product),
    unchecked("MaxPool", odd_same),
    until_21("Multinomial"),
    unchecked("OneHot", one_hot),
    until_27("OptionalGetElement"),
    until_27("OptionalHasElement"),
    unchecked("Pad", wide_axes),
    unchecked("QuantizeLinear", saturation::quantize).refusing(UNTIL_27),
    until_21("RandomNormal"),
    until_21("RandomNormalLike"),
    until_21("RandomUniform"),
    until_21("RandomUniformLike"),
    unchecked("Resize", resize_of_two_axes),
    until_21("RoiAlign"),
    unchecked("SwiGLU", absent).refusing(&["ONNX Runtime has no SwiGLU"]),
];

/// The operators of ONNX Runtime's own domain that multiply 8-bit integers and have no words in the standard.
pub(super) const MICROSOFT: &[Row] = &[
    unchecked("DynamicQuantizeLSTM", saturation::product),
    unchecked("DynamicQuantizeMatMul", saturation::product),
    unchecked("MatMulIntegerToFloat", saturation::product),
    unchecked("QAttention", saturation::product),
    unchecked("QGemm", saturation::product),
    unchecked("QLinearConv", saturation::product),
];

/// What some forms of are written by their definition; see [`lacks`](super::Dialect::lacks).
pub(super) const ONNX_RUNTIME_DEFINED: &[&str] = &["Einsum", "LRN", "Swish"];
pub(super) const RTEN_DEFINED: &[&str] = &[
    "Attention",
    "BatchNormalization",
    "ConvInteger",
    "Einsum",
    "GridSample",
    "LayerNormalization",
    "MatMulInteger",
];

/// The types of tensors that rten 0.27 loads, and bfloat16, which is widened before.
pub(super) const RTEN_TYPES: &[DataType] = &[
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
pub(super) const RTEN: &[Row] = &[
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
    rewritten("BatchNormalization", "epsilon ~is_test ~momentum spatial=1 training_mode", batch_norm).refusing(&["its training output is not supported", "in training mode the rank of its input must be known"]),
    row("BitCast", "to=1|2|3|6"),
    rewritten("Cast", "round_mode=up saturate=1 to=1|2|3|6|7|9|10|11|16", cast),
    row("CastLike", "round_mode=up saturate=1"),
    row("Ceil", ""),
    row("Clip", "max min"),
    rewritten("Concat", "axis", concat),
    row("ConcatFromSequence", "axis new_axis"),
    row("Constant", "value value_float value_floats value_int value_ints"),
    row("ConstantOfShape", "value"),
    rewritten("Conv", "auto_pad dilations group kernel_shape pads strides", conv).refusing(&["it has … spatial axes; rten takes 1 and 2"]),
    rewritten("ConvInteger", "auto_pad dilations group kernel_shape pads strides", conv).refusing(&["it has … spatial axes; rten takes 1 and 2"]),
    rewritten("ConvTranspose", "auto_pad dilations group kernel_shape output_padding output_shape pads strides", conv_transpose).refusing(&["it has … spatial axes; rten takes 1 and 2"]),
    row("Cos", ""),
    row("Cosh", ""),
    row("CumSum", "exclusive reverse"),
    row("DepthToSpace", "blocksize mode=DCR|CRD"),
    row("DequantizeLinear", "axis block_size=0 output_dtype=0"),
    rewritten("Div", "", arithmetic),
    rewritten("Dropout", "is_test ratio seed", dropout).refusing(&["it is in training mode"]),
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
    rewritten("MaxPool", "auto_pad ceil_mode dilations kernel_shape pads ~storage_order strides", pool).refusing(&["its Indices output is not supported"]),
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
    rewritten("ScatterElements", "axis reduction", scatter_elements).refusing(&["its indices leave out a part of another axis"]),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_sorted() {
        assert!(RTEN.is_sorted_by(|a, b| a.op < b.op));
        assert!(ONNX_RUNTIME.is_sorted_by(|a, b| a.op < b.op));
        assert!(MICROSOFT.is_sorted_by(|a, b| a.op < b.op));
    }
}
