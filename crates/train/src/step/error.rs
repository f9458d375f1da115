//! What can go wrong in a step.

use crate::host::HostError;
use crate::model::ModelError;
use ane::DeviceError;
use mil::blob::BlobError;

/// What can go wrong between a model and its engine.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages say it")]
pub enum StepError {
    #[error(transparent)]
    Device(#[from] DeviceError),
    #[error(transparent)]
    Model(#[from] ModelError),
    #[error(transparent)]
    Host(#[from] HostError),
    #[error("weight file of kernel `{kernel}`: {source}")]
    Blob { kernel: String, source: BlobError },
    #[error("the model has {want} weights, {got} are given")]
    Weights { want: usize, got: usize },
    #[error("the model was compiled for windows of {want} values, one of {got} is given")]
    Window { want: usize, got: usize },
    #[error("the schedule is for {want} windows, {got} are given")]
    Windows { want: usize, got: usize },
    #[error("the schedule of a step: {0}")]
    Graph(#[from] flow::GraphError),
    #[error("another thread failed while it held the step's memory")]
    Poisoned,
    #[error("{0}")]
    Task(String),
    #[error("no threads: {0}")]
    Threads(String),
}

impl StepError {
    /// What the user can do about it, if anything.
    pub fn hint(&self) -> Option<String> {
        match self {
            StepError::Device(e) => e.hint().map(str::to_owned),
            StepError::Host(e) => e.hint().map(str::to_owned),
            _ => None,
        }
    }
}

impl<T> From<std::sync::PoisonError<T>> for StepError {
    fn from(_: std::sync::PoisonError<T>) -> Self {
        StepError::Poisoned
    }
}

impl From<flow::RunError<StepError>> for StepError {
    fn from(e: flow::RunError<StepError>) -> Self {
        match e {
            flow::RunError::Task { source, .. } => source,
            other => StepError::Task(other.to_string()),
        }
    }
}
