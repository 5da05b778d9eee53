//! The tests of the crate in one program, which links the engines once.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "helpers of tests may panic"
)]

mod bad_models;
mod budgets;
#[path = "../../../gradcam-engine/tests/all/common.rs"]
mod common;
mod concepts;
mod documents;
mod examples;
mod explain;
mod export;
mod exporters;
mod fixed;
mod gradients;
mod guided;
mod heads;
mod heatmaps;
mod hooks;
mod inputs;
mod last;
mod layer_names;
mod layers;
mod layouts;
mod method_matrix;
mod methods;
mod networks;
mod one_each;
mod parity;
mod passes;
mod processors;
mod quantized;
mod several;
mod signals;
mod targets;
mod zoo;

use std::process::ExitCode;

use testkit::Suite;

fn main() -> ExitCode {
    let mut suite = Suite::default();
    bad_models::tests(&mut suite);
    budgets::tests(&mut suite);
    documents::tests(&mut suite);
    examples::tests(&mut suite);
    explain::tests(&mut suite);
    export::tests(&mut suite);
    exporters::tests(&mut suite);
    gradients::tests(&mut suite);
    guided::tests(&mut suite);
    heads::tests(&mut suite);
    concepts::tests(&mut suite);
    heatmaps::tests(&mut suite);
    hooks::tests(&mut suite);
    inputs::tests(&mut suite);
    layer_names::tests(&mut suite);
    layers::tests(&mut suite);
    layouts::tests(&mut suite);
    method_matrix::tests(&mut suite);
    methods::tests(&mut suite);
    networks::tests(&mut suite);
    parity::tests(&mut suite);
    passes::tests(&mut suite);
    processors::tests(&mut suite);
    quantized::tests(&mut suite);
    several::tests(&mut suite);
    signals::tests(&mut suite);
    targets::tests(&mut suite);
    zoo::tests(&mut suite);
    suite.run()
}
