//! The tensors of a model and their bytes.

use half::{bf16, f16, slice::HalfFloatSliceExt};
use onnx_grad::proto::{GraphProto, ModelProto, TensorProto, tensor_proto::DataType};

use super::error::Result;

/// Calls `visit` for every tensor of the model: initializers and attributes, of subgraphs too.
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

/// Sets the location of an external tensor's bytes.
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

/// The little-endian bytes of float16, bfloat16 or float64 numbers as float32; `None` for other types.
pub(super) fn widen(elem: DataType, bytes: &[u8]) -> Option<Vec<u8>> {
    match elem {
        DataType::Float16 => Some(widen_halves(bytes, f16::from_le_bytes)),
        DataType::Bfloat16 => Some(widen_halves(bytes, bf16::from_le_bytes)),
        DataType::Double => {
            let (chunks, _) = bytes.as_chunks();
            #[expect(clippy::cast_possible_truncation, reason = "rten computes in float32")]
            let narrow = |chunk: &[u8; 8]| (f64::from_le_bytes(*chunk) as f32).to_le_bytes();
            Some(chunks.iter().flat_map(narrow).collect())
        }
        _ => None,
    }
}

/// Converts numbers in blocks, for which processors have instructions.
fn widen_halves<T: Copy + Default>(bytes: &[u8], read: impl Fn([u8; 2]) -> T) -> Vec<u8>
where
    [T]: HalfFloatSliceExt,
{
    const BLOCK: usize = 1024;
    let (numbers, _) = bytes.as_chunks::<2>();
    let mut wide = Vec::with_capacity(4 * numbers.len());
    let (mut halves, mut floats) = ([T::default(); BLOCK], [0f32; BLOCK]);
    let mut written = [[0; 4]; BLOCK];
    for block in numbers.chunks(BLOCK) {
        let (halves, floats) = (&mut halves[..block.len()], &mut floats[..block.len()]);
        halves.iter_mut().zip(block).for_each(|(half, bytes)| *half = read(*bytes));
        halves.convert_to_f32_slice(floats);
        let written = &mut written[..block.len()];
        written.iter_mut().zip(floats).for_each(|(bytes, float)| *bytes = float.to_le_bytes());
        wide.extend_from_slice(written.as_flattened());
    }
    wide
}

/// The value of an IEEE 754 binary16 number.
pub fn half(bits: u16) -> f32 {
    f16::from_bits(bits).to_f32()
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
        // More than one block, and the last one is short.
        let bits = || (0..u16::MAX).filter(|bits| bits & 0x7c00 != 0x7c00);
        let bytes: Vec<u8> = bits().flat_map(u16::to_le_bytes).collect();
        let wide = widen(DataType::Float16, &bytes).unwrap();
        let want: Vec<u8> = bits().flat_map(|bits| half(bits).to_le_bytes()).collect();
        assert_eq!(wide, want);
        let wide = widen(DataType::Bfloat16, &[0x80, 0x3f, 0x20, 0xc1]).unwrap();
        assert_eq!(wide, [1f32, -10.0].map(f32::to_le_bytes).concat());
        let wide = widen(DataType::Double, &0.1f64.to_le_bytes()).unwrap();
        assert_eq!(wide, 0.1f32.to_le_bytes());
        let bytes = [0x80, 0x3f, 0x20, 0xc1];
        let wide = [1f32.to_le_bytes(), (-10f32).to_le_bytes()].concat();
        assert_eq!(widen(DataType::Bfloat16, &bytes), Some(wide));
    }
}
