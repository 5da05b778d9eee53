//! Facts: the statically known properties of a value. They are its element type, its shape and, for
//! shape arithmetic, its numbers.
//!
//! Input sizes are bound first, so almost every dim is a number. The batch size can stay open: it
//! is then the only symbol, `N`, and a dim is a number or a multiple of `N`.

mod constant;
mod infer;

use std::{cmp::Ordering, fmt};

pub(crate) use infer::infer;

use crate::proto::{
    TypeProto, ValueInfoProto, tensor_proto::DataType, tensor_shape_proto, type_proto,
};

/// One dimension: a number, or a multiple of the open batch size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dim {
    /// A known size.
    Fixed(i64),
    /// This multiple of the batch size; never 0.
    Batch(i64),
}

impl Dim {
    /// The size, if it is a number.
    pub fn fixed(self) -> Option<i64> {
        match self {
            Self::Fixed(size) => Some(size),
            Self::Batch(_) => None,
        }
    }

    /// The product of two dims; `None` on overflow or if it is quadratic in the batch size.
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

    /// The sum of two dims; `None` on overflow or for a number plus a multiple of the batch size.
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

    /// Whether the dim is a valid axis size: not negative.
    pub fn is_size(self) -> bool {
        match self {
            Self::Fixed(size) => size >= 0,
            Self::Batch(times) => times > 0,
        }
    }

    /// The order of two dims, if it is the same for every batch size of at least 1.
    pub fn compare(self, other: Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Fixed(a), Self::Fixed(b)) | (Self::Batch(a), Self::Batch(b)) => Some(a.cmp(&b)),
            (Self::Batch(a), Self::Fixed(b)) if a > 0 && b < a => Some(Ordering::Greater),
            (Self::Batch(a), Self::Fixed(b)) if a < 0 && b > a => Some(Ordering::Less),
            (Self::Fixed(_), Self::Batch(_)) => other.compare(self).map(Ordering::reverse),
            _ => None,
        }
    }

    /// The exact quotient of two dims; `None` if it is not an integer or not linear in the batch
    /// size.
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

/// The numbers of a small constant or of a value computed from shapes. Booleans are 0 and 1.
#[derive(Clone, Debug, PartialEq)]
pub enum ConstantValue {
    /// Integers and booleans; they can contain the batch size.
    Ints(Vec<Dim>),
    /// Floats.
    Floats(Vec<f64>),
}

impl ConstantValue {
    /// The number of elements.
    pub fn len(&self) -> usize {
        match self {
            Self::Ints(ints) => ints.len(),
            Self::Floats(floats) => floats.len(),
        }
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The maximum number of elements of a value that a fact stores.
pub(crate) const VALUE_LIMIT: usize = 1 << 16;

/// The maximum number of elements of a float value: shape arithmetic needs few, and weights are not
/// folded.
pub(crate) const FLOAT_LIMIT: usize = 1 << 12;

/// The statically known properties of one value.
#[derive(Clone, Debug, PartialEq)]
pub struct Fact {
    /// The element type; `Undefined` if unknown.
    pub elem: DataType,
    /// The shape, if known.
    pub shape: Option<Vec<Dim>>,
    /// The numbers in row-major order, if they are known and few.
    pub value: Option<ConstantValue>,
}

impl Default for Fact {
    fn default() -> Self {
        Self { elem: DataType::Undefined, shape: None, value: None }
    }
}

impl Fact {
    /// A fact with that type and shape, and unknown numbers.
    pub fn new(elem: DataType, shape: impl Into<Vec<Dim>>) -> Self {
        Self { elem, shape: Some(shape.into()), value: None }
    }

    /// The number of axes, if the shape is known.
    pub fn rank(&self) -> Option<usize> {
        self.shape.as_ref().map(Vec::len)
    }

    /// The shape as numbers, if it is known and does not contain the batch size.
    pub fn sizes(&self) -> Option<Vec<i64>> {
        self.shape.as_ref()?.iter().map(|dim| dim.fixed()).collect()
    }

    /// The shape as messages show it; `?` if it is unknown.
    pub(crate) fn shown(&self) -> String {
        match &self.shape {
            Some(shape) => {
                let dims: Vec<String> = shape.iter().map(Dim::to_string).collect();
                format!("[{}]", dims.join(", "))
            }
            None => "?".to_owned(),
        }
    }

    /// The integers, if they are known and do not contain the batch size.
    pub fn ints(&self) -> Option<Vec<i64>> {
        match self.value.as_ref()? {
            ConstantValue::Ints(dims) => dims.iter().map(|dim| dim.fixed()).collect(),
            ConstantValue::Floats(_) => None,
        }
    }

    /// The floats, if known.
    pub fn floats(&self) -> Option<&[f64]> {
        match self.value.as_ref()? {
            ConstantValue::Floats(floats) => Some(floats),
            ConstantValue::Ints(_) => None,
        }
    }
}

/// The declared type and dims of a value: `None` for a dim that is neither a number nor a bound
/// name.
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

/// A dim in a model's declaration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeclaredDim {
    /// A number.
    Size(i64),
    /// A name such as `batch` or `N`.
    Name(String),
    /// Neither a number nor a name.
    Unknown,
}
