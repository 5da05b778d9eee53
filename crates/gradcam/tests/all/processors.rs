//! Products of 8-bit integers are whole numbers: every engine gives the same ones on every processor.
//!
//! `cargo xtask cpu Haswell processors` runs these tests as a processor whose kernels saturate.

use std::sync::LazyLock;

use gradcam::{
    Explainer, ExplainerBuilder, Model, Target,
    engine::{self, EngineKind, Session, Tensor, TensorView},
};
use ndarray::ArrayD;
use onnx_grad::proto::{AttributeProto, NodeProto, TensorProto, tensor_proto::DataType};
use prost::Message;
use testkit::build::{constant, int, ints, model, node};
use testkit::{QuantizedCases, Suite, fixture, quantized};

use crate::common;
use crate::one_each::OneEach;

static QUANTIZED: LazyLock<QuantizedCases> = LazyLock::new(quantized);

pub(crate) fn tests(suite: &mut Suite) {
    for kind in EngineKind::ALL {
        for case in cases() {
            let name = format!("processors::{}::{}::{kind}", case.op, case.name);
            suite.test(name, move || sums_of_products_are_exact(&case, kind));
        }
    }
    for name in QUANTIZED.models.keys() {
        suite.test(format!("processors::deployed::{name}"), move || {
            what_a_program_gets_that_runs_the_file_is_said(name, &QUANTIZED);
        });
    }
}

/// Integers of 8 bits with a shape.
#[derive(Clone, Debug)]
struct Numbers {
    elem: DataType,
    dims: Vec<i64>,
    values: Vec<i64>,
}

impl Numbers {
    /// Numbers from `from` on, without a pattern, within a range of 60.
    fn new(elem: DataType, dims: &[i64], from: i64) -> Self {
        let count = dims.iter().product::<i64>();
        let values = (0..count).map(|at| from + (at * at * 7 + at * 13) % 60).collect();
        Self { elem, dims: dims.to_vec(), values }
    }

    fn tensor(&self, name: &str) -> TensorProto {
        let bytes = self.values.iter().map(|value| value.to_le_bytes()[0]).collect();
        constant(name, self.elem, &self.dims, bytes)
    }

    /// The entry at a place, along axes of size 1 the only one.
    fn at(&self, place: &[usize]) -> i64 {
        let skipped = place.len() - self.dims.len();
        let axes = self.dims.iter().zip(&place[skipped..]);
        let flat = axes.fold(0, |flat, (&size, &at)| {
            let size = usize::try_from(size).expect("a size");
            flat * size + if size == 1 { 0 } else { at }
        });
        self.values[flat]
    }
}

struct Case {
    name: &'static str,
    op: &'static str,
    left: Numbers,
    right: Numbers,
    zeros: [Option<Numbers>; 2],
    attributes: Vec<AttributeProto>,
    want: Vec<i64>,
}

/// y[r, c] = Σ (a[r, k] − z) (b[k, c] − v), of the last two axes.
fn matmul(name: &'static str, left: Numbers, right: Numbers, zeros: [Option<Numbers>; 2]) -> Case {
    let size = |numbers: &Numbers, from_end: usize| {
        usize::try_from(numbers.dims[numbers.dims.len() - from_end]).expect("a size")
    };
    let stacks = if left.dims.len() == 3 { size(&left, 3) } else { 1 };
    let (rows, inner, columns) = (size(&left, 2), size(&left, 1), size(&right, 1));
    // A list of zero points for rows is a column.
    let row_zero = zeros[0].clone().map(|mut zero| {
        if zero.dims.len() == 1 && zero.dims[0] > 1 {
            zero.dims.push(1);
        }
        zero
    });
    let mut want = Vec::new();
    for s in 0..stacks {
        for r in 0..rows {
            for c in 0..columns {
                let z = row_zero.as_ref().map_or(0, |zero| zero.at(&[s, r, 0]));
                let v = zeros[1].as_ref().map_or(0, |zero| zero.at(&[s, 0, c]));
                want.push(
                    (0..inner)
                        .map(|k| (left.at(&[s, r, k]) - z) * (right.at(&[s, k, c]) - v))
                        .sum(),
                );
            }
        }
    }
    Case { name, op: "MatMulInteger", left, right, zeros, attributes: vec![], want }
}

