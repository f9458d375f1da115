//! Diagnostics as plain text and as text in ANSI colours.

use codespan_reporting::diagnostic::{self, LabelStyle};
use codespan_reporting::term::{GeneralWriteResult, WriteStyle};
use std::fmt::{self, Write};

/// Plain text.
pub(super) struct Plain<'a>(pub &'a mut String);

impl Write for Plain<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.write_str(text)
    }
}

impl WriteStyle for Plain<'_> {
    fn set_header(&mut self, _: diagnostic::Severity) -> GeneralWriteResult {
        Ok(())
    }
    fn set_header_message(&mut self) -> GeneralWriteResult {
        Ok(())
    }
    fn set_line_number(&mut self) -> GeneralWriteResult {
        Ok(())
    }
    fn set_note_bullet(&mut self) -> GeneralWriteResult {
        Ok(())
    }
    fn set_source_border(&mut self) -> GeneralWriteResult {
        Ok(())
    }
    fn set_label(&mut self, _: diagnostic::Severity, _: LabelStyle) -> GeneralWriteResult {
        Ok(())
    }
    fn reset(&mut self) -> GeneralWriteResult {
        Ok(())
    }
}

/// Text in ANSI colours; control characters of the text itself are replaced.
pub(super) struct Coloured<'a>(pub &'a mut String);

impl Coloured<'_> {
    fn set(&mut self, code: &str) -> GeneralWriteResult {
        write!(self.0, "\x1b[0m\x1b[{code}m")
    }

    fn severity(&mut self, severity: diagnostic::Severity) -> GeneralWriteResult {
        self.set(match severity {
            diagnostic::Severity::Warning => "1;33",
            diagnostic::Severity::Note | diagnostic::Severity::Help => "1;36",
            diagnostic::Severity::Error | diagnostic::Severity::Bug => "1;31",
        })
    }
}

impl Write for Coloured<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let harmless = |c: char| if c.is_control() && c != '\n' && c != '\t' { '\u{fffd}' } else { c };
        self.0.extend(text.chars().map(harmless));
        Ok(())
    }
}

impl WriteStyle for Coloured<'_> {
    fn set_header(&mut self, severity: diagnostic::Severity) -> GeneralWriteResult {
        self.severity(severity)
    }
    fn set_header_message(&mut self) -> GeneralWriteResult {
        self.set("1")
    }
    fn set_line_number(&mut self) -> GeneralWriteResult {
        self.set("34")
    }
    fn set_note_bullet(&mut self) -> GeneralWriteResult {
        self.set("1;36")
    }
    fn set_source_border(&mut self) -> GeneralWriteResult {
        self.set("34")
    }
    fn set_label(&mut self, severity: diagnostic::Severity, style: LabelStyle) -> GeneralWriteResult {
        match style {
            LabelStyle::Primary => self.severity(severity),
            LabelStyle::Secondary => self.set("34"),
        }
    }
    fn reset(&mut self) -> GeneralWriteResult {
        self.0.write_str("\x1b[0m")
    }
}
