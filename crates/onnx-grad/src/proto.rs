//! The ONNX messages, generated from the `onnx-ml.proto` of the `onnx` package by `cargo xtask proto`, and their
//! shared accessors.

#[allow(
    clippy::all,
    missing_docs,
    rustdoc::all,
    unreachable_pub,
    reason = "generated code, documented at its source"
)]
mod onnx;

pub use onnx::*;

use tensor_proto::{DataLocation, DataType};

impl NodeProto {
    /// The operator's name, such as `Conv`.
    pub fn op(&self) -> &str {
        self.op_type.as_deref().unwrap_or_default()
    }

    /// The operator's domain, with the empty string for `ai.onnx`.
    pub fn op_domain(&self) -> &str {
        match self.domain.as_deref().unwrap_or_default() {
            "ai.onnx" => "",
            domain => domain,
        }
    }

    /// The node's name, or the name of its first output if it has none.
    pub fn label(&self) -> &str {
        match self.name.as_deref() {
            Some(name) if !name.is_empty() => name,
            _ => self.output.first().map(String::as_str).unwrap_or_default(),
        }
    }

    /// The attribute with that name.
    pub fn attr(&self, name: &str) -> Option<&AttributeProto> {
        self.attribute.iter().find(|a| a.name.as_deref() == Some(name))
    }

    /// The integer attribute with that name.
    pub fn attr_int(&self, name: &str) -> Option<i64> {
        self.attr(name).and_then(|a| a.i)
    }

    /// The integer list with that name.
    pub fn attr_ints(&self, name: &str) -> Option<&[i64]> {
        self.attr(name).map(|a| a.ints.as_slice())
    }

    /// The float attribute with that name.
    pub fn attr_float(&self, name: &str) -> Option<f32> {
        self.attr(name).and_then(|a| a.f)
    }

    /// The text attribute with that name; `None` if it is absent or not UTF-8.
    pub fn attr_str(&self, name: &str) -> Option<&str> {
        self.attr(name).and_then(|a| std::str::from_utf8(a.s.as_deref()?).ok())
    }
}

impl TensorProto {
    /// The tensor's name; empty if it has none.
    pub fn label(&self) -> &str {
        self.name.as_deref().unwrap_or_default()
    }

    /// Whether the tensor's bytes are outside this message.
    pub fn is_external(&self) -> bool {
        self.data_location == Some(DataLocation::External as i32)
    }

    /// The element type; `Undefined` for a number that is not in the standard.
    pub fn elem(&self) -> DataType {
        elem_type(self.data_type)
    }

    /// The value of an `external_data` entry such as `location`.
    pub fn external(&self, key: &str) -> Option<&str> {
        let entry = self.external_data.iter().find(|e| e.key.as_deref() == Some(key))?;
        entry.value.as_deref()
    }
}

/// The element type of a number in a message.
pub fn elem_type(number: Option<i32>) -> DataType {
    number.and_then(|n| DataType::try_from(n).ok()).unwrap_or(DataType::Undefined)
}

impl DataType {
    /// Bits of one element; 0 for strings and unknown types.
    pub fn bits(self) -> u64 {
        match self {
            Self::Undefined | Self::String => 0,
            Self::Uint2 | Self::Int2 => 2,
            Self::Uint4 | Self::Int4 | Self::Float4e2m1 => 4,
            Self::Float6e2m3 | Self::Float6e3m2 => 6,
            Self::Uint8
            | Self::Int8
            | Self::Bool
            | Self::Float8e4m3fn
            | Self::Float8e4m3fnuz
            | Self::Float8e5m2
            | Self::Float8e5m2fnuz
            | Self::Float8e8m0 => 8,
            Self::Uint16 | Self::Int16 | Self::Float16 | Self::Bfloat16 => 16,
            Self::Float | Self::Int32 | Self::Uint32 => 32,
            Self::Double | Self::Int64 | Self::Uint64 | Self::Complex64 => 64,
            Self::Complex128 => 128,
        }
    }

    /// The numpy name of the type, such as `float32`.
    pub fn numpy_name(self) -> String {
        match self {
            Self::Float => "float32".to_owned(),
            Self::Double => "float64".to_owned(),
            other => other.as_str_name().to_lowercase(),
        }
    }

    /// The minimum and the maximum of an integer or boolean type; `uint64` ends at the maximum of `int64`.
    pub fn range(self) -> Option<(i64, i64)> {
        Some(match self {
            Self::Bool => (0, 1),
            Self::Int8 => (i8::MIN.into(), i8::MAX.into()),
            Self::Uint8 => (0, u8::MAX.into()),
            Self::Int16 => (i16::MIN.into(), i16::MAX.into()),
            Self::Uint16 => (0, u16::MAX.into()),
            Self::Int32 => (i32::MIN.into(), i32::MAX.into()),
            Self::Uint32 => (0, u32::MAX.into()),
            Self::Int64 => (i64::MIN, i64::MAX),
            Self::Uint64 => (0, i64::MAX),
            _ => return None,
        })
    }

    /// Whether gradients flow through values of this type.
    pub fn is_float(self) -> bool {
        matches!(self, Self::Float | Self::Double | Self::Float16 | Self::Bfloat16)
    }
}
