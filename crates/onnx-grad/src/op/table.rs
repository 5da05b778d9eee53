//! The traits of each operator.

use super::{
    Affine::{self, Each, First, Jointly, No},
    Kind::{
        self, Activation, Arg, Attention, Convert, Convolve, Deconvolve, Einsum, Elementwise,
        GlobalPool, Identity, Index, MatMul, Normalize, Other, Piece, Pool, Recurrent, Reduce,
        Repeat, Resample, Reshape, Shuffle, Softmax, Transpose,
    },
    Traits,
};

/// An operator and its traits.
pub(super) type TraitsRow = (&'static str, Traits);

const fn is(kind: Kind, affine: Affine) -> Traits {
    let by_channel = matches!(kind, Pool | GlobalPool);
    Traits { kind, affine, by_channel, ..Traits::UNKNOWN }
}

impl Traits {
    /// Every output element is an element of the first input.
    const fn selecting(mut self) -> Self {
        self.selects = true;
        self
    }

    /// Channels are independent.
    const fn by_channel(mut self) -> Self {
        self.by_channel = true;
        self
    }

    /// The output may be much larger than the inputs.
    const fn growing(mut self) -> Self {
        self.grows = true;
        self
    }

    /// An input may determine the output's shape at run time.
    const fn shaped(mut self) -> Self {
        self.shape_by_numbers = true;
        self
    }
}

/// The operators of the standard, sorted; operators with unknown traits are omitted.
#[rustfmt::skip]
pub(super) const STANDARD: &[TraitsRow] = &[
    ("Abs", is(Elementwise, No)),
    ("Acos", is(Elementwise, No)),
    ("Acosh", is(Elementwise, No)),
    ("Add", is(Elementwise, Jointly)),
    ("AffineGrid", is(Other, First).growing()),
    ("And", is(Elementwise, No)),
    ("ArgMax", is(Arg, No)),
    ("ArgMin", is(Arg, No)),
    ("Asin", is(Elementwise, No)),
    ("Asinh", is(Elementwise, No)),
    ("Atan", is(Elementwise, No)),
    ("Atanh", is(Elementwise, No)),
    ("Attention", is(Attention, No)),
    ("AveragePool", is(Pool, First)),
    ("BatchNormalization", is(Normalize, First).by_channel()),
    ("BitShift", is(Elementwise, No)),
    ("BitwiseAnd", is(Elementwise, No)),
    ("BitwiseNot", is(Elementwise, No)),
    ("BitwiseOr", is(Elementwise, No)),
    ("BitwiseXor", is(Elementwise, No)),
    ("Cast", is(Convert, First)),
    ("CastLike", is(Convert, First)),
    ("Ceil", is(Elementwise, No)),
    ("Celu", is(Activation, No)),
    ("CenterCropPad", is(Piece, First).growing()),
    ("Clip", is(Activation, No)),
    ("Col2Im", is(Other, First).growing()),
    ("Compress", is(Index, First).selecting()),
    ("Concat", is(Piece, Jointly)),
    ("ConstantOfShape", is(Other, No).growing()),
    ("Conv", is(Convolve, Each)),
    ("ConvInteger", is(Convolve, No)),
    ("ConvTranspose", is(Deconvolve, Each).growing()),
    ("Cos", is(Elementwise, No)),
    ("Cosh", is(Elementwise, No)),
    ("CumSum", is(Other, First)),
    ("DeformConv", is(Convolve, First)),
    ("DepthToSpace", is(Shuffle, First).selecting()),
    ("DequantizeLinear", is(Convert, First)),
    ("Div", is(Elementwise, First)),
    ("Dropout", is(Identity, First).selecting()),
    ("Einsum", is(Einsum, Each)),
    ("Elu", is(Activation, No)),
    ("Equal", is(Elementwise, No)),
    ("Erf", is(Elementwise, No)),
    ("Exp", is(Elementwise, No)),
    ("Expand", is(Repeat, First).selecting().growing().shaped()),
    ("EyeLike", is(Other, No).growing()),
    ("Flatten", is(Reshape, First).selecting()),
    ("Floor", is(Elementwise, No)),
    ("GRU", is(Recurrent, No)),
    ("Gather", is(Index, First).selecting()),
    ("GatherElements", is(Index, First).selecting()),
    ("GatherND", is(Index, First).selecting()),
    ("Gelu", is(Activation, No)),
    ("Gemm", is(MatMul, Each)),
    ("GlobalAveragePool", is(GlobalPool, First)),
    ("GlobalLpPool", is(GlobalPool, No)),
    ("GlobalMaxPool", is(GlobalPool, No).selecting()),
    ("Greater", is(Elementwise, No)),
    ("GreaterOrEqual", is(Elementwise, No)),
    ("GroupNormalization", is(Normalize, No)),
    ("HardSigmoid", is(Activation, No)),
    ("HardSwish", is(Activation, No)),
    ("Hardmax", is(Softmax, No)),
    ("Identity", is(Identity, First).selecting()),
    ("InstanceNormalization", is(Normalize, No).by_channel()),
    ("IsInf", is(Elementwise, No)),
    ("IsNaN", is(Elementwise, No)),
    ("LRN", is(Normalize, No)),
    ("LSTM", is(Recurrent, No)),
    ("LayerNormalization", is(Normalize, No)),
    ("LeakyRelu", is(Activation, No)),
    ("Less", is(Elementwise, No)),
    ("LessOrEqual", is(Elementwise, No)),
    ("Log", is(Elementwise, No)),
    ("LogSoftmax", is(Softmax, No)),
    ("LpNormalization", is(Normalize, No)),
    ("LpPool", is(Pool, No)),
    ("MatMul", is(MatMul, Each)),
    ("MatMulInteger", is(MatMul, No)),
    ("Max", is(Elementwise, No)),
    ("MaxPool", is(Pool, No).selecting()),
    ("MaxUnpool", is(Other, First).growing()),
    ("Mean", is(Elementwise, Jointly)),
    ("MeanVarianceNormalization", is(Normalize, No)),
    ("Min", is(Elementwise, No)),
    ("Mish", is(Activation, No)),
    ("Mod", is(Elementwise, No)),
    ("Mul", is(Elementwise, Each)),
    ("Neg", is(Elementwise, First)),
    ("Not", is(Elementwise, No)),
    ("OneHot", is(Other, No).growing()),
    ("Or", is(Elementwise, No)),
    ("PRelu", is(Activation, No)),
    ("Pad", is(Piece, First).growing().shaped()),
    ("Pow", is(Elementwise, No)),
    ("QLinearConv", is(Convolve, No)),
    ("QLinearMatMul", is(MatMul, No)),
    ("QuantizeLinear", is(Convert, No)),
    ("RMSNormalization", is(Normalize, No)),
    ("RNN", is(Recurrent, No)),
    ("RandomNormal", is(Other, No).growing()),
    ("RandomUniform", is(Other, No).growing()),
    ("Range", is(Other, No).growing()),
    ("Reciprocal", is(Elementwise, No)),
    ("ReduceL1", is(Reduce, No).shaped()),
    ("ReduceL2", is(Reduce, No).shaped()),
    ("ReduceLogSum", is(Reduce, No).shaped()),
    ("ReduceLogSumExp", is(Reduce, No).shaped()),
    ("ReduceMax", is(Reduce, No).selecting().shaped()),
    ("ReduceMean", is(Reduce, First).shaped()),
    ("ReduceMin", is(Reduce, No).selecting().shaped()),
    ("ReduceProd", is(Reduce, No).shaped()),
    ("ReduceSum", is(Reduce, First).shaped()),
    ("ReduceSumSquare", is(Reduce, No).shaped()),
    ("Relu", is(Activation, No)),
    ("Reshape", is(Reshape, First).selecting().shaped()),
    ("Resize", is(Resample, First).growing().shaped()),
    ("ReverseSequence", is(Index, First).selecting()),
    ("Round", is(Elementwise, No)),
    ("Selu", is(Activation, No)),
    ("Shrink", is(Activation, No)),
    ("Sigmoid", is(Activation, No)),
    ("Sign", is(Elementwise, No)),
    ("SimplifiedLayerNormalization", is(Normalize, No)),
    ("Sin", is(Elementwise, No)),
    ("Sinh", is(Elementwise, No)),
    ("Slice", is(Piece, First).selecting().shaped()),
    ("Softmax", is(Softmax, No)),
    ("Softplus", is(Activation, No)),
    ("Softsign", is(Activation, No)),
    ("SpaceToDepth", is(Shuffle, First).selecting()),
    ("Split", is(Piece, First).selecting().shaped()),
    ("Sqrt", is(Elementwise, No)),
    ("Squeeze", is(Reshape, First).selecting().shaped()),
    ("Sub", is(Elementwise, Jointly)),
    ("Sum", is(Elementwise, Jointly)),
    ("Swish", is(Activation, No)),
    ("Tan", is(Elementwise, No)),
    ("Tanh", is(Activation, No)),
    ("ThresholdedRelu", is(Activation, No)),
    ("Tile", is(Repeat, First).selecting().growing().shaped()),
    ("TopK", is(Other, No).selecting()),
    ("Transpose", is(Transpose, First).selecting()),
    ("Trilu", is(Other, First)),
    ("Unsqueeze", is(Reshape, First).selecting().shaped()),
    ("Upsample", is(Resample, First).growing()),
    ("Where", is(Elementwise, No)),
    ("Xor", is(Elementwise, No)),
];

/// The operators of ONNX Runtime's domain `com.microsoft`, except those that are rewritten as standard operators
/// first.
#[rustfmt::skip]
pub(super) const MICROSOFT: &[TraitsRow] = &[
    ("Attention", is(Attention, No)),
    ("BiasGelu", is(Elementwise, No)),
    ("DequantizeLinear", is(Convert, First)),
    ("FastGelu", is(Elementwise, No)),
    ("Gelu", is(Activation, No)),
    ("MultiHeadAttention", is(Attention, No)),
    ("QuantizeLinear", is(Convert, No)),
    ("QuickGelu", is(Activation, No)),
];
