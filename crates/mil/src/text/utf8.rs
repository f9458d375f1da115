//! Bytes as text.

use crate::diag::{Diagnostic, Place, Report};

/// The text that `bytes` are.
///
/// # Errors
/// `not-utf8`, with the line and the column, counted in characters, of the first byte that is none. Its place is right in
/// `String::from_utf8_lossy(bytes)`, too, so the report can be rendered with that.
pub fn from_utf8(bytes: &[u8]) -> Result<&str, Report> {
    std::str::from_utf8(bytes).map_err(|error| {
        let at = error.valid_up_to();
        let (good, bad) =
            (std::str::from_utf8(&bytes[..at]).unwrap_or(""), bytes.get(at).copied().unwrap_or(0));
        let line = 1 + good.matches('\n').count();
        let column = 1 + good.rsplit('\n').next().unwrap_or("").chars().count();
        let what = match error.error_len() {
            Some(_) => format!("byte {bad:#04x}"),
            None => format!("byte {bad:#04x}, which begins a character that the end of the text cuts off,"),
        };
        let text = format!("the text is not UTF-8: {what} at line {line}, column {column}");
        let help = match bytes {
            [0xFF, 0xFE, ..] | [0xFE, 0xFF, ..] => "it begins like UTF-16: save it as UTF-8",
            _ if bytes.contains(&0) => {
                "is it a text? MIL in binary form (`.mlmodel`, `.mlpackage`) is not read"
            }
            _ => "save it as UTF-8; MIL itself needs only ASCII",
        };
        let diagnostic = Diagnostic::new("not-utf8", text, Place::Text(at..at + 1)).help(help);
        Report { diagnostics: vec![diagnostic] }
    })
}
