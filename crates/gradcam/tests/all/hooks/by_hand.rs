//! How hooks behave, on networks small enough to compute by hand.

use std::sync::{
    Arc,
    mpsc::{Receiver, Sender, channel},
};

use gradcam::{ErrorKind, HookHandle, Model, Network, engine::EngineKind};
use ndarray::{ArrayD, IxDyn};
use onnx_grad::{
    Dim, Fact,
    graph::declare,
    proto::{
        GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, tensor_proto::DataType,
    },
};
use testkit::Suite;

use super::{Shared, network};

pub(crate) fn tests(suite: &mut Suite) {
    testkit::tests!(
        suite,
        inputs_and_their_gradients_are_the_layers_own,
        the_network_is_the_outermost_layer,
        layers_of_one_output_are_called_from_the_inside_out,
        the_scores_are_a_layers_output_like_any_other,
        a_layer_that_the_scores_do_not_need_runs_and_has_no_gradient,
        a_backward_pass_has_the_hooks_of_its_forward_pass,
        passes_go_back_in_any_order,
        threads_share_a_network,
        a_hook_that_calls_its_own_network_is_refused,
        a_hook_may_remove_itself_and_is_dropped,
        wrong_answers_stop_the_pass_and_not_the_network,
        what_cannot_have_hooks_says_why,
        nothing_before_the_first_backward_hook_is_differentiated,
        inputs_that_do_not_fit_are_refused,
    );
}

/// A node, as operator, name, inputs and outputs.
type Node = (&'static str, &'static str, &'static [&'static str], &'static [&'static str]);

/// A model at opset 17 with the input x of shape [1, 2], the constants w of that shape and ones = [1, 1],
/// and the output y.
fn model(nodes: &[Node]) -> Model {
    let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
    let node = |(op, name, inputs, outputs): &Node| NodeProto {
        name: Some((*name).to_owned()),
        op_type: Some((*op).to_owned()),
        input: names(inputs),
        output: names(outputs),
        ..NodeProto::default()
    };
    let w = TensorProto {
        name: Some("w".to_owned()),
        data_type: Some(DataType::Float as i32),
        dims: vec![1, 2],
        float_data: vec![2.0, -1.0],
        ..TensorProto::default()
    };
    let ones = TensorProto {
        name: Some("ones".to_owned()),
        data_type: Some(DataType::Int64 as i32),
        dims: vec![2],
        int64_data: vec![1, 1],
        ..TensorProto::default()
    };
    let value = |name| declare(name, &Fact::new(DataType::Float, [Dim::Fixed(1), Dim::Fixed(2)]));
    let graph = GraphProto {
        node: nodes.iter().map(node).collect(),
        initializer: vec![w, ones],
        input: vec![value("x")],
        output: vec![value("y")],
        ..GraphProto::default()
    };
    let proto = ModelProto {
        ir_version: Some(8),
        opset_import: vec![OperatorSetIdProto { domain: None, version: Some(17) }],
        graph: Some(graph),
        ..ModelProto::default()
    };
    Model::from_bytes(prost::Message::encode_to_vec(&proto)).expect("a model")
}

/// a = 2·x, −x; block: b = −a, y = a + b, with a skip; d is read by nobody.
fn residual() -> Model {
    model(&[
        ("Mul", "/scale/Mul", &["x", "w"], &["a"]),
        ("Relu", "/dead/Relu", &["a"], &["d"]),
        ("Neg", "/block/neg/Neg", &["a"], &["b"]),
        ("Add", "/block/Add", &["a", "b"], &["y"]),
    ])
}

fn row(numbers: [f32; 2]) -> ArrayD<f32> {
    ArrayD::from_shape_vec(IxDyn(&[1, 2]), numbers.to_vec()).expect("two numbers")
}

/// A hook that sends what it is told of.
fn stored() -> (Sender<ArrayD<f32>>, Receiver<ArrayD<f32>>) {
    channel()
}

fn all(receiver: &Receiver<ArrayD<f32>>) -> Vec<ArrayD<f32>> {
    receiver.try_iter().collect()
}

