//! The rules that update weights, averages of them, and gradient clipping.

mod adafactor;
mod adamw;
mod average;
mod clip;
mod momentum;
mod muon;
mod rule;

pub use adafactor::{Adafactor, factored};
pub use adamw::{AdamW, ParamSlices, Update};
pub use average::Average;
pub use clip::clip_factor;
pub use momentum::{Lion, Sgd};
pub use muon::{Muon, MuonScratch};
pub use rule::Rule;
