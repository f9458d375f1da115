//! A training run in a folder: settings, data, steps, validation, checkpoints, metrics.
//!
//! A run is a function of its settings, its data and its seed. Everything that a step needs follows from them and
//! from the step's number, so a run that was killed goes on from its newest checkpoint with the bits it would have
//! had.

mod error;
mod launch;
mod metrics;
mod open;
mod settings;
mod trainer;

pub use crate::step::{BudgetExhausted, Chosen, Heard};
pub use error::{RunError, Unfit};
pub use flow::Trace;
pub use launch::model_name;
pub use metrics::{Metrics, StepRecord, Validation};
pub use open::{Notice, Options};
pub use settings::{Overrides, ScheduleKind, Settings, Storage};
pub use trainer::{Compiles, Memory, Run, Saved};