fn inputs_and_their_gradients_are_the_layers_own() {
    for kind in EngineKind::ALL {
        let network = network(kind, &residual());
        let (inputs, given) = stored();
        network
            .register_forward_hook("block", move |call| {
                assert_eq!(call.path, "block");
                inputs.send(call.inputs[0].clone())
            })
            .expect("a block");
        // The skip does not go through neg: only its own input is replaced.
        network
            .register_forward_pre_hook("block.neg", |call| call.inputs[0].mapv(|v| v + 10.0))
            .expect("a layer");
        let (store, gradients) = channel();
        for layer in ["block", "block.neg", "/block/Add"] {
            let store = store.clone();
            network
                .register_full_backward_hook(layer, move |call| {
                    let grad_input: Vec<_> = call.grad_input.iter().map(|&g| g.clone()).collect();
                    let seen = (call.path.to_owned(), grad_input, call.grad_output[0].clone());
                    store.send(seen).expect("a receiver");
                })
                .expect(layer);
        }
        let pass = network.forward(&row([1.0, 3.0])).expect("scores");
        assert_eq!(*pass.scores(), row([-10.0, -10.0]), "a − (a + 10) on {kind}");
        assert_eq!(all(&given), [row([2.0, -3.0])]);
        network.backward(&pass, &row([1.0, 5.0])).expect("a backward pass");
        let g = row([1.0, 5.0]);
        let seen: Vec<_> = gradients.try_iter().collect();
        let want = [
            ("/block/Add".to_owned(), vec![g.clone(), g.clone()], g.clone()),
            ("block.neg".to_owned(), vec![row([-1.0, -5.0])], g.clone()),
            ("block".to_owned(), vec![row([0.0, 0.0])], g.clone()),
        ];
        assert_eq!(seen, want, "on {kind}");
    }
}

/// The network reads its input in two places, and its parts read what its hook replaced.
fn the_network_is_the_outermost_layer() {
    let twice = model(&[
        ("Mul", "/scale/Mul", &["x", "w"], &["a"]),
        ("Mul", "/square/Mul", &["x", "x"], &["b"]),
        ("Add", "/sum/Add", &["a", "b"], &["y"]),
    ]);
    for kind in EngineKind::ALL {
        let network = &network(kind, &twice);
        let order = Shared::<Vec<String>>::default();
        let (store, gradients) = stored();
        let (seen, inputs) = stored();
        for layer in ["scale", "", "square"] {
            let (there, back) = (order.clone(), order.clone());
            network
                .register_forward_pre_hook(layer, move |call| {
                    there.get().push(call.path.to_owned())
                })
                .expect(layer);
            network
                .register_full_backward_hook(layer, move |call| {
                    back.get().push(call.path.to_owned())
                })
                .expect(layer);
        }
        network
            .register_forward_pre_hook("", |call| call.inputs[0].mapv(|v| v + 1.0))
            .expect("the network");
        network
            .register_forward_hook("square", move |call| seen.send(call.inputs[0].clone()))
            .expect("a layer");
        network
            .register_full_backward_hook("", move |call| store.send(call.grad_input[0].clone()))
            .expect("the network");
        let pass = network.forward(&row([1.0, 2.0])).expect("scores");
        assert_eq!(*pass.scores(), row([8.0, 6.0]), "w·2 + 2² and w·3 + 3² on {kind}");
        assert_eq!(all(&inputs), [row([2.0, 3.0])]);
        network.backward(&pass, &row([1.0, 10.0])).expect("a backward pass");
        assert_eq!(all(&gradients), [row([6.0, 50.0])], "w + 2·2 and 10·(w + 2·3) on {kind}");
        assert_eq!(*order.get(), ["", "scale", "square", "square", "scale", ""]);
        let error =
            network.register_forward_hook("", |_| row([0.0, 0.0]).remove_axis(ndarray::Axis(0)));
        error.expect("the network");
        let error = network.forward(&row([1.0, 2.0])).expect_err("another shape").to_string();
        assert!(error.contains("the forward hook of the network returned"), "{error}");
    }
}

fn layers_of_one_output_are_called_from_the_inside_out() {
    let network = network(EngineKind::Rten, &residual());
    let order = Shared::<Vec<String>>::default();
    for layer in ["block", "/block/Add", "block.neg", "scale"] {
        let (forward, backward) = (order.clone(), order.clone());
        network
            .register_forward_hook(layer, move |call| forward.get().push(call.path.to_owned()))
            .expect(layer);
        network
            .register_backward_hook(layer, move |call| backward.get().push(call.path.to_owned()))
            .expect(layer);
    }
    let pass = network.forward(&row([1.0, 1.0])).expect("scores");
    assert_eq!(*order.get(), ["scale", "block.neg", "/block/Add", "block"]);
    order.get().clear();
    network.backward(&pass, &row([1.0, 1.0])).expect("a backward pass");
    assert_eq!(*order.get(), ["block", "/block/Add", "block.neg", "scale"]);
}

