//! The rules of real engines, applied to small programs and to programs that real engines compiled.

mod catalogue;
mod examples;
mod findings;
mod hardware;

use anelint::rules::{self, Chip, Route, Violation};

/// What the rules say of `text`, which must be readable.
fn check(text: &str, chips: &[Chip]) -> Vec<Violation> {
    let read = mil::text::read(text);
    assert!(!read.report.has_errors(), "{}\n{text}", read.report.render("case", text));
    rules::check(&read, chips, Route::Both)
}
