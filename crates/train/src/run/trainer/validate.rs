//! Validations of a run.

use super::Run;
use crate::data::regression_sample;
use crate::run::corpus::Corpus;
use crate::run::{RunError, Unfit, Validation};
use crate::step::{OutOfRange, StepError};
use std::sync::Arc;

impl Run {
    /// Whether a validation is due after the last step and was not yet made by this or an earlier process.
    pub fn validation_due(&self) -> bool {
        let (every, step) = (self.settings().val_every, self.step_count());
        every > 0 && step > 0 && step.is_multiple_of(every) && self.validated().is_none()
    }

    /// The validation after the last step, by this or an earlier process.
    pub(super) fn validated(&self) -> Option<&Validation> {
        self.parts.metrics.validations().last().filter(|v| v.step == self.step_count())
    }

    /// The validation after the last step, if it was made already and on at most `windows` windows.
    pub fn validation(&self, windows: usize) -> Option<Validation> {
        let count = match &self.parts.corpus {
            Corpus::Tokens { split, .. } => split.val_windows(windows).len(),
            Corpus::Examples { windows: examples, .. } => examples.valid_windows(windows),
            Corpus::Synthetic => 1,
        };
        self.validated().filter(|v| v.windows == count).cloned()
    }

    /// Measures the loss of the model, or of its average if there is one, on at most `windows` validation windows, and records it in `metrics.jsonl`.
    ///
    /// # Errors
    /// `Diverged` if it is not finite: a checkpoint of the same step, trained by this process, is removed then. If data or
    /// engine fail.
    pub fn validate(&mut self, windows: usize) -> Result<Validation, RunError> {
        // Validation overwrites the buffers of the next step's pass.
        self.measured = None;
        self.show_average()?;
        let network = Arc::clone(&self.parts.network);
        let step = self.step_count();
        let lengths = self.parts.lengths.as_deref();
        let measured = match &self.parts.corpus {
            Corpus::Tokens { file, split } => {
                let starts = split.val_windows(windows);
                crate::evaluate::measure(&network, file, &starts, lengths, step, &mut |_| {})
            }
            Corpus::Examples { file, windows: examples, .. } => {
                let taken = examples.valid_windows(windows);
                let read = |at| examples.valid(file, at, taken);
                crate::evaluate::measure_examples(&network, taken, read, lengths, step, &mut |_| {})
            }
            Corpus::Synthetic => {
                let (x, target) = regression_sample(&network.cfg, self.settings().seed, 0);
                let loss = network.evaluate_sample(&x, &target)?;
                if !loss.is_finite() {
                    return Err(self.invalid(loss, None)?);
                }
                Ok(Validation { step, loss, perplexity: loss.exp(), bits_per_byte: None, windows: 1 })
            }
        };
        let validation = match measured {
            Err(RunError::Step(StepError::NotFinite { found, .. })) => {
                return Err(self.invalid(f64::NAN, found)?);
            }
            measured => measured?,
        };
        let state = &mut self.parts.state;
        state.last_val = Some(validation.loss);
        state.best_val = Some(state.best_val.map_or(validation.loss, |best| best.min(validation.loss)));
        self.parts.metrics.validation(&validation)?;
        Ok(validation)
    }

    /// The error of a validation loss that is not finite.
    fn invalid(&mut self, loss: f64, found: Option<OutOfRange>) -> Result<RunError, RunError> {
        self.discard()?;
        self.diverged(Unfit::Validation { loss, found: found.map(Box::new) })
    }
}
