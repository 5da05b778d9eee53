//! The rule of Einsum. The derivative is another Einsum.

use std::collections::BTreeMap;

use super::{Cotangents, RuleCall};
use crate::{
    attrs,
    builder::Builder,
    error::{Result, bail},
    facts::Dim,
    graph::ValueId,
};

/// A tensor and a letter for each of its axes.
type Factor = (ValueId, String);

/// The largest identity matrix for a repeated letter: 4 MB.
const DIAGONAL_LIMIT: i64 = 1024;

/// Einsum, y = Σ over the letters absent from the output of Π x_i. dx_i = Einsum(g, the other operands → the letters
/// of x_i). Letters that occur only in x_i are expanded. A letter that occurs twice in x_i gets a second letter and
/// an identity matrix. <https://onnx.ai/onnx/operators/onnx__Einsum.html>
pub(super) fn einsum(b: &mut Builder<'_>, n: &RuleCall) -> Cotangents {
    let EinsumOperands { mut terms, output, sizes } = read(b, n)?;
    terms.push((n.full(b)?, output));
    let mut grads = vec![None; n.input_count()];
    for (i, grad) in grads.iter_mut().enumerate().filter(|(i, _)| n.wants(*i)) {
        let mut others = terms.clone();
        let (_, names) = others.remove(i);
        let full = operand(b, others, &names, &sizes)?;
        let (have, want) = (b.shape(full)?, b.shape(n.x(i)?)?);
        let axes: Vec<usize> = (0..want.len()).filter(|&axis| want[axis] != have[axis]).collect();
        *grad = Some(b.sum(full, &axes)?.into());
    }
    Ok(grads)
}

/// An Einsum without `...`, because engines differ in its meaning.
pub(super) fn spelled_out(b: &mut Builder<'_>, n: &RuleCall) -> Result<Vec<ValueId>> {
    let EinsumOperands { terms, output, .. } = read(b, n)?;
    Ok(vec![product(b, &terms, &output)?])
}

/// The operands of an Einsum, the letters of its output and the size of each letter.
struct EinsumOperands {
    terms: Vec<Factor>,
    output: String,
    sizes: BTreeMap<char, Dim>,
}

fn read(b: &mut Builder<'_>, n: &RuleCall) -> Result<EinsumOperands> {
    let equation = n.attrs().text("equation").unwrap_or_default().to_owned();
    let operands = (0..n.input_count()).map(|i| n.x(i)).collect::<Result<Vec<_>>>()?;
    let ranks = operands.iter().map(|&x| b.rank(x)).collect::<Result<Vec<_>>>()?;
    let Some((names, output)) = letters(&equation, &ranks) else {
        bail!(Unsupported, "attribute equation is {equation}, for inputs of {ranks:?} axes");
    };
    let mut sizes = BTreeMap::new();
    for (&x, names) in operands.iter().zip(&names) {
        for (name, dim) in names.chars().zip(b.shape(x)?) {
            let size = sizes.entry(name).or_insert(dim);
            *size = if *size == Dim::Fixed(1) { dim } else { *size };
        }
    }
    // Expands broadcast axes of size 1, so that each letter has one size.
    let mut terms = Vec::new();
    for (x, names) in operands.into_iter().zip(names) {
        let shape: Vec<Dim> = names.chars().filter_map(|name| sizes.get(&name).copied()).collect();
        terms.push((b.expand(x, &shape)?, names));
    }
    Ok(EinsumOperands { terms, output, sizes })
}

