//! Forward passes alone: the training graph's forward part, cut short.

use super::graph::{Builder, Ending};
use super::{Network, StepError, Window};
use crate::host::loss;
use flow::Plan;
use rayon::prelude::*;
use std::sync::OnceLock;

type ForwardPlan = OnceLock<Plan<'static, StepError>>;

/// The forward-only plans of a network, each made when it is first used.
#[derive(Debug, Default)]
pub(super) struct Passes {
    stream: ForwardPlan,
    logits: ForwardPlan,
    last_logits: ForwardPlan,
    loss: ForwardPlan,
    /// As `stream`, and every value that a kernel reads or writes is checked.
    checked: ForwardPlan,
}

impl Passes {
    /// The plan that ends so.
    fn get(&self, network: &Network, ending: Ending) -> Result<&Plan<'static, StepError>, StepError> {
        let plan = match ending {
            Ending::Stream => &self.stream,
            Ending::Logits => &self.logits,
            Ending::LastLogits => &self.last_logits,
            Ending::Loss => &self.loss,
        };
        made(plan, network, ending, false)
    }
}

fn made<'p>(
    plan: &'p ForwardPlan,
    network: &Network,
    ending: Ending,
    is_checked: bool,
) -> Result<&'p Plan<'static, StepError>, StepError> {
    if let Some(plan) = plan.get() {
        return Ok(plan);
    }
    let mut builder = Builder::new(network, is_checked);
    builder.forward(0)?;
    builder.end(ending)?;
    let new = builder.plan()?;
    Ok(plan.get_or_init(|| new))
}

impl Network {
    /// Runs the forward pass of one window to `ending`.
    fn pass(&self, window: Window, ending: Ending) -> Result<(), StepError> {
        let plan = self.passes.get(self, ending)?;
        *self.memory.windows.write()? = vec![window];
        Ok(plan.run()?)
    }

    fn pass_tokens(&self, tokens: &[u32], ending: Ending) -> Result<(), StepError> {
        let window = Window::Tokens(tokens.to_vec());
        self.check_window(&window)?;
        self.pass(window, ending)
    }

    /// Runs the forward pass on the first S of S + 1 `tokens`, and checks every value that a kernel reads from the host or
    /// writes.
    ///
    /// # Errors
    /// `NotFinite` with the first layer and value that left their range; otherwise as [`Network::logits`].
    pub(crate) fn check_range(&self, tokens: &[u32]) -> Result<(), StepError> {
        self.pool().install(|| {
            let plan = made(&self.passes.checked, self, Ending::Stream, true)?;
            *self.memory.windows.write()? = vec![Window::Tokens(tokens.to_vec())];
            Ok(plan.run()?)
        })
    }

    /// The mean squared error of what the layers make of `x`, for regression.
    ///
    /// # Errors
    /// If the device fails.
    pub fn evaluate_sample(&self, x: &[f32], target: &[f32]) -> Result<f64, StepError> {
        self.pool().install(|| {
            self.pass(Window::Sample { x: x.to_vec(), target: Vec::new() }, Ending::Stream)?;
            let y = self.memory.activations.x[self.cfg.layers].read()?;
            let mut error = 0.0;
            self.shared.host.with_channel_first(&y, self.cfg.seq, &mut |y| {
                error = loss::mse(y, target, 1.0, &mut vec![0.0; y.len()]);
            });
            Ok(error)
        })
    }

    /// Logits `[V, S]` of the first S of S + 1 `tokens`.
    ///
    /// # Errors
    /// If the window has another length, a token is out of range, a logit is not finite, or the device fails.
    pub fn logits(&self, tokens: &[u32]) -> Result<Vec<f32>, StepError> {
        self.pool().install(|| {
            self.pass_tokens(tokens, Ending::Logits)?;
            let logits = self.memory.logits.read()?.clone();
            match logits.par_iter().all(|x| x.is_finite()) {
                true => Ok(logits),
                false => Err(self.blame("a logit", tokens)),
            }
        })
    }

    /// Logits `[V]` after position `at` of the first S of S + 1 `tokens`.
    ///
    /// # Errors
    /// As [`Network::logits`].
    pub fn logits_at(&self, tokens: &[u32], at: usize) -> Result<Vec<f32>, StepError> {
        self.pool().install(|| {
            *self.memory.position.write()? = at;
            self.pass_tokens(tokens, Ending::LastLogits)?;
            let logits = self.memory.last_logits.read()?.clone();
            match logits.iter().all(|x| x.is_finite()) {
                true => Ok(logits),
                false => Err(self.blame("a logit", tokens)),
            }
        })
    }

    /// The mean loss of a window of S + 1 `tokens`, in nats a token.
    ///
    /// # Errors
    /// As [`Network::logits`].
    pub fn evaluate(&self, tokens: &[u32]) -> Result<f64, StepError> {
        let loss = self.pool().install(|| {
            self.pass_tokens(tokens, Ending::Loss)?;
            Ok::<f64, StepError>(*self.memory.loss.read()?)
        })?;
        match loss.is_finite() {
            true => Ok(loss),
            false => Err(self.blame("the loss", tokens)),
        }
    }
}
