//! Every gradient rule against float64 PyTorch, at every opset of its range, on every engine.

use std::{collections::BTreeSet, env, ops::RangeInclusive, sync::LazyLock};

use gradcam_engine::{Engine, EngineKind, Tensor, TensorView};
use ndarray::ArrayD;
use onnx_grad::{
    ErrorKind, Gradient, GradientForm, Model, NEWEST_OPSET, Options,
    builder::Builder,
    differentiate, gradient,
    graph::{Graph, Sizes},
    proto::{tensor_shape_proto::dimension, type_proto},
    prune, rules,
};
use testkit::{RuleCase, Suite, Variant, largest_error, rule_cases};

use crate::{
    case::{Outcome, array, outcome, pushed},
    common::shared,
};

/// What the design promises for a gradient rule, of the largest entry; float32 against float64.
const BOUND: f64 = 1e-5;

/// Cases that an engine refuses, by the beginning of their name, and why. An excluded case that runs is
/// an error, so this list cannot grow stale.
const REFUSED: &[(&str, &str, &str)] = &[
    ("rten", "Conv_3d", "rten has convolutions of one and two axes"),
    ("rten", "Bernoulli", "rten is built without random numbers"),
    ("rten", "BitShift", "rten has no operators of bits"),
    ("rten", "Bitwise", "rten has no operators of bits"),
    ("rten", "Hardmax", "rten has no Hardmax"),
    ("rten", "Multinomial", "rten is built without random numbers"),
    ("rten", "QuantizeLinear_int16", "rten has no integers of 16 bits"),
    ("rten", "QuantizeLinear_uint16", "rten has no integers of 16 bits"),
    ("rten", "Random", "rten is built without random numbers"),
    ("rten", "Unique", "rten has no Unique"),
    ("onnxruntime", "at_28_", "ONNX Runtime quantizes and dequantizes up to opset 27"),
    ("onnxruntime", "Bernoulli_22", "ONNX Runtime has random numbers up to opset 21"),
    ("onnxruntime", "Multinomial_22", "ONNX Runtime has random numbers up to opset 21"),
    ("onnxruntime", "RandomNormal_22", "ONNX Runtime has random numbers up to opset 21"),
    ("onnxruntime", "RandomNormalLike_22", "ONNX Runtime has random numbers up to opset 21"),
    ("onnxruntime", "RandomUniform_22", "ONNX Runtime has random numbers up to opset 21"),
    ("onnxruntime", "RandomUniformLike_22", "ONNX Runtime has random numbers up to opset 21"),
    ("rten", "ConvTranspose_3d", "rten has convolutions of one and two axes"),
    ("rten", "MaxUnpool", "rten has no such operator"),
    ("rten", "AffineGrid", "rten has no such operator"),
];

/// Operators that the standard has given up, and the last opset that has them.
const DEPRECATED: [(&str, i64); 1] = [("Upsample", 9)];

static CASES: LazyLock<Vec<RuleCase>> = LazyLock::new(rule_cases);

pub(crate) fn tests(suite: &mut Suite) {
    for case in &*CASES {
        let name = &case.name;
        for kind in EngineKind::ALL {
            suite.test(format!("rules::{name}::{kind}"), move || {
                equals_float64_pytorch_at_every_opset(case, kind);
            });
        }
        let included = EngineKind::ALL.into_iter().filter(|kind| !excluded(kind.name(), name));
        for kind in included {
            for input in deep(case) {
                suite.test(format!("rules::sums::{name}::{input}::{kind}"), move || {
                    pushed_sum_equals_the_sum_of_the_gradient(case, input, kind);
                });
            }
            if only_x(case).is_some() {
                suite.test(format!("rules::open_batch::{name}::{kind}"), move || {
                    an_open_batch_gives_the_numbers_of_a_bound_one(case, kind);
                });
            }
        }
        suite.test(format!("rules::again::{name}"), move || _ = differentiated_again(case));
    }
    testkit::tests!(
        suite,
        cases_run_at_thousands_of_opsets,
        sums_and_open_batches_are_of_many_cases,
        gradients_of_many_cases_are_differentiated_again,
        every_row_of_the_rule_table_has_cases_up_to_the_newest_opset,
        a_seed_in_the_middle_adds_to_the_one_behind_it,
        a_second_derivative_has_the_right_numbers,
    );
}

fn excluded(engine: &str, case: &str) -> bool {
    REFUSED.iter().any(|(e, prefix, _)| *e == engine && case.starts_with(prefix))
}

/// The model of a variant with another opset number written into it.
fn at_opset(bytes: &[u8], opset: i64) -> Model {
    let model = Model::from_bytes(bytes).unwrap_or_else(|e| panic!("{e}"));
    let mut proto = model.proto().clone();
    proto.opset_import[0].version = Some(opset);
    let mut bytes = Vec::new();
    prost::Message::encode(&proto, &mut bytes).unwrap_or_else(|e| panic!("{e}"));
    Model::from_bytes(bytes).unwrap_or_else(|e| panic!("{e}"))
}

