//! The rules of real engines, applied to small programs and to programs that real engines compiled.

mod cases;
mod catalogue;
mod findings;
mod hardware;

use anelint::rules::{self, Chip, Finding, Route};

/// What the rules say of `text`, which must be readable.
fn check(text: &str, chips: &[Chip]) -> Vec<Finding> {
    let read = mil::text::read(text);
    assert!(!read.report.has_errors(), "{}\n{text}", read.report.render("case", text));
    rules::check(&read, chips, Route::Both)
}
