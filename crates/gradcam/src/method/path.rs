//! Methods that average gradients over changed images: noisy ones, and those on the path from a baseline.

use ndarray::{ArrayD, Axis, Zip};

use super::{ChangedGradient, ChannelMap, Formulas, Passes};
use crate::{Result, error::bail};

/// SmoothGrad: the mean of the gradient at the input over noisy images. Smilkov et al. 2017, section 3.
///
/// The noise is normal; its standard deviation is a share of the range of the image, 0.15 unless the settings say otherwise,
/// and there are 50 samples.
pub(super) fn smooth_grad(passes: &mut dyn Passes) -> Result<ChannelMap> {
    let image = passes.activation().to_owned();
    let (least, most) = image
        .iter()
        .fold((f32::INFINITY, f32::NEG_INFINITY), |(least, most), v| (least.min(*v), most.max(*v)));
    let deviation = passes.settings().noise.unwrap_or(0.15) * (most - least);
    let samples = passes.settings().samples_or(50);
    let mut noise = Noise::new(passes.settings().seed);
    let mut sum = ArrayD::<f64>::zeros(image.shape());
    passes.gradients(
        samples,
        &mut |_, mut image| image.mapv_inplace(|v| v + deviation * noise.normal()),
        &mut |_, ChangedGradient { gradient, .. }| {
            Zip::from(&mut sum).and(&gradient).for_each(|sum, g| *sum += f64::from(*g))
        },
    )?;
    Ok(ChannelMap::new(Vec::new(), scaled(&sum, 1.0 / count(samples))))
}

/// Smooth Grad-CAM++: Grad-CAM++ of the gradients of noisy images, w_k = Σ α_k·relu(mean g_k) over space with
/// α_k = mean g_k² / (2·mean g_k² + mean g_k³·Σ A_k + 1e-8), and map = Σ_k w_k·A_k. Omeiza et al. 2019, section 3.2.
///
/// There are 4 noisy images and the standard deviation of the noise is 0.3, in the unit of the network's input, as in
/// TorchCAM. From there is the numerator too: the paper has the mean of g_k, which is not Grad-CAM++ where there is no noise.
///
/// Elsewhere TorchCAM leaves the paper, and with its formulas A_k in the map and the gradient under the relu are those of the last
/// noisy image, and Σ (mean g_k³·A_k) takes the place of mean g_k³·Σ A_k, where A_k is that of the image itself.
pub(super) fn smooth_grad_cam_plus_plus(passes: &mut dyn Passes) -> Result<ChannelMap> {
    let is_of_torch_cam = passes.formulas() == Formulas::TorchCam;
    let samples = passes.settings().samples_or(4);
    let deviation = passes.settings().noise.unwrap_or(0.3);
    let mut noise = Noise::new(passes.settings().seed);
    // The sums of g, g² and g³, and gradient and activation of the last noisy image.
    let mut sums = ArrayD::from_elem(passes.activation().shape(), [0.0f64; 3]);
    let mut last = None;
    passes.gradients(
        samples,
        &mut |_, mut image| image.mapv_inplace(|v| v + deviation * noise.normal()),
        &mut |number, ChangedGradient { gradient, activation }| {
            if is_of_torch_cam && number + 1 == samples {
                last = activation.map(|a| (gradient.mapv(f64::from), a.to_owned()));
            }
            Zip::from(&mut sums).and(&gradient).for_each(|sums, g| {
                let g = f64::from(*g);
                for (sum, power) in sums.iter_mut().zip([g, g * g, g * g * g]) {
                    *sum += power;
                }
            });
        },
    )?;
    let means = sums.mapv_into(|sums| sums.map(|sum| sum / count(samples)));
    let activation = passes.activation();
    let (gradient, of_map) = match (is_of_torch_cam, last) {
        (false, _) => (means.mapv(|[mean, _, _]| mean), activation.to_owned()),
        (true, Some(last)) => last,
        (true, None) => bail!(Engine, "the engine gave no activation of the noisy images"),
    };
    let of_channels = means.axis_iter(Axis(0)).zip(gradient.axis_iter(Axis(0)));
    let channels = of_channels.zip(activation.axis_iter(Axis(0)));
    let weights = channels.map(|((means, gradient), a)| {
        let sum: f64 = a.iter().map(|a| f64::from(*a)).sum();
        let products: f64 = means.iter().zip(&a).map(|(m, a)| m[2] * f64::from(*a)).sum();
        let each = means.iter().zip(&gradient).map(|([_, square, cube], g)| {
            let third = if is_of_torch_cam { products } else { cube * sum };
            g.max(0.0) * square / (2.0 * square + third + 1e-8)
        });
        #[expect(clippy::cast_possible_truncation, reason = "weights are float32")]
        let weight = each.sum::<f64>() as f32;
        weight
    });
    let weights = weights.collect();
    Ok(ChannelMap::weighted(&of_map.view(), weights))
}

