//! The optimizer's update: new weights in the model and in its kernels.

use super::weight_files::LayerWeights;
use super::weights::Written;
use super::{BudgetExhausted, Network, StepError};
use crate::optim::{Optimizer, OptimizerState, ParamSlices, Update};

impl Network {
    /// Updates all weights from the gradients of the last step and writes them into the kernels. If that needs more compilations
    /// than this process has left, the kernels keep their old weights and [`Network::exhausted`] returns the reason.
    ///
    /// # Errors
    /// If the device refuses, or a step was interrupted while it wrote a gradient.
    pub fn apply_update(
        &self,
        optimizer: &Optimizer,
        update: Update,
        state: &mut OptimizerState,
    ) -> Result<(), StepError> {
        self.pool().busy(|| {
            let theta = &mut *self.params.theta.write()?;
            let mut change = |layer, theta: &mut [f32]| self.change(optimizer, update, state, (layer, theta));
            let programs = self.kernels.programs_with_weights();
            let mut exhausted = BudgetExhausted::before(self.device(), programs);
            for layer in 0..self.cfg.layers {
                if change(Some(layer), theta)? == Written::NotAll && exhausted.is_none() {
                    let weights = LayerWeights { params: &self.params, layer, theta };
                    let renewed = self.context.compiling.time(|| self.sync.renew(&self.kernels, weights));
                    exhausted = renewed.err().map(exhausted_by).transpose()?;
                }
            }
            change(None, theta)?;
            if let Some(exhausted) = exhausted {
                // Set once: no later update changes weights.
                let _ = self.context.exhausted.set(exhausted);
            }
            Ok(())
        })
    }

    /// Exchanges the first weights, as many as `other` has, with those, in the model and in its kernels.
    ///
    /// # Errors
    /// If the device refuses.
    pub fn exchange_weights(&self, other: &mut [f32]) -> Result<(), StepError> {
        self.pool().busy(|| {
            let theta = &mut *self.params.theta.write()?;
            theta[..other.len()].swap_with_slice(other);
            for layer in 0..self.cfg.layers {
                let mut written = Written::All;
                let params = self.params.iter().enumerate();
                for (at, param) in params.filter(|(_, p)| p.spec.layer == Some(layer) && p.gradient.is_some())
                {
                    if written == Written::All {
                        written = self.sync.write(at, param, &theta[param.spec.range()])?;
                    }
                }
                if written == Written::NotAll {
                    let weights = LayerWeights { params: &self.params, layer, theta };
                    self.context.compiling.time(|| self.sync.renew(&self.kernels, weights))?;
                }
            }
            Ok(())
        })
    }

    /// Updates the weights of a layer, or those outside of layers, among all weights `theta`.
    fn change(
        &self,
        optimizer: &Optimizer,
        update: Update,
        state: &mut OptimizerState,
        (layer, theta): (Option<usize>, &mut [f32]),
    ) -> Result<Written, StepError> {
        let OptimizerState { m, v, muon: scratch } = state;
        let of_layer = || self.params.iter().enumerate().filter(|(_, p)| p.spec.layer == layer);
        scratch.clear();
        for (_, param) in of_layer() {
            if let (Some(gradient), Some((muon, shape))) = (&param.gradient, optimizer.muon_of(&param.spec)) {
                muon.gather(update, scratch, shape, &gradient.read()?.values, &mut m[param.moments.clone()]);
            }
        }
        let iterations = optimizer.muon.map_or(0, |muon| muon.iterations);
        scratch.orthogonalise(iterations, self.context.math);
        let (mut written, mut gathered) = (Written::All, 0);
        for (at, param) in of_layer() {
            let Some(gradient) = &param.gradient else { continue };
            let range = param.spec.range();
            if let Some((muon, _)) = optimizer.muon_of(&param.spec) {
                muon.apply(update, scratch, gathered, &mut theta[range.clone()]);
                gathered += 1;
            } else {
                let slices = ParamSlices {
                    theta: &mut theta[range.clone()],
                    grad: &gradient.read()?.values,
                    m: &mut m[param.moments.clone()],
                    v: &mut v[param.moments.clone()],
                    decays: param.spec.decay,
                };
                optimizer.rule.step(update, slices, &param.spec.shape);
            }
            // While it is in the cache.
            if written == Written::All {
                written = self.sync.write(at, param, &theta[range])?;
            }
        }
        Ok(written)
    }
}

/// Distinguishes an exhausted budget from other errors of compiling.
fn exhausted_by(error: StepError) -> Result<BudgetExhausted, StepError> {
    match error.is_retryable() {
        true => Ok(BudgetExhausted::Refused { message: error.to_string() }),
        false => Err(error),
    }
}
