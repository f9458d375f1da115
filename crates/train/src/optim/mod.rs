//! The optimizer: AdamW, the bound of the gradient, and the learning rate of each step.

mod adamw;
mod clip;
mod schedule;

pub use adamw::{AdamW, ParamSlices, Update};
pub use clip::clip_factor;
pub use schedule::Schedule;
