//! Concepts against those of pytorch-grad-cam, on every engine; and what is refused.

use std::{num::NonZeroUsize, sync::LazyLock};

use gradcam::{
    Concepts, ErrorKind, Explainer, ForwardCall, Method, Model, Network, Result, Warning,
    engine::EngineKind, image::Photo,
};
use ndarray::{ArrayD, Axis, Slice};
use testkit::{
    ConceptCase, ConceptCases, FixtureTensor, Suite, concept_cases, fixture, largest_error, zoo,
};

use crate::{common, fixed::with_batch};

static CASES: LazyLock<ConceptCases> = LazyLock::new(concept_cases);

/// How far numbers may be from the library's float64, of their largest entry: ten times what the library's own float32 may be.
const BOUND: f64 = 1e-4;

pub(crate) fn tests(suite: &mut Suite) {
    for case in &CASES.cases {
        for kind in EngineKind::ALL {
            let name = format!("concepts::{}::{}::{}", case.layer, case.images, case.components);
            suite.test(format!("{name}::{kind}"), move || concepts_are_the_library_s(case, kind));
        }
    }
    testkit::tests!(
        suite,
        a_batch_that_a_model_fixes_gives_the_same,
        what_cannot_be_factored_is_refused,
        a_limit_of_memory_holds,
        a_class_token_holds_the_concept_too,
        concepts_without_classes_say_why,
        pictures_have_the_color_of_the_largest_map,
    );
}

fn explainer(layer: &str, kind: EngineKind) -> Explainer {
    let model = Model::open(fixture("concepts/cnn.onnx")).expect("a model");
    let builder = Explainer::builder(model).engine(kind).library_places(common::library());
    builder.layer(layer).build().expect("an explainer")
}

fn images() -> ArrayD<f32> {
    ArrayD::from_shape_vec(CASES.input.as_slice(), CASES.images()).expect("an input")
}

fn count(components: usize) -> NonZeroUsize {
    NonZeroUsize::new(components).expect("a number")
}

fn found(explainer: &Explainer, x: &ArrayD<f32>, components: usize) -> Result<Concepts> {
    explainer.concepts(x.view(), count(components))
}

fn check(what: &str, got: &[f32], want: &FixtureTensor) {
    assert_eq!(got.len(), want.data.len(), "{what}");
    let error = largest_error(got, &want.data);
    assert!(error <= BOUND, "{what}: {error:.1e}");
}

fn concepts_are_the_library_s(case: &ConceptCase, kind: EngineKind) {
    let x = images().slice_axis(Axis(0), Slice::from(..case.images)).to_owned();
    let concepts = found(&explainer(&case.layer, kind), &x, case.components).expect("concepts");
    assert!(case.condition <= 1e-5);
    assert_eq!((concepts.layer.as_str(), concepts.images.len()), (&*case.layer, case.images));
    let of_components = concepts.components.iter();
    let vectors: Vec<f32> =
        of_components.clone().flat_map(|one| one.vector.iter().copied()).collect();
    check("vectors", &vectors, &case.vectors);
    let share: Vec<f32> = of_components.clone().map(|one| one.share).collect();
    check("share", &share, &case.share);
    let of_images = concepts.images.iter();
    let shares: Vec<f32> = of_images.clone().flat_map(|one| one.shares.clone()).collect();
    check("shares", &shares, &case.shares);
    let maps: Vec<f32> = of_images.clone().flat_map(|one| one.maps.iter().copied()).collect();
    check("maps", &maps, &case.maps);
    let heatmaps = of_images.flat_map(|one| one.heatmaps().expect("heatmaps"));
    check("heatmaps", &heatmaps.collect::<Vec<f32>>(), &case.heatmaps);
    let scores = of_components.flat_map(|one| {
        let mut by_index = one.classes.clone();
        assert!(by_index.is_sorted_by(|a, b| a.score >= b.score));
        by_index.sort_by_key(|class| class.index);
        let sum: f32 = by_index.iter().filter_map(|class| class.probability).sum();
        assert!((sum - 1.0).abs() < 1e-5);
        by_index.into_iter().map(|class| class.score)
    });
    check("scores", &scores.collect::<Vec<f32>>(), &case.scores);
    assert!((f64::from(concepts.error) - case.error).abs() < BOUND);
}

/// Three images of a model that takes two at once.
fn a_batch_that_a_model_fixes_gives_the_same() {
    let open = explainer("late", EngineKind::Rten);
    let x = images().select(Axis(0), &[0, 1, 0]);
    let want = found(&open, &x, 3).expect("concepts");
    let model = with_batch("concepts/cnn.onnx", 2);
    let fixed = Explainer::builder(model).layer("late").build().expect("an explainer");
    let got = found(&fixed, &x, 3).expect("concepts");
    assert_eq!(got.images.len(), 3);
    for (got, want) in got.images.iter().zip(&want.images) {
        let apart = (&got.maps - &want.maps).iter().fold(0.0f32, |most, v| most.max(v.abs()));
        assert!(apart < 1e-4, "{apart}");
    }
    for (got, want) in got.components.iter().zip(&want.components) {
        assert_eq!(got.classes[0].index, want.classes[0].index);
        assert!((got.classes[0].score - want.classes[0].score).abs() < 1e-4);
    }
}

