//! Hooks against PyTorch's own, in float64, on every engine.

mod by_hand;

use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock, Mutex, MutexGuard},
};

use gradcam::{ErrorKind, ForwardPass, HookHandle, Model, Network, engine::EngineKind};
use ndarray::{ArrayD, Axis};
use testkit::{HookCase, HookCases, Sample, Suite, TensorReplacement, hook_cases, largest_error};

use crate::common;

/// Of the largest entry; float32 against float64.
const BOUND: f64 = 1e-5;

static TORCH: LazyLock<(Model, HookCases)> = LazyLock::new(hook_cases);

pub(crate) fn tests(suite: &mut Suite) {
    by_hand::tests(suite);
    for case in &TORCH.1.cases {
        for kind in EngineKind::ALL {
            let name = format!("hooks::torch::{}::{kind}", case.name);
            suite.test(name, move || hooks_see_and_replace_what_torchs_do(case, kind));
        }
    }
    for name in ["mobilenet_v2", "squeezenet1_1"] {
        suite.test(format!("hooks::at_every_module::{name}"), move || hooks_at_every_module(name));
    }
    testkit::tests!(
        suite,
        ten_layers_in_order_there_and_back,
        modules_are_listed_as_torch_lists_them,
        after_a_hook_that_fails_the_network_goes_on,
        plans_of_ever_new_shapes_and_hooks_do_not_pile_up,
    );
}

/// Threads share a network with its hooks, and its passes.
const _: fn() = || {
    fn shared<T: Send + Sync>() {}
    shared::<Network>();
    shared::<ForwardPass>();
};

fn network(kind: EngineKind, model: &Model) -> Network {
    let builder = Network::builder(model.clone()).engine(kind);
    let builder = match kind {
        EngineKind::OnnxRuntime => builder.library_places(common::library()),
        _ => builder,
    };
    builder.build().expect("a network")
}

/// The first images of the references.
fn images(known: &HookCases, batch: usize) -> ArrayD<f32> {
    let all = ArrayD::from_shape_vec(known.input.as_slice(), known.image()).expect("an input");
    all.slice_axis(Axis(0), (0..batch).into()).to_owned()
}

/// 1 at the class of each image.
fn one_hot(known: &HookCases, scores: &ArrayD<f32>) -> ArrayD<f32> {
    let mut seed = ArrayD::zeros(scores.shape());
    for (image, &class) in known.classes.iter().enumerate().take(scores.shape()[0]) {
        seed[[image, class]] = 1.0;
    }
    seed
}

/// Something that hooks and the test share.
#[derive(Clone, Default)]
struct Shared<T>(Arc<Mutex<T>>);

impl<T> Shared<T> {
    fn get(&self) -> MutexGuard<'_, T> {
        self.0.lock().expect("no hook panics")
    }
}

