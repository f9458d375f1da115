//! The optimizer: AdamW, gradient clipping, and the learning-rate schedule.

mod adamw;
mod clip;
mod schedule;

pub use adamw::{AdamW, ParamSlices, Update};
pub use clip::clip_factor;
pub use schedule::Schedule;
