//! Reads Python literals, as `str()` writes them into ONNX metadata: `{0: 'tench', 1: "jack-o'-lantern"}`, `[224, 224]`.
//!
//! The subset of `ast.literal_eval` that such metadata uses: dict, list, tuple, string, number, True, False, None.
//! <https://docs.python.org/3/library/ast.html#ast.literal_eval>

use serde_json::{Map, Value};

/// The maximum nesting depth, so that hostile metadata cannot exhaust the stack.
const MAX_DEPTH: usize = 32;

/// Converts a literal to JSON. Keys of dicts become strings, tuples become arrays.
pub(super) fn parse(text: &str) -> Result<Value, String> {
    let mut parser = LiteralParser { text, at: 0 };
    let value = parser.value(0)?;
    parser.skip_space();
    if parser.at < text.len() {
        return Err(parser.unexpected("the end"));
    }
    Ok(value)
}

struct LiteralParser<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> LiteralParser<'a> {
    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let next = self.peek()?;
        self.at += next.len_utf8();
        Some(next)
    }

    fn skip_space(&mut self) {
        while self.peek().is_some_and(char::is_whitespace) {
            self.next();
        }
    }

    /// Consumes `wanted` if it comes next.
    fn take(&mut self, wanted: char) -> bool {
        self.skip_space();
        let there = self.peek() == Some(wanted);
        if there {
            self.next();
        }
        there
    }

    fn expect(&mut self, wanted: char) -> Result<(), String> {
        if self.take(wanted) { Ok(()) } else { Err(self.unexpected(&format!("{wanted:?}"))) }
    }

    fn unexpected(&self, expected: &str) -> String {
        let got = self.peek().map_or_else(|| "the end".to_owned(), |c| format!("{c:?}"));
        format!("expected {expected} at byte {}, found {got}", self.at)
    }

    fn value(&mut self, depth: usize) -> Result<Value, String> {
        if depth > MAX_DEPTH {
            return Err(format!("nested deeper than {MAX_DEPTH} levels"));
        }
        self.skip_space();
        match self.peek() {
            Some('{') => self.dict(depth),
            Some('[') => self.sequence(']', depth),
            Some('(') => self.sequence(')', depth),
            Some('\'' | '"') => self.string().map(Value::String),
            _ => self.word(),
        }
    }

    fn dict(&mut self, depth: usize) -> Result<Value, String> {
        self.next();
        let mut map = Map::new();
        while !self.take('}') {
            let key = match self.value(depth + 1)? {
                Value::String(key) => key,
                key @ Value::Number(_) => key.to_string(),
                key => return Err(format!("{key} cannot be a key")),
            };
            self.expect(':')?;
            map.insert(key, self.value(depth + 1)?);
            if !self.take(',') {
                self.expect('}')?;
                break;
            }
        }
        Ok(Value::Object(map))
    }

    fn sequence(&mut self, end: char, depth: usize) -> Result<Value, String> {
        self.next();
        let mut items = Vec::new();
        while !self.take(end) {
            items.push(self.value(depth + 1)?);
            if !self.take(',') {
                self.expect(end)?;
                break;
            }
        }
        Ok(Value::Array(items))
    }

    fn string(&mut self) -> Result<String, String> {
        let quote = self.next();
        let mut string = String::new();
        loop {
            match self.next() {
                None => return Err("a string is not closed".into()),
                end if end == quote => return Ok(string),
                Some('\\') => match self.next() {
                    Some('n') => string.push('\n'),
                    Some('r') => string.push('\r'),
                    Some('t') => string.push('\t'),
                    Some('x') => string.push(self.code_point(2)?),
                    Some('u') => string.push(self.code_point(4)?),
                    Some('U') => string.push(self.code_point(8)?),
                    Some(escaped @ ('\\' | '\'' | '"')) => string.push(escaped),
                    other => return Err(format!("unknown escape {other:?} in a string")),
                },
                Some(c) => string.push(c),
            }
        }
    }

    fn code_point(&mut self, digits: usize) -> Result<char, String> {
        let hex = self.rest().get(..digits).unwrap_or_default();
        let digits_only = Some(hex).filter(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()));
        let code = digits_only.and_then(|hex| u32::from_str_radix(hex, 16).ok());
        let code = code.and_then(char::from_u32);
        self.at += hex.len();
        code.ok_or_else(|| format!("{hex:?} is no code point of {digits} hexadecimal digits"))
    }

    /// A number or one of the three constants.
    fn word(&mut self) -> Result<Value, String> {
        let rest = self.rest();
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && !"+-._".contains(c));
        let word = &rest[..end.unwrap_or(rest.len())];
        let value = match word {
            "True" => Value::Bool(true),
            "False" => Value::Bool(false),
            "None" => Value::Null,
            _ => match (word.parse::<i64>(), word.parse::<f64>()) {
                (Ok(integer), _) => Value::from(integer),
                (_, Ok(number)) if number.is_finite() => Value::from(number),
                _ => return Err(self.unexpected("a literal")),
            },
        };
        self.at += word.len();
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn literals() {
        for (text, json) in [
            ("{0: 'tench', 1: \"jack-o'-lantern\"}", r#"{"0":"tench","1":"jack-o'-lantern"}"#),
            ("[224, 224]", "[224,224]"),
            ("(1, 2.5, -3,)", "[1,2.5,-3]"),
            (" {'a': [True, False, None], } ", r#"{"a":[true,false,null]}"#),
            (r"'it\'s \\ \xe9 \u00e9 \n'", r#""it's \\ é é \n""#),
            ("{}", "{}"),
        ] {
            assert_eq!(parse(text).map(|value| value.to_string()), Ok(json.to_owned()), "{text}");
        }
    }

    #[test]
    fn malformed() {
        let deep = "[".repeat(100_000);
        for (text, complaint) in [
            ("", "expected a literal at byte 0, found the end"),
            ("{0 'tench'}", "expected ':' at byte 3, found '\\''"),
            ("[1, 2", "expected ']' at byte 5, found the end"),
            ("'abc", "a string is not closed"),
            ("[1] 2", "expected the end at byte 4, found '2'"),
            ("__import__('os')", "expected a literal at byte 0, found '_'"),
            ("{[1]: 2}", "[1] cannot be a key"),
            (r"'\u12é'", "\"12é\" is no code point of 4 hexadecimal digits"),
            (&deep, "nested deeper than 32 levels"),
        ] {
            let got = parse(text).map(|value| value.to_string());
            assert_eq!(got, Err(complaint.to_owned()), "{text:.40}");
        }
    }
}
