//! Grad-CAM with hooks, line by line as the tutorials for PyTorch do it.
//!
//! `cargo run --release -p gradcam --example hooks` explains a photo with the built-in model and compares
//! the map with that of `grad_cam`. `hooks MODEL INPUT.npy LAYER OUT.npy [CLASS]` writes the map of an
//! input that is ready for the network.

#[path = "demo/photo.rs"]
mod photo;

use std::{env, error::Error, process::ExitCode, sync::mpsc::channel};

use gradcam::{
    Model, Network, grad_cam,
    ndarray::{Array2, Array4, ArrayD, Axis, Ix4},
};
use ndarray_npy::{read_npy, write_npy};

/// The raw map of a class, or of the class with the largest score.
pub(crate) fn hooked_cam(
    network: &Network,
    x: &Array4<f32>,
    layer: &str,
    class: Option<usize>,
) -> Result<Array2<f32>, Box<dyn Error>> {
    // activations = []; layer.register_forward_hook(lambda m, i, output: activations.append(output))
    let (append, activations) = channel();
    let forward =
        network.register_forward_hook(layer, move |call| append.send(call.output.clone()))?;
    // gradients = []; layer.register_full_backward_hook(lambda m, i, grad_output: gradients.append(grad_output[0]))
    let (append, gradients) = channel();
    let backward = network
        .register_backward_hook(layer, move |call| append.send(call.grad_output[0].clone()))?;

    // scores = model(x)
    let pass = network.forward(x)?;
    let scores = pass.scores();
    // class = scores.argmax()
    let class = class.unwrap_or_else(|| argmax(scores));
    // seed = torch.zeros_like(scores); seed[0, class] = 1
    let mut seed = ArrayD::zeros(scores.shape());
    *seed.get_mut([0, class]).ok_or(format!("class {class} is out of range"))? = 1.0;
    // scores.backward(seed)
    network.backward(&pass, &seed)?;

    // weights = gradients[0].mean(dim=(2, 3))
    let (a, g) = (activations.recv()?, gradients.recv()?);
    let (a, g) = (a.into_dimensionality::<Ix4>()?, g.into_dimensionality::<Ix4>()?);
    let means = g.mean_axis(Axis(3)).and_then(|rows| rows.mean_axis(Axis(2)));
    let weights = means.ok_or("the layer has no positions")?;
    // map = (weights[:, :, None, None] * activations[0]).sum(dim=1)[0]
    let weights = weights.insert_axis(Axis(2)).insert_axis(Axis(3));
    let map = (&weights * &a).sum_axis(Axis(1)).index_axis_move(Axis(0), 0);

    forward.remove();
    backward.remove();
    Ok(map)
}

/// The first largest.
fn argmax(scores: &ArrayD<f32>) -> usize {
    let better = |best: (usize, f32), next: (usize, f32)| if next.1 > best.1 { next } else { best };
    scores.iter().copied().enumerate().fold((0, f32::NEG_INFINITY), better).0
}

/// The largest difference of the hooks' map to that of `grad_cam`, over its largest entry.
pub(crate) fn difference() -> Result<f32, Box<dyn Error>> {
    let (model, x) = photo::load()?;
    let layer = "blocks.4";
    let map = hooked_cam(&Network::new(model.clone())?, &x, layer, None)?;
    let want = grad_cam(&model, x.view(), layer)?;
    let largest = |map: &Array2<f32>| map.iter().fold(0.0, |max: f32, v| max.max(v.abs()));
    Ok(largest(&(&map - &want)) / largest(&want))
}

/// Writes the map of an input that is ready for the network.
pub(crate) fn write(args: &[String]) -> Result<(), Box<dyn Error>> {
    let (model, input, layer, out, class) = match args {
        [model, input, layer, out] => (model, input, layer, out, None),
        [model, input, layer, out, class] => (model, input, layer, out, Some(class.parse()?)),
        _ => return Err("usage: hooks [MODEL INPUT.npy LAYER OUT.npy [CLASS]]".into()),
    };
    let x: Array4<f32> = read_npy(input)?;
    let map = hooked_cam(&Network::new(Model::open(model)?)?, &x, layer, class)?;
    Ok(write_npy(out, &map)?)
}

#[allow(dead_code, reason = "tests include this file")]
#[expect(clippy::print_stdout, clippy::print_stderr, reason = "a program")]
fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    let done = if args.is_empty() {
        difference().map(|difference| {
            println!("largest difference to grad_cam: {difference:.1e} of the largest entry");
            difference <= 1e-5
        })
    } else {
        write(&args).map(|()| true)
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("hooks: {error}");
            ExitCode::FAILURE
        }
    }
}
