//! The optimizer: which rule updates which parameter and what it keeps of it, the loss scale, and the learning-rate schedule.
//!
//! The rules themselves are those of [`host::optim`], re-exported.

mod kind;
mod loss_scale;
mod optimizer;
mod schedule;

pub use host::optim::{
    Adafactor, AdamW, Average, Lion, Muon, MuonScratch, ParamSlices, Rule, Sgd, Update, clip_factor,
};
pub use kind::{Kept, OptimizerKind, Second};
pub use loss_scale::{GradientRange, LossScale, LossScaler};
pub use optimizer::{Optimizer, OptimizerState};
pub use schedule::Schedule;
