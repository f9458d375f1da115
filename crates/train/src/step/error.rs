//! Errors of steps.

use super::budget::{BudgetExhausted, remedy};
use super::out_of_range::OutOfRange;
use crate::model::ModelError;
use ane::{DeviceError, Engine};
use host::HostError;
use mil::blob::BlobError;
use std::panic::Location;

/// An error of compiling or running a model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages say it")]
pub enum StepError {
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// An error of compiling a kernel that contains RMSNorm.
    #[error(transparent)]
    Norm(Box<DeviceError>),
    #[error("the engine accepts none of {plans} plans of kernels; the first: {first}")]
    Ladder { plans: usize, first: Box<StepError> },
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
    #[error("{got} tokens do not fit into the {want} positions of the model's window")]
    Context { want: usize, got: usize },
    #[error("the schedule is for {want} windows, {got} are given")]
    Windows { want: usize, got: usize },
    #[error("the kernels of this model are {programs} programs, and this process may compile {left}")]
    Budget { programs: u64, left: u32, engine: Engine },
    #[error("the kernels have older weights than the model: {0}")]
    BudgetExhausted(BudgetExhausted),
    /// With the place of the first invalid value, if a layer causes it.
    #[error("{what} is not finite{}", began(found.as_ref()))]
    NotFinite { what: &'static str, found: Option<OutOfRange> },
    #[error(
        "the gradient of `{name}` is not finite: {count} of {of} elements, with the loss scaled by {scale}"
    )]
    Gradient { name: String, count: usize, of: usize, scale: f32 },
    #[error("{count} of {of} elements of `{name}` are larger than fp16's 65504")]
    WeightRange { name: String, count: usize, of: usize },
    #[error("the schedule of a step: {0}")]
    Graph(#[from] flow::GraphError),
    #[error("the memory of a step: {0}")]
    Memory(#[from] flow::AccessError),
    #[error("{what} ({place}): a mistake of backpropane")]
    Internal { what: String, place: &'static Location<'static> },
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
            StepError::Norm(e) => {
                let first = "Try `--norms host`: RMSNorm is in this kernel, and the host can compute it.";
                Some(e.hint().map_or(first.to_owned(), |other| format!("{first} Otherwise: {other}")))
            }
            StepError::Ladder { .. } => Some(
                "Run with `--device soft`, and report what `backpropane doctor --kernels --submit-file kernels.json` writes."
                    .to_owned(),
            ),
            StepError::Host(e) => e.hint().map(str::to_owned),
            StepError::Budget { programs, engine, .. } => Some(remedy(*programs, *engine)),
            StepError::NotFinite { found: Some(found), .. } => found.hint().map(str::to_owned),
            StepError::NotFinite { found: None, .. } => Some(
                "Every layer's values are finite: look at the final norm's weight and the classifier's."
                    .to_owned(),
            ),
            StepError::Gradient { .. } => {
                Some("Try a smaller `--loss-scale`, or `--storage f32`.".to_owned())
            }
            StepError::WeightRange { .. } => {
                Some("Run with `--storage f32`: the software engine then computes in fp32.".to_owned())
            }
            StepError::Internal { .. } => {
                Some("Please report it with the command that led to it.".to_owned())
            }
            StepError::BudgetExhausted(_) => Some("Save, and continue from the checkpoint in a new process.".to_owned()),
            _ => None,
        }
    }

    /// Whether a retry in a new process may succeed.
    pub fn is_retryable(&self) -> bool {
        match self {
            StepError::Device(e) => e.is_retryable(),
            StepError::Norm(e) => e.is_retryable(),
            _ => false,
        }
    }

    /// Whether an engine refused to compile a kernel: it may accept another plan.
    pub fn is_refusal(&self) -> bool {
        match self {
            StepError::Device(DeviceError::Refused(refusal)) => refusal.call.is_compile(),
            StepError::Norm(_) => true,
            _ => false,
        }
    }

    /// A violated invariant, detected by the caller of this function.
    #[track_caller]
    pub(crate) fn internal(what: impl Into<String>) -> StepError {
        StepError::Internal { what: what.into(), place: Location::caller() }
    }

    /// The error of compiling a kernel; `has_norm` says whether it contains RMSNorm.
    pub(super) fn of_kernel(error: DeviceError, has_norm: bool) -> StepError {
        match &error {
            DeviceError::Refused(refusal) if has_norm && refusal.call.is_compile() => {
                StepError::Norm(Box::new(error))
            }
            _ => error.into(),
        }
    }
}

fn began(found: Option<&OutOfRange>) -> String {
    found.map_or(String::new(), |found| format!(": {found}"))
}

impl<T> From<std::sync::PoisonError<T>> for StepError {
    #[track_caller]
    fn from(_: std::sync::PoisonError<T>) -> Self {
        StepError::internal("another thread panicked while it held a lock")
    }
}

impl From<flow::RunError<StepError>> for StepError {
    fn from(e: flow::RunError<StepError>) -> Self {
        match e {
            flow::RunError::Task { source, .. } => source,
            flow::RunError::Access { source, .. } => source.into(),
            other => StepError::Task(other.to_string()),
        }
    }
}
