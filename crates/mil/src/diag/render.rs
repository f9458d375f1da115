//! Renders diagnostics as text with `codespan-reporting`: the source line with carets and labels below it.

use super::style::{Coloured, Plain};
use super::{Diagnostic, Place, Report, Severity};
use codespan_reporting::diagnostic::{self, Label};
use codespan_reporting::files::{self, Files};
use codespan_reporting::term::{self, Config, WriteStyle};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;

/// Characters of a long line shown before and after the marked range.
const AROUND: usize = 80;

/// Characters of a message or label that are shown: names may be as long as the text.
const MESSAGE: usize = 1000;

impl Report {
    /// The report as text: for each place `file:line:column` of `source`, its line with carets below the range.
    pub fn render(&self, file: &str, source: &str) -> String {
        let mut out = String::new();
        self.write(file, source, &mut Plain(&mut out));
        without_last_blank(out)
    }

    /// The same in ANSI colours, without the control characters that file and source may have.
    pub fn render_coloured(&self, file: &str, source: &str) -> String {
        let mut out = String::new();
        self.write(file, source, &mut Coloured(&mut out));
        without_last_blank(out)
    }

    fn write(&self, file: &str, source: &str, out: &mut impl WriteStyle) {
        let text = Text::new(file, source);
        for d in &self.diagnostics {
            let (excerpt, drawn) = text.diagnostic(d);
            // Writing to a string does not fail, and every label is within its excerpt.
            let _ = term::emit_to_write_style(out, &config(), &Excerpts(vec![excerpt]), &drawn);
        }
    }
}

/// A labelled range of a text.
#[derive(Clone, Copy, Debug)]
pub struct Snippet<'a> {
    /// The name of the text.
    pub file: &'a str,
    /// The text.
    pub source: &'a str,
    /// The range, in bytes.
    pub range: &'a Range<usize>,
    /// The label; may be empty.
    pub label: &'a str,
}

/// `message`, and below it each snippet: its line with carets below the range, followed by the label.
pub fn quote(message: &str, snippets: &[Snippet<'_>]) -> String {
    let placed: Vec<&Snippet<'_>> = snippets.iter().filter(|s| s.range.start <= s.source.len()).collect();
    let texts: Vec<Text<'_>> = placed.iter().map(|s| Text::new(s.file, s.source)).collect();
    let mut excerpts: Vec<Excerpt<'_>> = texts.iter().map(Excerpt::new).collect();
    let mut labels = Vec::new();
    for (id, (s, excerpt)) in placed.iter().zip(&mut excerpts).enumerate() {
        if let Some(range) = excerpt.show(s.range) {
            labels.push(Label::primary(id, range).with_message(shortened(s.label)));
        }
    }
    let drawn = diagnostic::Diagnostic::note().with_message(shortened(message)).with_labels(labels);
    let mut out = String::new();
    // Writing to a string does not fail, and every label is within its excerpt.
    let _ = term::emit_to_write_style(&mut Plain(&mut out), &config(), &Excerpts(excerpts), &drawn);
    match out.strip_prefix("note: ") {
        Some(rest) => rest.to_owned(),
        None => out,
    }
}

/// The blank line after each diagnostic.
fn without_last_blank(mut shown: String) -> String {
    if shown.ends_with("\n\n") {
        shown.pop();
    }
    shown
}

fn config() -> Config {
    Config { tab_width: 4, ..Config::default() }
}

fn shortened(message: &str) -> Cow<'_, str> {
    match message.char_indices().nth(MESSAGE) {
        Some((end, _)) => format!("{}…", &message[..end]).into(),
        None => message.into(),
    }
}

/// A text that places refer to.
struct Text<'a> {
    file: &'a str,
    source: &'a str,
    /// Where each line starts, in bytes.
    lines: Vec<usize>,
}

