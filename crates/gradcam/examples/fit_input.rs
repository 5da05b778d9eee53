//! Fits an input by gradient descent: what does an activation still know of the photo that it comes from? (Mahendran and
//! Vedaldi 2014, <https://arxiv.org/abs/1412.0035>.)
//!
//! `cargo run --release -p gradcam --example fit_input` starts from gray and changes pixels until a layer gives what it
//! gives for the photo.

#[path = "demo/floats.rs"]
mod floats;
#[path = "demo/photo.rs"]
mod photo;

use std::error::Error;

use floats::{Compiled, dot};
use gradcam::{
    ndarray::ArrayD,
    onnx_grad::{Options, Sizes, extract, gradient},
};

/// The layer: the end of the first block.
const LAYER: &str = "/blocks/blocks.0/blocks.0.0/conv_pw/Conv_output_0";

/// How near an input came to the photo.
pub(crate) struct Fit {
    /// ‖A(x) − A(photo)‖² over ‖A(photo)‖², at first and after each step.
    pub(crate) losses: Vec<f64>,
    /// The cosine of the angle between x and the photo.
    pub(crate) cosine: f64,
}

/// Steps of gradient descent whose size grows while the loss falls.
pub(crate) fn fit(steps: usize) -> Result<Fit, Box<dyn Error>> {
    let (model, photo) = photo::load()?;
    let photo = photo.into_dyn();
    // What follows the layer is left out.
    let part = extract(&model, &["input"], &[LAYER], &Sizes::new())?;
    let options = Options { seed_input: Some("seed".to_owned()), ..Options::default() };
    let (forward, backward) =
        (Compiled::new(&part)?, Compiled::new(&gradient(&part, LAYER, &["input"], &options)?)?);
    let [wanted] = forward.run(&[("input", &photo)], [LAYER])?;
    let scale = dot(&wanted, &wanted);
    let missing = |x: &ArrayD<f32>| -> Result<(ArrayD<f32>, f64), Box<dyn Error>> {
        let [found] = forward.run(&[("input", x)], [LAYER])?;
        let missing = found - &wanted;
        let loss = dot(&missing, &missing) / scale;
        Ok((missing, loss))
    };
    let mut x = ArrayD::zeros(photo.shape());
    let (mut seed, mut loss) = missing(&x)?;
    let mut losses = vec![loss];
    let mut rate = 1e-2;
    for _ in 0..steps {
        // The gradient of ½‖A − A(photo)‖² is A − A(photo), taken back to the input.
        let [slope] = backward.run(&[("input", &x), ("seed", &seed)], ["input.grad"])?;
        let next = &x - &slope * rate;
        let (next_seed, next_loss) = missing(&next)?;
        if next_loss < loss {
            (x, seed, loss) = (next, next_seed, next_loss);
            rate *= 1.5;
        } else {
            rate /= 2.0;
        }
        losses.push(loss);
    }
    let cosine = dot(&x, &photo) / (dot(&x, &x) * dot(&photo, &photo)).sqrt();
    Ok(Fit { losses, cosine })
}

#[allow(dead_code, reason = "tests include this file")]
#[expect(clippy::print_stdout, reason = "a program")]
fn main() -> Result<(), Box<dyn Error>> {
    let Fit { losses, cosine } = fit(100)?;
    for (step, loss) in losses.iter().enumerate().step_by(10) {
        println!("step {step:3}: {:.2} % of the activation is missing", 100.0 * loss);
    }
    println!("the cosine between the input and the photo is {cosine:.3}");
    Ok(())
}
