//! The optimizers that a run can have, and what each keeps of a parameter.

use crate::config::ParamSpec;
use host::optim::factored;

/// What updates the weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OptimizerKind {
    /// AdamW.
    AdamW,
    /// Muon for the matrices of layers, AdamW for all else.
    Muon,
    /// Stochastic gradient descent with momentum.
    Sgd,
    /// Adafactor.
    Adafactor,
    /// Lion.
    Lion,
}

/// What an optimizer keeps of a parameter besides its weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Whether it keeps a first moment, or a momentum, of the parameter's shape.
    pub first: bool,
    /// The second moment.
    pub second: Second,
}

/// The second moment of a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Second {
    /// None.
    None,
    /// Of the parameter's shape.
    Whole,
    /// The means of rows, then those of columns, of a matrix with this number of each.
    Factored([usize; 2]),
}

impl OptimizerKind {
    /// All of them.
    pub const ALL: [OptimizerKind; 5] = [
        OptimizerKind::AdamW,
        OptimizerKind::Muon,
        OptimizerKind::Sgd,
        OptimizerKind::Adafactor,
        OptimizerKind::Lion,
    ];

    /// Its name in flags and checkpoints.
    pub fn name(self) -> &'static str {
        match self {
            OptimizerKind::AdamW => "adamw",
            OptimizerKind::Muon => "muon",
            OptimizerKind::Sgd => "sgd",
            OptimizerKind::Adafactor => "adafactor",
            OptimizerKind::Lion => "lion",
        }
    }

    /// The learning rate that moves weights about as far as AdamW's with the rate `of_adamw`.
    ///
    /// Source: Lion's is 3 to 10 times smaller (Chen et al. 2023, arXiv:2302.06675, section 5); that of Adafactor is relative to the
    /// root mean square of a parameter, which is of the order of 0.1; SGD's is our own experience.
    pub fn rate(self, of_adamw: f64) -> f64 {
        match self {
            OptimizerKind::AdamW | OptimizerKind::Muon => of_adamw,
            OptimizerKind::Sgd => 100.0 * of_adamw,
            OptimizerKind::Adafactor => 10.0 * of_adamw,
            OptimizerKind::Lion => of_adamw / OptimizerKind::LION,
        }
    }

    /// How many times smaller Lion's rate is than AdamW's, and how many times larger its weight decay: their product is the share
    /// of a weight that a step takes.
    pub const LION: f64 = 4.0;

    /// What it keeps of the parameter `spec`.
    pub fn keeps(self, spec: &ParamSpec) -> Kept {
        let second = match (self, &spec.shape[..]) {
            (OptimizerKind::Sgd | OptimizerKind::Lion, _) => Second::None,
            (OptimizerKind::Muon, _) if spec.layer_matrix().is_some() => Second::None,
            (OptimizerKind::Adafactor, shape) => factored(shape).map_or(Second::Whole, Second::Factored),
            _ => Second::Whole,
        };
        Kept { first: self != OptimizerKind::Adafactor, second }
    }
}
