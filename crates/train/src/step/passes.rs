//! The forward-only plans of a network, built on first use.

use super::StepError;
use flow::Plan;
use std::sync::OnceLock;

/// The result of a forward-only plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// The residual stream after the last layer.
    Stream,
    /// As `Stream`, with a range check of every input and output of kernels.
    Checked,
    /// The logits of all positions.
    Logits,
    /// The logits of one position.
    LastLogits,
    /// The loss.
    Loss,
}

impl Ending {
    /// Every ending.
    pub(super) const ALL: [Ending; 5] =
        [Ending::Stream, Ending::Checked, Ending::Logits, Ending::LastLogits, Ending::Loss];
}

/// A plan for each ending.
#[derive(Debug, Default)]
pub(super) struct Passes([OnceLock<Plan<'static, StepError>>; Ending::ALL.len()]);

impl Passes {
    /// The plan for `ending`; `make` builds it on first use.
    pub(super) fn get(
        &self,
        ending: Ending,
        make: impl FnOnce() -> Result<Plan<'static, StepError>, StepError>,
    ) -> Result<&Plan<'static, StepError>, StepError> {
        let plan = &self.0[ending as usize];
        if let Some(plan) = plan.get() {
            return Ok(plan);
        }
        let new = make()?;
        Ok(plan.get_or_init(|| new))
    }
}
