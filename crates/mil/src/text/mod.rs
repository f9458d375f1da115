//! MIL text: reading and printing.
//!
//! [`read`] makes a [`Tree`](tree::Tree) of any text: both spellings, that of `program(1.3)`, where a scalar is
//! `int32(1)`, and that of `program(1.0)`, where it is `tensor<int32, []>(1)`; any spacing, any order of arguments,
//! decimal and hexadecimal floats, comments. [`format()`] prints a tree as Apple's compiler lays it out, every float
//! exact to the bit. [`check`] resolves a tree and reports all errors.
//!
//! [`load`] does all of it for programs that can run: known sizes, all operations in the table.
//! [`print()`] converts a program back to text.

pub(crate) mod known;
mod lex;
mod literal;
mod lower;
mod number;
mod parse;
mod places;
mod print;
mod raise;
mod statement;
#[cfg(test)]
mod tests;
pub mod tree;
mod utf8;

pub use lower::{Checked, Opaque, check};
pub use parse::{Read, read};
pub use print::format;
pub use raise::raise;
pub use utf8::from_utf8;

use crate::diag::Report;
use crate::ir::Program;
use crate::pass::specialise;
use crate::verify::{Verified, verify};

/// Parses a program without verifying its types; sizes may be unknown.
///
/// # Errors
/// All errors of the text, and all parts that are not supported here.
pub fn parse(source: &str) -> Result<Program, Report> {
    let lowered = lower::lower(&read(source));
    if lowered.report.has_errors() { Err(lowered.report.errors()) } else { Ok(lowered.program) }
}

/// Parses and verifies a program that can run.
///
/// # Errors
/// All errors, including unsupported operations and unknown sizes.
pub fn load(source: &str) -> Result<Verified<Program>, Report> {
    let checked = check(&read(source));
    if checked.report.has_errors() {
        return Err(checked.report.errors());
    }
    checked.executable()
}

impl Checked {
    /// The program for engines, with everything that the types determine folded.
    ///
    /// # Errors
    /// Unsupported operations and unknown sizes.
    pub fn executable(self) -> Result<Verified<Program>, Report> {
        let mut report = Report::default();
        for opaque in &self.opaque {
            report.push(opaque.refusal());
        }
        if !report.diagnostics.is_empty() {
            return Err(report);
        }
        let mut program = self.program;
        for function in &mut program.functions {
            if specialise::is_needed(function) {
                let inputs: Vec<_> = function.inputs.iter().map(|&v| function.ty(v).clone()).collect();
                if inputs.iter().all(crate::TensorType::is_known) {
                    *function = specialise::specialise(function, &inputs)?;
                }
            }
        }
        verify(program)
    }
}

/// The program as text, in the layout of Apple's compiler: see [`format()`] and [`raise`].
///
/// For a program whose names are identifiers and whose floats are rounded to their type, `parse(print(p))` is `p` but
/// for what is not written: scopes, values that nothing defines, the order in which values and arguments are kept, and
/// a label that repeats the name of its value.
pub fn print(program: &Program) -> String {
    format(&raise(program))
}