/// A convolution with windows of 3×3, a pad of 1 around and strides of 2.
fn conv(name: &'static str, left: Numbers, right: Numbers, zeros: [Option<Numbers>; 2]) -> Case {
    let size =
        |numbers: &Numbers, axis: usize| usize::try_from(numbers.dims[axis]).expect("a size");
    let (groups, made) = (size(&left, 1) / size(&right, 1), size(&right, 0));
    let out = [2, 3].map(|axis| (size(&left, axis) - 1) / 2 + 1);
    let mut want = Vec::new();
    for m in 0..made {
        for y in 0..out[0] {
            for x in 0..out[1] {
                let mut sum = 0;
                for c in 0..size(&right, 1) {
                    for (ky, kx) in (0..9).map(|tap| (tap / 3, tap % 3)) {
                        let (iy, ix) = (2 * y + ky, 2 * x + kx);
                        let inside = (1..=size(&left, 2)).contains(&iy)
                            && (1..=size(&left, 3)).contains(&ix);
                        if inside {
                            let channel = m / (made / groups) * size(&right, 1) + c;
                            let z = zeros[0].as_ref().map_or(0, |zero| zero.values[0]);
                            let v = zeros[1]
                                .as_ref()
                                .map_or(0, |zero| zero.values[m % zero.values.len()]);
                            sum += (left.at(&[0, channel, iy - 1, ix - 1]) - z)
                                * (right.at(&[m, c, ky, kx]) - v);
                        }
                    }
                }
                want.push(sum);
            }
        }
    }
    let groups = i64::try_from(groups).expect("few");
    let attributes = vec![ints("pads", &[1; 4]), ints("strides", &[2; 2]), int("group", groups)];
    Case { name, op: "ConvInteger", left, right, zeros, attributes, want }
}

/// Sums beyond 2²⁴, the whole numbers that float32 holds, of pairs beyond 2¹⁵.
fn cases() -> Vec<Case> {
    let unsigned = |dims: &[i64]| Numbers::new(DataType::Uint8, dims, 196);
    let signed = |dims: &[i64]| Numbers::new(DataType::Int8, dims, 68);
    let zero = |elem: DataType, dims: &[i64], from: i64| Some(Numbers::new(elem, dims, from));
    let (u8, i8) = (DataType::Uint8, DataType::Int8);
    vec![
        matmul("plain", unsigned(&[3, 2000]), signed(&[2000, 4]), [None, None]),
        matmul("short", unsigned(&[3, 7]), signed(&[7, 4]), [None, None]),
        matmul(
            "with zero points",
            unsigned(&[3, 1999]),
            signed(&[1999, 4]),
            [zero(u8, &[], 3), zero(i8, &[], -9)],
        ),
        matmul(
            "zero points of columns",
            unsigned(&[3, 999]),
            signed(&[999, 4]),
            [zero(u8, &[], 3), zero(i8, &[4], -60)],
        ),
        matmul(
            "unsigned weights",
            unsigned(&[3, 999]),
            unsigned(&[999, 4]),
            [zero(u8, &[], 3), zero(u8, &[], 5)],
        ),
        matmul("a stack", unsigned(&[2, 3, 999]), signed(&[2, 999, 4]), [zero(u8, &[], 3), None]),
        conv("one group", unsigned(&[1, 200, 5, 4]), signed(&[3, 200, 3, 3]), [None, None]),
        conv(
            "zero points",
            unsigned(&[1, 70, 5, 4]),
            signed(&[3, 70, 3, 3]),
            [zero(u8, &[], 3), zero(i8, &[], -60)],
        ),
        conv(
            "signed images",
            signed(&[1, 70, 5, 4]),
            signed(&[3, 70, 3, 3]),
            [zero(i8, &[], 3), None],
        ),
        conv(
            "signed images, unsigned weights",
            signed(&[1, 70, 5, 4]),
            unsigned(&[3, 70, 3, 3]),
            [None, zero(u8, &[], 5)],
        ),
        matmul("signed rows", signed(&[3, 999]), signed(&[999, 4]), [zero(i8, &[], 3), None]),
        matmul(
            "signed rows, unsigned weights",
            signed(&[3, 999]),
            unsigned(&[999, 4]),
            [None, zero(u8, &[], 5)],
        ),
        conv(
            "few channels",
            unsigned(&[1, 3, 5, 4]),
            signed(&[3, 3, 3, 3]),
            [zero(u8, &[], 3), None],
        ),
        conv(
            "two groups",
            unsigned(&[1, 140, 5, 4]),
            signed(&[4, 70, 3, 3]),
            [zero(u8, &[], 3), zero(i8, &[], -60)],
        ),
        conv(
            "unsigned weights",
            unsigned(&[1, 70, 5, 4]),
            unsigned(&[3, 70, 3, 3]),
            [zero(u8, &[], 3), zero(u8, &[], 5)],
        ),
    ]
}

