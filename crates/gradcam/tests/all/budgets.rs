//! Budgets of inferences, on every engine: the channels that matter most get the weights that they have without a budget.

use std::{
    num::NonZeroUsize,
    sync::{Arc, Mutex},
};

use gradcam::{
    ErrorKind, Explainer, ExplainerBuilder, Explanation, LayerMap, MethodSettings, Network, Target,
    engine::EngineKind,
};
use ndarray::{ArrayD, Axis};
use testkit::{Suite, largest_error};

use crate::{common, last::network, one_each::OneEach};

pub(crate) fn tests(suite: &mut Suite) {
    for (method, runs) in [("scorecam", 40), ("ablationcam", 40)] {
        for kind in EngineKind::ALL {
            suite.test(format!("budgets::{method}::{kind}"), move || {
                the_best_channels_keep_their_weights(method, runs, kind);
            });
        }
    }
    testkit::tests!(suite, channels_in_closed_form_cost_nothing, a_budget_that_no_method_takes);
}

fn explained(builder: ExplainerBuilder) -> Vec<Explanation> {
    let (_, known) = &*network("vgg11_bn");
    let batch = ArrayD::from_shape_vec(known.input.as_slice(), known.image()).expect("an input");
    let explainer = builder.build().expect("an explainer");
    let x = batch.select(Axis(0), &[0]);
    explainer.explain_one_each(x.view(), &[Target::Class(3)]).expect("explanations")
}

fn builder(layer: &str, method: &str, kind: EngineKind) -> ExplainerBuilder {
    let model = network("vgg11_bn").0.clone();
    let builder = Explainer::builder(model).engine(kind).library_places(common::library());
    builder.layer(layer).method(method.parse().expect("a method"))
}

fn budget(inferences: usize) -> MethodSettings {
    MethodSettings { budget: NonZeroUsize::new(inferences), ..MethodSettings::default() }
}

fn the_best_channels_keep_their_weights(method: &str, runs: usize, kind: EngineKind) {
    let layer = "features.10";
    let all = explained(builder(layer, method, kind)).remove(0).layers.remove(0);
    let told = Arc::new(Mutex::new(0));
    let list = told.clone();
    let some = builder(layer, method, kind).method_settings(budget(runs)).progress(move |now| {
        *list.lock().expect("a number") = now.total;
        std::ops::ControlFlow::Continue(())
    });
    let LayerMap { map, weights, coverage, .. } = explained(some).remove(0).layers.remove(0);
    assert_eq!(*told.lock().expect("a number"), runs);

    // HiResCAM's weights are the means of the gradient, and A follows from a hook.
    let means = explained(builder(layer, "hirescam", kind)).remove(0).layers.remove(0).weights;
    let activation = activation(layer, kind);
    let importance: Vec<f64> = means
        .iter()
        .zip(activation.axis_iter(Axis(0)))
        .map(|(weight, a)| {
            f64::from(weight.abs()) * a.iter().map(|a| f64::from(a.abs())).sum::<f64>()
        })
        .collect();
    let mut order: Vec<usize> = (0..importance.len()).collect();
    order.sort_by(|a, b| importance[*b].total_cmp(&importance[*a]));
    let (best, others) = order.split_at(runs);
    assert!(others.len() > runs, "most channels are left out");
    let sum = |channels: &[usize]| channels.iter().map(|k| importance[*k]).sum::<f64>();
    let share = sum(best) / sum(&order);
    assert!((0.2..0.95).contains(&share), "{share}");
    assert!(
        (f64::from(coverage.expect("a share")) - share).abs() < 1e-5,
        "{coverage:?}, not {share}"
    );
    assert!(all.coverage.is_none());

    assert!(others.iter().all(|channel| weights[*channel] == 0.0));
    // The softmax is over the channels that were run.
    let scale = match method {
        "scorecam" => best.iter().map(|channel| f64::from(all.weights[*channel])).sum(),
        _ => 1.0,
    };
    let got: Vec<f32> = best.iter().map(|channel| weights[*channel]).collect();
    let want: Vec<f64> = best.iter().map(|k| f64::from(all.weights[*k]) / scale).collect();
    let error = largest_error(&got, &want);
    assert!(error < 1e-4, "{error:.1e}");
    let mut sum = ArrayD::<f64>::zeros(map.shape());
    for channel in best {
        let a = activation.index_axis(Axis(0), *channel).mapv(f64::from);
        sum += &(a * f64::from(weights[*channel]));
    }
    let got: Vec<f32> = map.iter().copied().collect();
    let error = largest_error(&got, sum.as_slice().expect("in order"));
    assert!(error < 1e-5, "{error:.1e}");
}

/// The layer's value for the image, [K, h, w].
fn activation(layer: &str, kind: EngineKind) -> ArrayD<f32> {
    let (model, known) = &*network("vgg11_bn");
    let batch = ArrayD::from_shape_vec(known.input.as_slice(), known.image()).expect("an input");
    let builder = Network::builder(model.clone()).engine(kind).library_places(common::library());
    let network = builder.build().expect("a network");
    let seen = Arc::new(Mutex::new(None));
    let kept = seen.clone();
    let hook = network.register_forward_hook(layer, move |call| {
        *kept.lock().expect("a value") = Some(call.output.index_axis(Axis(0), 0).to_owned());
    });
    hook.expect("a layer");
    network.forward(&batch.select(Axis(0), &[0])).expect("scores");
    seen.lock().expect("a value").take().expect("the hook was called")
}

/// In front of the pooling of resnet's last stage, scores without channels follow from one run.
fn channels_in_closed_form_cost_nothing() {
    let (model, known) = &*network("resnet18");
    let batch = ArrayD::from_shape_vec(known.input.as_slice(), known.image()).expect("an input");
    let x = batch.select(Axis(0), &[0]);
    let of = |settings| {
        let builder = Explainer::builder(model.clone()).method_settings(settings);
        let explainer = builder.method("ablationcam".parse().expect("a method")).build();
        let explainer = explainer.expect("an explainer");
        explainer.explain_one_each(x.view(), &[Target::Class(3)]).expect("a map").remove(0)
    };
    let (some, all) = (of(budget(2)), of(MethodSettings::default()));
    assert_eq!(some.layers[0].coverage, Some(1.0));
    assert_eq!(some.layers[0].map, all.layers[0].map);
}

fn a_budget_that_no_method_takes() {
    let of = |methods: &[&str]| {
        let builder = Explainer::builder(network("resnet18").0.clone());
        let methods = methods.iter().map(|id| id.parse().expect("a method"));
        builder.methods(methods).method_settings(budget(7)).build()
    };
    let error = of(&["reciprocam", "gradcam"]).expect_err("no method takes it");
    assert_eq!(error.kind(), ErrorKind::Method);
    let message = error.to_string();
    assert!(message.starts_with("a budget of 7 inferences is for methods"), "{message}");
    assert!(
        message.ends_with("ablationcam and scorecam, and not for reciprocam, gradcam"),
        "{message}"
    );
    assert!(of(&["reciprocam", "scorecam"]).is_ok());
}
