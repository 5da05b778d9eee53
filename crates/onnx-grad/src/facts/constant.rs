//! The facts of constant tensors.

use super::{ConstantValue, Dim, FLOAT_LIMIT, Fact, VALUE_LIMIT};
use crate::proto::{TensorProto, tensor_proto::DataType};

impl Fact {
    /// The fact of a constant from its little-endian bytes. It stores the numbers if they are few
    /// and their count matches the shape; integers are exact up to 2⁶³ − 1.
    pub fn constant(elem: DataType, dims: &[i64], bytes: &[u8]) -> Self {
        let Some(mut fact) = Self::of_dims(elem, dims) else {
            return Self { elem, ..Self::default() };
        };
        fact.value = fact.keeps().and_then(|count| {
            let value = match integers(elem, bytes) {
                Some(ints) => ConstantValue::Ints(ints.into_iter().map(Dim::Fixed).collect()),
                None if elem.is_float() => {
                    ConstantValue::Floats(crate::tensor::floats(elem, bytes)?)
                }
                None => return None,
            };
            (value.len() == count).then_some(value)
        });
        fact
    }

    /// The fact of a tensor message; it stores numbers only if the message contains them.
    pub fn of_tensor(tensor: &TensorProto) -> Self {
        let (elem, dims) = (tensor.elem(), &tensor.dims);
        let kept = Self::of_dims(elem, dims).and_then(|fact| fact.keeps());
        let bytes = kept.and_then(|_| crate::tensor::to_bytes(tensor).ok());
        Self::constant(elem, dims, &bytes.unwrap_or_default())
    }

    fn of_dims(elem: DataType, dims: &[i64]) -> Option<Self> {
        dims.iter()
            .all(|dim| *dim >= 0)
            .then(|| Self::new(elem, dims.iter().copied().map(Dim::Fixed).collect::<Vec<_>>()))
    }

    /// The number of elements, if the fact stores them.
    pub(crate) fn keeps(&self) -> Option<usize> {
        let limit = if self.elem.is_float() { FLOAT_LIMIT } else { VALUE_LIMIT };
        self.count().filter(|count| *count <= limit)
    }

    /// The number of elements, if it is a number.
    pub fn count(&self) -> Option<usize> {
        self.shape.as_ref()?.iter().try_fold(1, |product: usize, dim| {
            product.checked_mul(usize::try_from(dim.fixed()?).ok()?)
        })
    }
}

/// The integers of a tensor; `None` for other types and above 2⁶³ − 1.
fn integers(elem: DataType, bytes: &[u8]) -> Option<Vec<i64>> {
    fn each<const N: usize>(
        bytes: &[u8],
        read: impl Fn([u8; N]) -> Option<i64>,
    ) -> Option<Vec<i64>> {
        bytes.as_chunks::<N>().0.iter().map(|chunk| read(*chunk)).collect()
    }
    match elem {
        DataType::Int64 => each(bytes, |b| Some(i64::from_le_bytes(b))),
        DataType::Int32 => each(bytes, |b| Some(i32::from_le_bytes(b).into())),
        DataType::Int16 => each(bytes, |b| Some(i16::from_le_bytes(b).into())),
        DataType::Int8 => each(bytes, |b| Some(i8::from_le_bytes(b).into())),
        DataType::Uint64 => each(bytes, |b| i64::try_from(u64::from_le_bytes(b)).ok()),
        DataType::Uint32 => each(bytes, |b| Some(u32::from_le_bytes(b).into())),
        DataType::Uint16 => each(bytes, |b| Some(u16::from_le_bytes(b).into())),
        DataType::Uint8 => each(bytes, |b: [u8; 1]| Some(b[0].into())),
        DataType::Bool => each(bytes, |b: [u8; 1]| Some((b[0] != 0).into())),
        _ => None,
    }
}
