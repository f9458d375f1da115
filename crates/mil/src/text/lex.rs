//! Words of MIL text.

use super::tree::{Comment, Name, Span};
use std::borrow::Cow;
use std::ops::Range;

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TokenKind {
    /// A letter or `_`, then letters, digits and `_`.
    Ident,
    /// Begins with a digit or a sign; it is parsed as a number once its type is known.
    Number,
    /// A string with its quotes.
    Str,
    /// A string that the text ends in.
    OpenStr,
    /// One character of punctuation.
    Punct(u8),
    /// `->`.
    Arrow,
    /// An invalid character.
    Unknown,
    /// The end of the text.
    End,
}

/// A word with its place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Token<'s> {
    pub kind: TokenKind,
    pub text: &'s str,
    pub start: u32,
}

impl<'s> Token<'s> {
    pub fn span(&self) -> Span {
        Span { start: self.start, end: self.start + self.text.len() as u32 }
    }

    pub fn range(&self) -> Range<usize> {
        self.span().range()
    }

    pub fn name(&self) -> Name<'s> {
        Name { text: self.text, span: self.span() }
    }

    pub fn is(&self, punct: u8) -> bool {
        self.kind == TokenKind::Punct(punct)
    }

    pub fn is_word(&self, word: &str) -> bool {
        self.kind == TokenKind::Ident && self.text == word
    }

    /// The text of a string token, without quotes and escapes.
    pub fn unquoted(&self) -> Cow<'s, str> {
        let inner = self.text.strip_prefix('"').unwrap_or(self.text);
        let inner = inner.strip_suffix('"').unwrap_or(inner);
        if !inner.contains('\\') {
            return Cow::Borrowed(inner);
        }
        let mut out = String::with_capacity(inner.len());
        let mut chars = inner.chars();
        while let Some(c) = chars.next() {
            out.extend(if c == '\\' { chars.next() } else { Some(c) });
        }
        Cow::Owned(out)
    }

    /// How messages name it.
    pub fn shown(&self) -> String {
        const LONGEST: usize = 40;
        match self.kind {
            TokenKind::End => "the end of the text".into(),
            TokenKind::OpenStr => "a string that never ends".into(),
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
    pub comments: Vec<Comment<'s>>,
}

/// The class of a token's first byte.
#[derive(Clone, Copy, PartialEq, Eq)]
enum CharClass {
    Blank,
    Word,
    Digit,
    Punct,
    Other,
}

const CLASSES: [CharClass; 256] = {
    let mut out = [CharClass::Other; 256];
    let mut i = 0;
    while i < 256 {
        out[i] = match i as u8 {
            b' ' | b'\t' | b'\r' | b'\n' => CharClass::Blank,
            b'a'..=b'z' | b'A'..=b'Z' | b'_' => CharClass::Word,
            b'0'..=b'9' => CharClass::Digit,
            b'(' | b')' | b'[' | b']' | b'{' | b'}' | b'<' | b'>' | b',' | b';' | b'=' | b'?' => {
                CharClass::Punct
            }
            _ => CharClass::Other,
        };
        i += 1;
    }
    out
};

impl<'s> Lexer<'s> {
    pub fn new(source: &'s str) -> Lexer<'s> {
        let at = if source.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
        Lexer { source, at, comments: Vec::new() }
    }

    /// The whole text.
    pub fn source(&self) -> &'s str {
        self.source
    }

    /// Skips to the end of the text.
    pub fn finish(&mut self) {
        self.at = self.source.len();
    }

    /// The next token, [`TokenKind::End`] for ever once the text has ended.
    pub fn next(&mut self) -> Token<'s> {
        let bytes = self.source.as_bytes();
        let mut at = self.at;
        let class = loop {
            match bytes.get(at).map(|&b| CLASSES[usize::from(b)]) {
                Some(CharClass::Blank) => at += 1,
                Some(CharClass::Other) if bytes[at..].starts_with(b"//") => at = self.comment(at),
                class => break class,
            }
        };
        let rest = &bytes[at..];
        let (kind, length) = match class {
            None => (TokenKind::End, 0),
            Some(CharClass::Word) => (TokenKind::Ident, word(rest)),
            Some(CharClass::Punct) => (TokenKind::Punct(rest[0]), 1),
            Some(CharClass::Digit) => (TokenKind::Number, number(rest)),
            _ => match rest[0] {
                b'"' => string(rest),
                b'-' if rest.get(1) == Some(&b'>') => (TokenKind::Arrow, 2),
                b'+' | b'-' | b'.' => (TokenKind::Number, number(rest)),
                _ => (TokenKind::Unknown, self.source[at..].chars().next().map_or(1, char::len_utf8)),
            },
        };
        self.at = at + length;
        Token { kind, text: &self.source[at..at + length], start: at as u32 }
    }

    /// Keeps the comment that begins at `at`; its end.
    #[cold]
    fn comment(&mut self, at: usize) -> usize {
        let rest = &self.source[at..];
        let text = rest.lines().next().unwrap_or(rest);
        let line = self.source[..at].rfind('\n').map_or(0, |n| n + 1);
        let behind = !self.source[line..at].trim().is_empty();
        let span = Span { start: at as u32, end: (at + text.len()) as u32 };
        self.comments.push(Comment { text: text.trim_end(), span, behind });
        at + text.len()
    }
}