impl<'a> Text<'a> {
    fn new(file: &'a str, source: &'a str) -> Text<'a> {
        Text { file, source, lines: files::line_starts(source).collect() }
    }

    /// The index of the line, from 0, that holds byte `at`.
    fn line(&self, at: usize) -> usize {
        self.lines.partition_point(|&start| start <= at).saturating_sub(1)
    }

    /// The bytes of line `line`, without its end.
    fn bytes(&self, line: usize) -> Range<usize> {
        let start = self.lines.get(line).copied().unwrap_or(self.source.len());
        let end = self.lines.get(line + 1).map_or(self.source.len(), |&next| next - 1);
        start..self.source[..end].strip_suffix('\r').map_or(end, str::len).max(start)
    }

    /// As codespan draws it, with the lines that it shows.
    fn diagnostic(&self, d: &Diagnostic) -> (Excerpt<'_>, diagnostic::Diagnostic<usize>) {
        let mut excerpt = Excerpt::new(self);
        let (mut labels, mut notes) = (Vec::new(), Vec::new());
        match &d.place {
            Place::Text(range) => match excerpt.show(range) {
                Some(range) => labels.push(Label::primary(0, range)),
                None => notes.push(format!("{}, byte {}", self.file, range.start)),
            },
            Place::Rust(l) => notes.push(format!("at {}:{}:{}", l.file(), l.line(), l.column())),
            Place::Nowhere | Place::Param(_) | Place::Result(_) => {}
        }
        for (place, text) in &d.labels {
            let text = shortened(text);
            match place {
                Place::Text(range) => match excerpt.show(range) {
                    Some(range) => labels.push(Label::secondary(0, range).with_message(text)),
                    None => notes.push(format!("byte {}: {text}", range.start)),
                },
                Place::Param(name) => notes.push(format!("`{name}`: {text}")),
                _ => notes.push(text.into_owned()),
            }
        }
        notes.extend(d.help.iter().map(|help| format!("help: {help}")));
        let severity = match d.severity {
            Severity::Note => diagnostic::Severity::Note,
            Severity::Warning => diagnostic::Severity::Warning,
            Severity::Error => diagnostic::Severity::Error,
        };
        let drawn =
            diagnostic::Diagnostic::new(severity).with_code(d.code).with_message(shortened(&d.message));
        (excerpt, drawn.with_labels(labels).with_notes(notes))
    }
}

/// A text with long lines cut to an excerpt around the marked range.
struct Excerpt<'a> {
    text: &'a Text<'a>,
    /// The visible bytes of each line, by line index.
    windows: BTreeMap<usize, Range<usize>>,
}

impl<'a> Excerpt<'a> {
    fn new(text: &'a Text<'a>) -> Excerpt<'a> {
        Excerpt { text, windows: BTreeMap::new() }
    }

    /// Shows the line that `range` begins in, unless it is shown already, and returns the visible part of `range`. `None`, if
    /// no part is visible or the range is not one of this text.
    fn show(&mut self, range: &Range<usize>) -> Option<Range<usize>> {
        let source = self.text.source;
        if range.start > source.len() {
            return None;
        }
        let line = self.text.line(range.start);
        let bytes = self.text.bytes(line);
        let start = source.floor_char_boundary(range.start).min(bytes.end);
        let window = self.windows.entry(line).or_insert_with(|| window(source, &bytes, start));
        let end = source.ceil_char_boundary(range.end.min(source.len()));
        (window.start <= start && start <= window.end).then(|| start..end.clamp(start, window.end))
    }
}

/// The part of a line around byte `at` that is shown.
fn window(source: &str, line: &Range<usize>, at: usize) -> Range<usize> {
    let before = source[line.start..at].char_indices().rev().nth(AROUND - 1);
    let behind = source[at..line.end].char_indices().nth(3 * AROUND);
    before.map_or(line.start, |(i, _)| line.start + i)..behind.map_or(line.end, |(i, _)| at + i)
}

/// The texts of one diagnostic, by number.
struct Excerpts<'a>(Vec<Excerpt<'a>>);

impl<'a> Excerpts<'a> {
    fn of(&self, id: usize) -> Result<&Excerpt<'a>, files::Error> {
        self.0.get(id).ok_or(files::Error::FileMissing)
    }
}