fn what_cannot_be_factored_is_refused() {
    let late = explainer("late", EngineKind::Rten);
    let one = images().select(Axis(0), &[0]);
    let refused = |explainer: &Explainer, x: &ArrayD<f32>, components: usize| {
        let error = found(explainer, x, components).expect_err("a refusal");
        (error.kind(), error.to_string())
    };
    assert_eq!(
        refused(&late, &one, 13),
        (
            ErrorKind::Method,
            "13 components are more than layer \"late\" can have, with 12 channels and 12 positions in all images; ask for at \
             most 12"
                .to_owned()
        )
    );
    assert!(found(&late, &one, 12).is_ok());
    let (kind, message) = refused(&late, &ArrayD::from_elem(one.shape(), f32::INFINITY), 2);
    assert_eq!(kind, ErrorKind::Layer);
    assert!(
        message.contains("the same at all positions") || message.contains("not finite"),
        "{message}"
    );
    let model = || Model::open(fixture("concepts/cnn.onnx")).expect("a model");
    let both = Explainer::builder(model()).layers(["early", "late"]).build().expect("an explainer");
    let (kind, message) = refused(&both, &one, 2);
    assert_eq!(kind, ErrorKind::Layer);
    assert!(message.contains("and there are 2: early, late; name a layer"), "{message}");
    let saliency: Method = "saliency".parse().expect("a method");
    let none = Explainer::builder(model()).method(saliency).build().expect("an explainer");
    let (kind, message) = refused(&none, &one, 2);
    assert_eq!(kind, ErrorKind::Layer);
    assert!(message.contains("the methods of this explainer take none"), "{message}");
}

fn a_limit_of_memory_holds() {
    let build = |bytes| {
        let model = Model::open(fixture("concepts/cnn.onnx")).expect("a model");
        Explainer::builder(model).layer("early").max_memory(bytes).build().expect("an explainer")
    };
    let many = ArrayD::zeros(vec![50, 3, 10, 14]);
    let error = found(&build(100_000), &many, 2).expect_err("a refusal");
    assert_eq!(error.kind(), ErrorKind::Memory);
    assert!(error.to_string().contains("factoring 1750 positions of 8 channels"), "{error}");
    // The least limit, by halves: the runs behind the layer do not wait for the memory of the factors.
    let (mut too_small, mut enough) = (0u64, 1 << 24);
    while enough - too_small > 1 {
        let between = u64::midpoint(too_small, enough);
        match found(&build(between), &images(), 2) {
            Ok(_) => enough = between,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Memory);
                too_small = between;
            }
        }
    }
}

/// The scores of a transformer whose block gives tokens of one kind, by a hook that replaces them.
fn a_class_token_holds_the_concept_too() {
    let known = zoo().into_iter().find(|model| model.name == "vit.dynamo").expect("a model");
    let model = || Model::open(known.path()).expect("a model");
    let x = ArrayD::from_shape_vec(known.input.clone(), known.image()).expect("an image");
    let explainer = Explainer::builder(model()).layer("blocks.1").build().expect("an explainer");
    let concepts = found(&explainer, &x, 3).expect("concepts");
    assert!(concepts.images[0].maps.shape() == [3, 4, 4]);
    for component in &concepts.components {
        let vector = component.vector.clone();
        let network = Network::new(model()).expect("a network");
        let tokens = move |call: &ForwardCall<'_>| {
            let channels = vector.len();
            let mut all = call.output.to_owned();
            assert_eq!(all.len(), 17 * channels);
            all.iter_mut().zip(vector.iter().cycle()).for_each(|(value, own)| *value = *own);
            all
        };
        let _ = network.register_forward_hook("blocks.1", tokens).expect("a hook");
        let scores = network.forward(&x).expect("scores").into_scores();
        let mut classes = component.classes.clone();
        classes.sort_by_key(|class| class.index);
        let got: Vec<f32> = classes.iter().map(|class| class.score).collect();
        let want: Vec<f64> = scores.iter().map(|score| f64::from(*score)).collect();
        let error = largest_error(&got, &want);
        assert!(error < 1e-5, "{error:.1e}");
    }
}

/// A segmentation has classes of pixels, and not of a layer.
fn concepts_without_classes_say_why() {
    let model = Model::open(fixture("heads/segmenter.onnx")).expect("a model");
    let explainer = Explainer::builder(model).build().expect("an explainer");
    let photo = Photo::from_rgb8(20, 20, (0..1200).map(|at| (at * at % 251) as u8).collect());
    let concepts = explainer.concepts(&photo.expect("a photo"), count(2)).expect("concepts");
    assert!(concepts.components.iter().all(|one| one.classes.is_empty()));
    let why = concepts.warnings.iter().find(|one| matches!(one, Warning::NoConceptScores { .. }));
    let why = why.expect("a note").to_string();
    assert!(why.contains("segmentation"), "{why}");
}

fn pictures_have_the_color_of_the_largest_map() {
    let concepts = found(&explainer("late", EngineKind::Rten), &images(), 3).expect("concepts");
    let image = &concepts.images[0];
    let heatmaps = image.heatmaps().expect("heatmaps");
    let alone = image.picture().expect("a picture");
    assert_eq!((alone.width(), alone.height()), (14, 10));
    let colors: Vec<[u8; 3]> =
        concepts.summary(image, 1).iter().map(|component| component.color).collect();
    assert_eq!(colors, [[255, 0, 0], [0, 255, 0], [0, 0, 255]]);
    for (place, pixel) in alone.rgb().chunks_exact(3).enumerate() {
        let at = |component: usize| heatmaps[[component, place / 14, place % 14]];
        let largest = (0..3).max_by(|a, b| at(*a).total_cmp(&at(*b))).expect("a component");
        let rounded = (255.0 * at(largest)).round();
        let mut want = [0.0; 3];
        want[largest] = rounded;
        assert_eq!([0, 1, 2].map(|channel| f32::from(pixel[channel])), want);
    }
    let photo = Photo::from_rgb8(28, 20, vec![128; 3 * 28 * 20]).expect("a photo");
    let drawn = image.overlay(&photo, 0.7).expect("a picture");
    assert_eq!((drawn.width(), drawn.height()), (28, 20));
}
