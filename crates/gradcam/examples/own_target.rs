//! A target of your own, as a few emitted nodes: why any cat, and why a cat rather than anything else?
//!
//! `cargo run --release -p gradcam --example own_target` explains the log-probability that the photo shows one of the five
//! cats of ImageNet, whichever: log Σ_cats e^z − log Σ_all e^z.

#[path = "demo/photo.rs"]
mod photo;

use std::error::Error;

use gradcam::{
    CustomTarget, Explainer, Explanation, Target,
    onnx_grad::{self, builder::Builder, graph::ValueId},
};

/// The first class of ImageNet's cats, and their number.
const CATS: (i64, i64) = (281, 5);

/// log Σ e^z over a part of the classes, [N, 1], without an overflow.
fn log_sum_exp(b: &mut Builder<'_>, z: ValueId) -> onnx_grad::Result<ValueId> {
    let largest = b.max(z, &[1])?;
    let below = b.sub(z, largest)?;
    let powers = b.exp(below)?;
    let sum = b.sum(powers, &[1])?;
    let log = b.log(sum)?;
    b.add(log, largest)
}

/// The log-probability of a cat. The scores are logits, [N, 1000]; the target is [N].
pub(crate) fn any_cat() -> Target {
    let target = CustomTarget::new("any cat", |b, scores| {
        let cats = b.slice(scores, 1, CATS.0, CATS.1, 1)?;
        let (cats, all) = (log_sum_exp(b, cats)?, log_sum_exp(b, scores)?);
        let logarithm = b.sub(cats, all)?;
        let images = b.shape(scores)?[0];
        b.reshape(logarithm, &[images])
    });
    Target::Custom(target)
}

/// The explanation of the demonstration photo.
pub(crate) fn explanation() -> Result<Explanation, Box<dyn Error>> {
    let (model, x) = photo::load()?;
    let explainer = Explainer::builder(model).build()?;
    let mut explained = explainer.explain(&x, any_cat())?;
    explained.pop().and_then(|mut methods| methods.pop()).ok_or_else(|| "no image".into())
}

#[allow(dead_code, reason = "tests include this file")]
#[expect(clippy::print_stdout, reason = "a program")]
fn main() -> Result<(), Box<dyn Error>> {
    let explanation = explanation()?;
    let probability = explanation.value.exp() * 100.0;
    println!("{}: {probability:.1} % of the probability", explanation.target);
    println!("the map:\n{:.3}", explanation.map2(0)?);
    Ok(())
}
