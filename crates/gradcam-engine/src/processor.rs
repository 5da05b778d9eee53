//! What the processor does to products of 8-bit integers.
//!
//! `vpmaddubsw`, of AVX2 and of AVX-512 without VNNI, adds pairs of u8·i8 products in 16 bits and saturates:
//! 255·127 + 255·127 becomes 32,767. Kernels for older and newer instruction sets are exact.

/// Whether the kernels of ONNX Runtime saturate with its defaults. They use VNNI in its 256-bit form too. On Windows
/// those for SSE4.1 saturate as well.
pub(super) fn onnxruntime_saturates() -> bool {
    features().is_some_and(|has| {
        let wide = has.avx2 || cfg!(windows) && has.sse41;
        wide && !has.avx512_vnni && !has.avx_vnni
    })
}

/// Whether the kernels of rten saturate. They use VNNI in its 512-bit form only.
pub(super) fn rten_saturates() -> bool {
    features().is_some_and(|has| has.avx2 && !has.avx512_vnni)
}

struct Features {
    sse41: bool,
    avx2: bool,
    avx_vnni: bool,
    avx512_vnni: bool,
}

#[cfg(target_arch = "x86_64")]
fn features() -> Option<Features> {
    Some(Features {
        sse41: std::arch::is_x86_feature_detected!("sse4.1"),
        avx2: std::arch::is_x86_feature_detected!("avx2"),
        avx_vnni: std::arch::is_x86_feature_detected!("avxvnni"),
        avx512_vnni: std::arch::is_x86_feature_detected!("avx512vnni"),
    })
}

#[cfg(not(target_arch = "x86_64"))]
fn features() -> Option<Features> {
    None
}

#[cfg(all(test, feature = "rten", feature = "onnxruntime"))]
mod tests {
    use ndarray::{Array2, ArrayD};
    use onnx_grad::{Model, proto::tensor_proto::DataType};
    use prost::Message;
    use testkit::build;

    use super::*;
    use crate::{EngineKind, EngineOptions, Tensor, TensorView, engine};

    /// 255·127 + … of 8 products, from kernels as they are and from those that are repaired.
    #[test]
    fn kernels_saturate_where_they_are_said_to() {
        let product = build::node("MatMulInteger", &["x", "w"], &["y"], vec![]);
        let weights = build::constant("w", DataType::Int8, &[8, 16], vec![127; 128]);
        let (input, output) = (("x", DataType::Uint8, &[4, 8][..]), ("y", DataType::Int32));
        let proto = build::model(17, &[input], &[output], vec![weights], vec![product]);
        let model = Model::from_bytes(proto.encode_to_vec()).unwrap();
        let x = ArrayD::from_elem(vec![4, 8], 255_i64);
        let exact = Tensor::I64(Array2::from_elem((4, 16), 8 * 255 * 127).into_dyn());
        for (kind, saturates) in [
            (EngineKind::Rten, rten_saturates()),
            (EngineKind::OnnxRuntime, onnxruntime_saturates()),
        ] {
            let library = vec![testkit::onnxruntime()];
            let engine =
                engine(kind, &EngineOptions { library, ..EngineOptions::default() }).unwrap();
            let given = [("x", TensorView::from(x.view()))];
            let deployed = engine.compile_as_deployed(&model).unwrap().run(&given, &["y"]).unwrap();
            assert_eq!(deployed[0] != exact, saturates, "{kind}: {:?}", deployed[0]);
            let repaired = engine.compile(&model).unwrap().run(&given, &["y"]).unwrap();
            assert_eq!(repaired[0], exact, "{kind}");
        }
    }
}
