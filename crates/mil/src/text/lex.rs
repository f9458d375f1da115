//! Words of MIL text.

use std::ops::Range;

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A letter or `_`, then letters, digits and `_`.
    Ident,
    /// Begins with a digit or a sign; whether it is a number is seen when its type is known.
    Number,
    /// A string with its quotes.
    Str,
    /// A string that the text ends in.
    OpenStr,
    /// `->`, or one character of punctuation.
    Punct,
    /// A character that stands for nothing.
    Unknown,
    /// The end of the text.
    End,
}

/// A word and where it stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Token<'s> {
    pub kind: Kind,
    pub text: &'s str,
    pub start: usize,
}

impl<'s> Token<'s> {
    pub fn range(&self) -> Range<usize> {
        self.start..self.start + self.text.len()
    }

    pub fn is(&self, punct: &str) -> bool {
        self.kind == Kind::Punct && self.text == punct
    }

    pub fn is_word(&self, word: &str) -> bool {
        self.kind == Kind::Ident && self.text == word
    }

    /// The text of a string token, without quotes and escapes.
    pub fn unquoted(&self) -> String {
        let inner = self.text.strip_prefix('"').unwrap_or(self.text);
        let inner = inner.strip_suffix('"').unwrap_or(inner);
        let mut out = String::with_capacity(inner.len());
        let mut chars = inner.chars();
        while let Some(c) = chars.next() {
            out.extend(if c == '\\' { chars.next() } else { Some(c) });
        }
        out
    }

    /// How messages name it.
    pub fn shown(&self) -> String {
        const LONGEST: usize = 40;
        match self.kind {
            Kind::End => "the end of the text".into(),
            Kind::OpenStr => "a string that never ends".into(),
            _ if self.text.chars().count() > LONGEST => {
                format!("`{}…`", self.text.chars().take(LONGEST).collect::<String>())
            }
            _ => format!("`{}`", self.text),
        }
    }
}

/// Cuts a text into tokens, each byte looked at once.
#[derive(Clone, Debug)]
pub(super) struct Lexer<'s> {
    source: &'s str,
    at: usize,
}

impl<'s> Lexer<'s> {
    pub fn new(source: &'s str) -> Lexer<'s> {
        let at = if source.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
        Lexer { source, at }
    }

    /// Goes to the end of the text.
    pub fn finish(&mut self) {
        self.at = self.source.len();
    }

    /// The next token, [`Kind::End`] for ever once the text has ended.
    pub fn next(&mut self) -> Token<'s> {
        self.skip_blanks();
        let (start, rest) = (self.at, &self.source[self.at..]);
        let bytes = rest.as_bytes();
        let (kind, length) = match bytes.first() {
            None => (Kind::End, 0),
            Some(b'a'..=b'z' | b'A'..=b'Z' | b'_') => (Kind::Ident, word(bytes)),
            Some(b'-') if bytes.get(1) == Some(&b'>') => (Kind::Punct, 2),
            Some(b'0'..=b'9' | b'+' | b'-' | b'.') => (Kind::Number, number(bytes)),
            Some(b'"') => string(bytes),
            Some(b'(' | b')' | b'[' | b']' | b'{' | b'}' | b'<' | b'>' | b',' | b';' | b'=' | b'?') => {
                (Kind::Punct, 1)
            }
            Some(_) => (Kind::Unknown, rest.chars().next().map_or(1, char::len_utf8)),
        };
        self.at += length;
        Token { kind, text: &rest[..length], start }
    }

    fn skip_blanks(&mut self) {
        let bytes = self.source.as_bytes();
        loop {
            match bytes.get(self.at) {
                Some(b' ' | b'\t' | b'\r' | b'\n') => self.at += 1,
                Some(b'/') if bytes.get(self.at + 1) == Some(&b'/') => {
                    let rest = &bytes[self.at..];
                    self.at += rest.iter().position(|&b| b == b'\n').unwrap_or(rest.len());
                }
                _ => return,
            }
        }
    }
}

fn word(bytes: &[u8]) -> usize {
    bytes.iter().position(|b| !b.is_ascii_alphanumeric() && *b != b'_').unwrap_or(bytes.len())
}

/// The length of a number: letters, digits, points, and a sign at the start or behind an exponent's letter.
fn number(bytes: &[u8]) -> usize {
    let digits = bytes.strip_prefix(b"-").or(bytes.strip_prefix(b"+")).unwrap_or(bytes);
    let exponent: &[u8] = if digits.starts_with(b"0x") || digits.starts_with(b"0X") { b"pP" } else { b"eE" };
    let mut length = bytes.len() - digits.len();
    while let Some(&b) = bytes.get(length) {
        let sign = matches!(b, b'+' | b'-') && length > 0 && exponent.contains(&bytes[length - 1]);
        if !(b.is_ascii_alphanumeric() || b == b'.' || b == b'_' || sign) {
            break;
        }
        length += 1;
    }
    length
}

fn string(bytes: &[u8]) -> (Kind, usize) {
    let mut at = 1;
    while let Some(&b) = bytes.get(at) {
        match b {
            b'"' => return (Kind::Str, at + 1),
            // An escape is `\` and one character. Skipping its first byte is enough, as the others of a character
            // of several bytes are neither `"` nor `\`.
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    (Kind::OpenStr, bytes.len())
}

#[cfg(test)]
mod tests {
    use super::{Kind, Lexer};

    fn words(source: &str) -> Vec<(Kind, &str)> {
        let mut lexer = Lexer::new(source);
        std::iter::from_fn(|| Some(lexer.next()).filter(|t| t.kind != Kind::End))
            .map(|t| (t.kind, t.text))
            .collect()
    }

    #[test]
    fn words_are_cut_without_blanks() {
        use Kind::{Ident, Number, Punct, Str};
        let got = words("fp16 y=mul(x=-0x1.8p-3,s=\"a\\\"b\")->1e-5// end");
        let want = [
            (Ident, "fp16"),
            (Ident, "y"),
            (Punct, "="),
            (Ident, "mul"),
            (Punct, "("),
            (Ident, "x"),
            (Punct, "="),
            (Number, "-0x1.8p-3"),
            (Punct, ","),
            (Ident, "s"),
            (Punct, "="),
            (Str, "\"a\\\"b\""),
            (Punct, ")"),
            (Punct, "->"),
            (Number, "1e-5"),
        ];
        assert_eq!(got, want);
    }

    #[test]
    fn strange_text_is_cut_at_characters() {
        assert_eq!(words("é"), [(Kind::Unknown, "é")]);
        assert_eq!(words("\"a\\"), [(Kind::OpenStr, "\"a\\")]);
        assert_eq!(words("\"\\é\""), [(Kind::Str, "\"\\é\"")]);
        assert_eq!(words("0x1-2"), [(Kind::Number, "0x1"), (Kind::Number, "-2")]);
    }
}
