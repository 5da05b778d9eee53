//! Reads YAML files of other programs as JSON values.

use saphyr_parser::{Event, Parser, ScalarStyle};
use serde_json::{Map, Value};

use super::json::{brief, metadata};
use crate::ImageError;

/// The deepest nesting that is read.
const MAX_DEPTH: usize = 32;

/// A list or a mapping whose end is not read yet.
enum Open {
    List(Vec<Value>),
    /// The entries, and the key whose value comes next.
    Mapping(Map<String, Value>, Option<String>),
}

/// The mapping that is the first document in `text`.
pub(super) fn object(place: &str, text: &[u8]) -> Result<Map<String, Value>, ImageError> {
    match value(place, text)? {
        Value::Object(map) => Ok(map),
        other => Err(metadata(format!("{place}: {}; expected a mapping", brief(&other)))),
    }
}

/// The first document in `text`. Keys become text; anchors are refused, because a short file could stand for a huge one.
fn value(place: &str, text: &[u8]) -> Result<Value, ImageError> {
    let wrong = |why: String| metadata(format!("{place}: not YAML: {why}"));
    let text = std::str::from_utf8(text).map_err(|error| wrong(error.to_string()))?;
    let mut open: Vec<Open> = Vec::new();
    for event in Parser::new_from_str(text) {
        let (event, _) = event.map_err(|error| wrong(error.to_string()))?;
        let value = match event {
            Event::Scalar(text, style, _, _) => scalar(&text, style),
            Event::SequenceStart(..) => {
                open.push(Open::List(Vec::new()));
                continue;
            }
            Event::MappingStart(..) => {
                open.push(Open::Mapping(Map::new(), None));
                continue;
            }
            Event::SequenceEnd | Event::MappingEnd => match open.pop() {
                Some(Open::List(list)) => Value::Array(list),
                Some(Open::Mapping(map, _)) => Value::Object(map),
                None => Value::Null,
            },
            Event::Alias(_) => return Err(wrong("it has anchors, which are not read".to_owned())),
            _ => continue,
        };
        if open.len() > MAX_DEPTH {
            return Err(wrong(format!("nested deeper than {MAX_DEPTH} levels")));
        }
        match open.last_mut() {
            None => return Ok(value),
            Some(Open::List(list)) => list.push(value),
            Some(Open::Mapping(map, key)) => match key.take() {
                Some(key) => _ = map.insert(key, value),
                None => {
                    *key = Some(value.as_str().map_or_else(|| value.to_string(), str::to_owned))
                }
            },
        }
    }
    Ok(Value::Null)
}

/// A scalar; only what is not quoted can be a number or a constant.
fn scalar(text: &str, style: ScalarStyle) -> Value {
    if style != ScalarStyle::Plain {
        return Value::from(text);
    }
    match (text, text.parse::<i64>(), text.parse::<f64>()) {
        ("" | "~" | "null" | "Null" | "NULL", ..) => Value::Null,
        ("true" | "True" | "TRUE", ..) => Value::Bool(true),
        ("false" | "False" | "FALSE", ..) => Value::Bool(false),
        (_, Ok(integer), _) => Value::from(integer),
        (_, _, Ok(number)) if number.is_finite() => Value::from(number),
        _ => Value::from(text),
    }
}

#[cfg(test)]
mod tests {
    use super::value;

    #[test]
    fn documents_become_json() {
        for (text, json) in [
            (
                "a: 1\nb:\n- x\n- '1'\n- 1.5\nc: {d: [true, ~]}\n",
                r#"{"a":1,"b":["x","1",1.5],"c":{"d":[true,null]}}"#,
            ),
            ("- \"\\u3000\"\n- ''''\n- '#'\n", "[\"\u{3000}\",\"'\",\"#\"]"),
            ("0: cat\n1: dog\n", r#"{"0":"cat","1":"dog"}"#),
            ("", "null"),
        ] {
            assert_eq!(value("a.yml", text.as_bytes()).unwrap().to_string(), json, "{text}");
        }
        let deep = "[".repeat(10_000);
        for (text, complaint) in [
            ("a: &x 1\nb: *x\n", "it has anchors"),
            ("a: [1", "a.yml: not YAML: "),
            (&deep, "a.yml: not YAML: "),
        ] {
            let message = value("a.yml", text.as_bytes()).unwrap_err().to_string();
            assert!(message.contains(complaint), "{message}");
        }
    }
}
