//! Facts: what is known of a value before anything runs, its element type, its shape and, for shape
//! arithmetic, its numbers.
//!
//! Input sizes are bound first, so that almost every shape is numbers. The batch may stay open: then
//! it is the one symbol `N`, and a dim is a number or a multiple of `N`.

mod constant;
mod infer;

use std::{cmp::Ordering, fmt};

pub(crate) use infer::infer;

use crate::proto::{
    TypeProto, ValueInfoProto, tensor_proto::DataType, tensor_shape_proto, type_proto,
};

/// One dimension: a number, or a multiple of the batch size that is still open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dim {
    /// A known size.
    Fixed(i64),
    /// This many times the batch size. Never 0.
    Batch(i64),
}

impl Dim {
    /// The size, if it is known.
    pub fn fixed(self) -> Option<i64> {
        match self {
            Self::Fixed(size) => Some(size),
            Self::Batch(_) => None,
        }
    }

    /// The product of two dims; `None` on overflow and where it would be quadratic in the batch.
    pub fn times(self, other: Self) -> Option<Self> {
        match (self, other) {
            (Self::Fixed(a), Self::Fixed(b)) => a.checked_mul(b).map(Self::Fixed),
            (Self::Fixed(0), _) | (_, Self::Fixed(0)) => Some(Self::Fixed(0)),
            (Self::Fixed(a), Self::Batch(b)) | (Self::Batch(a), Self::Fixed(b)) => {
                a.checked_mul(b).map(Self::Batch)
            }
            (Self::Batch(_), Self::Batch(_)) => None,
        }
    }

    /// The sum of two dims; `None` on overflow and where a number meets the batch.
    pub fn plus(self, other: Self) -> Option<Self> {
        match (self, other) {
            (Self::Fixed(a), Self::Fixed(b)) => a.checked_add(b).map(Self::Fixed),
            (Self::Fixed(0), dim) | (dim, Self::Fixed(0)) => Some(dim),
            (Self::Batch(a), Self::Batch(b)) => match a.checked_add(b)? {
                0 => Some(Self::Fixed(0)),
                times => Some(Self::Batch(times)),
            },
            _ => None,
        }
    }

    /// Whether this can be the size of an axis: not negative.
    pub fn is_size(self) -> bool {
        match self {
            Self::Fixed(size) => size >= 0,
            Self::Batch(times) => times > 0,
        }
    }

    /// The order of two dims where it is the same for every batch of at least 1.
    pub fn compare(self, other: Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Fixed(a), Self::Fixed(b)) | (Self::Batch(a), Self::Batch(b)) => Some(a.cmp(&b)),
            (Self::Batch(a), Self::Fixed(b)) if a > 0 && b < a => Some(Ordering::Greater),
            (Self::Batch(a), Self::Fixed(b)) if a < 0 && b > a => Some(Ordering::Less),
            (Self::Fixed(_), Self::Batch(_)) => other.compare(self).map(Ordering::reverse),
            _ => None,
        }
    }

    /// The exact quotient of two dims; `None` where it is not whole or not linear in the batch.
    pub fn divided_by(self, other: Self) -> Option<Self> {
        let whole = |a: i64, b: i64| match a.checked_rem(b) {
            Some(0) => a.checked_div(b),
            _ => None,
        };
        match (self, other) {
            (Self::Fixed(a), Self::Fixed(b)) => whole(a, b).map(Self::Fixed),
            (Self::Batch(a), Self::Fixed(b)) => whole(a, b).map(Self::Batch),
            (Self::Batch(a), Self::Batch(b)) => whole(a, b).map(Self::Fixed),
            (Self::Fixed(_), Self::Batch(_)) => None,
        }
    }
}

impl From<i64> for Dim {
    fn from(size: i64) -> Self {
        Self::Fixed(size)
    }
}

impl fmt::Display for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(size) => write!(f, "{size}"),
            Self::Batch(1) => f.write_str("N"),
            Self::Batch(times) => write!(f, "{times}N"),
        }
    }
}

