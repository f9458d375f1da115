//! What a user is told of broken programs and weight files, word for word.
//!
//! Each group is a snapshot: the wrong text, and below it all that is said of it. After a change of words:
//! `cargo xtask bless`, and review the difference.

mod blobs;
mod hostile;
mod sizes;
mod texts;

use mil::{Weights, eval, text};
use std::fmt::Write;

/// Statements of a function with a parameter `x`, a number `n`, a truth `b` and a state `s`.
fn body(statements: &str) -> String {
    format!(
        "program(1.3)\n{{\n    func main<ios18>(tensor<fp16, [2, 3]> x, int32 n, bool b, state<tensor<fp16, [2, 3]>> s) \
         {{\n        {statements}\n    }} -> (x);\n}}"
    )
}

/// What is said of `source`: by the checker, or, if that finds nothing, where it is made ready to run.
fn refusal(source: &str) -> String {
    let checked = text::check(&text::read(source));
    if checked.report.has_errors() {
        return checked.report.render("bad.mil", source);
    }
    match checked.executable() {
        Ok(_) => panic!("this program is right:\n{source}"),
        Err(report) => report.render("bad.mil", source),
    }
}

/// The snapshot of a group of cases, each with what it is about.
fn group(cases: &[(&str, String)]) -> String {
    let mut out = String::new();
    for (about, source) in cases {
        let _ = writeln!(out, "──── {about}\n{}", refusal(source));
    }
    out
}

/// The same for functions that are right but for their statements.
fn bodies(cases: &[(&str, &str)]) -> String {
    group(&cases.iter().map(|(about, statements)| (*about, body(statements))).collect::<Vec<_>>())
}

/// Runs a program that is right on both engines' terms; what the reference engine says.
fn runs(source: &str) -> Result<Vec<mil::Tensor>, String> {
    let program = text::load(source).map_err(|r| r.to_string())?;
    let run = eval::run(&program, &Weights::new(), &[], eval::Rounding::AsTyped);
    run.map_err(|e| e.to_string())
}
