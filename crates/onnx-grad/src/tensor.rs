//! The sizes, bytes and numbers of tensor messages.

use half::{bf16, f16};

use crate::{
    error::{Result, bail},
    proto::{TensorProto, tensor_proto::DataType},
};

/// The size in bytes of a tensor with these dims and this type; `None` for text and unknown types.
pub(crate) fn byte_len(tensor: &TensorProto) -> Result<Option<usize>> {
    let bits = tensor.elem().bits();
    let name = tensor.label();
    let mut total = bits;
    for &dim in &tensor.dims {
        let Some(product) = u64::try_from(dim).ok().and_then(|dim| total.checked_mul(dim)) else {
            bail!(InvalidModel, "tensor \"{name}\" has the impossible shape {:?}", tensor.dims);
        };
        total = product;
    }
    let Ok(bytes) = usize::try_from(total.div_ceil(8)) else {
        bail!(InvalidModel, "tensor \"{name}\" has the impossible shape {:?}", tensor.dims);
    };
    Ok((bits > 0).then_some(bytes))
}

/// The bytes of a tensor inside its message, little-endian.
pub(crate) fn to_bytes(tensor: &TensorProto) -> Result<Vec<u8>> {
    if let Some(raw) = &tensor.raw_data {
        return Ok(raw.to_vec());
    }
    let ints = &tensor.int32_data;
    Ok(match tensor.elem() {
        DataType::Float => tensor.float_data.iter().flat_map(|v| v.to_le_bytes()).collect(),
        DataType::Double => tensor.double_data.iter().flat_map(|v| v.to_le_bytes()).collect(),
        DataType::Int64 => tensor.int64_data.iter().flat_map(|v| v.to_le_bytes()).collect(),
        DataType::Uint64 => tensor.uint64_data.iter().flat_map(|v| v.to_le_bytes()).collect(),
        DataType::Uint32 => {
            tensor.uint64_data.iter().flat_map(|v| v.to_le_bytes().into_iter().take(4)).collect()
        }
        // The standard stores all narrower types in the low bytes of 32-bit integers.
        narrow => {
            let width = match narrow.bits() {
                0 => bail!(InvalidModel, "tensor \"{}\" holds no numbers", tensor.label()),
                bits => usize::try_from(bits.div_ceil(8)).unwrap_or(4).min(4),
            };
            ints.iter().flat_map(|v| v.to_le_bytes().into_iter().take(width)).collect()
        }
    })
}

/// The numbers of a float tensor from its bytes; `None` for other types.
pub(crate) fn floats(elem: DataType, bytes: &[u8]) -> Option<Vec<f64>> {
    fn each<const N: usize>(bytes: &[u8], read: impl Fn([u8; N]) -> f64) -> Vec<f64> {
        bytes.as_chunks::<N>().0.iter().map(|chunk| read(*chunk)).collect()
    }
    Some(match elem {
        DataType::Float => each(bytes, |b| f32::from_le_bytes(b).into()),
        DataType::Double => each(bytes, f64::from_le_bytes),
        DataType::Float16 => each(bytes, |b| f16::from_le_bytes(b).to_f64()),
        DataType::Bfloat16 => each(bytes, |b| bf16::from_le_bytes(b).to_f64()),
        _ => return None,
    })
}