fn the_scores_are_a_layers_output_like_any_other() {
    let network = network(EngineKind::Rten, &residual());
    network.register_forward_hook("block", |_| row([7.0, 8.0])).expect("a block");
    network.register_backward_hook("block", |call| call.grad_output[0] * 2.0).expect("a block");
    let (store, gradients) = stored();
    network
        .register_full_backward_hook("block.neg", move |call| {
            store.send(call.grad_output[0].clone())
        })
        .expect("a layer");
    let pass = network.forward(&row([1.0, 1.0])).expect("scores");
    assert_eq!(*pass.scores(), row([7.0, 8.0]));
    network.backward(&pass, &row([1.0, 0.0])).expect("a backward pass");
    assert_eq!(all(&gradients), [row([2.0, 0.0])]);
}

fn a_layer_that_the_scores_do_not_need_runs_and_has_no_gradient() {
    let network = network(EngineKind::Rten, &residual());
    let (store, seen) = stored();
    let gradient = store.clone();
    network
        .register_forward_hook("d", move |call| store.send(call.output.clone()))
        .expect("a layer");
    network
        .register_backward_hook("d", move |call| gradient.send(call.grad_output[0].clone()))
        .expect("a layer");
    let pass = network.forward(&row([1.0, 1.0])).expect("scores");
    network.backward(&pass, &row([1.0, 1.0])).expect("a backward pass");
    assert_eq!(all(&seen), [row([2.0, 0.0])]);
}

fn a_backward_pass_has_the_hooks_of_its_forward_pass() {
    let network = network(EngineKind::Rten, &residual());
    let calls = Shared::<Vec<&str>>::default();
    let counted = |network: &Network, name| -> HookHandle {
        let calls = calls.clone();
        network.register_backward_hook("scale", move |_| calls.get().push(name)).expect("a layer")
    };
    let removed = counted(&network, "removed");
    counted(&network, "kept"); // dropping a handle does nothing
    let pass = network.forward(&row([1.0, 1.0])).expect("scores");
    let late = counted(&network, "late");
    removed.remove();
    removed.remove();
    network.backward(&pass, &row([1.0, 1.0])).expect("a backward pass");
    network.backward(&pass, &row([1.0, 1.0])).expect("another one");
    assert_eq!(*calls.get(), ["kept", "kept"]);
    calls.get().clear();
    let pass = network.forward(&row([1.0, 1.0])).expect("scores");
    network.backward(&pass, &row([1.0, 1.0])).expect("a backward pass");
    assert_eq!(*calls.get(), ["kept", "late"]);
    late.remove();
    let wrong = network.backward(&pass, &row([1.0, 1.0]).remove_axis(ndarray::Axis(0)));
    let wrong = wrong.expect_err("a seed of another shape").to_string();
    assert!(wrong.contains("[2]") && wrong.contains("[1, 2]"), "{wrong}");
}

/// y = x·(x·w): the gradient at x·w is x, that of the pass.
fn passes_go_back_in_any_order() {
    let square = model(&[
        ("Mul", "/scale/Mul", &["x", "w"], &["a"]),
        ("Mul", "/square/Mul", &["a", "x"], &["y"]),
    ]);
    for kind in EngineKind::ALL {
        let network = network(kind, &square);
        let (store, gradients) = stored();
        network
            .register_backward_hook("scale", move |call| store.send(call.grad_output[0].clone()))
            .expect("a layer");
        let inputs = [row([1.0, 2.0]), row([3.0, 5.0]), row([7.0, 4.0])];
        let passes: Vec<_> = inputs.iter().map(|x| network.forward(x).expect("scores")).collect();
        let seed = row([1.0, 1.0]);
        for pass in [1, 0, 2, 1] {
            network.backward(&passes[pass], &seed).expect("a backward pass");
            assert_eq!(all(&gradients), [inputs[pass].clone()], "pass {pass} on {kind}");
        }
        // A pass that fails, and one of another shape of plan, leave the others as they are.
        network.forward(&ArrayD::<f32>::zeros(vec![1, 3])).expect_err("another shape");
        network.register_forward_hook("square", |_| ()).expect("a layer");
        network.forward(&inputs[2]).expect("scores");
        network.backward(&passes[0], &seed).expect("a backward pass");
        assert_eq!(all(&gradients), [inputs[0].clone()], "on {kind}");
        let other = super::network(kind, &square);
        let error = other.backward(&passes[0], &seed).expect_err("another network");
        assert_eq!(error.kind(), ErrorKind::Input);
        assert!(error.to_string().contains("that of another network"), "{error}");
    }
}

