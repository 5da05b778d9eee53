//! Explain ONNX image models: Grad-CAM and its family, without PyTorch.

pub mod engine;
pub mod image;
