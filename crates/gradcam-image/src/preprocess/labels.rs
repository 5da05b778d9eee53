//! Reads names of classes in their common forms.

use std::path::Path;

use serde_json::Value;

use super::{SettingOrigin, json};
use crate::ImageError;
use crate::files::{self, Files};

/// The maximum length in bytes of a file of labels or of JSON beside a model.
pub(super) const MAX_BYTES: u64 = 16 << 20;

/// Reads labels from a list, from an object of index to label (`{"0": "tench", …}`, keys as strings), or from one of label to
/// index, as Keras' `class_indices`.
///
/// A label is text, a number, the last of a list (`["n01440764", "tench"]`), or an object with a `name` or a `label`.
pub(super) fn from_value(place: &str, value: &Value) -> Result<Vec<String>, ImageError> {
    let text = |(index, value): (usize, &Value)| {
        text(value).ok_or_else(|| {
            let got = json::brief(value);
            json::metadata(format!(
                "{place}: the label of class {index} is {got}; expected a string"
            ))
        })
    };
    let missing = |count: usize, index: usize| {
        json::metadata(format!(
            "{place}: {count} labels, but none for class {index}; expected every class from 0"
        ))
    };
    match value {
        Value::Array(labels) => labels.iter().enumerate().map(text).collect(),
        Value::Object(map) if !map.is_empty() && map.values().all(Value::is_u64) => {
            let label = |index: usize| {
                let found = map.iter().find(|(_, place)| place.as_u64() == Some(index as u64));
                found.map(|(label, _)| label.clone()).ok_or_else(|| missing(map.len(), index))
            };
            // An object of numbers to numbers is one of index to label too.
            match (0..map.len())
                .map(|index| Some((index, map.get(&index.to_string())?)))
                .collect::<Option<Vec<_>>>()
            {
                Some(by_index) => by_index.into_iter().map(text).collect(),
                None => (0..map.len()).map(label).collect(),
            }
        }
        Value::Object(map) => (0..map.len())
            .map(|index| match map.get(&index.to_string()) {
                Some(label) => text((index, label)),
                None => Err(missing(map.len(), index)),
            })
            .collect(),
        other => Err(json::metadata(format!(
            "{place}: {}; expected a list of labels or an object of index to label",
            json::brief(other)
        ))),
    }
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(label) => Some(label.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Array(parts) => parts.last()?.as_str().map(str::to_owned),
        Value::Object(map) => {
            map.get("name").or_else(|| map.get("label"))?.as_str().map(str::to_owned)
        }
        Value::Null | Value::Bool(_) => None,
    }
}

/// The labels of a model with so many classes. A list of characters leaves out what a model of text adds to it: the blank before
/// them, and the space behind.
pub fn with_blank(origin: SettingOrigin, labels: Vec<String>, classes: usize) -> Vec<String> {
    let of_characters =
        matches!(origin, SettingOrigin::PaddleMetadata | SettingOrigin::PaddleConfig);
    match classes.checked_sub(labels.len()) {
        Some(added @ (1 | 2)) if of_characters => {
            let blank = ["blank".to_owned()].into_iter();
            let space = (added == 2).then(|| " ".to_owned());
            blank.chain(labels).chain(space).collect()
        }
        _ => labels,
    }
}

/// Reads labels from a file.
pub(super) fn from_file(files: &dyn Files, path: &Path) -> Result<Vec<String>, ImageError> {
    from_bytes(path, &files::read(files, path, MAX_BYTES)?)
}

/// Reads labels from a file if it exists.
pub(super) fn from_file_if_there(
    files: &dyn Files,
    path: &Path,
) -> Result<Option<Vec<String>>, ImageError> {
    let bytes = files::read_if_there(files, path, MAX_BYTES)?;
    bytes.map(|bytes| from_bytes(path, &bytes)).transpose()
}

/// JSON by the file's extension, otherwise one label per line.
fn from_bytes(path: &Path, bytes: &[u8]) -> Result<Vec<String>, ImageError> {
    let place = path.display().to_string();
    if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json")) {
        return from_value(&place, &json::value(&place, bytes)?);
    }
    from_lines(&place, bytes)
}

/// Reads one label per line, in the order of the classes. WordNet ids before a label are removed.
pub(super) fn from_lines(place: &str, bytes: &[u8]) -> Result<Vec<String>, ImageError> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        json::metadata(format!("{place}: not UTF-8 text: {error}")).caused_by(error)
    })?;
    let text = text.trim_start_matches('\u{feff}').trim_end();
    if text.is_empty() {
        return Err(json::metadata(format!("{place}: no labels; expected one per line")));
    }
    Ok(text.lines().map(|line| without_synset(line.trim()).to_owned()).collect())
}

/// Removes the WordNet id of `n01440764 tench, Tinca tinca`; an id without a label stays.
fn without_synset(line: &str) -> &str {
    match line.split_once(char::is_whitespace) {
        Some((id, label)) if is_synset(id) => label.trim_start(),
        _ => line,
    }
}

fn is_synset(word: &str) -> bool {
    word.len() == 9 && word.starts_with('n') && word[1..].bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::from_lines;

    #[test]
    fn lines() {
        for (text, labels) in [
            ("cat\ndog\n", vec!["cat", "dog"]),
            ("\u{feff}cat\r\ndog\r\n\r\n", vec!["cat", "dog"]),
            ("cat\n\ndog", vec!["cat", "", "dog"]),
            ("n01440764 tench, Tinca tinca\nn01443537", vec!["tench, Tinca tinca", "n01443537"]),
            ("new car\nnéé12345 x", vec!["new car", "néé12345 x"]),
        ] {
            assert_eq!(
                from_lines("labels.txt", text.as_bytes()).ok(),
                Some(labels.iter().map(|l| l.to_string()).collect()),
                "{text:?}"
            );
        }
        for (bytes, complaint) in [
            (&b" \n"[..], "labels.txt: no labels; expected one per line"),
            (b"caf\xe9", "labels.txt: not UTF-8 text: incomplete utf-8 byte sequence from index 3"),
        ] {
            assert_eq!(from_lines("labels.txt", bytes).unwrap_err().to_string(), complaint);
        }
    }
}