/// Each thread gets the gradient of its own pass, whatever the others do meanwhile.
fn threads_share_a_network() {
    let square = model(&[("Mul", "/square/Mul", &["x", "x"], &["y"])]);
    for kind in EngineKind::ALL {
        let network = network(kind, &square);
        let (store, gradients) = stored();
        network
            .register_full_backward_hook("", move |call| store.send(call.grad_input[0].clone()))
            .expect("the network");
        std::thread::scope(|scope| {
            for thread in 0..4_u8 {
                let network = &network;
                scope.spawn(move || {
                    for turn in 0..8_u8 {
                        let x = f32::from(8 * thread + turn);
                        let pass = network.forward(&row([x, 0.0])).expect("scores");
                        assert_eq!(*pass.scores(), row([x * x, 0.0]));
                        network.backward(&pass, &row([1.0, 1.0])).expect("a backward pass");
                    }
                });
            }
        });
        let mut seen: Vec<f32> = gradients.try_iter().map(|g| g[[0, 0]]).collect();
        seen.sort_by(f32::total_cmp);
        assert_eq!(seen, (0..32_u8).map(|x| 2.0 * f32::from(x)).collect::<Vec<_>>(), "on {kind}");
    }
}

fn a_hook_that_calls_its_own_network_is_refused() {
    let network = Arc::new(network(EngineKind::Rten, &residual()));
    let x = row([1.0, 1.0]);
    let pass = network.forward(&x).expect("scores");
    let (store, errors) = channel();
    let own = Arc::downgrade(&network);
    let handle = network
        .register_forward_hook("scale", move |_| {
            let own = own.upgrade().expect("it is running");
            let x = row([1.0, 1.0]);
            let refused = [
                own.forward(&x).err(),
                own.backward(&pass, &x).err(),
                own.register_forward_hook("block", |_| ()).err(),
            ];
            refused.into_iter().for_each(|error| store.send(error).expect("a receiver"));
            assert!(format!("{own:?}").contains("plans: None"), "{own:?}");
            own.forward(&x).map(drop)
        })
        .expect("a layer");
    let outer = network.forward(&x).expect_err("the hook's error");
    assert!(outer.to_string().contains("the forward hook of layer \"scale\" failed"), "{outer}");
    assert!(outer.to_string().contains("called forward of its own network"), "{outer}");
    let calls = ["forward", "backward", "the registration of a hook"];
    for call in calls {
        let error = errors.recv().ok().flatten().expect(call);
        assert_eq!(error.kind(), ErrorKind::Hook);
        let message = format!("a hook called {call} of its own network");
        assert!(error.to_string().starts_with(&message), "{error}");
    }
    assert!(!handle.is_removed());
    handle.remove();
    assert!(handle.clone().is_removed());
    network.forward(&x).expect("the network goes on");
}

fn a_hook_may_remove_itself_and_is_dropped() {
    let network = network(EngineKind::Rten, &residual());
    let own = Shared::<Option<HookHandle>>::default();
    let (handle, alive) = (own.clone(), std::sync::Arc::new(()));
    let inside = alive.clone();
    let registered = network
        .register_forward_hook("scale", move |call| {
            let _inside = &inside;
            if let Some(handle) = handle.get().as_ref() {
                handle.remove();
            }
            call.output * 0.0
        })
        .expect("a layer");
    *own.get() = Some(registered);
    let (store, seen) = stored();
    network
        .register_forward_hook("scale", move |call| store.send(call.output.clone()))
        .expect("a layer");
    for _ in 0..2 {
        network.forward(&row([1.0, 1.0])).expect("scores");
    }
    assert_eq!(all(&seen), [row([0.0, 0.0]), row([2.0, -1.0])]);
    assert_eq!(std::sync::Arc::strong_count(&alive), 1, "the closure is dropped");
}

