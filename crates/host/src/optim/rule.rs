//! The rules that update one tensor after the other.

use super::{Adafactor, AdamW, Lion, ParamSlices, Sgd, Update};

/// A rule that updates one tensor after the other.
#[derive(Clone, Copy, Debug, PartialEq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Rule {
    AdamW(AdamW),
    Sgd(Sgd),
    Adafactor(Adafactor),
    Lion(Lion),
}

impl Rule {
    /// Takes one step on a tensor of this `shape`, in place.
    pub fn step(&self, update: Update, slices: ParamSlices<'_>, shape: &[usize]) {
        match self {
            Rule::AdamW(adamw) => adamw.step(update, slices),
            Rule::Sgd(sgd) => sgd.step(update, slices),
            Rule::Adafactor(adafactor) => adafactor.step(update, slices, shape),
            Rule::Lion(lion) => lion.step(update, slices),
        }
    }
}

#[cfg(test)]
mod tests;
