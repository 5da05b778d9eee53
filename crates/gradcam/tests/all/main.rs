//! The tests of the crate in one program, which links the engines once.

#![expect(clippy::expect_used, clippy::unwrap_used, reason = "helpers of tests may panic")]

mod bad_models;
#[path = "../../../gradcam-engine/tests/all/common.rs"]
mod common;
mod documents;
mod examples;
mod exporters;
mod guided;
mod hooks;
mod inputs;
mod layer_names;
mod layers;
mod layouts;
mod methods;
mod networks;
mod one_each;
mod parity;
mod processors;
mod quantized;
mod several;
mod targets;
mod zoo;
