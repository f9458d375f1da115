//! The optimizer's update: new weights in the model and in its kernels.

use super::weight_files::LayerWeights;
use super::weights::Written;
use super::{BudgetExhausted, Network, StepError};
use crate::optim::{AdamW, ParamSlices, Update};

impl Network {
    /// Updates all weights from the gradients of the last step and writes them into the kernels. If that needs more compilations
    /// than this process has left, the kernels keep their old weights and [`Network::exhausted`] returns the reason.
    ///
    /// `m` and `v` are the optimizer's moments, `[N]` in checkpoint order.
    ///
    /// # Errors
    /// If the device refuses, or a step was interrupted while it wrote a gradient.
    pub fn apply_update(
        &self,
        optimizer: &AdamW,
        update: Update,
        m: &mut [f32],
        v: &mut [f32],
    ) -> Result<(), StepError> {
        self.pool().busy(|| {
            let theta = &mut *self.params.theta.write()?;
            let mut change = |layer: Option<usize>, theta: &mut [f32]| -> Result<Written, StepError> {
                let mut written = Written::All;
                let of_layer = self.params.iter().enumerate().filter(|(_, p)| p.spec.layer == layer);
                for (at, param) in of_layer {
                    let Some(gradient) = &param.gradient else { continue };
                    let range = param.spec.range();
                    let slices = ParamSlices {
                        theta: &mut theta[range.clone()],
                        grad: &gradient.read()?.values,
                        m: &mut m[range.clone()],
                        v: &mut v[range.clone()],
                        decays: param.spec.decay,
                    };
                    optimizer.step(update, slices);
                    // While it is in the cache.
                    if written == Written::All {
                        written = self.sync.write(at, param, &theta[range])?;
                    }
                }
                Ok(written)
            };
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
}

/// Distinguishes an exhausted budget from other errors of compiling.
fn exhausted_by(error: StepError) -> Result<BudgetExhausted, StepError> {
    match error.is_retryable() {
        true => Ok(BudgetExhausted::Refused { message: error.to_string() }),
        false => Err(error),
    }
}
