//! The average of the weights, which takes their place wherever the model is shown.

use super::Run;
use crate::run::RunError;
use crate::step::StepError;
use std::sync::Arc;

impl Run {
    /// Takes the weights after an update into the average, if the settings ask for one.
    pub(super) fn add_to_average(&mut self) -> Result<(), RunError> {
        let decay = self.settings().ema;
        if decay > 0.0 {
            let network = Arc::clone(&self.parts.network);
            let theta = network.params.theta.read().map_err(StepError::from)?;
            let stored = &theta[..network.params.stored()];
            network.pool().install(|| self.parts.average.add(stored, decay));
        }
        Ok(())
    }

    /// Puts the average of the weights, if there is one, into the model: what validates or generates from now on uses it. The next
    /// step and the next checkpoint put the weights back.
    ///
    /// # Errors
    /// If the engine fails.
    pub fn show_average(&mut self) -> Result<(), RunError> {
        self.show(true)
    }

    /// Puts the weights back.
    pub(super) fn show_weights(&mut self) -> Result<(), RunError> {
        self.show(false)
    }

    fn show(&mut self, average: bool) -> Result<(), RunError> {
        if self.shows_average == average {
            return Ok(());
        }
        if let Some(other) = self.parts.average.values_mut() {
            self.parts.network.exchange_weights(other)?;
            self.shows_average = average;
            // What was computed with the other weights is void.
            self.measured = None;
        }
        Ok(())
    }
}
