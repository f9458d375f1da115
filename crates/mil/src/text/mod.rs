//! MIL text: reading and printing.
//!
//! [`read`] makes a [`Tree`](tree::Tree) of any text: both spellings, that of `program(1.3)`, where a scalar is
//! `int32(1)`, and that of `program(1.0)`, where it is `tensor<int32, []>(1)`; any spacing, any order of arguments,
//! decimal and hexadecimal floats, comments. [`format()`] prints a tree as Apple's compiler lays it out, every float
//! exact to the bit. [`check`] finds out what a tree means, and all that is wrong with it.
//!
//! [`load`] does all of it for programs that can run as they are: known sizes, no operation that is not in the table.
//! [`print()`] is the way back, from a program to its text.

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

/// Reads a program; its types need not be right, and sizes may be unknown.
///
/// # Errors
/// All that is wrong with the text, and what of it has no meaning here.
pub fn parse(source: &str) -> Result<Program, Report> {
    let lowered = lower::lower(&read(source));
    if lowered.report.has_errors() { Err(lowered.report.errors()) } else { Ok(lowered.program) }
}

/// Reads and verifies a program that can run as it is.
///
/// # Errors
/// All that is wrong with it; operations that are not in the table, and sizes that are not known, too.
pub fn load(source: &str) -> Result<Verified<Program>, Report> {
    let checked = check(&read(source));
    if checked.report.has_errors() {
        return Err(checked.report.errors());
    }
    checked.executable()
}

impl Checked {
    /// The program as engines take it: what the types decide is computed.
    ///
    /// # Errors
    /// What stands in the way: operations that are not in the table, sizes that are not known.
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
