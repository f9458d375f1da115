//! The optimizer of a model: which parameter is updated by which rule.

use super::{AdamW, Muon, MuonScratch};
use crate::config::ParamSpec;

/// The rules that update parameters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Optimizer {
    /// The rule of all parameters that have no other.
    pub adamw: AdamW,
    /// The rule of the layers' matrices, if it is not AdamW.
    pub muon: Option<Muon>,
}

impl From<AdamW> for Optimizer {
    fn from(adamw: AdamW) -> Optimizer {
        Optimizer { adamw, muon: None }
    }
}

impl Optimizer {
    /// Muon and the shape of the matrix, if Muon updates this parameter.
    pub fn muon_of(&self, spec: &ParamSpec) -> Option<(Muon, [usize; 2])> {
        self.muon.zip(spec.layer_matrix())
    }
}

/// The optimizer's state and working memory; moments are `[N]` in checkpoint order.
#[derive(Debug, Default)]
pub struct OptimizerState {
    /// AdamW's first moments, Muon's momentum.
    pub m: Vec<f32>,
    /// AdamW's second moments. Where Muon updates they are 0 and never touched, so that they take no memory.
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
        let unused =
            specs.filter(|spec| optimizer.muon_of(spec).is_some()).map(ParamSpec::count).sum::<usize>();
        (self.m.len() + self.v.len() - unused) * size_of::<f32>() + self.muon.bytes()
    }
}
