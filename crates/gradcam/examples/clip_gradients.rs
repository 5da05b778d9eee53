//! Clips gradients on their way back, so that single positions cannot drown the others.
//!
//! `cargo run --release -p gradcam --example clip_gradients` takes the score of the photo's class back to
//! the image, as it is and with the gradients at every stage clipped.

#[path = "demo/photo.rs"]
mod photo;

use std::{error::Error, sync::mpsc::channel};

use gradcam::{
    Network,
    ndarray::{Array4, ArrayD},
};

const STAGES: [&str; 3] = ["blocks.1", "blocks.3", "blocks.5"];

/// The largest magnitude.
pub(crate) fn largest(array: &ArrayD<f32>) -> f32 {
    array.iter().fold(0.0, |max: f32, v| max.max(v.abs()))
}

/// The gradient of the largest score down to the image.
fn image_gradient(network: &Network, x: &Array4<f32>) -> Result<ArrayD<f32>, Box<dyn Error>> {
    let (append, gradients) = channel();
    let look = network.register_full_backward_hook("conv_stem", move |call| {
        append.send(call.grad_input[0].clone())
    })?;
    let pass = network.forward(x)?;
    let scores = pass.scores();
    let best = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    network.backward(&pass, &scores.mapv(|score| if score == best { 1.0 } else { 0.0 }))?;
    look.remove();
    Ok(gradients.recv()?)
}

/// The gradient at the image as it is, and with the gradients of all stages within ±`limit` of their
/// largest entries.
pub(crate) fn gradients(limit: f32) -> Result<(ArrayD<f32>, ArrayD<f32>), Box<dyn Error>> {
    let (model, x) = photo::load()?;
    let network = Network::new(model)?;
    let plain = image_gradient(&network, &x)?;
    for stage in STAGES {
        network.register_backward_hook(stage, move |call| {
            let gradient = call.grad_output[0];
            let bound = limit * largest(gradient);
            gradient.mapv(|g| g.clamp(-bound, bound))
        })?;
    }
    let clipped = image_gradient(&network, &x)?;
    Ok((plain, clipped))
}

#[allow(dead_code, reason = "tests include this file")]
#[expect(clippy::print_stdout, reason = "a program")]
fn main() -> Result<(), Box<dyn Error>> {
    let (plain, clipped) = gradients(0.1)?;
    for (name, gradient) in [("as it is", plain), ("clipped", clipped)] {
        let mean = gradient.mapv(f32::abs).mean().unwrap_or_default();
        let largest = largest(&gradient);
        println!(
            "gradient at the image, {name}: largest {largest:.4}, {:.1} times the mean",
            largest / mean
        );
    }
    Ok(())
}
