//! Tests of the table, and of the kernels that its rows describe.

use ndarray::{Array2, ArrayD};
use onnx_grad::{Model, proto::tensor_proto::DataType};
use prost::Message;
use testkit::build;

use super::*;
use crate::{Tensor, TensorView};

#[test]
fn rows_are_in_order() {
    assert!(ENGINES.iter().map(|info| info.kind).eq(EngineKind::ALL));
    assert_eq!(EngineKind::ALL[0], EngineKind::default());
    for info in ENGINES {
        assert_eq!(info.id.parse::<EngineKind>().unwrap(), info.kind);
        let domains = info.dialect.domains.iter().map(|(_, rows)| *rows);
        for rows in domains.chain([info.dialect.operators]) {
            assert!(rows.is_sorted_by(|a, b| a.op < b.op), "{}", info.id);
        }
    }
}

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
    for info in ENGINES.iter().filter(|info| info.new.is_some()) {
        let (kind, saturates) = (info.kind, (info.dialect.saturates)());
        let library = vec![testkit::onnxruntime()];
        let engine = engine(kind, &EngineOptions { library, ..EngineOptions::default() }).unwrap();
        let given = [("x", TensorView::from(x.view()))];
        let deployed = engine.compile_as_deployed(&model).unwrap().run(&given, &["y"]).unwrap();
        assert_eq!(deployed[0] != exact, saturates, "{kind}: {:?}", deployed[0]);
        let repaired = engine.compile(&model).unwrap().run(&given, &["y"]).unwrap();
        assert_eq!(repaired[0], exact, "{kind}");
    }
}
