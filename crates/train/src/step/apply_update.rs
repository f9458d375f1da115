//! From the gradients that a step left to new weights, in the model and in its kernels.

use super::{BudgetExhausted, Network, StepError};
use crate::host::squared_norms::RowSquaredNorms;
use crate::optim::{AdamW, Update};
use std::sync::atomic::Ordering;

impl Network {
    /// The factor on the loss's gradient that keeps small gradients in the range of fp16.
    pub fn loss_scale(&self) -> f32 {
        f32::from_bits(self.loss_scale.load(Ordering::Relaxed))
    }

    /// Sets the factor on the loss's gradient.
    pub fn set_loss_scale(&self, scale: f32) {
        self.loss_scale.store(scale.to_bits(), Ordering::Relaxed);
    }

    /// The global norm of the gradient as the last step left it: with loss scale, summed over windows. Finite exactly if
    /// every gradient is.
    pub fn gradient_norm(&self) -> f64 {
        self.buffers.squares.iter().map(RowSquaredNorms::sum).sum::<f64>().sqrt()
    }

    /// Changes all weights by the gradients that the last step left, and brings them into the kernels. Where that
    /// means compiling more than this process can, the kernels keep their weights: [`Network::spent`] says so.
    ///
    /// `m` and `v` are the optimizer's moments, `[N]` in checkpoint order.
    ///
    /// # Errors
    /// If the device refuses, or another thread failed in the middle of a step.
    pub fn apply_update(
        &self,
        optimizer: &AdamW,
        update: Update,
        m: &mut [f32],
        v: &mut [f32],
    ) -> Result<(), StepError> {
        self.pool().busy(|| {
            let mut theta = self.theta.write()?;
            // Whether the kernels have the new weights.
            let mut change = |layer: Option<usize>, theta: &mut [f32]| -> Result<bool, StepError> {
                let mut written = true;
                for (place, spec) in self.specs.iter().enumerate().filter(|(_, s)| s.layer == layer) {
                    let (range, decay) = (spec.range(), &self.decay[place]);
                    let (m, v) = (&mut m[range.clone()], &mut v[range.clone()]);
                    let grad = self.buffers.grads[place].read()?;
                    optimizer.step(update, decay, &mut theta[range.clone()], &grad, m, v);
                    // While it is in the cache.
                    written = written && self.write(spec, &theta[range])?;
                }
                Ok(written)
            };
            let mut spent = BudgetExhausted::before(self.device(), self.programs_with_weights());
            for layer in 0..self.cfg.layers {
                if !change(Some(layer), &mut theta)? && spent.is_none() {
                    let baked = self.compiling.time(|| self.bake(layer, &theta));
                    spent = baked.err().map(BudgetExhausted::after).transpose()?;
                }
            }
            change(None, &mut theta)?;
            if let Some(spent) = spent {
                // Said once: nothing changes weights after that.
                let _ = self.spent.set(spent);
            }
            Ok(())
        })
    }

    /// The gradient of the weight called `name` as the last step left it, summed over windows, without the loss
    /// scale.
    pub fn gradient(&self, name: &str) -> Option<Vec<f32>> {
        let place = self.specs.iter().position(|p| p.name == name)?;
        let grad = self.buffers.grads[place].read().ok()?;
        let scale = 1.0 / self.loss_scale();
        Some(grad.iter().map(|g| g * scale).collect())
    }

    /// Why the kernels have older weights than the model, if they have: nothing can be dispatched any more.
    pub fn spent(&self) -> Option<&BudgetExhausted> {
        self.spent.get()
    }
}
