//! Every gradient rule against float64 PyTorch, at every opset of its range, on every engine.

use std::{collections::BTreeSet, env};

use gradcam_engine::{Engine, EngineKind, Tensor, TensorView};
use ndarray::ArrayD;
use onnx_grad::{
    ErrorKind, Gradient, Model, NEWEST_OPSET, Options, Want,
    builder::Builder,
    differentiate, gradient,
    graph::{Graph, Sizes},
    proto::{tensor_shape_proto::dimension, type_proto},
    prune, rules,
};
use testkit::{Case, largest_error, rule_cases};

use crate::{
    case::{Outcome, array, outcome, pushed},
    common,
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
    ("onnxruntime", "at_28_", "ONNX Runtime quantises and dequantises up to opset 27"),
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
fn run(case: &Case, model: &Model, engine: &dyn Engine) -> Result<f64, String> {
    match outcome(case, model, engine) {
        Outcome::Ran(error) => Ok(error),
        Outcome::Refused(by, text) => Err(format!("{by}: {text}")),
        Outcome::Failed(text) => Err(text),
    }
}

/// Of an engine: two tests, which run at the same time.
fn every_rule_equals_float64_pytorch_at_every_opset(kind: EngineKind) {
    let cases = rule_cases();
    let engine = common::engine_with(kind, 1);
    // As another processor, which takes ten times as long, kernels are what matters, and old spellings have the same.
    let newest = env::var_os("GRADCAM_NEWEST_OPSETS").is_some();
    let mut failures = Vec::new();
    let mut count = 0;
    for case in &cases {
        let skip = excluded(engine.name(), &case.name);
        for variant in &case.variants {
            let oldest = if newest { variant.opsets.1 } else { variant.opsets.0 };
            for opset in oldest..=variant.opsets.1 {
                count += 1;
                let outcome = run(case, &at_opset(&variant.model, opset), engine.as_ref());
                let at = format!("{} at opset {opset}", case.name);
                match outcome {
                    Ok(_) if skip => failures.push(format!("{at}: runs, but is excluded")),
                    Ok(error) if error > BOUND => failures.push(format!("{at}: error {error:.1e}")),
                    Err(text) if !skip => failures.push(format!("{at}: {text}")),
                    Ok(_) | Err(_) => {}
                }
            }
        }
    }
    assert!(count > if newest { 500 } else { 10_000 }, "only {count} runs");
    let shown = failures.iter().take(60).cloned().collect::<Vec<_>>().join("\n");
    assert!(failures.is_empty(), "{} of {count} failed on {kind}:\n{shown}", failures.len());
}

#[test]
fn every_rule_equals_float64_pytorch_at_every_opset_on_rten() {
    every_rule_equals_float64_pytorch_at_every_opset(EngineKind::Rten);
}

#[test]
fn every_rule_equals_float64_pytorch_at_every_opset_on_onnxruntime() {
    every_rule_equals_float64_pytorch_at_every_opset(EngineKind::OnnxRuntime);
}

#[test]
fn every_row_of_the_rule_table_has_cases_up_to_the_newest_opset() {
    let cases = rule_cases();
    for rule in rules().filter(|rule| !matches!(rule.gradient, Gradient::Refused(_))) {
        let of_op: Vec<&Case> = cases.iter().filter(|case| case.op == rule.op).collect();
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
#[test]
fn pushed_sums_equal_the_sum_of_the_gradient() {
    let mut failures = Vec::new();
    let mut count = 0;
    for engine in common::engines() {
        for case in rule_cases().iter().filter(|case| !excluded(engine.name(), &case.name)) {
            for name in case.wrt.iter().filter(|name| case.inputs[*name].shape.len() > 2) {
                count += 1;
                let at = format!("{} for {name} on {}", case.name, engine.name());
                match pushed(case, name, engine.as_ref()) {
                    Ok(error) if error > BOUND => failures.push(format!("{at}: error {error:.1e}")),
                    Err(text) => failures.push(format!("{at}: {text}")),
                    Ok(_) => {}
                }
            }
        }
    }
    assert!(count > 250, "only {count} runs");
    assert!(failures.is_empty(), "{} of {count}:\n{}", failures.len(), failures.join("\n"));
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

/// The gradient of Σ y with respect to `x`, and its sum over space.
fn gradient_and_sum(
    model: &Model,
    x: &ArrayD<f32>,
    engine: &dyn Engine,
) -> onnx_grad::Result<[Vec<f64>; 2]> {
    let mut graph = Graph::new(model, &Sizes::new())?;
    let (value, y) = (graph.value("x")?, graph.outputs()[0]);
    let mut b = Builder::new(&mut graph, "both");
    let seed = b.scalar(y, 1.0)?;
    let mut models = Vec::new();
    for want in [Want::Full, Want::SpatialSum] {
        let found = differentiate(&mut b, &[(y, seed)], &[(value, want)], &[])?;
        models.push(prune(b.graph(), &found)?);
    }
    Ok([0, 1].map(|index| {
        let model = &models[index];
        let session = engine.compile(model).unwrap_or_else(|e| panic!("{e}"));
        let feeds = match onnx_grad::inputs(model).as_slice() {
            [] => vec![],
            _ => vec![("x", TensorView::from(x))],
        };
        let name = model.graph().output[0].name.as_deref().unwrap_or_default();
        let outputs = session.run(&feeds, &[name]).unwrap_or_else(|e| panic!("{e}"));
        let output = outputs.into_iter().next().and_then(Tensor::into_f32);
        output.map(|a| a.iter().map(|&v| f64::from(v)).collect()).unwrap_or_default()
    }))
}

/// A batch that stays open until the run gives the same numbers, from the oldest opset on.
#[test]
fn an_open_batch_gives_the_gradients_and_sums_of_a_bound_one() {
    let mut failures = Vec::new();
    let mut count = 0;
    for engine in common::engines() {
        for case in rule_cases().iter().filter(|case| !excluded(engine.name(), &case.name)) {
            let x = case.inputs.get("x").filter(|x| x.shape.len() > 2 && case.wrt == ["x"]);
            let (Some(x), Some(variant)) = (x.map(array), case.variants.first()) else { continue };
            let open = with_open_batch(&variant.model, variant.opsets.0);
            let bound = at_opset(&variant.model, variant.opsets.0);
            let Ok(want) = gradient_and_sum(&bound, &x, engine.as_ref()) else { continue };
            let got = match gradient_and_sum(&open, &x, engine.as_ref()) {
                Ok(got) => got,
                Err(_) if BATCH_IS_A_NUMBER.contains(&case.name.as_str()) => continue,
                Err(_) if case.name.ends_with("_sized") => continue,
                Err(error) => {
                    failures.push(format!("{}: {error}", case.name));
                    continue;
                }
            };
            count += 1;
            for (got, want) in got.iter().zip(&want) {
                #[expect(clippy::cast_possible_truncation, reason = "they were float32")]
                let got: Vec<f32> = got.iter().map(|&v| v as f32).collect();
                let error = largest_error(&got, want);
                if error > BOUND {
                    failures.push(format!("{} on {}: {error:.1e}", case.name, engine.name()));
                }
            }
        }
    }
    assert!(count > 150, "only {count} runs");
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// A seed on the way from another seed adds to what comes from there, also where only a sum is asked for.
#[test]
fn a_seed_in_the_middle_adds_to_the_one_behind_it() {
    let case = rule_cases().into_iter().find(|case| case.name == "residual_block");
    let case = case.unwrap_or_else(|| panic!("the case residual_block is gone"));
    let model = at_opset(&case.variants[0].model, case.variants[0].opsets.0);
    let x = array(&case.inputs["x"]);
    for engine in common::engines() {
        let sum = |seeds: &[&str], of: &str| -> Vec<f64> {
            let run = || -> onnx_grad::Result<Model> {
                let mut graph = Graph::new(&model, &Sizes::new())?;
                let seeds = seeds.iter().map(|seed| graph.value(seed));
                let seeds = seeds.collect::<onnx_grad::Result<Vec<_>>>()?;
                let of = graph.value(of)?;
                let mut b = Builder::new(&mut graph, "sum");
                let unit = b.scalar(of, 1.0)?;
                let seeds: Vec<_> = seeds.into_iter().map(|seed| (seed, unit)).collect();
                let found = differentiate(&mut b, &seeds, &[(of, Want::SpatialSum)], &[])?;
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

/// Every operator that a rule emits has a rule itself.
#[test]
fn gradients_can_be_differentiated_again() {
    let mut failures = Vec::new();
    let mut count = 0;
    for case in rule_cases() {
        let wrt: Vec<&str> = case.wrt.iter().map(String::as_str).collect();
        let newest =
            case.variants.last().map(|variant| variant.model.as_slice()).unwrap_or_default();
        let model = Model::from_bytes(newest).unwrap_or_else(|e| panic!("{e}"));
        let first = gradient(&model, "y", &wrt, &Options::default())
            .unwrap_or_else(|e| panic!("{}: {e}", case.name));
        for name in &wrt {
            match gradient(&first, &format!("{name}.grad"), &[name], &Options::default()) {
                Ok(_) => count += 1,
                // A linear operator's gradient does not depend on its input any more.
                Err(error) if error.kind() == ErrorKind::NotConnected => {}
                Err(error) => failures.push(format!("{}: {error}", case.name)),
            }
        }
    }
    assert!(count > 50, "only {count}");
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// d²(Σ x³)/dx² = 6x, on every engine.
#[test]
fn a_second_derivative_has_the_right_numbers() {
    let case = rule_cases().into_iter().find(|case| case.name == "Mul_twice");
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
    for engine in common::engines() {
        let session = engine.compile(&second).unwrap_or_else(|e| panic!("{e}"));
        let outputs = session.run(&[("x", TensorView::from(&x))], &["x.grad.grad"]);
        let output = outputs.unwrap_or_else(|e| panic!("{e}")).remove(0).into_f32();
        let got: Vec<f32> = output.map(|a| a.iter().copied().collect()).unwrap_or_default();
        assert!(largest_error(&got, &want) <= BOUND, "{}", engine.name());
    }
}
