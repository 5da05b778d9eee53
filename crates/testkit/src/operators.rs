//! Drawn uses of every operator of the rule table; `tools/operator_cases.py` makes them.

use std::{collections::BTreeMap, error::Error, fs};

use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde::Deserialize;

use crate::{Case, Tensor, Variant, fixture, weights::uniform};

/// One drawn use of an operator.
#[derive(Clone, Debug)]
pub struct OperatorCase {
    /// What it is, with one variant at one opset.
    pub case: Case,
    /// The error that is allowed, of the largest entry.
    pub bound: f64,
}

/// The drawn cases, and the operators of the standard.
#[derive(Clone, Debug)]
pub struct OperatorCases {
    /// Each operator's name, the opset that it came with, and the one that gave it up.
    pub standard: Vec<(String, i64, Option<i64>)>,
    /// The cases, those of one operator beside each other.
    pub cases: Vec<OperatorCase>,
}

#[derive(Deserialize)]
struct File {
    standard: Vec<(String, i64, Option<i64>)>,
    cases: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    op: String,
    name: String,
    seed: u64,
    opset: i64,
    bound: f64,
    inputs: Vec<(String, Vec<usize>, f32, f32, f32)>,
    shape: Vec<usize>,
    model: String,
}

/// All drawn cases.
///
/// # Panics
/// Where the fixture cannot be read: tests cannot go on without it.
#[expect(clippy::panic, reason = "only tests call it")]
pub fn operator_cases() -> OperatorCases {
    read().unwrap_or_else(|e| panic!("fixtures/operators: {e}"))
}

fn read() -> Result<OperatorCases, Box<dyn Error>> {
    let file: File =
        serde_json::from_str(&fs::read_to_string(fixture("operators/operators.json"))?)?;
    let bytes = fs::read(fixture("operators/operators.f32"))?;
    let mut numbers = bytes
        .chunks_exact(4)
        .map(|four| f64::from(f32::from_le_bytes(<[u8; 4]>::try_from(four).unwrap_or_default())));
    let mut next = |shape: &[usize]| {
        let count = shape.iter().product();
        let data: Vec<f64> = numbers.by_ref().take(count).collect();
        match data.len() == count {
            true => Ok(Tensor { shape: shape.to_vec(), data }),
            false => Err("operators.f32 is too short"),
        }
    };
    let mut cases = Vec::with_capacity(file.cases.len());
    for row in file.cases {
        let forward = next(&row.shape)?;
        let (mut inputs, mut grads) = (BTreeMap::new(), BTreeMap::new());
        for (name, shape, scale, offset, grain) in &row.inputs {
            let number = |u: f32| {
                let u = if *grain > 0.0 { (u * grain).floor() / grain } else { u };
                u * scale + offset
            };
            inputs.insert(name.clone(), drawn(row.seed, name, shape, number));
            grads.insert(name.clone(), next(shape)?);
        }
        let model = BASE64_STANDARD.decode(&row.model)?;
        let case = Case {
            name: row.name,
            op: row.op,
            variants: vec![Variant { opsets: (row.opset, row.opset), model }],
            wrt: row.inputs.into_iter().map(|input| input.0).collect(),
            inputs,
            seed: drawn(row.seed, "seed", &row.shape, |u| u),
            forward,
            grads,
        };
        cases.push(OperatorCase { case, bound: row.bound });
    }
    match numbers.next() {
        None => Ok(OperatorCases { standard: file.standard, cases }),
        Some(_) => Err("operators.f32 is too long".into()),
    }
}

/// A tensor of numbers made from uniform ones, the same as `tools/operators/drawn.py` makes.
fn drawn(seed: u64, name: &str, shape: &[usize], number: impl Fn(f32) -> f32) -> Tensor {
    let count: usize = shape.iter().product();
    let indices = (0..).take(count);
    let data = indices.map(|index| f64::from(number(uniform(seed, name, index)))).collect();
    Tensor { shape: shape.to_vec(), data }
}