fn wrong_answers_stop_the_pass_and_not_the_network() {
    let network = network(EngineKind::Rten, &residual());
    let (x, good) = (row([1.0, 1.0]), row([0.0, 0.0]));
    let flat = || ArrayD::<f32>::zeros(IxDyn(&[2]));
    let answers: [(Vec<ArrayD<f32>>, &str); 2] = [
        (vec![flat()], "returned 1 tensor of shape [2], it must return 1 tensor of shape [1, 2]"),
        (vec![good.clone(), good.clone()], "returned 2 tensors of shape [1, 2], [1, 2]"),
    ];
    for (answer, message) in answers {
        let hook = network.register_forward_hook("scale", move |_| answer.clone());
        let error = network.forward(&x).expect_err(message);
        assert_eq!(error.kind(), ErrorKind::Input);
        assert!(error.to_string().contains(message), "{error}");
        assert!(error.to_string().contains("the forward hook of layer \"scale\""), "{error}");
        hook.expect("a layer").remove();
        assert_eq!(network.forward(&x).expect("scores").into_scores(), good);
    }
}

fn what_cannot_have_hooks_says_why() {
    let several = model(&[
        ("Split", "/cut/Split", &["x"], &["s", "t"]),
        ("ArgMax", "/index/ArgMax", &["x"], &["i"]),
        ("Neg", "/constant/Neg", &["w"], &["v"]),
        ("Concat", "/join/Concat", &["t", "s"], &["c"]),
        ("Add", "/sum/Add", &["c", "v"], &["y"]),
    ]);
    let mut proto = several.proto().clone();
    let graph = proto.graph.get_or_insert_default();
    for place in [0, 3] {
        graph.node[place].attribute.push(onnx_grad::attrs::int("axis", 1));
    }
    let several = Model::from_bytes(prost::Message::encode_to_vec(&proto)).expect("a model");
    let network = network(EngineKind::Rten, &several);
    let rows = [
        ("joint", "closest: \"join\""),
        ("cut", "\"s\", \"t\"; name the one that is meant"),
        ("i", "is int64"),
        ("index", "gives no value that the rest of the model reads"),
        ("constant", "does not depend on the network's input"),
        ("x", "is an input or a constant of the model"),
        ("w", "is an input or a constant of the model"),
    ];
    for (layer, message) in rows {
        let error = network.register_forward_hook(layer, |_| ()).expect_err(layer);
        assert_eq!(error.kind(), ErrorKind::Layer, "{layer}");
        assert!(error.to_string().contains(message), "{layer}: {error}");
        assert!(network.register_full_backward_hook(layer, |_| ()).is_err(), "{layer}");
    }
    // One of several outputs, by its name.
    let (store, gradients) = stored();
    network
        .register_backward_hook("t", move |call| store.send(call.grad_output[0].clone()))
        .expect("a value");
    let pass = network.forward(&row([1.0, 2.0])).expect("scores");
    assert_eq!(*pass.scores(), row([0.0, 2.0]));
    network.backward(&pass, &row([3.0, 4.0])).expect("a backward pass");
    assert_eq!(all(&gradients), [ArrayD::from_elem(IxDyn(&[1, 1]), 3.0)]);
    let paths: Vec<&str> = network.modules().collect();
    assert_eq!(paths, ["cut", "constant", "join", "sum"], "modules whose output is read");
}

fn nothing_before_the_first_backward_hook_is_differentiated() {
    let model = model(&[
        ("ReverseSequence", "/first/ReverseSequence", &["x", "ones"], &["a"]),
        ("Mul", "/second/Mul", &["a", "w"], &["y"]),
    ]);
    let (store, gradients) = stored();
    let network = network(EngineKind::Rten, &model);
    network
        .register_backward_hook("first", move |call| store.send(call.grad_output[0].clone()))
        .expect("a layer");
    let pass = network.forward(&row([1.0, 1.0])).expect("scores");
    network.backward(&pass, &row([1.0, 1.0])).expect("a backward pass");
    assert_eq!(all(&gradients), [row([2.0, -1.0])]);
    network.register_full_backward_hook("first", |_| ()).expect("a layer");
    let error = network.forward(&row([1.0, 1.0])).expect_err("no rule for ReverseSequence");
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("\"/first/ReverseSequence\""), "{error}");
}

fn inputs_that_do_not_fit_are_refused() {
    let network = network(EngineKind::Rten, &residual());
    for (shape, message) in [(vec![2, 2], "fixed to 1"), (vec![1, 3], "takes [1, 2]")] {
        let error = network.forward(&ArrayD::<f32>::zeros(shape)).expect_err(message);
        assert_eq!(error.kind(), ErrorKind::Input);
        assert!(error.to_string().contains(message), "{error}");
    }
    let small = Network::builder(residual()).max_memory(20).build().expect("a network");
    let error = small.forward(&row([1.0, 1.0])).expect_err("four values of 8 bytes");
    assert_eq!(error.kind(), ErrorKind::Memory);
}
