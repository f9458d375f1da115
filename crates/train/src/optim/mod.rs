//! The optimizer: AdamW, Muon, gradient clipping, and the learning-rate schedule.

mod adamw;
mod clip;
mod muon;
mod optimizer;
mod schedule;

pub use adamw::{AdamW, ParamSlices, Update};
pub use clip::clip_factor;
pub use muon::{Muon, MuonScratch};
pub use optimizer::{Optimizer, OptimizerState};
pub use schedule::Schedule;
