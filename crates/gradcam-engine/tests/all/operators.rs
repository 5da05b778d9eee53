//! Every operator of the rule table in thousands of drawn uses, on every engine: the gradient is right, or
//! the node is refused in words that stand in docs/operators.md.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{LazyLock, OnceLock},
};

use gradcam_engine::EngineKind;
use ndarray::ArrayD;
use onnx_grad::{
    Gradient, Model, OLDEST_OPSET, Options, gradient,
    proto::{GraphProto, ModelProto, NodeProto, TensorProto, tensor_proto::DataType},
    rules,
};
use prost::Message as _;
use testkit::{OperatorCase, OperatorCases, RuleCase, Suite, largest_error, operator_cases};

use crate::{
    case::{Outcome, array, feeds, outcome, pushed},
    common,
};

static DRAWN: LazyLock<OperatorCases> = LazyLock::new(operator_cases);

static DOCUMENTED: LazyLock<Documented> = LazyLock::new(Documented::read);

pub(crate) fn tests(suite: &mut Suite) {
    let each = || (0..DRAWN.cases.len()).flat_map(|at| EngineKind::ALL.map(|kind| (at, kind)));
    for (at, kind) in each() {
        let name = &DRAWN.cases[at].case.name;
        suite.test(format!("operators::{name}::{kind}"), move || is_right_or_refused(at, kind));
    }
    for (at, kind) in each() {
        for input in deep(&DRAWN.cases[at]) {
            let name = format!("operators::sums::{}::{input}::{kind}", DRAWN.cases[at].case.name);
            suite.test(name, move || pushed_sum_equals_the_sum_of_the_gradient(at, input, kind));
        }
    }
    testkit::tests!(
        suite,
        most_drawn_uses_are_right_somewhere,
        what_is_said_to_be_refused_has_a_case,
        the_table_and_the_drawn_cases_are_complete,
        a_model_of_all_operators_has_the_gradients_of_each,
    );
}

/// How a case ends on an engine, where it may not panic. It runs once, whatever asks.
fn ended(at: usize, kind: EngineKind) -> &'static Outcome {
    type OfEngines = [OnceLock<Outcome>; EngineKind::ALL.len()];
    static ENDED: LazyLock<Vec<OfEngines>> =
        LazyLock::new(|| DRAWN.cases.iter().map(|_| OfEngines::default()).collect());
    let place = EngineKind::ALL.iter().position(|one| *one == kind).unwrap();
    ENDED[at][place].get_or_init(|| {
        let case = &DRAWN.cases[at].case;
        let run = || match Model::from_bytes(case.variants[0].model.as_slice()) {
            Ok(model) => outcome(case, &model, common::shared(kind)),
            Err(error) => Outcome::Failed(error.to_string()),
        };
        catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|_| Outcome::Failed("panics".to_owned()))
    })
}

/// The text of docs/operators.md, where refusals must have a row.
struct Documented {
    general: Vec<String>,
    rows: BTreeMap<String, [Vec<String>; 3]>,
}

/// The columns of the table behind operator and opsets.
const COLUMNS: [&str; 3] = ["differentiator", "rten", "onnxruntime"];

impl Documented {
    fn read() -> Self {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/operators.md");
        let text = fs::read_to_string(path).unwrap_or_else(|e| panic!("{path}: {e}"));
        let general = text.lines().filter_map(|line| line.strip_prefix("- ")).map(str::to_owned);
        let forms = |cell: &str| -> Vec<String> {
            let cell = cell.replace('\u{1}', "|");
            let parts = cell.trim().split("<br>").flat_map(|part| {
                let no = (part == "no").then(|| "… has no …".to_owned());
                no.into_iter().chain(part.strip_prefix("refused: ").map(str::to_owned))
            });
            parts.collect()
        };
        let row = |line: &str| {
            let line = line.strip_prefix("| ")?.replace("\\|", "\u{1}");
            let cells: Vec<&str> = line.split('|').collect();
            let [op, _, gradient, rten, runtime, _] = cells.as_slice() else { return None };
            let op = op.trim().trim_start_matches('[').split(']').next()?.to_owned();
            Some((op, [forms(gradient), forms(rten), forms(runtime)]))
        };
        Self { general: general.collect(), rows: text.lines().filter_map(row).collect() }
    }

