//! Errors of measurements.

use ane::DeviceError;
use mil::eval::EvalError;
use train::run::RunError;
use train::step::StepError;

/// An error of a measurement.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages say it")]
pub enum BenchError {
    #[error(transparent)]
    Run(Box<RunError>),
    #[error("a program to measure is not valid: {0}")]
    Program(#[from] mil::Report),
    #[error(transparent)]
    Stack(#[from] ane::chain::StackError),
    #[error("nothing was measured: no size or sample was requested")]
    Nothing,
    #[error("the reference result of kernel `{kernel}` cannot be computed: {source}")]
    Reference { kernel: String, source: EvalError },
    #[error("kernel `{kernel}` gives {got} at element {at}, the correct result is {want}: it is not timed")]
    Wrong { kernel: String, at: usize, got: f32, want: f64 },
}

impl BenchError {
    /// What the user can do about it, if anything.
    pub fn hint(&self) -> Option<String> {
        match self {
            BenchError::Run(e) => e.hint(),
            BenchError::Wrong { .. } => Some(
                "Compare the engines with `backpropane mil run --device soft`, and report it.".to_owned(),
            ),
            _ => None,
        }
    }
}

impl From<RunError> for BenchError {
    fn from(error: RunError) -> BenchError {
        BenchError::Run(Box::new(error))
    }
}

impl From<StepError> for BenchError {
    fn from(error: StepError) -> BenchError {
        RunError::from(error).into()
    }
}

impl From<DeviceError> for BenchError {
    fn from(error: DeviceError) -> BenchError {
        RunError::from(error).into()
    }
}
