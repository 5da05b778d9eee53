//! A network that runs many times holds the memory that it held after a few. A program of its own, so
//! that no other test is measured with it.

#![cfg(target_os = "linux")]
#![expect(clippy::expect_used, reason = "tests may panic")]

use gradcam::Network;
use ndarray::{ArrayD, Axis};
use testkit::hook_cases;

/// The memory of this process in MiB.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("a line");
    line.split_whitespace().nth(1).and_then(|n| n.parse::<usize>().ok()).expect("kilobytes") / 1024
}

/// Forward values of an image take 7 MiB here: if one run in ten left its own, this would see it.
#[test]
fn many_runs_hold_the_memory_of_a_few() {
    let (model, known) = hook_cases();
    let network = Network::new(model).expect("a network");
    for layer in ["relu", "layer2.0.conv2", "layer4"] {
        network.register_forward_hook(layer, |call| call.output.clone()).expect(layer);
        network.register_full_backward_hook(layer, |_| ()).expect(layer);
    }
    let x = ArrayD::from_shape_vec(known.input.as_slice(), known.image()).expect("an input");
    let x = x.index_axis_move(Axis(0), 0).insert_axis(Axis(0));
    let run = |times: usize| {
        for _ in 0..times {
            let handle = network.register_backward_hook("layer3", |_| ()).expect("layer3");
            let pass = network.forward(&x).expect("scores");
            network.backward(&pass, pass.scores()).expect("a backward pass");
            handle.remove();
        }
        resident()
    };
    let few = run(20);
    let many = run(100);
    assert!(many <= few + 32, "{few} MiB after 20 runs, {many} MiB at the end");
}
