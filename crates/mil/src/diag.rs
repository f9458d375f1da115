//! Diagnostics: what was refused, where, and what would help.

use std::fmt;
use std::ops::Range;
use std::panic::Location;

/// Where an operation was written.
#[derive(Clone, Debug, Default)]
pub enum Place {
    /// Unknown, or made by a pass.
    #[default]
    Nowhere,
    /// A range of bytes of the text that was read.
    Text(Range<usize>),
    /// The Rust line that called the builder.
    Rust(&'static Location<'static>),
}

/// Places never make programs differ.
impl PartialEq for Place {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

/// A rule's refusal: it knows the parameter, the verifier knows the place.
#[derive(Clone, Debug, PartialEq)]
pub struct Reject {
    /// The rule, in words with hyphens: `inner-dimensions`.
    pub code: &'static str,
    /// One sentence.
    pub message: String,
    /// Notes on parameters: name and text.
    pub labels: Vec<(&'static str, String)>,
    /// What would help.
    pub help: Option<String>,
}

impl Reject {
    /// A refusal by rule `code`.
    pub fn new(code: &'static str, message: impl Into<String>) -> Reject {
        Reject { code, message: message.into(), labels: Vec::new(), help: None }
    }

    /// Adds a note on parameter `param`.
    pub fn label(mut self, param: &'static str, text: impl Into<String>) -> Reject {
        self.labels.push((param, text.into()));
        self
    }

    /// Adds what would help.
    pub fn help(mut self, text: impl Into<String>) -> Reject {
        self.help = Some(text.into());
        self
    }
}

/// One thing wrong with a program.
#[derive(Clone, Debug)]
pub struct Diagnostic {
    /// The rule, in words with hyphens.
    pub code: &'static str,
    /// One sentence.
    pub message: String,
    /// Where.
    pub place: Place,
    /// Notes with the places they belong to.
    pub labels: Vec<(Place, String)>,
    /// What would help.
    pub help: Option<String>,
}

impl Diagnostic {
    /// A diagnostic without labels.
    pub fn new(code: &'static str, message: impl Into<String>, place: Place) -> Diagnostic {
        Diagnostic { code, message: message.into(), place, labels: Vec::new(), help: None }
    }

    /// Adds what would help.
    pub fn help(mut self, text: impl Into<String>) -> Diagnostic {
        self.help = Some(text.into());
        self
    }
}

/// All that is wrong with a program; never empty when returned as an error.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// In order of discovery.
    pub diagnostics: Vec<Diagnostic>,
}

impl Report {
    /// The report as text: for each place `file:line:column` of `source`, the line, and carets below what is meant.
    pub fn render(&self, file: &str, source: &str) -> String {
        let text = Text { file, source, lines: line_starts(source) };
        let mut out = String::new();
        for d in &self.diagnostics {
            out += &format!("error[{}]: {}\n", d.code, d.message);
            text.show(&d.place, &mut out);
            for (place, label) in &d.labels {
                out += &format!("  = {label}\n");
                text.show(place, &mut out);
            }
            if let Some(help) = &d.help {
                out += &format!("  = help: {help}\n");
            }
        }
        out
    }
}

/// A text that places refer to.
struct Text<'a> {
    file: &'a str,
    source: &'a str,
    /// Where each line starts, in bytes.
    lines: Vec<usize>,
}

fn line_starts(source: &str) -> Vec<usize> {
    std::iter::once(0).chain(source.match_indices('\n').map(|(at, _)| at + 1)).collect()
}

impl Text<'_> {
    fn show(&self, place: &Place, out: &mut String) {
        match place {
            Place::Nowhere => {}
            Place::Rust(l) => *out += &format!("  ┌─ {}:{}:{}\n", l.file(), l.line(), l.column()),
            Place::Text(range) if range.start > self.source.len() => {
                *out += &format!("  ┌─ {}, byte {}\n", self.file, range.start);
            }
            Place::Text(range) => self.quote(range, out),
        }
    }

    /// Characters of a line that are shown before and behind the place.
    const AROUND: usize = 80;

    fn quote(&self, range: &Range<usize>, out: &mut String) {
        let line = self.lines.partition_point(|&start| start <= range.start).max(1);
        let start = self.lines[line - 1];
        let rest = &self.source[start..];
        let text = rest.lines().next().unwrap_or("");
        // Counted in characters, and robust against a place that is not one of this text.
        let count = |to: usize| text.char_indices().take_while(|(at, _)| start + at < to).count();
        let (from, to) = (count(range.start), count(range.end));
        *out += &format!("  ┌─ {}:{line}:{}\n", self.file, from + 1);
        let first = from.saturating_sub(Self::AROUND);
        let last = to.min(from + Self::AROUND) + Self::AROUND;
        let cut: String = text.chars().skip(first).take(last - first).collect();
        let cut = cut.trim_end();
        // A tab is as wide below as above.
        let blank: String = cut.chars().take(from - first).map(|c| if c == '\t' { c } else { ' ' }).collect();
        let carets = "^".repeat(to.saturating_sub(from).clamp(1, Self::AROUND));
        let margin = " ".repeat(line.to_string().len());
        *out += &format!("{line} │ {cut}\n{margin} │ {blank}{carets}\n");
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.render("program", "").trim_end())
    }
}

impl std::error::Error for Report {}

#[cfg(test)]
mod tests {
    use super::{Diagnostic, Place, Report};

    fn render(source: &str, range: std::ops::Range<usize>) -> String {
        let mut d = Diagnostic::new("code", "a sentence", Place::Text(range));
        d.labels.push((Place::Nowhere, "a label".into()));
        Report { diagnostics: vec![d.help("a remedy")] }.render("a.mil", source)
    }

    #[test]
    fn the_place_is_shown_below_its_line() {
        let source = "first\n\tgröße = mul(x);\r\nlast";
        let at = source.find("mul").expect("there");
        let want = "error[code]: a sentence\n  ┌─ a.mil:2:10\n2 │ \tgröße = mul(x);\n  │ \t        ^^^\n  = a label\n  = help: a remedy\n";
        assert_eq!(render(source, at..at + 3), want);
        // The end of the text, and a line too long to be shown.
        assert!(render("ab\n", 3..3).contains("a.mil:2:1\n2 │ \n  │ ^\n"));
        assert!(render("", 0..0).contains("a.mil:1:1"));
        let long = format!("{}mul{}", "x".repeat(100_000), "y".repeat(100_000));
        let text = render(&long, 100_000..100_003);
        assert!(text.contains("1:100001") && text.contains("xmuly") && text.len() < 700, "{text}");
    }

    #[test]
    fn places_of_another_text_are_given_as_they_can_be() {
        assert!(render("", 7..9).contains("a.mil, byte 7"));
        render("é", 1..9);
    }
}
