//! The examples do what they say.

#![expect(clippy::duplicate_mod, reason = "each example loads the photo by itself")]

#[path = "../../examples/ablate.rs"]
mod ablate;
#[path = "../../examples/clip_gradients.rs"]
mod clip_gradients;
#[path = "../../examples/fgsm.rs"]
mod fgsm;
#[path = "../../examples/fit_input.rs"]
mod fit_input;
#[path = "../../examples/hooks.rs"]
mod hooks;
#[path = "../../examples/jvp.rs"]
mod jvp;
#[path = "../../examples/own_target.rs"]
mod own_target;
#[path = "../../examples/saliency.rs"]
mod saliency;

use ndarray::{Array2, Array4};
use ndarray_npy::{read_npy, write_npy};
use testkit::Suite;

use crate::common;

pub(crate) fn tests(suite: &mut Suite) {
    testkit::tests!(
        suite,
        the_map_of_hooks_is_that_of_grad_cam,
        hooks_writes_the_map_of_a_class,
        scores_fall_by_what_the_ablated_channel_gave,
        clipped_gradients_have_lower_peaks,
        any_cat_is_the_sum_of_the_cats,
        saliency_is_that_of_an_explanation,
        a_step_against_a_class_lowers_it,
        an_input_is_fitted_to_an_activation,
        a_jacobian_is_multiplied_from_both_sides,
    );
}

fn the_map_of_hooks_is_that_of_grad_cam() {
    let difference = hooks::difference().expect("a map");
    assert!(difference <= 1e-5, "{difference:.1e}");
}