/// The numbers of a small constant, or of a value computed from shapes. Booleans are 0 and 1.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Integers and booleans; they may carry the batch size.
    Ints(Vec<Dim>),
    /// Floats.
    Floats(Vec<f64>),
}

impl Value {
    /// How many numbers there are.
    pub fn len(&self) -> usize {
        match self {
            Self::Ints(ints) => ints.len(),
            Self::Floats(floats) => floats.len(),
        }
    }

    /// Whether there are no numbers.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The most elements that a value may have to be kept as a fact.
pub(crate) const VALUE_LIMIT: usize = 1 << 16;

/// The most elements of a float value: shape arithmetic needs few, and weights are not folded.
pub(crate) const FLOAT_LIMIT: usize = 1 << 12;

/// What is known of one value.
#[derive(Clone, Debug, PartialEq)]
pub struct Fact {
    /// Element type; `Undefined` where it is not known.
    pub elem: DataType,
    /// Shape, where it is known.
    pub shape: Option<Vec<Dim>>,
    /// Numbers in row-major order, where they are known and few.
    pub value: Option<Value>,
}

impl Default for Fact {
    fn default() -> Self {
        Self { elem: DataType::Undefined, shape: None, value: None }
    }
}

impl Fact {
    /// A value of that type and shape whose numbers are not known.
    pub fn new(elem: DataType, shape: impl Into<Vec<Dim>>) -> Self {
        Self { elem, shape: Some(shape.into()), value: None }
    }

    /// The number of axes, where the shape is known.
    pub fn rank(&self) -> Option<usize> {
        self.shape.as_ref().map(Vec::len)
    }

    /// The shape in numbers, where it is known and free of the batch size.
    pub fn sizes(&self) -> Option<Vec<i64>> {
        self.shape.as_ref()?.iter().map(|dim| dim.fixed()).collect()
    }

    /// The shape as messages show it; `?` where it is not known.
    pub(crate) fn shown(&self) -> String {
        match &self.shape {
            Some(shape) => {
                let dims: Vec<String> = shape.iter().map(Dim::to_string).collect();
                format!("[{}]", dims.join(", "))
            }
            None => "?".to_owned(),
        }
    }

    /// The integers, where they are known and free of the batch size.
    pub fn ints(&self) -> Option<Vec<i64>> {
        match self.value.as_ref()? {
            Value::Ints(dims) => dims.iter().map(|dim| dim.fixed()).collect(),
            Value::Floats(_) => None,
        }
    }

    /// The floats, where they are known.
    pub fn floats(&self) -> Option<&[f64]> {
        match self.value.as_ref()? {
            Value::Floats(floats) => Some(floats),
            Value::Ints(_) => None,
        }
    }
}

/// The declared type and dims of a value: `None` for a dim that is neither number nor bound.
pub(crate) fn declared(info: &ValueInfoProto) -> Option<(DataType, Option<Vec<DeclaredDim>>)> {
    let TypeProto { value: Some(type_proto::Value::TensorType(tensor)), .. } =
        info.r#type.as_ref()?
    else {
        return None;
    };
    let dims = tensor.shape.as_ref().map(|shape| {
        let dims = shape.dim.iter().map(|dim| match &dim.value {
            Some(tensor_shape_proto::dimension::Value::DimValue(size)) if *size >= 0 => {
                DeclaredDim::Size(*size)
            }
            Some(tensor_shape_proto::dimension::Value::DimParam(name)) if !name.is_empty() => {
                DeclaredDim::Name(name.clone())
            }
            _ => DeclaredDim::Unknown,
        });
        dims.collect()
    });
    Some((crate::proto::elem_type(tensor.elem_type), dims))
}

/// A dim as a model declares it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeclaredDim {
    /// A number.
    Size(i64),
    /// A name such as `batch` or `N`.
    Name(String),
    /// Neither.
    Unknown,
}
