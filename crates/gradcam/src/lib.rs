//! Explain ONNX image models.

pub mod engine;