    /// The form of the row, or of those for any operator, that a message has.
    fn form(&self, by: &str, op: &str, message: &str) -> Option<&str> {
        let column = COLUMNS.iter().position(|column| *column == by)?;
        let own = self.rows.get(op).map(|row| &row[column]).into_iter().flatten();
        own.chain(&self.general).find(|form| fits(message, form)).map(String::as_str)
    }
}

/// Whether a message has the parts of a form, which are between its …, in their order.
fn fits(message: &str, form: &str) -> bool {
    let mut rest = message;
    form.split('…').all(|part| match rest.find(part) {
        Some(at) => {
            rest = &rest[at + part.len()..];
            true
        }
        None => false,
    })
}

/// The operator and the reason in each line of an error: `"y" (Pad, opset 11): it reflects …`.
fn reasons(text: &str) -> Vec<(String, String)> {
    let reason = |line: &str| {
        let (before, after) = line.split_once("): ")?;
        let (_, inside) = before.rsplit_once('(')?;
        let op = inside.split(", opset").next().unwrap_or(inside);
        Some((op.to_owned(), after.to_owned()))
    };
    text.lines().filter_map(reason).collect()
}

fn is_right_or_refused(at: usize, kind: EngineKind) {
    match ended(at, kind) {
        Outcome::Ran(error) => {
            assert!(*error <= DRAWN.cases[at].bound, "error {error:.1e}");
        }
        Outcome::Failed(why) => panic!("{why}"),
        Outcome::Refused(by, text) => {
            let reasons = reasons(text);
            assert!(!reasons.is_empty(), "refused without a reason: {text}");
            for (op, reason) in reasons {
                let form = DOCUMENTED.form(by, &op, &reason);
                assert!(form.is_some(), "not in the table: {op}: {reason}");
            }
        }
    }
}

fn most_drawn_uses_are_right_somewhere() {
    let drawn = DRAWN.cases.len();
    assert!(drawn >= 2_000, "only {drawn} cases");
    let ran = |at, kind| matches!(ended(at, kind), Outcome::Ran(_));
    let right = (0..drawn).filter(|&at| {
        EngineKind::ALL.iter().any(|&kind| match ended(at, kind) {
            Outcome::Ran(error) => *error <= DRAWN.cases[at].bound,
            _ => false,
        })
    });
    let right = right.count();
    assert!(right * 10 >= drawn * 9, "{right} of {drawn}");
    let each = (0..drawn).flat_map(|at| EngineKind::ALL.map(|kind| (at, kind)));
    let sums = each.filter(|&(at, kind)| ran(at, kind));
    let sums: usize = sums.map(|(at, _)| deep(&DRAWN.cases[at]).count()).sum();
    assert!(sums > 1_000, "only {sums} sums");
}