impl<'a> Files<'a> for Excerpts<'a> {
    type FileId = usize;
    type Name = &'a str;
    type Source = &'a str;

    fn name(&'a self, id: usize) -> Result<&'a str, files::Error> {
        Ok(self.of(id)?.text.file)
    }

    fn source(&'a self, id: usize) -> Result<&'a str, files::Error> {
        Ok(self.of(id)?.text.source)
    }

    fn line_index(&'a self, id: usize, at: usize) -> Result<usize, files::Error> {
        Ok(self.of(id)?.text.line(at))
    }

    fn column_number(&'a self, id: usize, line: usize, at: usize) -> Result<usize, files::Error> {
        let text = self.of(id)?.text;
        Ok(text.source.get(text.bytes(line).start..at).map_or(1, |before| before.chars().count() + 1))
    }

    fn line_range(&'a self, id: usize, line: usize) -> Result<Range<usize>, files::Error> {
        let excerpt = self.of(id)?;
        let whole = || {
            let bytes = excerpt.text.bytes(line);
            window(excerpt.text.source, &bytes, bytes.start)
        };
        Ok(excerpt.windows.get(&line).cloned().unwrap_or_else(whole))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Diagnostic, Place, Report};

    fn render(source: &str, range: std::ops::Range<usize>) -> String {
        let d = Diagnostic::new("code", "a sentence", Place::Text(range)).label(Place::Nowhere, "a label");
        Report { diagnostics: vec![d.help("a remedy")] }.render("a.mil", source)
    }

    #[test]
    fn the_place_is_shown_below_its_line() {
        let source = "first\n\tgröße = mul(x);\r\nlast";
        let at = source.find("mul").expect("there");
        let want = "\
error[code]: a sentence
  ┌─ a.mil:2:10
  │
2 │     größe = mul(x);
  │             ^^^
  │
  = a label
  = help: a remedy
";
        assert_eq!(render(source, at..at + 3), want);
        // The end of the text, and a line too long to be shown.
        assert!(render("ab\n", 3..3).contains("a.mil:2:1\n  │\n2 │ \n  │ ^\n"), "{}", render("ab\n", 3..3));
        assert!(render("", 0..0).contains("a.mil:1:1"));
        let long = format!("{}mul{}", "x".repeat(100_000), "y".repeat(100_000));
        let text = render(&long, 100_000..100_003);
        assert!(text.contains("1:100001") && text.contains("xmuly") && text.len() < 900, "{text}");
    }

    #[test]
    fn labels_stand_below_what_they_are_about() {
        let source = "a\n    fp16 s = matmul(x = q, y = k);\n";
        let at = |word: &str| source.find(word).map(|i| i..i + word.len()).expect("there");
        let d = Diagnostic::new("inner", "no", Place::Text(at("matmul")))
            .label(Place::Text(at("x = q")), "4 columns")
            .label(Place::Text(at("y = k")), "8 rows")
            .label(Place::Text(0..1), "defined here");
        let want = "\
error[inner]: no
  ┌─ a.mil:2:14
  │
1 │ a
  │ - defined here
2 │     fp16 s = matmul(x = q, y = k);
  │              ^^^^^^ -----  ----- 8 rows
  │                     │       \n  │                     4 columns
";
        assert_eq!(Report { diagnostics: vec![d] }.render("a.mil", source), want);
    }

    /// A place far from the first one on a long line is reported below the line.
    #[test]
    fn what_is_not_shown_is_told_in_words() {
        let long = format!("{}mul{}", "x".repeat(1000), "y".repeat(1000));
        let d = Diagnostic::new("code", "no", Place::Text(1000..1003)).label(Place::Text(0..1), "far away");
        let text = Report { diagnostics: vec![d] }.render("a.mil", &long);
        assert!(text.contains("= byte 0: far away") && text.len() < 900, "{text}");
    }

    #[test]
    fn colours_change_nothing_but_colours_and_control_characters() {
        let source = "a \u{1b}[2J mul(x);\n";
        let d = || Diagnostic::new("code", "no \u{7}", Place::Text(8..11)).label(Place::Text(0..1), "here");
        let report = Report { diagnostics: vec![d().help("a remedy")] };
        let coloured = report.render_coloured("a.mil", source);
        let mut plain = String::new();
        let mut rest = coloured.as_str();
        while let Some((before, after)) = rest.split_once("\u{1b}[") {
            plain.push_str(before);
            rest = after.split_once('m').expect("a code").1;
        }
        plain.push_str(rest);
        let want = report.render("a.mil", source).replace(['\u{1b}', '\u{7}'], "\u{fffd}");
        assert_eq!(plain, want);
        assert!(coloured.starts_with("\u{1b}[0m\u{1b}[1;31merror[code]"), "{coloured:?}");
    }

    #[test]
    fn places_of_another_text_are_given_as_they_can_be() {
        assert!(render("", 7..9).contains("a.mil, byte 7"));
        render("é", 1..9);
    }
}
