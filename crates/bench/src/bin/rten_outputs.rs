//! Runs a file in rten as it is, without the rewrites of this project: `rten_outputs MODEL X.npy FOLDER`.
//!
//! Each output becomes a file of numbers, INDEX.bin, and a row of the JSON on standard output. `tools/export_table.py` starts it.
#![expect(clippy::print_stdout, reason = "the outputs are printed")]

use std::{env, fs};

use anyhow::{Context, Result, bail};
use rten::{Model, Value, ValueType};
use rten_tensor::prelude::*;

fn main() -> Result<()> {
    let args: Vec<String> = env::args().skip(1).collect();
    let [model, input, folder] = args.as_slice() else {
        bail!("rten_outputs MODEL X.npy FOLDER");
    };
    let model = Model::load_file(model)?;
    let image = *model.input_ids().first().context("the model has no input")?;
    let x = read(&fs::read(input)?)?;
    let outputs = model.output_ids().to_vec();
    let made = model.run(vec![(image, x.into())], &outputs, None)?;
    let mut rows = Vec::new();
    for (index, (id, value)) in outputs.iter().zip(made).enumerate() {
        let info = model.node_info(*id).context("an output")?;
        let name = info.name().unwrap_or_default().to_owned();
        let shape: Vec<usize> = value.shape().to_vec();
        let (bytes, kind): (Vec<u8>, &str) = match value.dtype() {
            ValueType::Tensor(rten::DataType::Float) => {
                let numbers = value.into_tensor::<f32>().context("floats")?.to_vec();
                (numbers.iter().flat_map(|number| number.to_le_bytes()).collect(), "float32")
            }
            _ => {
                let numbers = value.into_tensor::<i32>().context("integers")?.to_vec();
                (numbers.iter().flat_map(|number| number.to_le_bytes()).collect(), "int32")
            }
        };
        fs::write(format!("{folder}/{index}.bin"), bytes)?;
        rows.push(format!("{{\"name\": {name:?}, \"shape\": {shape:?}, \"type\": \"{kind}\"}}"));
    }
    println!("[{}]", rows.join(", "));
    Ok(())
}

/// The numbers of a file that NumPy wrote, float32 in row-major order.
fn read(bytes: &[u8]) -> Result<Value> {
    let length = bytes.get(8..10).context("a header")?;
    let length = usize::from(u16::from_le_bytes([length[0], length[1]]));
    let header = std::str::from_utf8(bytes.get(10..10 + length).context("a header")?)?;
    let shape = header.split("'shape': (").nth(1).and_then(|rest| rest.split(')').next());
    let sizes = shape.context("a shape")?.split(',').map(str::trim).filter(|size| !size.is_empty());
    let shape: Vec<usize> = sizes.map(str::parse).collect::<Result<_, _>>()?;
    let (numbers, _) = bytes[10 + length..].as_chunks::<4>();
    let numbers: Vec<f32> = numbers.iter().map(|number| f32::from_le_bytes(*number)).collect();
    Ok(Value::from_shape(&shape, numbers)?)
}