/// Integrated gradients: map = (x − x′)·∫ g(x′ + α·(x − x′)) dα, the baseline x′ all zeros. Sundararajan et al. 2017,
/// section 3.
///
/// The integral is a Gauss-Legendre quadrature with 50 nodes, as in Captum. The completeness error is Σ map − (y(x) − y(x′)).
pub(super) fn integrated_gradients(passes: &mut dyn Passes) -> Result<ChannelMap> {
    let image = passes.activation().to_owned();
    let nodes = gauss_legendre(passes.settings().samples_or(50));
    let mut sum = ArrayD::<f64>::zeros(image.shape());
    let weights: Vec<f64> = nodes.iter().map(|(_, weight)| *weight).collect();
    #[expect(clippy::cast_possible_truncation, reason = "images are float32")]
    let steps: Vec<f32> = nodes.iter().map(|(node, _)| *node as f32).collect();
    passes.gradients(
        steps.len(),
        &mut |number, mut image| image.mapv_inplace(|v| v * steps[number]),
        &mut |number, ChangedGradient { gradient, .. }| {
            let weight = weights[number];
            Zip::from(&mut sum).and(&gradient).for_each(|sum, g| *sum += weight * f64::from(*g));
        },
    )?;
    let Some(baseline) = passes.scores(1, &mut |_, mut image| image.fill(0.0))?.pop() else {
        bail!(Engine, "the engine gave no score of the baseline")
    };
    Zip::from(&mut sum).and(&image).for_each(|sum, x| *sum *= f64::from(*x));
    let gained = f64::from(passes.score()) - f64::from(baseline);
    #[expect(clippy::cast_possible_truncation, reason = "maps are float32")]
    let completeness_error = Some((sum.sum() - gained) as f32);
    Ok(ChannelMap { completeness_error, ..ChannelMap::new(Vec::new(), scaled(&sum, 1.0)) })
}

#[expect(clippy::cast_possible_truncation, reason = "maps are float32")]
fn scaled(sum: &ArrayD<f64>, factor: f64) -> ArrayD<f32> {
    sum.mapv(|v| (v * factor) as f32)
}

#[expect(clippy::cast_precision_loss, reason = "a number of samples")]
fn count(samples: usize) -> f64 {
    samples as f64
}

/// Normal random numbers.
pub(super) struct Noise(fastrand::Rng);

impl Noise {
    pub(super) fn new(seed: u64) -> Self {
        Self(fastrand::Rng::with_seed(seed))
    }

    /// A number with mean 0 and standard deviation 1, by Box and Muller.
    pub(super) fn normal(&mut self) -> f32 {
        // In (0, 1], whose logarithm is finite.
        let radius = (-2.0 * (1.0 - self.0.f64()).ln()).sqrt();
        #[expect(clippy::cast_possible_truncation, reason = "images are float32")]
        let number = (radius * (std::f64::consts::TAU * self.0.f64()).cos()) as f32;
        number
    }
}

/// The nodes in (0, 1) and the weights of a Gauss-Legendre quadrature: the roots of the Legendre polynomial, by Newton's method
/// from Chebyshev's. Abramowitz and Stegun 1964, 25.4.30.
fn gauss_legendre(points: usize) -> Vec<(f64, f64)> {
    let root = |number: usize| {
        let mut x = (std::f64::consts::PI * (count(number) + 0.75) / (count(points) + 0.5)).cos();
        let mut slope = 1.0;
        for _ in 0..100 {
            let (mut before, mut here) = (0.0, 1.0);
            for degree in 0..points {
                let n = count(degree);
                (before, here) = (here, ((2.0 * n + 1.0) * x * here - n * before) / (n + 1.0));
            }
            slope = count(points) * (x * here - before) / (x * x - 1.0);
            let step = here / slope;
            x -= step;
            if step.abs() < 1e-15 {
                break;
            }
        }
        (0.5 * (1.0 - x), 1.0 / ((1.0 - x * x) * slope * slope))
    };
    (0..points).map(root).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// n nodes integrate polynomials up to degree 2n − 1 exactly.
    #[test]
    fn the_quadrature_is_exact_for_polynomials() {
        for points in [1, 2, 5, 50] {
            let nodes = gauss_legendre(points);
            assert!(nodes.is_sorted_by(|a, b| a.0 < b.0));
            for degree in [0, 1, 2 * points - 1] {
                let power = i32::try_from(degree).unwrap();
                let got: f64 = nodes.iter().map(|(x, weight)| weight * x.powi(power)).sum();
                let want = 1.0 / (count(degree) + 1.0);
                assert!((got - want).abs() < 1e-12, "{points} {degree}: {got}, not {want}");
            }
        }
    }

    #[test]
    fn noise_is_standard_normal_and_follows_from_the_seed() {
        let draw = |seed| {
            let mut noise = Noise::new(seed);
            (0..100_000).map(|_| f64::from(noise.normal())).collect::<Vec<_>>()
        };
        let numbers = draw(1);
        assert_eq!(numbers, draw(1));
        assert_ne!(numbers, draw(2));
        let mean = |power: i32| numbers.iter().map(|v| v.powi(power)).sum::<f64>() / 1e5;
        // Four standard errors: of the mean 1/√n, of the mean square √2/√n, of the mean fourth power √96/√n.
        for (power, want, error) in
            [(1, 0.0, 1.0f64), (2, 1.0, 2.0f64.sqrt()), (4, 3.0, 96.0f64.sqrt())]
        {
            assert!(
                (mean(power) - want).abs() < 4.0 * error / 1e5f64.sqrt(),
                "{power}: {}",
                mean(power)
            );
        }
    }
}
