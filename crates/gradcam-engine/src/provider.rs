//! Execution providers: the parts of ONNX Runtime that compute on a device.

use std::{fmt, str::FromStr};

use super::error::{EngineError, EngineErrorKind, Result};

/// An [execution provider](https://onnxruntime.ai/docs/execution-providers/) of ONNX Runtime. The library that is
/// loaded decides which providers exist. Operators that a provider lacks run on the processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Provider {
    /// The processor. Every library has it.
    Cpu,
    /// CoreML, on Apple's devices.
    CoreMl,
    /// CUDA, on NVIDIA's devices.
    Cuda,
    /// DirectML, on Windows.
    DirectMl,
    /// MIGraphX, on AMD's devices.
    MiGraphX,
    /// TensorRT for RTX, on NVIDIA's devices.
    Nvrtx,
    /// oneDNN, on processors.
    OneDnn,
    /// OpenVINO, on Intel's devices.
    OpenVino,
    /// QNN, on Qualcomm's devices.
    Qnn,
    /// ROCm, on AMD's devices.
    Rocm,
    /// TensorRT, on NVIDIA's devices.
    TensorRt,
    /// WebGPU, on any graphics processor.
    WebGpu,
    /// XNNPACK, on processors.
    Xnnpack,
}

impl Provider {
    /// All providers, by name.
    pub const ALL: [Self; 13] = [
        Self::CoreMl,
        Self::Cpu,
        Self::Cuda,
        Self::DirectMl,
        Self::MiGraphX,
        Self::Nvrtx,
        Self::OneDnn,
        Self::OpenVino,
        Self::Qnn,
        Self::Rocm,
        Self::TensorRt,
        Self::WebGpu,
        Self::Xnnpack,
    ];

    /// The provider's name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::CoreMl => "coreml",
            Self::Cuda => "cuda",
            Self::DirectMl => "directml",
            Self::MiGraphX => "migraphx",
            Self::Nvrtx => "nvrtx",
            Self::OneDnn => "onednn",
            Self::OpenVino => "openvino",
            Self::Qnn => "qnn",
            Self::Rocm => "rocm",
            Self::TensorRt => "tensorrt",
            Self::WebGpu => "webgpu",
            Self::Xnnpack => "xnnpack",
        }
    }
}

impl fmt::Display for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Provider {
    type Err = EngineError;

    fn from_str(text: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|provider| provider.name() == text).ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            EngineError::new(
                EngineErrorKind::Unavailable,
                format!("no execution provider named \"{text}\"; there are: {names}"),
            )
        })
    }
}