fn run(case: &Case, compile: &dyn Fn(&Model) -> engine::Result<Box<dyn Session>>) -> Vec<i64> {
    let mut names = vec!["x", "w"];
    let mut constants = vec![case.right.tensor("w")];
    for (zero, name) in case.zeros.iter().zip(["z", "v"]) {
        names.push(if zero.is_some() { name } else { "" });
        constants.extend(zero.as_ref().map(|zero| zero.tensor(name)));
    }
    while names.last().is_some_and(|name| name.is_empty()) {
        names.pop();
    }
    let nodes: Vec<NodeProto> = vec![node(case.op, &names, &["y"], case.attributes.clone())];
    let inputs = [("x", case.left.elem, case.left.dims.as_slice())];
    let proto = model(17, &inputs, &[("y", DataType::Int32)], constants, nodes);
    let model = Model::from_bytes(proto.encode_to_vec()).expect("a model");
    let session = compile(&model).expect("a session");
    let dims: Vec<usize> =
        case.left.dims.iter().map(|&d| usize::try_from(d).expect("a size")).collect();
    let x = ArrayD::from_shape_vec(dims, case.left.values.clone()).expect("an array");
    let outputs = session.run(&[("x", TensorView::from(x.view()))], &["y"]).expect("a run");
    match outputs.into_iter().next() {
        Some(Tensor::I64(y)) => y.into_iter().collect(),
        _ => vec![],
    }
}

fn sums_of_products_are_exact(case: &Case, kind: EngineKind) {
    let got = run(case, &|model| common::shared(kind).compile(model));
    if got != case.want {
        let place = got.iter().zip(&case.want).find(|(got, want)| got != want);
        panic!("the first that differs: {place:?}");
    }
}

/// Whether products saturate in ONNX Runtime as a program runs it that knows nothing of it.
fn saturates() -> bool {
    let case = cases().remove(0);
    let engine = common::shared(EngineKind::OnnxRuntime);
    run(&case, &|model| engine.compile_as_deployed(model)) != case.want
}

fn what_a_program_gets_that_runs_the_file_is_said(name: &str, cases: &QuantizedCases) {
    let builder = |kind| {
        let model = Model::open(fixture(&format!("quantized/{name}.onnx"))).expect("a fixture");
        Explainer::builder(model)
            .engine(kind)
            .library_places(common::library())
            .compare_deployed(true)
    };
    let explained = |builder: ExplainerBuilder| {
        let shape = cases.input.shape.as_slice();
        let x = ArrayD::from_shape_vec(shape, cases.input.to_f32()).expect("images");
        let explainer = builder.build().expect("an explainer");
        let targets = vec![Target::Argmax; shape[0]];
        let mut explained = explainer.explain_one_each(x.view(), &targets).expect("a map");
        let explanation = explained.remove(0);
        let warned =
            explanation.warnings.iter().any(|warning| warning.id() == "saturating-kernels");
        (warned, explanation.deployed)
    };
    // Signed weights beyond ±64, which are all but those of asymmetric uint8.
    let unsigned = name.contains("uint8") && !name.contains("symmetric");
    let can = !unsigned && saturates();
    let (warned, deployed) = explained(builder(EngineKind::OnnxRuntime));
    assert_eq!(warned, can);
    assert_eq!(deployed.is_some(), can);
    let error = deployed.map_or(0.0, |deployed| deployed.error);
    // Most files keep some of their numbers, this one does not.
    if can && name == "qdq_int8_symmetric" {
        assert!(error > 0.01, "{error}");
    }
    let exact = builder(EngineKind::OnnxRuntime).session_config("session.x64quantprecision", "1");
    assert!(!explained(exact).0, "with the entry");
    assert_eq!(explained(builder(EngineKind::Rten)), (false, None), "on rten");
}
