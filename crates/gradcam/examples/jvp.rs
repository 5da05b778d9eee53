//! A Jacobian-vector product, J·v: how all outputs change as the input moves along v, without a small step.
//!
//! `cargo run --release -p gradcam --example jvp` shows how the scores change as a photo gets brighter. Reverse mode gives
//! uᵀJ. That is linear in u, so that its product with v, differentiated with respect to u, is J·v.

#[path = "demo/floats.rs"]
mod floats;
#[path = "demo/photo.rs"]
mod photo;

use std::error::Error;

use floats::{Compiled, dot};
use gradcam::{
    Model,
    ndarray::ArrayD,
    onnx_grad::{self, Options, gradient},
};

/// A model of `input` that gives uᵀJ as `input.grad` for the input `u`, and one that gives J·v as `u.grad` for `v`.
pub(crate) fn products(model: &Model) -> onnx_grad::Result<(Model, Model)> {
    let seed = |name: &str| Options { seed_input: Some(name.to_owned()), ..Options::default() };
    let vjp = gradient(model, "logits", &["input"], &seed("u"))?;
    let jvp = gradient(&vjp, "input.grad", &["u"], &seed("v"))?;
    Ok((vjp, jvp))
}

/// J·v at the demo photo, and what it is compared with.
pub(crate) struct Product {
    /// J·v, [1, 1000].
    pub(crate) jvp: ArrayD<f32>,
    /// The change of the scores over a small step along v.
    pub(crate) differences: ArrayD<f32>,
    /// ⟨u, J·v⟩ and ⟨uᵀJ, v⟩ for some u.
    pub(crate) sides: [f64; 2],
}

pub(crate) fn product() -> Result<Product, Box<dyn Error>> {
    let (model, x) = photo::load()?;
    let x = x.into_dyn();
    let (vjp, jvp) = products(&model)?;
    let (vjp, jvp) = (Compiled::new(&vjp)?, Compiled::new(&jvp)?);
    let v = ArrayD::from_elem(x.shape(), 1.0f32);
    let waves = (0..1000u16).map(|class| (f32::from(class) * 0.37).sin());
    let u = ArrayD::from_shape_vec(vec![1, 1000], waves.collect())?;
    let [row] = vjp.run(&[("input", &x), ("u", &u)], ["input.grad"])?;
    let [column] = jvp.run(&[("input", &x), ("u", &u), ("v", &v)], ["u.grad"])?;
    let scores = |step: f32| vjp.run(&[("input", &(&x + &v * step)), ("u", &u)], ["logits"]);
    let step = 1.0 / 1024.0;
    let ([after], [before]) = (scores(step)?, scores(-step)?);
    let differences = (after - before) / (2.0 * step);
    let sides = [dot(&u, &column), dot(&row, &v)];
    Ok(Product { jvp: column, differences, sides })
}

#[allow(dead_code, reason = "tests include this file")]
#[expect(clippy::print_stdout, reason = "a program")]
fn main() -> Result<(), Box<dyn Error>> {
    let Product { jvp, differences, sides: [left, right] } = product()?;
    for (class, name) in [(285, "Egyptian cat"), (967, "espresso"), (504, "coffee mug")] {
        let (exact, step) = (jvp[[0, class]], differences[[0, class]]);
        println!("{name}: {exact:.3} for a brightness of 1; {step:.3} by a small step");
    }
    println!("<u, Jv> = {left:.5}, <uJ, v> = {right:.5}");
    Ok(())
}
