//! MIL text: reading and printing.
//!
//! [`parse`] reads both spellings: that of `program(1.3)`, where a scalar is `int32(1)`, and that of `program(1.0)`,
//! where it is `tensor<int32, []>(1)`; spacing, order of arguments and decimal or hexadecimal floats are free, and
//! `//` starts a comment. [`print()`] writes Apple's compiler's layout, every float exact to the bit.
//!
//! For a program whose names are identifiers and whose floats are rounded to their type, `parse(print(p))` is `p` but
//! for what is not written: scopes, values that nothing defines, the order in which values and arguments are kept, and
//! a label that repeats the name of its value.
//!
//! Not read yet, and refused by name: unknown dimensions, lists, dictionaries, tuples, states, nested blocks.

mod lex;
mod literal;
mod number;
mod operation;
mod parse;
mod print;
#[cfg(test)]
mod tests;

pub use parse::parse;
pub use print::print;

use crate::diag::Report;
use crate::ir::Program;
use crate::verify::{Verified, verify};

/// Reads and verifies a program.
///
/// # Errors
/// All that the reader found wrong; if it found nothing, all that the verifier did.
pub fn load(source: &str) -> Result<Verified<Program>, Report> {
    verify(parse(source)?)
}
