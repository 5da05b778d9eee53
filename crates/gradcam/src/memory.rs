//! The limit on memory: what a graph would take is known from its facts before an engine sees it.
//!
//! It must be refused beforehand, because an engine that fails to allocate ends the process.

use std::collections::HashMap;

use onnx_grad::{
    Model,
    proto::{ValueInfoProto, elem_type, tensor_shape_proto::dimension, type_proto},
};

use crate::{Result, error::bail};

/// Operators whose output may be far larger than what they read.
const GROWING: &[&str] = &[
    "CenterCropPad",
    "Col2Im",
    "ConstantOfShape",
    "ConvTranspose",
    "EyeLike",
    "Expand",
    "Pad",
    "Range",
    "Resize",
    "Tile",
    "Upsample",
];

/// Half of the machine's memory, or 4 GiB where the system does not say.
pub(crate) fn default_limit() -> u64 {
    let half = || -> Option<u64> {
        let text = std::fs::read_to_string("/proc/meminfo").ok()?;
        let line = text.lines().find(|line| line.starts_with("MemTotal:"))?;
        let kilobytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
        Some(kilobytes.saturating_mul(512))
    };
    half().unwrap_or(4 << 30)
}

/// Refuses graphs whose values take more than `limit` bytes together, weights not counted.
///
/// The graphs must declare their values. The sum is an upper bound: engines reuse memory.
pub(crate) fn check<'m>(models: impl IntoIterator<Item = &'m Model>, limit: u64) -> Result<()> {
    let mut total = 0u64;
    for model in models {
        add(model, limit, &mut total)?;
    }
    Ok(())
}

fn add(model: &Model, limit: u64, total: &mut u64) -> Result<()> {
    let graph = model.graph();
    let declared: HashMap<&str, Option<u64>> = graph
        .value_info
        .iter()
        .chain(&graph.output)
        .filter_map(|info| Some((info.name.as_deref()?, bytes_of(info))))
        .collect();
    for node in &graph.node {
        for name in node.output.iter().filter(|name| !name.is_empty()) {
            let bytes = declared.get(name.as_str()).copied().flatten();
            let (label, op) = (node.label(), node.op());
            match bytes {
                Some(bytes) => *total = total.saturating_add(bytes),
                None if GROWING.contains(&op) => bail!(
                    Memory,
                    "node \"{label}\" ({op}): the size of its output is not known before the model runs, \
                     so it cannot be checked against the memory limit"
                ),
                None => {}
            }
            if *total > limit {
                bail!(
                    Memory,
                    "the run would need more than {} of memory at node \"{label}\" ({op}), the limit is \
                     {}; raise it with --max-memory (max_memory) if that is right",
                    human(*total),
                    human(limit)
                )
            }
        }
    }
    Ok(())
}

/// The bytes of a declared value; `None` where a size is not known.
fn bytes_of(info: &ValueInfoProto) -> Option<u64> {
    let Some(type_proto::Value::TensorType(tensor)) = &info.r#type.as_ref()?.value else {
        return None;
    };
    let dims = &tensor.shape.as_ref()?.dim;
    let count = dims.iter().try_fold(1u64, |count, dim| match &dim.value {
        Some(dimension::Value::DimValue(size)) => {
            u64::try_from(*size).ok().map(|size| count.saturating_mul(size))
        }
        _ => None,
    })?;
    Some(count.saturating_mul(elem_type(tensor.elem_type).bits()) / 8)
}

/// Bytes for people.
fn human(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let mut unit = 0;
    let mut scaled = bytes;
    while scaled >= 10 * 1024 && unit + 1 < UNITS.len() {
        scaled /= 1024;
        unit += 1;
    }
    format!("{scaled} {}", UNITS[unit])
}