fn word(bytes: &[u8]) -> usize {
    let is_part = |b: &u8| matches!(CLASSES[usize::from(*b)], CharClass::Word | CharClass::Digit);
    bytes.iter().position(|b| !is_part(b)).unwrap_or(bytes.len())
}

/// The length of a number: letters, digits, points, and a sign at the start or after an exponent's letter.
fn number(bytes: &[u8]) -> usize {
    let digits = bytes.strip_prefix(b"-").or(bytes.strip_prefix(b"+")).unwrap_or(bytes);
    let exponent: &[u8] = if digits.starts_with(b"0x") || digits.starts_with(b"0X") { b"pP" } else { b"eE" };
    let mut length = bytes.len() - digits.len();
    while let Some(&b) = bytes.get(length) {
        let sign = matches!(b, b'+' | b'-') && length > 0 && exponent.contains(&bytes[length - 1]);
        if !(matches!(CLASSES[usize::from(b)], CharClass::Word | CharClass::Digit) || b == b'.' || sign) {
            break;
        }
        length += 1;
    }
    length.max(1)
}

fn string(bytes: &[u8]) -> (TokenKind, usize) {
    let mut at = 1;
    while let Some(&b) = bytes.get(at) {
        match b {
            b'"' => return (TokenKind::Str, at + 1),
            // An escape is `\` and one character. Skipping its first byte is enough, as the others of a character
            // of several bytes are neither `"` nor `\`.
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    (TokenKind::OpenStr, bytes.len())
}

#[cfg(test)]
mod tests {
    use super::{Lexer, TokenKind};

    fn words(source: &str) -> Vec<(TokenKind, &str)> {
        let mut lexer = Lexer::new(source);
        std::iter::from_fn(|| Some(lexer.next()).filter(|t| t.kind != TokenKind::End))
            .map(|t| (t.kind, t.text))
            .collect()
    }

    #[test]
    fn words_are_cut_without_blanks() {
        use TokenKind::{Arrow, Ident, Number, Punct, Str};
        let got = words("fp16 y=mul(x=-0x1.8p-3,s=\"a\\\"b\")->1e-5// end");
        let want = [
            (Ident, "fp16"),
            (Ident, "y"),
            (Punct(b'='), "="),
            (Ident, "mul"),
            (Punct(b'('), "("),
            (Ident, "x"),
            (Punct(b'='), "="),
            (Number, "-0x1.8p-3"),
            (Punct(b','), ","),
            (Ident, "s"),
            (Punct(b'='), "="),
            (Str, "\"a\\\"b\""),
            (Punct(b')'), ")"),
            (Arrow, "->"),
            (Number, "1e-5"),
        ];
        assert_eq!(got, want);
    }

    #[test]
    fn strange_text_is_cut_at_characters() {
        assert_eq!(words("é"), [(TokenKind::Unknown, "é")]);
        assert_eq!(words("\"a\\"), [(TokenKind::OpenStr, "\"a\\")]);
        assert_eq!(words("\"\\é\""), [(TokenKind::Str, "\"\\é\"")]);
        assert_eq!(words("0x1-2"), [(TokenKind::Number, "0x1"), (TokenKind::Number, "-2")]);
        assert_eq!(
            words("/ + -"),
            [(TokenKind::Unknown, "/"), (TokenKind::Number, "+"), (TokenKind::Number, "-")]
        );
    }

    #[test]
    fn comments_are_kept() {
        let mut lexer = Lexer::new("// one\r\na // two\n//three");
        while lexer.next().kind != TokenKind::End {}
        let got: Vec<_> = lexer.comments.iter().map(|c| (c.text, c.behind)).collect();
        assert_eq!(got, [("// one", false), ("// two", true), ("//three", false)]);
    }
}