/// What the table says is refused must be what the rules say.
fn what_is_said_to_be_refused_has_a_case() {
    let mut met: BTreeSet<(&str, String, &str)> = BTreeSet::new();
    for (at, kind) in (0..DRAWN.cases.len()).flat_map(|at| EngineKind::ALL.map(|kind| (at, kind))) {
        let Outcome::Refused(by, text) = ended(at, kind) else { continue };
        for (op, reason) in reasons(text) {
            let form = DOCUMENTED.form(by, &op, &reason);
            met.extend(form.map(|form| (*by, op, form)));
        }
    }
    let drawn: BTreeSet<&str> = DRAWN.cases.iter().map(|one| one.case.op.as_str()).collect();
    let rows = DOCUMENTED.rows.iter().filter(|(op, _)| drawn.contains(op.as_str()));
    let missing: Vec<String> = rows
        .flat_map(|(op, [refused, ..])| refused.iter().map(move |form| (op, form)))
        .filter(|(op, form)| !met.contains(&(COLUMNS[0], (*op).clone(), form.as_str())))
        .map(|(op, form)| format!("{op}: no case is refused with: {form}"))
        .collect();
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

/// The inputs that have space.
fn deep(one: &OperatorCase) -> impl Iterator<Item = &str> {
    let names = one.case.wrt.iter().filter(|name| one.case.inputs[*name].shape.len() > 2);
    names.map(String::as_str)
}

/// A sum over space that is pushed towards the output equals the sum of the gradient, of what is not refused.
fn pushed_sum_equals_the_sum_of_the_gradient(at: usize, input: &str, kind: EngineKind) {
    if matches!(ended(at, kind), Outcome::Ran(_)) {
        let one = &DRAWN.cases[at];
        let error =
            pushed(&one.case, input, common::shared(kind)).unwrap_or_else(|e| panic!("{e}"));
        assert!(error <= one.bound, "error {error:.1e}");
    }
}

/// The table of rules has every operator of the standard, and the drawn cases every operator with a derivative.
fn the_table_and_the_drawn_cases_are_complete() {
    let drawn = &*DRAWN;
    let table: BTreeMap<&str, (i64, i64)> = rules().map(|rule| (rule.op, rule.opsets)).collect();
    for (op, since, _) in &drawn.standard {
        let first = table.get(op.as_str()).map(|opsets| opsets.0);
        assert!(first.is_some_and(|first| first <= (*since).max(OLDEST_OPSET)), "{op}: {first:?}");
    }
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for one in &drawn.cases {
        *counts.entry(one.case.op.as_str()).or_default() += 1;
    }
    for rule in rules().filter(|rule| !matches!(rule.gradient, Gradient::Refused(_))) {
        let few = counts.get(rule.op).is_none_or(|&count| count < 12);
        let of_standard = drawn.standard.iter().any(|(op, ..)| op == rule.op);
        assert!(!(few && of_standard), "{} has {:?} cases", rule.op, counts.get(rule.op));
    }
}

/// The first drawn case of each operator, which are all at one opset but for operators that it lacks.
const TOGETHER: i64 = 27;

/// The cases as one model: each with its names to itself, ⟨cotangent, output⟩ of all added up to `y`.
fn joined(cases: &[&OperatorCase]) -> Model {
    let float = |name: &str, shape: &[usize], data: &[f32]| TensorProto {
        name: Some(name.to_owned()),
        dims: shape.iter().filter_map(|&size| i64::try_from(size).ok()).collect(),
        data_type: Some(DataType::Float as i32),
        raw_data: Some(data.iter().flat_map(|n| n.to_le_bytes()).collect::<Vec<u8>>().into()),
        ..TensorProto::default()
    };
    let node = |op: &str, inputs: Vec<String>, output: String| NodeProto {
        name: Some(output.clone()),
        op_type: Some(op.to_owned()),
        input: inputs,
        output: vec![output],
        ..NodeProto::default()
    };
    let mut whole = ModelProto::decode(cases[0].case.variants[0].model.as_slice())
        .unwrap_or_else(|e| panic!("{e}"));
    let mut graph = GraphProto { name: Some("together".to_owned()), ..GraphProto::default() };
    let mut sums = Vec::new();
    for one in cases {
        let case = &one.case;
        let rename = |name: &mut String| {
            if !name.is_empty() {
                *name = own(case, name);
            }
        };
        let part = ModelProto::decode(case.variants[0].model.as_slice());
        let mut part = part.unwrap_or_else(|e| panic!("{e}")).graph.unwrap_or_default();
        rename_all(&mut part, &rename);
        let [y, seed, product, sum] = ["y", "seed", "product", "sum"].map(|name| own(case, name));
        graph.input.append(&mut part.input);
        graph.initializer.append(&mut part.initializer);
        graph.initializer.push(float(&seed, &case.seed.shape, &case.seed.to_f32()));
        graph.node.append(&mut part.node);
        graph.node.push(node("Mul", vec![y, seed], product.clone()));
        let mut reduce = node("ReduceSum", vec![product], sum.clone());
        reduce.attribute.push(onnx_grad::attrs::int("keepdims", 0));
        graph.node.push(reduce);
        sums.push(sum);
    }
    graph.node.push(node("Sum", sums, "y".to_owned()));
    graph.output = whole.graph.take().unwrap_or_default().output;
    whole.graph = Some(graph);
    Model::from_bytes(whole.encode_to_vec()).unwrap_or_else(|e| panic!("{e}"))
}

/// Renames every value of a graph and of its subgraphs.
fn rename_all(graph: &mut GraphProto, rename: &impl Fn(&mut String)) {
    let declared = graph.input.iter_mut().chain(&mut graph.output);
    declared.filter_map(|value| value.name.as_mut()).for_each(rename);
    graph.initializer.iter_mut().filter_map(|value| value.name.as_mut()).for_each(rename);
    for node in &mut graph.node {
        node.input.iter_mut().chain(&mut node.output).for_each(rename);
        node.name = node.output.first().cloned();
        let bodies = node.attribute.iter_mut().filter_map(|attribute| attribute.g.as_mut());
        bodies.for_each(|body| rename_all(body, rename));
    }
}

fn own(case: &RuleCase, name: &str) -> String {
    format!("{}/{name}", case.name)
}

/// One model with every operator is differentiated at once, and each input gets the gradient that it has alone.
fn a_model_of_all_operators_has_the_gradients_of_each() {
    let mut operators = BTreeSet::new();
    let of_opset =
        (0..DRAWN.cases.len()).filter(|&at| DRAWN.cases[at].case.variants[0].opsets.0 == TOGETHER);
    let all: Vec<usize> =
        of_opset.filter(|&at| operators.insert(&DRAWN.cases[at].case.op)).collect();
    assert!(all.len() > 145, "only {} operators", all.len());
    for kind in EngineKind::ALL {
        // What the engine refuses alone is no part of the model that it runs.
        let runs = all.iter().filter(|&&at| matches!(ended(at, kind), Outcome::Ran(_)));
        let cases: Vec<&OperatorCase> = runs.map(|&at| &DRAWN.cases[at]).collect();
        assert!(cases.len() > 125, "{kind} runs {} operators", cases.len());
        let wrt: Vec<(&OperatorCase, &String, String)> = cases
            .iter()
            .flat_map(|one| one.case.wrt.iter().map(|name| (*one, name, own(&one.case, name))))
            .collect();
        let names: Vec<&str> = wrt.iter().map(|(.., own)| own.as_str()).collect();
        let model = gradient(&joined(&cases), "y", &names, &Options::default());
        let model = model.unwrap_or_else(|e| panic!("{e}"));
        let session = common::shared(kind).compile(&model).unwrap_or_else(|e| panic!("{e}"));
        let values: BTreeMap<&str, ArrayD<f32>> = wrt
            .iter()
            .map(|(one, name, own)| (own.as_str(), array(&one.case.inputs[*name])))
            .collect();
        let outputs: Vec<String> = names.iter().map(|name| format!("{name}.grad")).collect();
        let outputs: Vec<&str> = outputs.iter().map(String::as_str).collect();
        let found = session.run(&feeds(&model, &values), &outputs);
        let found = found.unwrap_or_else(|e| panic!("{e}"));
        for ((one, name, own), found) in wrt.iter().zip(found) {
            let got = found.into_f32().map(|a| a.iter().copied().collect::<Vec<f32>>());
            let error = largest_error(&got.unwrap_or_default(), &one.case.grads[*name].data);
            assert!(error <= one.bound, "{own} on {kind}: error {error:.1e}");
        }
    }
}
