//! Diagnostics as text: the line, carets below what is meant, labels below what they are about.

use super::{Diagnostic, Place, Report};
use std::fmt::Write;
use std::ops::Range;

impl Report {
    /// The report as text: for each place `file:line:column` of `source`, the line, and carets below what is meant.
    pub fn render(&self, file: &str, source: &str) -> String {
        let text = Text { file, source, lines: line_starts(source) };
        let mut out = String::new();
        for d in &self.diagnostics {
            text.diagnostic(d, &mut out);
        }
        out
    }
}

/// The line of `source` that `range` begins in, with carets below the range and `label` behind them, as reports show it.
pub fn quote(file: &str, source: &str, range: &Range<usize>, label: &str) -> String {
    let mut out = String::new();
    if range.start <= source.len() {
        let text = Text { file, source, lines: line_starts(source) };
        let line = text.line(range.start);
        text.quote(line, vec![Mark { chars: text.chars(line, range), text: label, primary: true }], &mut out);
    }
    out
}

/// Characters of a line that are shown before and behind what is meant.
const AROUND: usize = 80;

/// Characters of a message that are shown: names may be as long as the text.
const MESSAGE: usize = 1000;

fn shortened(message: &str) -> std::borrow::Cow<'_, str> {
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

/// A range of a line, in characters, and what is said of it.
struct Mark<'d> {
    chars: Range<usize>,
    text: &'d str,
    primary: bool,
}

fn line_starts(source: &str) -> Vec<usize> {
    std::iter::once(0).chain(source.match_indices('\n').map(|(at, _)| at + 1)).collect()
}

