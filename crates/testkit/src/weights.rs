//! Weights from a seed, so a full-width network needs only kilobytes. `tools/splitmix.py` has the
//! same algorithm.

use std::{collections::BTreeMap, error::Error, fs, path::Path};

use onnx_grad::{
    Model,
    proto::{
        ModelProto, StringStringEntryProto,
        tensor_proto::{DataLocation, DataType},
    },
};
use prost::Message;

/// One step of splitmix64 (Steele, Lea and Flood 2014): the number at `index` of the sequence with
/// the initial state `state`.
pub fn splitmix64(state: u64, index: u64) -> u64 {
    let mut z = state.wrapping_add(0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(index.wrapping_add(1)));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The initial state for the tensor `name`: seed + FNV-1a(name).
fn start(seed: u64, name: &str) -> u64 {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    seed.wrapping_add(name.bytes().fold(0xcbf2_9ce4_8422_2325, step))
}

/// The upper 24 bits as a number in −1…1, exact in float32.
#[expect(clippy::cast_precision_loss, reason = "24 bits fit a float32")]
fn unit(bits: u64) -> f32 {
    (bits >> 40) as f32 / 8_388_608.0 - 1.0
}

/// The number at `index` of the tensor `name`, uniform in −1…1.
pub fn uniform(seed: u64, name: &str, index: u64) -> f32 {
    unit(splitmix64(start(seed, name), index))
}

/// The weights of a tensor, `scale`·uniform, as little-endian float32.
pub fn weights(seed: u64, name: &str, dims: &[i64], scale: f32) -> Vec<u8> {
    let count: u64 = dims.iter().map(|&dim| u64::try_from(dim).unwrap_or(0)).product();
    let start = start(seed, name);
    (0..count).flat_map(|at| (unit(splitmix64(start, at)) * scale).to_le_bytes()).collect()
}

/// The model in a file without weights; tensors with a scale get their weights.
pub(crate) fn weighed(
    skeleton: &Path,
    seed: u64,
    scales: &BTreeMap<String, f32>,
) -> Result<Model, Box<dyn Error>> {
    let mut proto = ModelProto::decode(fs::read(skeleton)?.as_slice())?;
    for tensor in &mut proto.graph.get_or_insert_default().initializer {
        let Some(scale) = scales.get(tensor.label()) else { continue };
        assert_eq!(tensor.elem(), DataType::Float, "{}", tensor.label());
        tensor.raw_data = Some(weights(seed, tensor.label(), &tensor.dims, *scale).into());
    }
    Ok(Model::from_bytes(proto.encode_to_vec())?)
}

/// A model as two files: the message, and the bytes of its initializers, which lie in the file `location`.
///
/// # Panics
/// If the model has weights of 2 GiB or more.
#[expect(clippy::expect_used, reason = "only tests call this function")]
pub fn with_external_data(model: &Model, location: &str) -> (Vec<u8>, Vec<u8>) {
    let bytes = model.to_bytes().expect("less than 2 GiB");
    let mut proto = ModelProto::decode(bytes.as_slice()).expect("a message");
    let mut data = Vec::new();
    let graph = proto.graph.iter_mut().flat_map(|graph| &mut graph.initializer);
    for tensor in graph {
        let Some(raw) = tensor.raw_data.take() else { continue };
        let entry = |key: &str, value: String| StringStringEntryProto {
            key: Some(key.to_owned()),
            value: Some(value),
        };
        tensor.data_location = Some(DataLocation::External as i32);
        tensor.external_data = vec![
            entry("location", location.to_owned()),
            entry("offset", data.len().to_string()),
            entry("length", raw.len().to_string()),
        ];
        data.extend_from_slice(&raw);
    }
    (proto.encode_to_vec(), data)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_sequence() {
        // The first three numbers of splitmix64 from state 1234567.
        let got: Vec<u64> = (0..3).map(|index| splitmix64(1_234_567, index)).collect();
        assert_eq!(got, [6457827717110365317, 3203168211198807973, 9817491932198370423]);
    }

    #[test]
    fn numbers_match_the_generator() {
        let got: Vec<f32> = (0..3).map(|index| uniform(7, "conv1.weight", index)).collect();
        assert_eq!(got, SHARED);
    }

    const SHARED: [f32; 3] = [-0.262_106_42, 0.821_336_87, -0.461_237_9];
}
