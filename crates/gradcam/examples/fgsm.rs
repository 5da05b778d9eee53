//! The fast gradient sign method: the change of a photo that hurts most among all that change no pixel by more than a
//! little (Goodfellow et al. 2014, <https://arxiv.org/abs/1412.6572>).
//!
//! `cargo run --release -p gradcam --example fgsm` tests how easily the built-in model is misled.

#[path = "demo/floats.rs"]
mod floats;
#[path = "demo/photo.rs"]
mod photo;

use std::error::Error;

use gradcam::{
    ndarray::ArrayD,
    onnx_grad::{Options, gradient},
};

/// The class with the largest probability, and that.
pub(crate) type Best = (usize, f32);

/// The best class of the demo photo, its probability after a step of `epsilon` against it, and the best class then.
pub(crate) fn attack(epsilon: f32) -> Result<(Best, f32, Best), Box<dyn Error>> {
    let (model, x) = photo::load()?;
    let x = x.into_dyn();
    let options = Options { seed_input: Some("seed".to_owned()), ..Options::default() };
    let network = floats::Compiled::new(&gradient(&model, "logits", &["input"], &options)?)?;
    let zero = ArrayD::zeros(vec![1, 1000]);
    let probabilities = |x: &ArrayD<f32>| -> Result<ArrayD<f32>, Box<dyn Error>> {
        let [logits] = network.run(&[("input", x), ("seed", &zero)], ["logits"])?;
        Ok(softmax(&logits))
    };
    let before = probabilities(&x)?;
    let found = best(&before);
    // The gradient of the cross-entropy −log p with respect to the logits is p, less 1 at the class.
    let mut seed = before;
    seed[[0, found.0]] -= 1.0;
    let [slope] = network.run(&[("input", &x), ("seed", &seed)], ["input.grad"])?;
    let after = probabilities(&(x + slope.mapv(|g| epsilon * g.signum())))?;
    Ok((found, after[[0, found.0]], best(&after)))
}

fn softmax(logits: &ArrayD<f32>) -> ArrayD<f32> {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let powers = logits.mapv(|logit| (logit - largest).exp());
    let sum = powers.sum();
    powers / sum
}

fn best(probabilities: &ArrayD<f32>) -> Best {
    let numbered = probabilities.iter().copied().enumerate();
    numbered.fold((0, 0.0), |best, one| if one.1 > best.1 { one } else { best })
}

#[allow(dead_code, reason = "tests include this file")]
#[expect(clippy::print_stdout, reason = "a program")]
fn main() -> Result<(), Box<dyn Error>> {
    for levels in [0.25f32, 0.5, 1.0, 2.0] {
        // The model takes (pixel − 127) / 128.
        let ((class, before), after, (other, wins)) = attack(levels / 128.0)?;
        println!(
            "±{levels} of 255: class {class} falls from {before:.3} to {after:.3}; the best is {other} with {wins:.3}"
        );
    }
    Ok(())
}
