//! The graphs of a network: one builder for the training step and the forward-only plans.

mod backward; // backward kernels, norms, gradients of weights
mod builder; //  the builder and the forward pass
mod head; //     the loss, and the endings of forward-only plans
mod kernel; //   a kernel with its inputs, and the range check around it
#[cfg(test)]
mod tests;

pub(super) use builder::Builder;

use super::buffers::Window;
use super::params::GradientSum;
use super::{Network, StepError};
use flow::{Handle, Plan, Trace};
use host::Store;
use std::sync::Arc;

/// The plan of forward and backward passes of all micro-batches of an optimizer step; it can be run many times.
#[derive(Debug)]
pub struct StepGraph {
    plan: Plan<'static, StepError>,
    network: Arc<Network>,
    micro_batches: usize,
    workers: usize,
    /// Gradients that all tasks add to; a step sets them to zero first.
    cleared: Vec<Handle<GradientSum>>,
}

impl StepGraph {
    /// The plan for `micro_batches` windows: as many side by side as the network has memory for, one worker each; or one after
    /// the other, each on all threads.
    ///
    /// # Errors
    /// `Internal`, if the network has no backward pass.
    pub fn new(network: Arc<Network>, micro_batches: usize) -> Result<StepGraph, StepError> {
        let n = &network;
        if n.params.gradients().next().is_none() {
            return Err(StepError::internal("a network without a backward pass cannot be trained"));
        }
        let mut builder = Builder::new(n, false);
        builder.drops = true;
        let workers = n.buffers.in_flight().min(micro_batches);
        for micro in 0..micro_batches {
            if workers > 1 {
                builder.beside(micro)?;
            }
            // The first micro-batch overwrites the gradients of matrices.
            let store = if micro == 0 { Store::Replace } else { Store::Add };
            builder.forward(micro)?;
            builder.loss(micro, store)?;
            builder.backward(micro, store)?;
            builder.end_window(micro, micro_batches)?;
        }
        let plan = builder.plan()?;
        let classifier = n.cfg.classifier();
        let is_matrix = |kind| n.layer.weight_grads.iter().any(|outer| outer.kind == kind);
        let added_to = n.params.iter().filter(|p| p.spec.kind != classifier && !is_matrix(p.spec.kind));
        let cleared = added_to.filter_map(|p| p.gradient.clone()).collect();
        Ok(StepGraph { plan, network, micro_batches, workers, cleared })
    }

    /// The plan.
    pub fn plan(&self) -> &Plan<'static, StepError> {
        &self.plan
    }

    /// The number of threads that run windows side by side; 1 if windows run one after the other.
    pub fn workers(&self) -> usize {
        self.workers
    }

    /// Computes the gradients of `windows`, one per micro-batch, and returns the mean loss.
    ///
    /// The gradients are left in the network's memory: sums over windows, times the loss scale.
    ///
    /// # Errors
    /// If the number or length of the windows is wrong, a token is out of range, or the device fails.
    pub fn run(&self, windows: Vec<Window>, trace: &mut Trace) -> Result<f64, StepError> {
        let n = &self.network;
        if windows.len() != self.micro_batches {
            return Err(StepError::Windows { want: self.micro_batches, got: windows.len() });
        }
        windows.iter().try_for_each(|window| n.check_window(window))?;
        *n.buffers.windows.write()? = windows;
        *n.buffers.loss.write()? = 0.0;
        self.cleared.iter().try_for_each(|gradient| -> Result<(), StepError> {
            gradient.write()?.clear();
            Ok(())
        })?;
        // The engine's lane, or each worker, runs on a thread of the pool, which saves waking another thread per task.
        // While it waits, it executes parts of other tasks: the threads share what work there is.
        let idle = || {
            if rayon::yield_now() != Some(rayon::Yield::Executed) {
                std::thread::yield_now();
            }
        };
        let pool = n.pool();
        if self.workers > 1 {
            let mut start =
                |lanes: usize, serve: &(dyn Fn(usize) + Sync)| lanes <= pool.threads() && pool.on_each(serve);
            self.plan.run_on(&mut start, trace, &idle)?;
        } else {
            pool.busy(|| self.plan.run_busy(trace, &idle).map_err(StepError::from))?;
        }
        Ok(*n.buffers.loss.read()? / self.micro_batches as f64)
    }
}