/// The largest error of output and gradients; an error text where it does not run.
fn run(case: &RuleCase, model: &Model, engine: &dyn Engine) -> Result<f64, String> {
    match outcome(case, model, engine) {
        Outcome::Ran(error) => Ok(error),
        Outcome::Refused(by, text) => Err(format!("{by}: {text}")),
        Outcome::Failed(text) => Err(text),
    }
}

/// The opsets that a variant is tested at.
fn opsets(variant: &Variant) -> RangeInclusive<i64> {
    // As another processor, which takes ten times as long, kernels are what matters, and old spellings have the same.
    let newest = env::var_os("GRADCAM_NEWEST_OPSETS").is_some();
    let (oldest, last) = variant.opsets;
    if newest { last..=last } else { oldest..=last }
}

fn equals_float64_pytorch_at_every_opset(case: &RuleCase, kind: EngineKind) {
    let skip = excluded(kind.name(), &case.name);
    let mut failures = Vec::new();
    for variant in &case.variants {
        for opset in opsets(variant) {
            match run(case, &at_opset(&variant.model, opset), shared(kind)) {
                Ok(_) if skip => failures.push(format!("opset {opset}: runs, but is excluded")),
                Ok(error) if error > BOUND => {
                    failures.push(format!("opset {opset}: error {error:.1e}"));
                }
                Err(text) if !skip => failures.push(format!("opset {opset}: {text}")),
                Ok(_) | Err(_) => {}
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

fn cases_run_at_thousands_of_opsets() {
    let runs: usize = CASES.iter().flat_map(|case| &case.variants).map(|v| opsets(v).count()).sum();
    let newest = env::var_os("GRADCAM_NEWEST_OPSETS").is_some();
    assert!(runs > if newest { 500 } else { 10_000 }, "only {runs} runs");
}

fn every_row_of_the_rule_table_has_cases_up_to_the_newest_opset() {
    let cases = &*CASES;
    for rule in rules().filter(|rule| !matches!(rule.gradient, Gradient::Refused(_))) {
        let of_op: Vec<&RuleCase> = cases.iter().filter(|case| case.op == rule.op).collect();
        assert!(!of_op.is_empty(), "{} has a rule and no case", rule.op);
        let covered: BTreeSet<i64> = of_op
            .iter()
            .flat_map(|case| &case.variants)
            .flat_map(|variant| variant.opsets.0..=variant.opsets.1)
            .collect();
        let (first, last) = rule.opsets;
        let end = DEPRECATED.iter().find(|(op, _)| *op == rule.op).map_or(NEWEST_OPSET, |d| d.1);
        assert_eq!(last, end, "{}", rule.op);
        let missing: Vec<i64> = (first..=last).filter(|opset| !covered.contains(opset)).collect();
        assert!(missing.is_empty(), "{} has no case at opsets {missing:?}", rule.op);
    }
}

/// The sum over space that is pushed towards the output equals the sum of the gradient.
fn pushed_sum_equals_the_sum_of_the_gradient(case: &RuleCase, input: &str, kind: EngineKind) {
    let error = pushed(case, input, shared(kind)).unwrap_or_else(|e| panic!("{e}"));
    assert!(error <= BOUND, "error {error:.1e}");
}

/// The inputs of a case that have space.
fn deep(case: &RuleCase) -> impl Iterator<Item = &str> {
    let names = case.wrt.iter().filter(|name| case.inputs[*name].shape.len() > 2);
    names.map(String::as_str)
}

/// Cases that need the first axis as a number, beside those that name all sizes.
const BATCH_IS_A_NUMBER: [&str; 21] = [
    "MaxUnpool",
    "GatherElements_columns",
    "GatherElements_corner",
    "GatherElements_middle",
    "GatherND_batch",
    "GatherND_batch_computed",
    "GatherND_pairs",
    "GatherND_pairs_computed",
    "GatherND_rows",
    "GatherND_rows_computed",
    "MeanVarianceNormalization_default",
    "ReduceMean_all",
    "ReduceProd_all",
    "Slice_no_axes",
    "Slice_default_axes_steps",
    "Pad_value",
    "Reshape_allowzero",
    "Squeeze_all",
    "Expand_ones",
    "Gather_rows",
    "optimised_block",
];

/// The model with the first axis of its input `x` left open.
fn with_open_batch(bytes: &[u8], opset: i64) -> Model {
    let mut proto = at_opset(bytes, opset).proto().clone();
    let x = &mut proto.graph.get_or_insert_default().input[0];
    if let Some(type_proto::Value::TensorType(tensor)) =
        x.r#type.as_mut().and_then(|t| t.value.as_mut())
    {
        let dims = &mut tensor.shape.get_or_insert_default().dim;
        dims[0].value = Some(dimension::Value::DimParam("batch".to_owned()));
    }
    Model::from_bytes(prost::Message::encode_to_vec(&proto)).unwrap_or_else(|e| panic!("{e}"))
}

/// Models of the gradient of Σ y with respect to `x`, and of its sum over space.
fn gradient_and_sum(model: &Model) -> onnx_grad::Result<[Model; 2]> {
    let mut graph = Graph::new(model, &Sizes::new())?;
    let (value, y) = (graph.value("x")?, graph.outputs()[0]);
    let mut b = Builder::new(&mut graph, "both");
    let seed = b.scalar(y, 1.0)?;
    let mut model_of = |want| {
        let found = differentiate(&mut b, &[(y, seed)], &[(value, want)], &[])?;
        prune(b.graph(), &found)
    };
    Ok([model_of(GradientForm::Full)?, model_of(GradientForm::SpatialSum)?])
}

/// The output of such a model.
fn output(model: &Model, x: &ArrayD<f32>, kind: EngineKind) -> Vec<f32> {
    let session = shared(kind).compile(model).unwrap_or_else(|e| panic!("{e}"));
    let feeds = match onnx_grad::inputs(model).as_slice() {
        [] => vec![],
        _ => vec![("x", TensorView::from(x))],
    };
    let name = model.graph().output[0].name.as_deref().unwrap_or_default();
    let outputs = session.run(&feeds, &[name]).unwrap_or_else(|e| panic!("{e}"));
    let output = outputs.into_iter().next().and_then(Tensor::into_f32);
    output.map(|a| a.iter().copied().collect()).unwrap_or_default()
}

/// The models of a case with the batch bound and left open, from the oldest opset; nothing where it cannot be bound or
/// must be.
fn bound_and_open(case: &RuleCase) -> Option<[[Model; 2]; 2]> {
    let variant = case.variants.first()?;
    let bound = gradient_and_sum(&at_opset(&variant.model, variant.opsets.0)).ok()?;
    match gradient_and_sum(&with_open_batch(&variant.model, variant.opsets.0)) {
        Ok(open) => Some([bound, open]),
        Err(_) if BATCH_IS_A_NUMBER.contains(&case.name.as_str()) => None,
        Err(_) if case.name.ends_with("_sized") => None,
        Err(error) => panic!("{error}"),
    }
}

/// The input of cases of one input, which has space.
fn only_x(case: &RuleCase) -> Option<ArrayD<f32>> {
    let x = case.inputs.get("x").filter(|x| x.shape.len() > 2 && case.wrt == ["x"]);
    x.map(array)
}

/// A batch that stays open until the run gives the same numbers, from the oldest opset on.
fn an_open_batch_gives_the_numbers_of_a_bound_one(case: &RuleCase, kind: EngineKind) {
    let (Some(x), Some([bound, open])) = (only_x(case), bound_and_open(case)) else { return };
    for (bound, open) in bound.iter().zip(&open) {
        let want: Vec<f64> = output(bound, &x, kind).into_iter().map(f64::from).collect();
        let error = largest_error(&output(open, &x, kind), &want);
        assert!(error <= BOUND, "{error:.1e}");
    }
}

fn sums_and_open_batches_are_of_many_cases() {
    let each = || CASES.iter().flat_map(|case| EngineKind::ALL.map(|kind| (case, kind)));
    let included = || each().filter(|(case, kind)| !excluded(kind.name(), &case.name));
    let sums: usize = included().map(|(case, _)| deep(case).count()).sum();
    assert!(sums > 250, "only {sums} sums");
    let with_x = included().filter(|(case, _)| only_x(case).is_some());
    let open = with_x.filter(|(case, _)| bound_and_open(case).is_some()).count();
    assert!(open > 150, "only {open} open batches");
}

/// A seed on the way from another seed adds to what comes from there, also where only a sum is asked for.
fn a_seed_in_the_middle_adds_to_the_one_behind_it() {
    let case = CASES.iter().find(|case| case.name == "residual_block");
    let case = case.unwrap_or_else(|| panic!("the case residual_block is gone"));
    let model = at_opset(&case.variants[0].model, case.variants[0].opsets.0);
    let x = array(&case.inputs["x"]);
    for engine in EngineKind::ALL.map(shared) {
        let sum = |seeds: &[&str], of: &str| -> Vec<f64> {
            let run = || -> onnx_grad::Result<Model> {
                let mut graph = Graph::new(&model, &Sizes::new())?;
                let seeds = seeds.iter().map(|seed| graph.value(seed));
                let seeds = seeds.collect::<onnx_grad::Result<Vec<_>>>()?;
                let of = graph.value(of)?;
                let mut b = Builder::new(&mut graph, "sum");
                let unit = b.scalar(of, 1.0)?;
                let seeds: Vec<_> = seeds.into_iter().map(|seed| (seed, unit)).collect();
                let found = differentiate(&mut b, &seeds, &[(of, GradientForm::SpatialSum)], &[])?;
                let sum = graph.alias(found[0], "sum")?;
                prune(&graph, &[sum])
            };
            let model = run().unwrap_or_else(|e| panic!("{e}"));
            let session = engine.compile(&model).unwrap_or_else(|e| panic!("{e}"));
            let feeds = [("x", TensorView::from(&x))];
            let feeds = &feeds[..onnx_grad::inputs(&model).len()];
            let outputs = session.run(feeds, &["sum"]).unwrap_or_else(|e| panic!("{e}"));
            let output = outputs.into_iter().next().and_then(Tensor::into_f32);
            output.map(|a| a.iter().map(|&v| f64::from(v)).collect()).unwrap_or_default()
        };
        for of in ["c", "n"] {
            let (one, other, both) = (sum(&["y"], of), sum(&["n"], of), sum(&["n", "y"], of));
            let want: Vec<f64> = one.iter().zip(&other).map(|(a, b)| a + b).collect();
            #[expect(clippy::cast_possible_truncation, reason = "they were float32")]
            let got: Vec<f32> = both.iter().map(|&v| v as f32).collect();
            assert!(largest_error(&got, &want) <= BOUND, "{of} on {}", engine.name());
        }
    }
}

/// The inputs whose gradient depends on them, and is differentiated again: every operator that a rule emits has a rule
/// itself.
fn differentiated_again(case: &RuleCase) -> usize {
    let wrt: Vec<&str> = case.wrt.iter().map(String::as_str).collect();
    let newest = case.variants.last().map(|variant| variant.model.as_slice()).unwrap_or_default();
    let model = Model::from_bytes(newest).unwrap_or_else(|e| panic!("{e}"));
    let first = gradient(&model, "y", &wrt, &Options::default()).unwrap_or_else(|e| panic!("{e}"));
    let again = wrt.iter().filter(|name| {
        match gradient(&first, &format!("{name}.grad"), &[name], &Options::default()) {
            Ok(_) => true,
            // A linear operator's gradient does not depend on its input any more.
            Err(error) if error.kind() == ErrorKind::NotConnected => false,
            Err(error) => panic!("{error}"),
        }
    });
    again.count()
}

fn gradients_of_many_cases_are_differentiated_again() {
    let mut again = 0;
    let many = CASES.iter().any(|case| {
        again += differentiated_again(case);
        again > 50
    });
    assert!(many, "only {again}");
}

/// d²(Σ x³)/dx² = 6x, on every engine.
fn a_second_derivative_has_the_right_numbers() {
    let case = CASES.iter().find(|case| case.name == "Mul_twice");
    let case = case.unwrap_or_else(|| panic!("the case Mul_twice is gone"));
    let square =
        Model::from_bytes(case.variants[0].model.as_slice()).unwrap_or_else(|e| panic!("{e}"));
    let mut proto = square.proto().clone();
    let graph = proto.graph.get_or_insert_default();
    let mut cube = graph.node[0].clone();
    cube.input = vec!["y".to_owned(), "x".to_owned()];
    cube.output = vec!["z".to_owned()];
    cube.name = Some("cube".to_owned());
    graph.node.push(cube);
    graph.output[0].name = Some("z".to_owned());
    let mut bytes = Vec::new();
    prost::Message::encode(&proto, &mut bytes).unwrap_or_else(|e| panic!("{e}"));
    let model = Model::from_bytes(bytes).unwrap_or_else(|e| panic!("{e}"));
    let options = Options::default();
    let first = gradient(&model, "z", &["x"], &options).unwrap_or_else(|e| panic!("{e}"));
    let second = gradient(&first, "x.grad", &["x"], &options).unwrap_or_else(|e| panic!("{e}"));
    let x = array(&case.inputs["x"]);
    let want: Vec<f64> = case.inputs["x"].data.iter().map(|x| 6.0 * x).collect();
    for engine in EngineKind::ALL.map(shared) {
        let session = engine.compile(&second).unwrap_or_else(|e| panic!("{e}"));
        let outputs = session.run(&[("x", TensorView::from(&x))], &["x.grad.grad"]);
        let output = outputs.unwrap_or_else(|e| panic!("{e}")).remove(0).into_f32();
        let got: Vec<f32> = output.map(|a| a.iter().copied().collect()).unwrap_or_default();
        assert!(largest_error(&got, &want) <= BOUND, "{}", engine.name());
    }
}