impl Text<'_> {
    fn diagnostic(&self, d: &Diagnostic, out: &mut String) {
        // Writing to a string does not fail.
        let _ = writeln!(out, "{}[{}]: {}", d.severity.name(), d.code, shortened(&d.message));
        let here = match &d.place {
            Place::Text(range) if range.start <= self.source.len() => Some(self.line(range.start)),
            Place::Text(range) => {
                let _ = writeln!(out, "  ┌─ {}, byte {}", self.file, range.start);
                None
            }
            Place::Rust(l) => {
                let _ = writeln!(out, "  ┌─ {}:{}:{}", l.file(), l.line(), l.column());
                None
            }
            Place::Nowhere | Place::Param(_) | Place::Result(_) => None,
        };
        let on_line = |place: &Place| match place {
            Place::Text(range) if range.start <= self.source.len() => Some(self.line(range.start)),
            _ => None,
        };
        if let (Some(line), Place::Text(range)) = (here, &d.place) {
            let mut marks = vec![Mark { chars: self.chars(line, range), text: "", primary: true }];
            for (place, text) in &d.labels {
                if let (true, Place::Text(range)) = (on_line(place) == here, place) {
                    marks.push(Mark { chars: self.chars(line, range), text, primary: false });
                }
            }
            self.quote(line, marks, out);
        }
        for (place, text) in &d.labels {
            match place {
                _ if here.is_some() && on_line(place) == here => {}
                Place::Text(range) => match on_line(place) {
                    Some(line) => {
                        let mark = Mark { chars: self.chars(line, range), text, primary: false };
                        self.quote(line, vec![mark], out);
                    }
                    None => {
                        let _ = writeln!(out, "  = byte {}: {text}", range.start);
                    }
                },
                Place::Param(name) => {
                    let _ = writeln!(out, "  = `{name}`: {text}");
                }
                _ => {
                    let _ = writeln!(out, "  = {text}");
                }
            }
        }
        if let Some(help) = &d.help {
            let _ = writeln!(out, "  = help: {help}");
        }
    }

    /// The number of the line, from 1, that holds byte `at`.
    fn line(&self, at: usize) -> usize {
        self.lines.partition_point(|&start| start <= at).max(1)
    }

    fn text_of(&self, line: usize) -> &str {
        let rest = &self.source[self.lines[line - 1]..];
        rest.lines().next().unwrap_or("")
    }

    /// `range` in characters of `line`; robust against a place that is not one of this text.
    fn chars(&self, line: usize, range: &Range<usize>) -> Range<usize> {
        let (start, text) = (self.lines[line - 1], self.text_of(line));
        // Counted from the line's start for each mark, so in the fastest way there is.
        let count = |to: usize| match to.saturating_sub(start) {
            at if at >= text.len() => text.chars().count(),
            at => text[..text.ceil_char_boundary(at)].chars().count(),
        };
        let from = count(range.start);
        from..count(range.end).max(from)
    }

    /// The line with marks below it: the first says where; what is far from it is cut off.
    fn quote(&self, line: usize, mut marks: Vec<Mark<'_>>, out: &mut String) {
        let at = marks[0].chars.clone();
        let text = self.text_of(line);
        let first = at.start.saturating_sub(AROUND);
        let end = marks.iter().map(|m| m.chars.end.min(at.start + 2 * AROUND)).max().unwrap_or(0);
        let last = end.min(at.start + 2 * AROUND) + AROUND;
        let cut: String = text.chars().skip(first).take(last - first).collect();
        let cut = cut.trim_end();
        let margin = " ".repeat(line.to_string().len());
        let _ = writeln!(out, "{margin} ┌─ {}:{line}:{}", self.file, at.start + 1);
        let _ = writeln!(out, "{line} │ {cut}");
        // Below: the marks, then the labels from the right, each below its mark.
        marks.sort_by_key(|m| (m.chars.start, !m.primary));
        let place = |m: &Mark<'_>| m.chars.start.clamp(first, last) - first;
        let blank = |upto: usize| -> String {
            // A tab is as wide below as above.
            let tabs = cut.chars().map(|c| if c == '\t' { c } else { ' ' });
            tabs.chain(std::iter::repeat(' ')).take(upto).collect()
        };
        let mut row = String::new();
        let mut width = 0;
        for m in &marks {
            let from = place(m);
            if from < width {
                continue;
            }
            let indent = blank(from);
            row.extend(indent.chars().skip(width));
            let length = m.chars.len().clamp(1, AROUND);
            row.push_str(&if m.primary { "^" } else { "-" }.repeat(length));
            width = from + length;
        }
        let labels: Vec<&Mark<'_>> = marks.iter().filter(|m| !m.text.is_empty()).collect();
        let mut labels = labels.into_iter().rev();
        if let Some(last) = labels.next() {
            if place(last) + last.chars.len().clamp(1, AROUND) == width {
                let _ = writeln!(out, "{margin} │ {row} {}", last.text);
            } else {
                let _ = writeln!(out, "{margin} │ {row}");
                let _ = writeln!(out, "{margin} │ {}{}", blank(place(last)), last.text);
            }
        } else {
            let _ = writeln!(out, "{margin} │ {row}");
        }
        for m in labels {
            let _ = writeln!(out, "{margin} │ {}{}", blank(place(m)), m.text);
        }
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
        let want = "error[code]: a sentence\n  ┌─ a.mil:2:10\n2 │ \tgröße = mul(x);\n  │ \t        ^^^\n  = a label\n  = help: a remedy\n";
        assert_eq!(render(source, at..at + 3), want);
        // The end of the text, and a line too long to be shown.
        assert!(render("ab\n", 3..3).contains("a.mil:2:1\n2 │ \n  │ ^\n"));
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
2 │     fp16 s = matmul(x = q, y = k);
  │              ^^^^^^ -----  ----- 8 rows
  │                     4 columns
  ┌─ a.mil:1:1
1 │ a
  │ - defined here
";
        assert_eq!(Report { diagnostics: vec![d] }.render("a.mil", source), want);
    }

    #[test]
    fn places_of_another_text_are_given_as_they_can_be() {
        assert!(render("", 7..9).contains("a.mil, byte 7"));
        render("é", 1..9);
    }
}
