//! Saving a run, if its weights are usable.

use super::{Measured, Parts, Run};
use crate::checkpoint::Snapshot;
use crate::optim::{LossScale, OptimizerState};
use crate::run::fault::Fault;
use crate::run::{RunError, Unfit};
use crate::step::{Param, StepError};
use host::range::count_beyond;
use std::sync::Arc;

/// The outcome of saving.
#[derive(Clone, Debug, PartialEq)]
pub enum Saved {
    /// Checkpoint and model were written.
    Done,
    /// The weights are unfit: earlier files are unchanged.
    Withheld(Unfit),
}

impl Run {
    /// Whether the newest checkpoint and the model in the folder are of the last step.
    pub fn is_saved(&self) -> bool {
        [self.saved, self.exported] == [Some(self.step_count()); 2]
    }

    /// Writes a checkpoint and `model.safetensors` if weights and moments are finite and the next step's forward and
    /// backward pass has a finite loss and finite gradients, or gradients that an automatic loss scale skips. The pass is
    /// run now; if [`Run::exhausted`] says that nothing can be computed any more, the next process runs it.
    ///
    /// # Errors
    /// If they cannot be written; earlier ones are then unchanged. If data or engine fail.
    pub fn save(&mut self) -> Result<Saved, RunError> {
        self.save_unless(false)
    }

    fn save_unless(&mut self, last: bool) -> Result<Saved, RunError> {
        self.show_weights()?;
        let measured = self.is_measured() || self.exhausted().is_some();
        if self.is_saved() && measured {
            return Ok(Saved::Done);
        }
        if let Some(unfit) = self.unfit(last)? {
            return Ok(Saved::Withheld(unfit));
        }
        self.unmeasured = None;
        if self.is_saved() {
            return Ok(Saved::Done);
        }
        self.parts.state.settings = self.parts.settings.to_json();
        self.parts.state.measured = self.exhausted().is_none();
        let network = Arc::clone(&self.parts.network);
        let theta = network.params.theta.read().map_err(StepError::from)?;
        let Parts { folder, state, optimizer, average, metrics, .. } = &self.parts;
        let OptimizerState { m, v, .. } = optimizer;
        let stored = &theta[..network.params.stored()];
        metrics.sync()?;
        if self.saved == Some(state.step) {
            // The previous process was stopped between the two.
            folder.save_model(&network.cfg, state, average.values().unwrap_or(stored))?;
        } else {
            let average = average.values();
            folder.save(&network.cfg, Snapshot { state, params: stored, average, m, v })?;
        }
        (self.saved, self.exported) = (Some(state.step), Some(state.step));
        Ok(Saved::Done)
    }

    /// As [`Run::save`], at the end of a process: gradients that overflow with the next step's data do not prevent saving
    /// if the last step and the loss are finite.
    ///
    /// # Errors
    /// As there, and `Diverged` if the weights are unfit.
    pub fn save_last(&mut self) -> Result<(), RunError> {
        match self.save_unless(true)? {
            Saved::Done => Ok(()),
            Saved::Withheld(unfit) => Err(self.diverged(unfit)?),
        }
    }

    /// The error of a run whose weights are unfit.
    pub(super) fn diverged(&mut self, unfit: Unfit) -> Result<RunError, RunError> {
        let saved = self.fall_back()?;
        let fault = match &unfit {
            Unfit::Step { loss, found, .. } => self.fault(*loss, found.as_deref().cloned()),
            Unfit::Validation { loss, found } => self.fault(*loss, found.as_deref().cloned()),
            Unfit::Weights { .. } | Unfit::Range { .. } => {
                Box::new(Fault::rates(self.settings().rates(self.config())))
            }
        };
        Ok(RunError::Diverged { step: self.step_count(), unfit, saved, fault })
    }

    /// Removes the checkpoint of the last step, which this process trained and whose validation loss is not finite.
    pub(super) fn discard(&mut self) -> Result<(), RunError> {
        let step = self.step_count();
        if self.updates > 0 && self.saved == Some(step) {
            self.parts.folder.discard(step, &self.parts.network.cfg)?;
            (self.saved, self.exported) = (None, None);
        }
        Ok(())
    }

    /// Whether the newest checkpoint's weights have been used in a forward and backward pass.
    pub fn is_measured(&self) -> bool {
        self.unmeasured.is_none()
    }

