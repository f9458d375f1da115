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
    #[error("operation `{name}` is refused as a separate program: {report}")]
    Operation { name: &'static str, report: Report },
    #[error("internal error: {0}; please report it with the program that shows it")]
    Plan(#[from] PlanError),
    #[error("`{name}` is {ty}, which exceeds the address space")]
    TooLarge { name: String, ty: TensorType },
    #[error("`{name}` is {ty} and computed: this engine supports strings only as constants")]
    Strings { name: String, ty: TensorType },
    #[error("the program needs {bytes} bytes of memory, which this machine cannot allocate")]
    Memory { bytes: usize },
}

/// Why a compiled program could not be run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages say it")]
pub enum RunError {
    #[error("the program takes {want} {side}, but {got} were passed")]
    Count { side: &'static str, want: usize, got: usize },
    #[error("`{name}` is {want}, but {got} elements of {dtype} were passed")]
    Elements { name: String, want: TensorType, got: usize, dtype: DType },
    #[error("reference evaluation failed: {0}")]
    Reference(#[from] EvalError),
    #[error("internal error: {0}; please report it with the program that shows it")]
    Plan(#[from] PlanError),
}

/// A plan that contradicts itself: a mistake of this engine or of the op table, never of the program.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages say it")]
pub enum PlanError {
    #[error("step `{step}`, {kernel}, got {dtype}, but supports only fp16 and fp32")]
    NotFloat { step: String, kernel: &'static str, dtype: DType },
    #[error("parameter `{param}` of `{op}` must be constant, but its value is not")]
    Constant { op: &'static str, param: &'static str },
    #[error("a result of type {got} cannot be stored as {want}")]
    Kind { got: DType, want: DType },
    #[error("a reference operation has {got} results, but the plan has buffers for {want}")]
    Results { got: usize, want: usize },
}

/// Why this process cannot use the vector instructions that were asked for.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages say it")]
pub enum IsaError {
    #[error("this processor does not have the instructions of `{isa}`")]
    Missing { isa: &'static str },
    #[error("this process cannot change to `{isa}`: it uses `{chosen}` already")]
    Chosen { isa: &'static str, chosen: &'static str },
}
