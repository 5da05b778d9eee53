//! Saliency: how the score of a class changes with each pixel (Simonyan et al. 2013, <https://arxiv.org/abs/1312.6034>).
//!
//! `cargo run --release -p gradcam --example saliency` writes the gradient of the scores into a model and asks it about the
//! two halves of a photo.

#[path = "demo/floats.rs"]
mod floats;
#[path = "demo/photo.rs"]
mod photo;

use std::error::Error;

use gradcam::{
    ndarray::{ArrayD, Axis, s},
    onnx_grad::{Options, gradient},
};

/// The gradient of the score of a class at the demo photo, [1, 3, 224, 224].
pub(crate) fn saliency(class: usize) -> Result<ArrayD<f32>, Box<dyn Error>> {
    let (model, x) = photo::load()?;
    let options = Options { seed_input: Some("seed".to_owned()), ..Options::default() };
    let with_gradient = gradient(&model, "logits", &["input"], &options)?;
    let mut seed = ArrayD::zeros(vec![1, 1000]);
    seed[[0, class]] = 1.0;
    let inputs = [("input", &x.into_dyn()), ("seed", &seed)];
    let [gradient] = floats::Compiled::new(&with_gradient)?.run(&inputs, ["input.grad"])?;
    Ok(gradient)
}

/// The share of the magnitude that is in the upper half of the photo, where the cat is.
pub(crate) fn upper_share(gradient: &ArrayD<f32>) -> f32 {
    let magnitude = gradient.mapv(f32::abs);
    let rows = magnitude.sum_axis(Axis(3)).sum_axis(Axis(1));
    rows.slice(s![0, ..112]).sum() / rows.sum()
}

#[allow(dead_code, reason = "tests include this file")]
#[expect(clippy::print_stdout, reason = "a program")]
fn main() -> Result<(), Box<dyn Error>> {
    for (class, name) in [(285, "Egyptian cat"), (967, "espresso")] {
        let share = upper_share(&saliency(class)?);
        println!(
            "{name}: {:.0} % of the gradient is in the upper half, with the cat",
            100.0 * share
        );
    }
    Ok(())
}
