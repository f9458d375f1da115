//! Why a program cannot be compiled or run.

use mil::blob::BlobError;
use mil::eval::EvalError;
use mil::{DType, Report, TensorType};

/// Why a program could not be compiled.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages say it")]
pub enum CompileError {
    #[error("weights: {0}")]
    Weights(#[from] BlobError),
    #[error("a constant cannot be computed: {0}")]
    Constant(EvalError),
    #[error("operation `{name}` is refused on its own: {report}")]
    Operation { name: &'static str, report: Report },
    #[error("internal error: {0}; please report it with the program that shows it")]
    Plan(#[from] PlanError),
    #[error("`{name}` is {ty}: no memory holds that")]
    TooLarge { name: String, ty: TensorType },
    #[error("`{name}` is {ty}, and computed: this engine keeps strings as constants alone")]
    Strings { name: String, ty: TensorType },
    #[error("the program needs {bytes} bytes of memory: this machine does not have them")]
    Memory { bytes: usize },
}

/// Why a compiled program could not be run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages say it")]
pub enum RunError {
    #[error("the program takes {want} {side}, {got} are given")]
    Count { side: &'static str, want: usize, got: usize },
    #[error("`{name}` is {want}, {got} elements of {dtype} are given")]
    Elements { name: String, want: TensorType, got: usize, dtype: DType },
    #[error("an operation that runs by its meaning: {0}")]
    Reference(#[from] EvalError),
    #[error("internal error: {0}; please report it with the program that shows it")]
    Plan(#[from] PlanError),
}

/// A plan that contradicts itself: a mistake of this engine or of the op table, never of the program.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages say it")]
pub enum PlanError {
    #[error("step `{step}`, {kernel}, computes with {dtype}, and computes with fp16 and fp32 alone")]
    NotFloat { step: String, kernel: &'static str, dtype: DType },
    #[error("a result of type {got} is to be written as {want}")]
    Kind { got: DType, want: DType },
    #[error("an operation that runs by its meaning has {got} results, the plan has places for {want}")]
    Results { got: usize, want: usize },
}