type Seen = Shared<BTreeMap<(&'static str, String), ArrayD<f32>>>;

/// Registers hooks that store what they are told of a layer.
fn watch(network: &Network, layer: &str, seen: &Seen) {
    let (forward, backward) = (seen.clone(), seen.clone());
    let (of_forward, of_backward) = (layer.to_owned(), layer.to_owned());
    network
        .register_forward_hook(layer, move |call| {
            forward.get().insert(("outputs", of_forward.clone()), call.output.clone());
        })
        .expect(layer);
    network
        .register_backward_hook(layer, move |call| {
            let gradient = call.grad_output[0].clone();
            backward.get().insert(("grad_outputs", of_backward.clone()), gradient);
        })
        .expect(layer);
}

fn watch_inputs(network: &Network, layer: &str, seen: &Seen) {
    let (seen, path) = (seen.clone(), layer.to_owned());
    network
        .register_full_backward_hook(layer, move |call| {
            assert_eq!(call.grad_input.len(), 1, "{path} has one input");
            seen.get().insert(("grad_inputs", path.clone()), call.grad_input[0].clone());
        })
        .expect(layer);
}

fn register(network: &Network, hook: &TensorReplacement) {
    let (factor, addend) = (hook.factor, hook.addend);
    let affine = move |t: &ArrayD<f32>| t.mapv(|x| x * factor + addend);
    let all = move |ts: &[&ArrayD<f32>]| ts.iter().map(|t| affine(t)).collect::<Vec<_>>();
    let layer = hook.layer.as_str();
    match hook.kind.as_str() {
        "forward_pre" => network.register_forward_pre_hook(layer, move |call| all(&call.inputs)),
        "forward" => network.register_forward_hook(layer, move |call| affine(call.output)),
        "backward" => network.register_backward_hook(layer, move |call| all(&call.grad_output)),
        _ => network.register_full_backward_hook(layer, move |call| all(&call.grad_input)),
    }
    .expect(layer);
}

/// Runs a case, and lists what differs from PyTorch.
fn check(kind: EngineKind, model: &Model, known: &HookCases, case: &HookCase) -> Vec<String> {
    let network = network(kind, model);
    let seen = Seen::default();
    for hook in &case.hooks {
        register(&network, hook);
    }
    for layer in case.outputs.keys() {
        watch(&network, layer, &seen);
    }
    for layer in case.grad_inputs.keys() {
        watch_inputs(&network, layer, &seen);
    }
    let pass = network.forward(&images(known, case.batch)).expect("scores");
    let scores = pass.scores();
    network.backward(&pass, &one_hot(known, scores)).expect("a backward pass");
    let mut wrong = Vec::new();
    let mut compare = |what: &str, got: &ArrayD<f32>, want: &Sample| {
        let numbers: Vec<f32> = got.iter().copied().collect();
        let error = want.error(got.shape(), &numbers);
        if error > BOUND {
            wrong.push(format!("{}, {what}, on {kind}: {error:.1e}", case.name));
        }
    };
    compare("scores", scores, &case.scores);
    let wanted = [
        ("outputs", &case.outputs),
        ("grad_outputs", &case.grad_outputs),
        ("grad_inputs", &case.grad_inputs),
    ];
    for (what, samples) in wanted {
        for (layer, sample) in samples {
            match seen.get().get(&(what, layer.clone())) {
                Some(got) => compare(&format!("{what} of {layer}"), got, sample),
                None => wrong_call(&mut compare, what, layer, sample),
            }
        }
    }
    wrong
}

/// A hook that was not called differs without bound.
fn wrong_call(
    compare: &mut impl FnMut(&str, &ArrayD<f32>, &Sample),
    what: &str,
    layer: &str,
    sample: &Sample,
) {
    compare(&format!("{what} of {layer}, not called"), &ArrayD::zeros(vec![0]), sample);
}

fn hooks_see_and_replace_what_torchs_do(case: &HookCase, kind: EngineKind) {
    let (model, known) = &*TORCH;
    let wrong = check(kind, model, known, case);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Layers of resnet18 in the order in which they run.
const TEN: [&str; 10] = [
    "conv1",
    "relu",
    "maxpool",
    "layer1.0.conv2",
    "layer1.0",
    "layer2.0.conv2",
    "layer2.0.downsample",
    "layer3",
    "layer4.1.conv1",
    "fc",
];

fn ten_layers_in_order_there_and_back() {
    let (model, known) = &*TORCH;
    let network = network(EngineKind::Rten, model);
    let order = Shared::<Vec<String>>::default();
    // The order of registration is another one.
    let handles: Vec<HookHandle> = [7, 2, 9, 0, 5, 3, 8, 1, 6, 4]
        .into_iter()
        .flat_map(|place: usize| {
            let (forward, backward) = (order.clone(), order.clone());
            let layer = TEN[place];
            let there = network
                .register_forward_hook(layer, move |call| forward.get().push(call.path.to_owned()));
            let back = network.register_backward_hook(layer, move |call| {
                backward.get().push(call.path.to_owned())
            });
            [there.expect(layer), back.expect(layer)]
        })
        .collect();
    let x = images(known, 1);
    let pass = network.forward(&x).expect("scores");
    assert_eq!(*order.get(), TEN);
    order.get().clear();
    network.backward(&pass, &one_hot(known, pass.scores())).expect("a backward pass");
    assert_eq!(*order.get(), TEN.iter().rev().copied().collect::<Vec<_>>());
    order.get().clear();
    for handle in &handles[2..] {
        handle.remove();
    }
    network.forward(&x).expect("scores");
    assert_eq!(*order.get(), ["layer3"], "the others are removed");
}

/// Cuts at every module, each with taps at its inputs, leave the numbers as they are.
fn hooks_at_every_module(name: &str) {
    let (model, known) = testkit::network(name);
    let x = ArrayD::from_shape_vec(known.input.as_slice(), known.image()).expect("an input");
    let network = network(EngineKind::Rten, &model);
    let seen = Seen::default();
    let paths: Vec<String> = network.modules().map(str::to_owned).collect();
    for path in &paths {
        watch(&network, path, &seen);
        watch_inputs(&network, path, &seen);
    }
    let pass = network.forward(&x).expect("scores");
    let mut seed = ArrayD::zeros(pass.scores().shape());
    for (image, &class) in known.classes.iter().enumerate() {
        seed[[image, class]] = 1.0;
    }
    network.backward(&pass, &seed).expect("a backward pass");
    let seen = seen.get();
    assert_eq!(seen.len(), 3 * paths.len(), "each hook of {name} is called");
    for (layer, reference) in &known.layers {
        let at = |what| &seen[&(what, layer.clone())];
        let map = (at("grad_outputs") * at("outputs")).sum_axis(Axis(1));
        let map: Vec<f32> = map.iter().copied().collect();
        let error = largest_error(&map, &reference.hirescam.data);
        assert!(error <= 1e-4, "{name}, HiResCAM at {layer}: {error:.1e}");
    }
}

fn modules_are_listed_as_torch_lists_them() {
    let (model, _) = &*TORCH;
    let network = network(EngineKind::Rten, model);
    let paths: Vec<&str> = network.modules().take(9).collect();
    let want = [
        "conv1",
        "relu",
        "maxpool",
        "layer1",
        "layer1.0",
        "layer1.0.conv1",
        "layer1.0.relu",
        "layer1.0.conv2",
        "layer1.0.relu_1", // the second call of the same module
    ];
    assert_eq!(paths, want);
    assert_eq!(network.modules().last(), Some("fc"));
}

#[derive(Debug)]
struct Tired;

impl std::fmt::Display for Tired {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("no more")
    }
}

impl std::error::Error for Tired {}

fn after_a_hook_that_fails_the_network_goes_on() {
    let (model, known) = &*TORCH;
    let plain = known.case("plain");
    for kind in EngineKind::ALL {
        let network = network(kind, model);
        let seen = Seen::default();
        watch(&network, "layer1.0", &seen);
        let fails = Shared::<bool>::default();
        let (forward, backward) = (fails.clone(), fails.clone());
        let answer = |fails: bool| if fails { Err(Tired) } else { Ok(()) };
        network.register_forward_hook("layer3.1", move |_| answer(*forward.get())).unwrap();
        network.register_backward_hook("layer3.1", move |_| answer(*backward.get())).unwrap();
        let x = images(known, 1);
        *fails.get() = true;
        let there = network.forward(&x).expect_err("the hook fails");
        *fails.get() = false;
        let pass = network.forward(&x).expect("scores");
        let seed = one_hot(known, pass.scores());
        *fails.get() = true;
        let back = network.backward(&pass, &seed).expect_err("the hook fails");
        *fails.get() = false;
        for (error, hook) in [(there, "forward hook"), (back, "backward hook")] {
            assert_eq!(error.kind(), ErrorKind::Hook);
            let message = format!("the {hook} of layer \"layer3.1\" failed: no more");
            assert_eq!(error.to_string(), message);
            let source = std::error::Error::source(&error).expect("a source");
            assert!(source.is::<Tired>(), "{source:?}");
        }
        network.backward(&pass, &seed).expect("from the same forward pass");
        let got = seen.get()[&("grad_outputs", "layer1.0".to_owned())].clone();
        let error = plain.grad_outputs["layer1.0"].error(got.shape(), got.as_slice().unwrap());
        assert!(error <= BOUND, "on {kind}: {error:.1e}");
    }
}

fn plans_of_ever_new_shapes_and_hooks_do_not_pile_up() {
    let (model, known) = &*TORCH;
    let network = network(EngineKind::Rten, model);
    for width in 0..12 {
        let layer = TEN[width % TEN.len()];
        let hook = network.register_backward_hook(layer, |_| ()).expect(layer);
        let x = ArrayD::<f32>::zeros(vec![1, 3, 32, 32 + 8 * width]);
        let pass = network.forward(&x).expect("scores");
        network.backward(&pass, &one_hot(known, pass.scores())).expect("a backward pass");
        hook.remove();
    }
    assert!(format!("{network:?}").contains("plans: Some(8),"), "{network:?}");
}
