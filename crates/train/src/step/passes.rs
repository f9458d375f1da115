//! The forward-only plans of a network, each made when it is first used.

use super::StepError;
use flow::Plan;
use std::sync::OnceLock;

/// How a forward-only plan ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// With the residual stream after the last layer.
    Stream,
    /// As `Stream`; every value that a kernel reads from the host or writes is checked to be in its range.
    Checked,
    /// With the logits of all positions.
    Logits,
    /// With the logits of one position.
    LastLogits,
    /// With the loss.
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
    /// The plan that ends so, made by `make` if there is none yet.
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
