//! Compares inference with ONNX Runtime and the reference evaluator (`tests/truth.txt`, whose
//! right-hand sides `tests/truth.py` writes), and tests an open batch size and hostile numbers
//! (`tests/open.txt`).
//!
//! A row is `shape|fold Op@opset name=value… | input; input => output; output`. A value has a type,
//! a shape and, if known, numbers: `i[2]=N,3`. `?` is an unknown shape.

use super::*;
use crate::{
    facts::Dim,
    proto::{AttributeProto, TensorProto},
};

#[test]
fn table_is_sorted() {
    assert!(TABLE.is_sorted_by(|a, b| a.0 < b.0));
}

#[test]
fn agrees_with_onnx_runtime() {
    check(include_str!("tests/truth.txt"));
}

#[test]
fn open_batches_and_hostile_numbers() {
    check(include_str!("tests/open.txt"));
}

#[test]
fn wrong_input_counts_are_unknown() {
    let (f, i) = (fact("f[2,3]"), fact("i[1]=1"));
    for (op, _) in TABLE {
        for inputs in
            [&[][..], &[None], &[None, None, Some(&f)], &[Some(&f)], &[Some(&i), Some(&f)]]
        {
            for named in [0, inputs.len(), 9] {
                let node = NodeProto {
                    op_type: Some((*op).to_owned()),
                    input: vec!["x".to_owned(); named],
                    output: vec!["y".to_owned(); 3],
                    ..NodeProto::default()
                };
                assert_eq!(infer(&node, 13, inputs).len(), 3, "{op}");
            }
        }
    }
}

#[test]
fn too_many_axes_are_unknown() {
    let axes = Fact::new(DataType::Float, vec![Dim::Fixed(1); 1 << 20]);
    for op in ["ReduceSum", "Squeeze", "Transpose", "Relu"] {
        let node = NodeProto {
            op_type: Some(op.to_owned()),
            input: vec!["x".to_owned()],
            output: vec!["y".to_owned()],
            ..NodeProto::default()
        };
        assert_eq!(infer(&node, 13, &[Some(&axes)])[0].shape, None, "{op}");
    }
}

/// Infers every row and reports all that differ.
fn check(rows: &str) {
    let rows = rows.lines().filter(|row| !row.is_empty() && !row.starts_with('#'));
    let wrong: Vec<String> = rows.filter_map(difference).collect();
    assert!(wrong.is_empty(), "{} rows differ:\n{}", wrong.len(), wrong.join("\n"));
}

fn difference(row: &str) -> Option<String> {
    let (left, right) = row.split_once("=>").unwrap();
    let mut parts = left.split('|');
    let mut words = parts.next().unwrap().split('"').enumerate().flat_map(|(k, text)| {
        // Spaces inside quotes remain.
        if k % 2 == 1 { vec![text] } else { text.split_whitespace().collect() }
    });
    let fold = words.next() == Some("fold");
    let (op, opset) = words.next().unwrap().split_once('@').unwrap();
    let mut attributes: Vec<AttributeProto> = Vec::new();
    for word in words {
        match word.split_once('=') {
            Some((name, value)) => attributes.push(attribute(name, value)),
            // The quoted text of the preceding attribute.
            None => attributes.last_mut().unwrap().s = Some(word.as_bytes().to_vec().into()),
        }
    }
    let list = |text: &str| -> Vec<String> {
        text.split(';').map(|item| item.trim().to_owned()).filter(|item| !item.is_empty()).collect()
    };
    let (inputs, outputs) = (list(parts.next().unwrap()), list(right));
    let facts: Vec<Option<Fact>> =
        inputs.iter().map(|text| (text != "-").then(|| fact(text))).collect();
    let node = NodeProto {
        op_type: Some(op.to_owned()),
        attribute: attributes,
        input: inputs.iter().map(|text| text.replace('-', "")).collect(),
        output: vec!["y".to_owned(); outputs.len()],
        ..NodeProto::default()
    };
    let facts: Vec<Option<&Fact>> = facts.iter().map(Option::as_ref).collect();
    let mut got = infer(&node, opset.parse().unwrap(), &facts);
    if !fold {
        got.iter_mut().for_each(|fact| fact.value = None);
    }
    let wanted: Vec<Fact> = outputs.iter().map(|text| fact(text)).collect();
    (got != wanted).then(|| format!("{row}\n    got {got:?}"))
}

fn attribute(name: &str, text: &str) -> AttributeProto {
    let mut attribute = AttributeProto { name: Some(name.to_owned()), ..AttributeProto::default() };
    if let Some(tensor) = text.strip_prefix("t:") {
        let fact = fact(tensor);
        let dims = tensor.split(['[', ']']).nth(1).unwrap();
        attribute.t = Some(TensorProto {
            dims: dims.split(',').filter(|d| !d.is_empty()).map(|d| d.parse().unwrap()).collect(),
            data_type: Some(fact.elem.into()),
            int64_data: fact.ints().unwrap(),
            ..TensorProto::default()
        });
        return attribute;
    }
    let items: Vec<&str> = text.split(',').filter(|item| !item.is_empty()).collect();
    match (text.contains('.'), text.contains(',')) {
        (true, true) => attribute.floats = items.iter().map(|f| f.parse().unwrap()).collect(),
        (true, false) => attribute.f = text.parse().ok(),
        (false, true) => attribute.ints = items.iter().map(|i| i.parse().unwrap()).collect(),
        (false, false) => attribute.i = text.parse().ok(),
    }
    attribute
}

fn fact(text: &str) -> Fact {
    let elem = match text.as_bytes()[0] {
        b'f' => DataType::Float,
        b'h' => DataType::Float16,
        b'd' => DataType::Double,
        b'i' => DataType::Int64,
        b'j' => DataType::Int32,
        b'c' => DataType::Int8,
        b'u' => DataType::Uint8,
        b'b' => DataType::Bool,
        b'?' => DataType::Undefined,
        other => panic!("no type {other} in {text}"),
    };
    let Some((_, rest)) = text.split_once('[') else { return Fact { elem, ..Fact::default() } };
    let (dims, numbers) = rest.split_once(']').unwrap();
    let value = numbers.strip_prefix('=').map(|numbers| {
        if elem.is_float() {
            let floats = numbers.split(',').filter(|n| !n.is_empty());
            ConstantValue::Floats(
                floats.map(|float| float.parse::<f32>().unwrap().into()).collect(),
            )
        } else {
            ConstantValue::Ints(dims_of(numbers))
        }
    });
    Fact { elem, shape: Some(dims_of(dims)), value }
}

fn dims_of(text: &str) -> Vec<Dim> {
    let dim = |text: &str| match text.strip_suffix('N') {
        Some("") => Dim::Batch(1),
        Some(times) => Dim::Batch(times.parse().unwrap()),
        None => Dim::Fixed(text.parse().unwrap()),
    };
    text.split(',').filter(|dim| !dim.is_empty()).map(dim).collect()
}
