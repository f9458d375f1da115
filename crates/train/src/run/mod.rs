//! A training run in a folder: settings, data, steps, validation, checkpoints, metrics.
//!
//! A run is a function of its settings, data and seed. Everything a step needs depends on them and on the number of the step
//! alone, so a killed run that resumes from its newest checkpoint gives the same bits as one that was not killed.

mod adapters;
mod claim;
mod corpus;
mod defaults;
mod error;
mod examples;
mod fault;
mod launch;
mod metrics;
mod open;
mod options;
mod prepare;
mod setting;
mod settings;
mod template;
mod trainer;

pub use crate::optim::OptimizerKind;
pub use crate::step::{BudgetExhausted, ChosenRung, CompileEvent};
pub use error::{RunError, Unfit};
pub use fault::{Fault, Knob};
pub use flow::Trace;
pub use launch::model_name;
pub use metrics::{Metrics, StepRecord, Validation};
pub use options::{ExampleOptions, Notice, Options, TemplateChoice};
pub use setting::{Check, OutputInit, Packing, Pattern, ScheduleKind, Setting, SettingValue};
pub use settings::{Overrides, Settings, flags};
pub(crate) use template::ChosenTemplate;
pub use trainer::save::Saved;
pub use trainer::{Compiles, Run, RunMemory, Worsened};
