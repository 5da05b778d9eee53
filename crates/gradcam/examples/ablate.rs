//! Changes an activation in a hook: which channels of a layer does the score of a class live on?
//!
//! `cargo run --release -p gradcam --example ablate` sets one channel after the other to zero, those that
//! Grad-CAM gives the most to, and shows how the score moves, and how Grad-CAM says that it would.

#[path = "demo/photo.rs"]
mod photo;

use std::error::Error;

use gradcam::{Explainer, Network, Target, ndarray::Axis};

/// Behind it the network is linear, so what Grad-CAM says of a channel is what happens without it.
const LAYER: &str = "bn2";

/// What becomes of a score without one channel.
pub(crate) struct Ablation {
    pub(crate) channel: usize,
    /// What Grad-CAM says that the channel adds to the score: its weight times its sum.
    pub(crate) estimate: f32,
    pub(crate) score: f32,
}

/// The largest score of the photo, its label, and what becomes of it.
pub(crate) fn ablations() -> Result<(f32, String, Vec<Ablation>), Box<dyn Error>> {
    let (model, x) = photo::load()?;
    let explainer = Explainer::builder(model.clone()).layer(LAYER).build()?;
    let explanation = &explainer.explain(&x, Target::Argmax)?[0][0];
    let (class, weights) = (explanation.class.index, &explanation.layers[0].weights);
    let label = explanation.class.label.clone().unwrap_or_default();

    let network = Network::new(model)?;
    let (append, activations) = std::sync::mpsc::channel();
    let look =
        network.register_forward_hook(LAYER, move |call| append.send(call.output.clone()))?;
    let whole = network.forward(&x)?.scores()[[0, class]];
    look.remove();
    let activation = activations.recv()?;

    let sums = activation.sum_axis(Axis(3)).sum_axis(Axis(2));
    let mut channels: Vec<(usize, f32)> =
        weights.iter().zip(&sums).map(|(weight, sum)| weight * sum).enumerate().collect();
    channels.sort_by(|a, b| b.1.total_cmp(&a.1));
    let mut ablations = Vec::new();
    for (channel, estimate) in channels.into_iter().take(5) {
        let ablate = network.register_forward_hook(LAYER, move |call| {
            let mut output = call.output.clone();
            output.index_axis_mut(Axis(1), channel).fill(0.0);
            output
        })?;
        let score = network.forward(&x)?.scores()[[0, class]];
        ablate.remove();
        ablations.push(Ablation { channel, estimate, score });
    }
    Ok((whole, label, ablations))
}

#[allow(dead_code, reason = "tests include this file")]
#[expect(clippy::print_stdout, reason = "a program")]
fn main() -> Result<(), Box<dyn Error>> {
    let (whole, label, ablations) = ablations()?;
    println!("{label}: {whole:.3}");
    for Ablation { channel, estimate, score } in ablations {
        let moved = score - whole;
        println!(
            "  without channel {channel}: {score:.3} ({moved:+.4}, by Grad-CAM {:+.4})",
            -estimate
        );
    }
    Ok(())
}
