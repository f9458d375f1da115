//! The optimizer: AdamW, Muon, SGD, Adafactor, Lion, averages of weights, gradient clipping, the loss scale, and the learning-rate schedule.

mod adafactor;
mod adamw;
mod average;
mod clip;
mod kind;
mod loss_scale;
mod momentum;
mod muon;
mod optimizer;
mod schedule;

pub use adafactor::Adafactor;
pub use adamw::{AdamW, ParamSlices, Update};
pub use average::Average;
pub use clip::clip_factor;
pub use kind::{Kept, OptimizerKind, Second};
pub use loss_scale::{GradientRange, LossScale, LossScaler};
pub use momentum::{Lion, Sgd};
pub use muon::{Muon, MuonScratch};
pub use optimizer::{Optimizer, OptimizerState, Rule};
pub use schedule::Schedule;