    /// Why the weights are unfit for a checkpoint, if they are; `last` means [`Run::save_last`].
    fn unfit(&mut self, last: bool) -> Result<Option<Unfit>, RunError> {
        if let Some(loss) = self.validated().map(|v| v.loss).filter(|loss| !loss.is_finite()) {
            return Ok(Some(Unfit::Validation { loss, found: None }));
        }
        let network = Arc::clone(&self.parts.network);
        let theta = network.params.theta.read().map_err(StepError::from)?;
        let OptimizerState { m, v, .. } = &self.parts.optimizer;
        let finite = |x: &[f32]| count_beyond(x, f32::MAX) == 0;
        let bad = |param: &&Param| {
            let moments = [m, v].map(|x| finite(&x[param.moments.clone()]));
            !finite(&theta[param.spec.range()]) || moments != [true; 2]
        };
        if let Some(param) = network.params.iter().filter(|param| param.is_in_theta()).find(bad) {
            return Ok(Some(Unfit::Weights { name: param.spec.name.clone() }));
        }
        // The pass reads the weights too.
        drop(theta);
        match network.check_weights() {
            Err(StepError::WeightRange { name, .. }) => return Ok(Some(Unfit::Range { name })),
            checked => checked?,
        }
        if self.exhausted().is_some() {
            return Ok(None);
        }
        let Measured { loss, grad_norm, .. } = self.measure()?;
        // One that overflows is skipped, and an automatic scale is halved.
        let may_overflow = (last || self.settings().loss_scale == LossScale::Auto) && self.not_finite == 0;
        let finite = loss.is_finite() && (grad_norm.is_finite() || may_overflow);
        if finite {
            return Ok(None);
        }
        let found = if loss.is_finite() { None } else { self.out_of_range()?.map(Box::new) };
        Ok(Some(Unfit::Step { loss, grad_norm, found }))
    }

    /// The step of the newest fit checkpoint of a run that diverged. A checkpoint whose weights had no finite step yet is
    /// removed.
    pub(super) fn fall_back(&mut self) -> Result<Option<u64>, RunError> {
        if let Some(step) = self.unmeasured.take() {
            self.parts.folder.withdraw(step, &self.parts.network.cfg)?;
        }
        Ok(self.parts.folder.newest()?.map(|(step, _)| step))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::run::{Options, Overrides};
    use std::path::Path;

    pub(in crate::run) fn options(model: &Path, out: &Path) -> Options {
        Options {
            model: Some(model.display().to_string()),
            data: None,
            examples: Default::default(),
            tokenizer: None,
            out: out.to_owned(),
            resume: false,
            overrides: Overrides { steps: Some(9), ..Overrides::default() },
            threads: 1,
            device: ane::DeviceKind::Soft.into(),
        }
    }

    /// The checkpoint of a step whose validation loss is NaN is neither kept nor recommended, be it the only one or not.
    #[test]
    fn what_validation_finds_unfit_is_not_kept() {
        for steps in [1, 2] {
            let dir = tempfile::tempdir().expect("a folder");
            let model = dir.path().join("small.toml");
            std::fs::write(&model, "preset = \"layer768\"\ndim = 32\nhidden = 64\nheads = 2\nseq = 32\n")
                .expect("written");
            let mut run = Run::open(&options(&model, &dir.path().join("run")), &mut |_| {}).expect("opens");
            for _ in 0..steps {
                run.step().expect("a step");
                assert_eq!(run.save().expect("saved"), Saved::Done);
            }
            run.update(f32::NAN, 1.0).expect("weights that are not finite");
            let error = run.validate(1).expect_err("the loss is NaN");
            let before = (steps > 1).then_some(1);
            assert_eq!(error.diverged(), Some(before), "{error}");
            assert_eq!(run.folder().newest().expect("a list").map(|(step, _)| step), before);
            assert_eq!(run.folder().model().exists(), before.is_some());
            let hint = error.hint().expect("a remedy");
            assert!(hint.contains(if steps > 1 { "Go on from step 1" } else { "Start again" }), "{hint}");
        }
    }

    /// Overflowing gradients of one step do not make weights unfit if the next step is finite.
    #[test]
    fn a_single_skipped_step_does_not_keep_weights_from_being_saved() {
        let dir = tempfile::tempdir().expect("a folder");
        let model = dir.path().join("small.toml");
        std::fs::write(&model, "preset = \"layer768\"\ndim = 32\nhidden = 64\nheads = 2\nseq = 32\n")
            .expect("written");
        let mut run = Run::open(&options(&model, &dir.path().join("run")), &mut |_| {}).expect("opens");
        let network = Arc::clone(&run.parts.network);
        run.step().expect("a step");
        let usual = network.loss_scale();
        // Only the next step's gradients overflow, the loss is finite: at the end of a process this step is saved.
        network.set_loss_scale(1e37);
        assert!(matches!(run.save().expect("withheld"), Saved::Withheld(Unfit::Step { .. })));
        run.save_last().expect("its own step was finite");
        assert_eq!(run.folder().newest().expect("a list").map(|(step, _)| step), Some(1));
        network.set_loss_scale(usual);
        run.measured = None;
        run.step().expect("a step");
        network.set_loss_scale(1e37);
        assert!(run.step().expect("a step").skipped);
        // While this lasts, nothing is saved.
        assert!(matches!(run.save().expect("withheld"), Saved::Withheld(Unfit::Step { .. })));
        assert_eq!(run.folder().newest().expect("a list").map(|(step, _)| step), Some(1));
        assert!(run.step().expect("a step").skipped, "the pass that was taken is the step's");
        network.set_loss_scale(usual);
        assert_eq!(run.save().expect("saved"), Saved::Done);
        assert_eq!(run.folder().newest().expect("a list").map(|(step, _)| step), Some(4));
        let record = run.step().expect("a step");
        assert!(!record.skipped && record.loss.is_finite(), "{record:?}");
    }
}
