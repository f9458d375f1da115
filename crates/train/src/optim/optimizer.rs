//! The optimizer of a model: which parameter is updated by which rule.

use super::{AdamW, Kept, Muon, MuonScratch, OptimizerKind, Rule, Second};
use crate::config::ParamSpec;

/// The rules that update parameters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Optimizer {
    /// The rule of all parameters that have no other.
    pub rule: Rule,
    /// The rule of the layers' matrices, if it is another.
    pub muon: Option<Muon>,
}

impl From<AdamW> for Optimizer {
    fn from(adamw: AdamW) -> Optimizer {
        Optimizer { rule: Rule::AdamW(adamw), muon: None }
    }
}

impl Optimizer {
    /// Muon and the shape of the matrix, if Muon updates this parameter.
    pub fn muon_of(&self, spec: &ParamSpec) -> Option<(Muon, [usize; 2])> {
        self.muon.zip(spec.layer_matrix())
    }

    /// What it keeps of the parameter `spec`.
    pub fn keeps(&self, spec: &ParamSpec) -> Kept {
        let kind = match (self.rule, self.muon) {
            (_, Some(_)) => OptimizerKind::Muon,
            (Rule::AdamW(_), None) => OptimizerKind::AdamW,
            (Rule::Sgd(_), None) => OptimizerKind::Sgd,
            (Rule::Adafactor(_), None) => OptimizerKind::Adafactor,
            (Rule::Lion(_), None) => OptimizerKind::Lion,
        };
        kind.keeps(spec)
    }
}

/// The optimizer's state and working memory; moments are `[N]` in checkpoint order. What an optimizer does not keep is 0 and never
/// touched, so that it takes no memory.
#[derive(Debug, Default)]
pub struct OptimizerState {
    /// First moments, or the momentum.
    pub m: Vec<f32>,
    /// Second moments. Factored ones are at the beginning of their parameter's range.
    pub v: Vec<f32>,
    /// The updates of the current layer.
    pub(crate) muon: MuonScratch,
}

impl OptimizerState {
    /// The state before the first step of a model with `params` weights.
    pub fn new(params: usize) -> OptimizerState {
        OptimizerState::from_moments(vec![0.0; params], vec![0.0; params])
    }

    /// The state with moments of a checkpoint.
    pub fn from_moments(m: Vec<f32>, v: Vec<f32>) -> OptimizerState {
        OptimizerState { m, v, muon: MuonScratch::default() }
    }

    /// Its size in bytes, of a model in which `optimizer` updates the parameters `specs`.
    pub fn bytes<'a>(&self, optimizer: &Optimizer, specs: impl Iterator<Item = &'a ParamSpec>) -> usize {
        let kept = |spec: &ParamSpec| {
            let Kept { first, second } = optimizer.keeps(spec);
            let second = match second {
                Second::None => 0,
                Second::Whole => spec.count(),
                Second::Factored([rows, cols]) => rows + cols,
            };
            second + if first { spec.count() } else { 0 }
        };
        specs.map(kept).sum::<usize>() * size_of::<f32>() + self.muon.bytes()
    }
}

#[cfg(test)]
mod tests;
