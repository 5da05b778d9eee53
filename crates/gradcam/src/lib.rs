//! Explain ONNX image models.
