//! The outcome of a comparison of two programs.

use mil::Report;
use mil::eval::EvalError;

/// The result of a comparison.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Proof {
    /// Runs of each program, or of each part.
    pub runs: usize,
    /// Operations that were compared with their replacements separately; 0 if whole programs were compared.
    pub pieces: usize,
    /// Operations that only state their defaults now: there is nothing to compare.
    pub stated: usize,
    /// Elements that were compared, without infinities and NaN. It is 0 only if nothing was computed
    /// otherwise than before.
    pub elements: usize,
    /// The largest difference in exact arithmetic, relative to the largest element of the result.
    pub exact: f64,
    /// The largest difference with rounding, in units in the last place of the largest element of the result.
    pub typed_ulps: f64,
}

/// Why two programs could not be shown to mean the same.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages say it")]
pub enum ProveError {
    #[error(
        "function `{function}` takes {flops} floating-point operations and has {elements} elements of values; up to {MOST_FLOPS} and {MOST_ELEMENTS} are tried"
    )]
    TooLarge { function: String, flops: u64, elements: usize },
    #[error("function `{function}` {what}, which cannot be compared")]
    Unsteady { function: String, what: &'static str },
    #[error("function `{function}` is in only one of the programs")]
    Missing { function: String },
    #[error("the program {which} the repair does not run: {source}")]
    Run { which: &'static str, source: EvalError },
    #[error("the program is wrong: {0}")]
    Program(#[from] Report),
    #[error("`{output}` differs {how}: {before} at first, {after} when repaired; {allowed} is allowed")]
    Differs { output: String, how: &'static str, before: f64, after: f64, allowed: String },
    #[error("`{output}` of function `{function}` has no number to compare: that would be no proof")]
    Nothing { function: String, output: String },
}

/// Programs that compute more than this are not tried: the reference engine is slow.
pub(super) const MOST_FLOPS: u64 = 1 << 29;
/// Programs with more elements of values than this are not tried.
pub(super) const MOST_ELEMENTS: usize = 1 << 24;