/// The cotangent of an operand with those letters, from the other factors.
fn operand(
    b: &mut Builder<'_>,
    mut others: Vec<Factor>,
    names: &str,
    sizes: &BTreeMap<char, Dim>,
) -> Result<ValueId> {
    let mut unique = String::new();
    for name in names.chars() {
        if !unique.contains(name) {
            unique.push(name);
            continue;
        }
        let used: String = others.iter().map(|(_, names)| names.as_str()).chain([names]).collect();
        let (Some(second), Some(Dim::Fixed(size))) = (free(&used).next(), sizes.get(&name)) else {
            bail!(Unsupported, "the diagonal over \"{name}\" of its equation is of no known size");
        };
        if !(0..=DIAGONAL_LIMIT).contains(size) {
            bail!(Unsupported, "the diagonal of {size} by {size}; supported: {DIAGONAL_LIMIT}");
        }
        let eye = (0..size * size).map(|at| if at % (size + 1) == 0 { 1.0 } else { 0.0 });
        let eye = b.floats(others[0].0, &[*size, *size], &eye.collect::<Vec<f64>>())?;
        others.push((eye, [name, second].iter().collect()));
        unique.push(second);
    }
    let is_known = |name: &char| others.iter().any(|(_, names)| names.contains(*name));
    let known: String = unique.chars().filter(is_known).collect();
    let product = product(b, &others, &known)?;
    let mut dims = b.shape(product)?.into_iter();
    let (mut lifted, mut full) = (Vec::new(), Vec::new());
    for name in unique.chars() {
        let dim = if known.contains(name) { dims.next() } else { None };
        lifted.push(dim.unwrap_or(Dim::Fixed(1)));
        full.extend(dim.or(sizes.get(&name).copied()));
    }
    let lifted = b.reshape(product, &lifted)?;
    b.expand(lifted, &full)
}

/// The Einsum of the factors; scalars are multiplied afterward.
fn product(b: &mut Builder<'_>, terms: &[Factor], output: &str) -> Result<ValueId> {
    let (numbers, tensors): (Vec<&Factor>, Vec<&Factor>) =
        terms.iter().partition(|(_, names)| names.is_empty());
    let names: Vec<&str> = tensors.iter().map(|(_, names)| names.as_str()).collect();
    let values: Vec<ValueId> = tensors.iter().map(|(value, _)| *value).collect();
    let mut product = match names.as_slice() {
        [] => None,
        [one] if *one == output => values.first().copied(),
        names => {
            let equation = format!("{}->{output}", names.join(","));
            Some(b.raw("Einsum", &values, vec![attrs::text("equation", &equation)])?)
        }
    };
    for (number, _) in numbers {
        product = Some(match product {
            Some(product) => b.mul(product, *number)?,
            None => *number,
        });
    }
    match product {
        Some(product) => Ok(product),
        None => bail!(InvalidModel, "it has no inputs"),
    }
}

/// The letters of each operand and of the output, with `...` and an implicit output expanded.
fn letters(equation: &str, ranks: &[usize]) -> Option<(Vec<String>, String)> {
    let equation: String = equation.chars().filter(|c| !c.is_whitespace()).collect();
    let (left, right) = match equation.split_once("->") {
        Some((left, right)) => (left, Some(right)),
        None => (equation.as_str(), None),
    };
    let terms: Vec<&str> = left.split(',').collect();
    let hidden = |(term, rank): (&&str, &usize)| {
        let rest = rank.checked_sub(term.replace("...", "").len())?;
        (rest == 0 || term.contains("...")).then_some(rest)
    };
    let hidden = terms.iter().zip(ranks).map(hidden).collect::<Option<Vec<usize>>>()?;
    let most = hidden.iter().copied().max().unwrap_or(0);
    let all: String = free(&equation).take(most).collect();
    if terms.len() != ranks.len() || all.len() < most {
        return None;
    }
    let inputs = terms.iter().zip(hidden);
    let inputs = inputs.map(|(term, count)| term.replace("...", &all[most - count..])).collect();
    let output = match right {
        Some(right) => right.replace("...", &all),
        None => {
            let is_once = |name: &char| left.matches(*name).count() == 1 && name.is_alphabetic();
            let mut once: Vec<char> = left.chars().filter(is_once).collect();
            once.sort_unstable();
            all.chars().chain(once).collect()
        }
    };
    Some((inputs, output))
}

/// Unused letters.
fn free(used: &str) -> impl Iterator<Item = char> + '_ {
    ('a'..='z').chain('A'..='Z').filter(|name| !used.contains(*name))
}
