//! Explain ONNX image models.

pub mod image;
