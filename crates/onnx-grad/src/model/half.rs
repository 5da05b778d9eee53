//! Weights as 16-bit floats.

use std::collections::HashSet;

use half::f16;

use super::{Model, Weight, external_entries, weight_index};
use crate::{
    attrs,
    error::Result,
    proto::{NodeProto, TensorProto, tensor_proto::DataType},
};

impl Model {
    /// The model with its large weights in float16, half as many bytes. A Cast behind each gives float32 again, so that
    /// everything is computed in float32.
    ///
    /// Weights are the float32 tensors of two axes or more that are no inputs. One with a number that float16 cannot hold,
    /// above 65504, stays as it is. The others are rounded to 11 bits.
    ///
    /// # Errors
    /// `Io` if weights cannot be read.
    pub fn with_half_weights(&self) -> Result<Self> {
        let mut proto = self.proto.clone();
        let mut weights = self.weights.clone();
        let Some(graph) = &mut proto.graph else { return Ok(self.clone()) };
        let fixed: HashSet<String> = graph
            .input
            .iter()
            .map(|info| info.name().to_owned())
            .chain(graph.output.iter().map(|info| info.name().to_owned()))
            .collect();
        let mut casts = Vec::new();
        for tensor in &mut graph.initializer {
            let is_weight = tensor.elem() == DataType::Float && tensor.dims.len() > 1;
            let Some(index) = weight_index(tensor).filter(|_| is_weight) else { continue };
            let Some(weight) = weights.get_mut(index) else { continue };
            if fixed.contains(tensor.label()) {
                continue;
            }
            let Some(bytes) = as_half(&weight.read()?) else { continue };
            let name = tensor.label().to_owned();
            let stored = format!("{name}.float16");
            *tensor = TensorProto {
                name: Some(stored.clone()),
                data_type: Some(DataType::Float16 as i32),
                external_data: external_entries(&format!("w{index}.data"), 0, bytes.len()),
                ..tensor.clone()
            };
            *weight = Weight::in_memory(bytes.into());
            casts.push(NodeProto {
                input: vec![stored.clone()],
                output: vec![name],
                name: Some(stored),
                op_type: Some("Cast".to_owned()),
                attribute: vec![attrs::int("to", i64::from(DataType::Float as i32))],
                ..NodeProto::default()
            });
        }
        graph.node.splice(0..0, casts);
        Ok(Self { proto, weights, origin: self.origin.clone() })
    }
}

/// float32 numbers as float16; `None` if one is too large.
fn as_half(bytes: &[u8]) -> Option<Vec<u8>> {
    let (numbers, _) = bytes.as_chunks::<4>();
    let mut halves = Vec::with_capacity(bytes.len() / 2);
    for number in numbers {
        let number = f32::from_le_bytes(*number);
        let half = f16::from_f32(number);
        if number.is_finite() && half.is_infinite() {
            return None;
        }
        halves.extend_from_slice(&half.to_le_bytes());
    }
    Some(halves)
}
