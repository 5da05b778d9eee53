//! The engine ONNX Runtime, a shared library that is loaded at run time: what it takes, lacks and computes wrongly.

#[cfg(feature = "onnxruntime")]
mod session;

use super::{
    EngineConstructor,
    lower::{
        DefinitionRow, Dialect, OperatorRow, OtherOperators, absent, bfloat16,
        definition::{always, has_dots, has_even_size},
        layout::{resize_of_two_axes, wide_axes},
        nodes::{EVEN_SIZE, odd_size, one_hot, plain_interface_types},
        recurrent::differs_from_runtime,
        saturation, unchecked, until,
        windows::{PADS, new_global_lp_pool, odd_same},
    },
    processor,
};

pub(super) const ID: &str = "onnxruntime";

#[cfg(feature = "onnxruntime")]
pub(super) const NEW: Option<EngineConstructor> =
    Some(|options| Ok(Box::new(session::OnnxRuntime::new(options)?)));
#[cfg(not(feature = "onnxruntime"))]
pub(super) const NEW: Option<EngineConstructor> = None;

/// The dialect of ONNX Runtime 1.32, with the domains that every build has.
pub(super) static DIALECT: Dialect = Dialect {
    engine: "ONNX Runtime",
    newest_opset: Some(28),
    types: None,
    operators: OPERATORS,
    other_operators: OtherOperators::Keep,
    domains: &[("ai.onnx.ml", &[]), ("com.microsoft", MICROSOFT)],
    model_functions: true,
    definitions: DEFINITIONS,
    final_passes: &[bfloat16::widen, plain_interface_types],
    saturates,
    alternative: None,
};

/// Whether its default kernels saturate. They use VNNI in its 256-bit form too. On Windows the kernels for SSE4.1 saturate
/// as well.
fn saturates() -> bool {
    processor::instruction_sets().is_some_and(|has| {
        let wide = has.avx2 || cfg!(windows) && has.sse41;
        wide && !has.avx512_vnni && !has.avx_vnni
    })
}

const DEFINITIONS: &[DefinitionRow] = &[
    DefinitionRow { op: "Einsum", when: has_dots },
    DefinitionRow { op: "GRU", when: differs_from_runtime },
    // ONNX Runtime requires an odd size.
    DefinitionRow { op: "LRN", when: has_even_size },
    DefinitionRow { op: "LSTM", when: differs_from_runtime },
    DefinitionRow { op: "RNN", when: differs_from_runtime },
    DefinitionRow { op: "Swish", when: always },
];

/// ONNX Runtime supports nearly every operator. The rows are those of which it lacks forms or computes some wrongly.
const OPERATORS: &[OperatorRow] = &[
    unchecked("AveragePool", odd_same).refusing(&[PADS]),
    until("Bernoulli", 21),
    unchecked("Conv", odd_same).refusing(&[PADS]),
    unchecked("ConvInteger", saturation::product),
    unchecked("DequantizeLinear", saturation::dequantize).until(27),
    unchecked("GlobalLpPool", new_global_lp_pool),
    absent("ImageDecoder"),
    unchecked("LRN", odd_size).refusing(&[EVEN_SIZE]),
    unchecked("LpPool", odd_same).refusing(&[PADS]),
    unchecked("MatMulInteger", saturation::product),
    unchecked("MaxPool", odd_same).refusing(&[PADS]),
    until("Multinomial", 21),
    unchecked("OneHot", one_hot),
    until("OptionalGetElement", 27),
    until("OptionalHasElement", 27),
    unchecked("Pad", wide_axes),
    unchecked("QuantizeLinear", saturation::quantize).until(27),
    until("RandomNormal", 21),
    until("RandomNormalLike", 21),
    until("RandomUniform", 21),
    until("RandomUniformLike", 21),
    unchecked("Resize", resize_of_two_axes),
    until("RoiAlign", 21),
    absent("SwiGLU"),
];

/// The operators of ONNX Runtime's own domain that multiply 8-bit integers and cannot be written in the standard.
const MICROSOFT: &[OperatorRow] = &[
    unchecked("DynamicQuantizeLSTM", saturation::product),
    unchecked("DynamicQuantizeMatMul", saturation::product),
    unchecked("MatMulIntegerToFloat", saturation::product),
    unchecked("QAttention", saturation::product),
    unchecked("QGemm", saturation::product),
    unchecked("QLinearConv", saturation::product),
];