fn hooks_writes_the_map_of_a_class() {
    let folder = std::env::temp_dir().join(format!("gradcam-hooks-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let path = |name: &str| folder.join(name).display().to_string();
    let case = &testkit::lite0()[0];
    let photo = format!("networks/{}_224.png", case.photo);
    let photo = gradcam::image::Photo::open(testkit::fixture(&photo), &Default::default());
    let photo = photo.expect("a fixture");
    let x = Array4::from_shape_fn((1, 3, 224, 224), |(_, c, y, x)| {
        (f32::from(photo.rgb()[(y * 224 + x) * 3 + c]) - 127.0) / 128.0
    });
    write_npy(path("x.npy"), &x).expect("a file");
    let built_in = gradcam::Model::open(common::demo_model()).expect("the built-in model");
    case.settled(&built_in).save(path("model.onnx")).expect("a file");
    let args = [path("model.onnx"), path("x.npy"), "blocks.4.2".to_owned(), path("map.npy")];
    let with_class = [&args[..], &[case.class.to_string()]].concat();
    hooks::write(&with_class).expect("a map");
    let map: Array2<f32> = read_npy(path("map.npy")).expect("a map");
    let numbers: Vec<f32> = map.iter().copied().collect();
    let error = testkit::largest_error(&numbers, &case.layers["blocks.4.2"].gradcam.data);
    assert!(error <= 1e-4, "{error:.1e}");
    // Without a class it is the one with the largest score.
    hooks::write(&args).expect("a map");
    let scores = &case.logits.data;
    let best = (0..scores.len()).max_by(|a, b| scores[*a].total_cmp(&scores[*b]));
    let same = read_npy::<_, Array2<f32>>(path("map.npy")).expect("a map") == map;
    assert_eq!(same, best == Some(case.class));
    assert!(hooks::write(&args[..3]).expect_err("too few").to_string().starts_with("usage"));
    std::fs::remove_dir_all(folder).expect("the folder");
}

fn scores_fall_by_what_the_ablated_channel_gave() {
    let (whole, label, ablations) = ablate::ablations().expect("scores");
    assert_eq!(label, "espresso");
    assert_eq!(ablations.len(), 5);
    for ablate::Ablation { channel, estimate, score } in ablations {
        assert!(estimate > 0.01, "channel {channel}: {estimate}");
        let error = (whole - score - estimate).abs();
        assert!(error <= 1e-4 * whole, "channel {channel}: {score} of {whole}, {estimate}");
    }
}

fn clipped_gradients_have_lower_peaks() {
    let (plain, clipped) = clip_gradients::gradients(0.1).expect("gradients");
    assert_eq!(plain.shape(), [1, 3, 224, 224]);
    let (high, low) = (clip_gradients::largest(&plain), clip_gradients::largest(&clipped));
    assert!(low < high, "{low} of {high}");
    let (same, _) = clip_gradients::gradients(1.0).expect("gradients");
    assert_eq!(same, plain, "nothing is beyond its own largest entry");
}

/// The target's value is the logarithm of the summed probabilities, and its map is the weighted mean of the cats' maps less
/// that of all classes: the gradient of log Σ e^z is Σ p·∂z.
fn any_cat_is_the_sum_of_the_cats() {
    let explanation = own_target::explanation().expect("a map");
    assert_eq!(explanation.target.to_string(), "any cat");
    let cats = &explanation.probabilities[281..286];
    let sum: f32 = cats.iter().sum();
    assert!((explanation.value - sum.ln()).abs() < 1e-4, "{} {}", explanation.value, sum.ln());
    let model = gradcam::Model::open(common::demo_model()).expect("the built-in model");
    let explainer = gradcam::Explainer::builder(model).build().expect("an explainer");
    let photo = common::demo_model().with_file_name("cat_over_coffee.png");
    let photo = gradcam::image::Photo::open(photo, &Default::default()).expect("a photo");
    let (x, _) = explainer.prepare(&photo).expect("an input");
    let probabilities = explanation.probabilities.clone();
    let mut want = ndarray::ArrayD::<f64>::zeros(explanation.layers[0].map.shape());
    for class in 0..probabilities.len() {
        let of_cats = if (281..286).contains(&class) { probabilities[class] / sum } else { 0.0 };
        let weight = f64::from(of_cats - probabilities[class]);
        // The other classes' shares add up to less than 1e-5.
        if weight.abs() < 1e-8 {
            continue;
        }
        let explained = explainer.explain(&x, gradcam::Target::Class(class)).expect("a map");
        want.zip_mut_with(&explained[0][0].layers[0].map, |sum, v| *sum += weight * f64::from(*v));
    }
    let got: Vec<f32> = explanation.layers[0].map.iter().copied().collect();
    let want: Vec<f64> = want.iter().copied().collect();
    let error = testkit::largest_error(&got, &want);
    assert!(error <= 1e-4, "{error:.1e}");
}

fn saliency_is_that_of_an_explanation() {
    let photo = common::demo_model().with_file_name("cat_over_coffee.png");
    let photo = gradcam::image::Photo::open(photo, &Default::default()).expect("a photo");
    let model = gradcam::Model::open(common::demo_model()).expect("the built-in model");
    let method = "saliency".parse().expect("a method");
    let explainer =
        gradcam::Explainer::builder(model).method(method).build().expect("an explainer");
    let mut shares = Vec::new();
    for class in [285, 967] {
        let gradient = saliency::saliency(class).expect("a gradient");
        let explained = explainer.explain(&photo, gradcam::Target::Class(class)).expect("a map");
        let map = &explained[0][0].layers[0].map;
        assert_eq!(gradient.shape()[1..], *map.shape(), "{class}");
        let got: Vec<f32> = gradient.iter().copied().collect();
        let want: Vec<f64> = map.iter().map(|number| f64::from(*number)).collect();
        let error = testkit::largest_error(&got, &want);
        assert!(error <= 1e-5, "{class}: {error:.1e}");
        shares.push(saliency::upper_share(&gradient));
    }
    // The cat is above the cup.
    assert!(shares[0] > shares[1] + 0.1, "{shares:?}");
}

fn a_step_against_a_class_lowers_it() {
    let ((class, before), after, (other, wins)) = fgsm::attack(1.0 / 128.0).expect("scores");
    assert_eq!(class, 967, "espresso");
    assert!(after < before / 10.0, "{after} of {before}");
    assert!(other != class && wins > before, "{other} with {wins}");
    let (_, same, _) = fgsm::attack(0.0).expect("scores");
    assert!((same - before).abs() <= 1e-6, "{same} of {before}");
}

fn an_input_is_fitted_to_an_activation() {
    let fit_input::Fit { losses, cosine } = fit_input::fit(30).expect("an input");
    assert!(losses.windows(2).all(|pair| pair[1] <= pair[0]), "{losses:?}");
    let (first, last) = (losses[0], losses[30]);
    assert!(last < 0.4 * first, "{last} of {first}");
    assert!(cosine > 0.6, "{cosine}");
}

fn a_jacobian_is_multiplied_from_both_sides() {
    let jvp::Product { jvp, differences, sides: [left, right] } = jvp::product().expect("products");
    assert!((left - right).abs() <= 1e-5 * left.abs(), "{left} and {right}");
    let dot = |a: &ndarray::ArrayD<f32>, b: &ndarray::ArrayD<f32>| (a * b).sum();
    // The network has kinks, some of them within the step.
    let cosine =
        dot(&jvp, &differences) / (dot(&jvp, &jvp) * dot(&differences, &differences)).sqrt();
    assert!(cosine > 0.99, "{cosine}");
}
