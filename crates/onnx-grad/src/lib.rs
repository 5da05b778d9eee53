//! Graph in, graph out: load, save, cut and differentiate ONNX models.
