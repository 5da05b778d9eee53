//! Tokens of Rust source: words, `::` and single characters. Omits comments, literals and lifetimes.

/// A token and its line number, starting at 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Token<'a> {
    pub(super) text: &'a str,
    pub(super) line: usize,
}

impl Token<'_> {
    pub(super) fn is_word(&self) -> bool {
        self.text.starts_with(starts_word)
    }
}

pub(super) fn tokens(text: &str) -> Vec<Token<'_>> {
    let (mut tokens, mut rest, mut line) = (Vec::new(), text, 1);
    while let Some(first) = rest.chars().next() {
        let (length, is_token) = extent(rest, first);
        let (taken, after) = rest.split_at(length);
        if is_token {
            tokens.push(Token { text: taken.trim_start_matches("r#"), line });
        }
        line += taken.matches('\n').count();
        rest = after;
    }
    tokens
}

/// The length in bytes of the first lexical element of the text, and whether it is a token.
fn extent(text: &str, first: char) -> (usize, bool) {
    let word = text.find(|c| !continues_word(c)).unwrap_or(text.len());
    if text.starts_with("//") {
        return (text.find('\n').unwrap_or(text.len()), false);
    }
    if text.starts_with("/*") {
        return (comment(text), false);
    }
    if text.starts_with("::") {
        return (2, true);
    }
    if starts_word(first) {
        return match (&text[..word], &text[word..]) {
            ("r" | "br" | "cr", after) if after.trim_start_matches('#').starts_with('"') => {
                (word + raw_string(after), false)
            }
            ("b" | "c", after) if after.starts_with('"') => (word + quoted(after, '"'), false),
            ("b", after) if after.starts_with('\'') => (word + quoted(after, '\''), false),
            ("r", after) if after.starts_with('#') => {
                let name = &after[1..];
                (word + 1 + name.find(|c| !continues_word(c)).unwrap_or(name.len()), true)
            }
            _ => (word, true),
        };
    }
    match first {
        '"' => (quoted(text, '"'), false),
        '\'' => {
            let mut inside = text[1..].chars();
            let (character, end) = (inside.next(), inside.next());
            if character == Some('\\') || end == Some('\'') {
                (quoted(text, '\''), false)
            } else {
                let name = &text[1..];
                (1 + name.find(|c| !continues_word(c)).unwrap_or(name.len()), false)
            }
        }
        '0'..='9' => (word, false),
        _ => (first.len_utf8(), !first.is_whitespace()),
    }
}

fn starts_word(c: char) -> bool {
    c == '_' || c.is_alphabetic()
}

fn continues_word(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

/// The length of a string or character literal, including quotes and escapes.
fn quoted(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        if c == quote && !escaped {
            return at + 1;
        }
        escaped = c == '\\' && !escaped;
    }
    text.len()
}

/// The length of a raw string, which starts and ends with the same number of `#`.
fn raw_string(text: &str) -> usize {
    let signs = text.len() - text.trim_start_matches('#').len();
    let end = format!("\"{}", "#".repeat(signs));
    text[signs + 1..].find(&end).map_or(text.len(), |at| signs + 1 + at + end.len())
}

/// The length of a block comment, which can be nested.
fn comment(text: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < text.len() {
        let rest = &text.as_bytes()[at..];
        if rest.starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_strings_characters_lifetimes_and_numbers_are_not_tokens() {
        for (text, expected) in [
            ("use crate::a; // use b;", "use crate :: a ;"),
            ("a /* b /* c */ d */ e", "a e"),
            (r#"a "use b; \" c" d"#, "a d"),
            (r###"a r#"b " c"# d br"e\" f"###, "a d f"),
            (r"'a' 'b: '\'' b'\n' c '{'", ": c"),
            ("&'static str 'é' x", "& str x"),
            ("1_000u32 0..n 1.5", ". . n ."),
            ("r#type::b r#\"c\"#", "type :: b"),
        ] {
            let found: Vec<&str> = tokens(text).iter().map(|token| token.text).collect();
            assert_eq!(found.join(" "), expected, "{text}");
        }
    }

    #[test]
    fn a_token_knows_its_line() {
        let found = tokens("/*\n\n*/ a\n\"\n\"\nb");
        assert_eq!(found, [Token { text: "a", line: 3 }, Token { text: "b", line: 6 }]);
    }
}
