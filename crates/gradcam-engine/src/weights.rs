//! The tensors of a message, and their bytes.

use onnx_grad::proto::{GraphProto, ModelProto, TensorProto, tensor_proto::DataType};

use super::error::Result;

/// Calls `visit` for every tensor of the message: initializers, attributes, subgraphs.
pub(super) fn visit_tensors(
    proto: &mut ModelProto,
    visit: &mut dyn FnMut(&mut TensorProto) -> Result<()>,
) -> Result<()> {
    proto.graph.as_mut().map_or(Ok(()), |graph| visit_graph(graph, visit))
}

fn visit_graph(
    graph: &mut GraphProto,
    visit: &mut dyn FnMut(&mut TensorProto) -> Result<()>,
) -> Result<()> {
    graph.initializer.iter_mut().try_for_each(&mut *visit)?;
    for attribute in graph.node.iter_mut().flat_map(|node| &mut node.attribute) {
        attribute.t.iter_mut().chain(&mut attribute.tensors).try_for_each(&mut *visit)?;
        for graph in attribute.g.iter_mut().chain(&mut attribute.graphs) {
            visit_graph(graph, visit)?;
        }
    }
    Ok(())
}

/// Says in the message where the bytes of an external tensor lie.
pub(super) fn set_location(tensor: &mut TensorProto, location: &str, offset: u64, len: usize) {
    let values = [location.to_owned(), offset.to_string(), len.to_string()];
    tensor.external_data = ["location", "offset", "length"]
        .into_iter()
        .zip(values)
        .map(|(key, value)| onnx_grad::proto::StringStringEntryProto {
            key: Some(key.to_owned()),
            value: Some(value),
        })
        .collect();
}

/// Floats of another width as float32, little-endian; `None` for types that are no such floats.
pub(super) fn widen(elem: DataType, bytes: &[u8]) -> Option<Vec<u8>> {
    fn each<const N: usize>(bytes: &[u8], read: impl Fn([u8; N]) -> f32) -> Vec<u8> {
        let (chunks, _) = bytes.as_chunks::<N>();
        let mut wide = Vec::with_capacity(4 * chunks.len());
        chunks.iter().for_each(|chunk| wide.extend_from_slice(&read(*chunk).to_le_bytes()));
        wide
    }
    Some(match elem {
        DataType::Float16 => each(bytes, |b| half(u16::from_le_bytes(b))),
        DataType::Bfloat16 => {
            each(bytes, |b| f32::from_bits(u32::from(u16::from_le_bytes(b)) << 16))
        }
        #[expect(clippy::cast_possible_truncation, reason = "rten computes in float32")]
        DataType::Double => each(bytes, |b| f64::from_le_bytes(b) as f32),
        _ => return None,
    })
}

/// The value of an IEEE 754 binary16 number.
pub fn half(bits: u16) -> f32 {
    let sign = u32::from(bits & 0x8000) << 16;
    let rest = u32::from(bits & 0x7fff) << 13;
    if rest >= 0x7c00 << 13 {
        return f32::from_bits(sign | 0x7f80_0000 | rest);
    }
    // The exponents are biased by 15 and by 127.
    let value = f32::from_bits(rest) * f32::from_bits((127 + 112) << 23);
    f32::from_bits(sign | value.to_bits())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_precision_numbers_keep_their_values() {
        let cases = [
            (0x0000, 0.0),
            (0x8000, -0.0),
            (0x3c00, 1.0),
            (0xc000, -2.0),
            (0x7bff, 65504.0),
            (0x0400, 2f32.powi(-14)),
            (0x0001, 2f32.powi(-24)),
            (0x83ff, -1023.0 * 2f32.powi(-24)),
            (0x7c00, f32::INFINITY),
            (0xfc00, f32::NEG_INFINITY),
        ];
        for (bits, value) in cases {
            assert_eq!(half(bits).to_bits(), f32::to_bits(value), "{bits:#x}");
        }
        assert!(half(0x7e00).is_nan());
        let bytes = [0x80, 0x3f, 0x20, 0xc1];
        let wide = [1f32.to_le_bytes(), (-10f32).to_le_bytes()].concat();
        assert_eq!(widen(DataType::Bfloat16, &bytes), Some(wide));
    }
}
