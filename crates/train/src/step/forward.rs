//! Forward-only passes.

use super::graph::Builder;
use super::passes::Ending;
use super::{Network, StepError, Window};
use crate::config::ModelConfig;
use ane::{Device, Engine};
use flow::Plan;
use host::range::count_beyond;
use host::regression;

/// Whether a finite result of the model `cfg` may come from an infinite intermediate value, so that checking results is not
/// enough: an engine may do that (rule N5), and so does a bound of scores.
pub(crate) fn hides_infinity(device: &dyn Device, cfg: &ModelConfig) -> bool {
    device.info().engine == Engine::Apple || cfg.variant.score_cap.is_some()
}

impl Network {
    /// Runs the forward pass of one window to `ending`.
    fn pass(&self, window: Window, ending: Ending) -> Result<(), StepError> {
        let plan = self.passes.get(ending, || self.forward_plan(ending))?;
        *self.buffers.windows.write()? = vec![window];
        Ok(plan.run()?)
    }

    fn forward_plan(&self, ending: Ending) -> Result<Plan<'static, StepError>, StepError> {
        let mut builder = Builder::new(self, ending == Ending::Checked);
        builder.forward(0)?;
        builder.end(ending)?;
        builder.plan()
    }

    fn pass_tokens(&self, tokens: &[u32], ending: Ending) -> Result<(), StepError> {
        let window = Window::Tokens(tokens.to_vec());
        self.check_window(&window)?;
        self.pass(window, ending)
    }

    /// Runs the forward pass on the first S of S + 1 `tokens` and checks the range of every input and output of kernels.
    ///
    /// # Errors
    /// `NotFinite` with the first layer and value out of range; otherwise as [`Network::logits`].
    pub(crate) fn check_range(&self, tokens: &[u32]) -> Result<(), StepError> {
        self.pool().install(|| self.pass_tokens(tokens, Ending::Checked))
    }

    /// As [`hides_infinity`].
    pub(crate) fn hides_infinity(&self) -> bool {
        hides_infinity(self.device(), &self.cfg)
    }

    /// The error for a result of `tokens` that is not finite; it names the first layer with values out of range, if any.
    pub(crate) fn blame(&self, what: &'static str, tokens: &[u32]) -> StepError {
        match self.check_range(tokens) {
            Err(StepError::NotFinite { found, .. }) => StepError::NotFinite { what, found },
            Err(other) => other,
            Ok(()) => StepError::NotFinite { what, found: None },
        }
    }

    /// The mean squared error of the layers' output for `x`, for regression.
    ///
    /// # Errors
    /// If the device fails.
    pub fn evaluate_sample(&self, x: &[f32], target: &[f32]) -> Result<f64, StepError> {
        self.pool().install(|| {
            self.pass(Window::Sample { x: x.to_vec(), target: Vec::new() }, Ending::Stream)?;
            let y = self.buffers.first().activations.x[self.cfg.layers].read()?;
            let mut error = 0.0;
            self.context.host.with_channel_first(&y, self.cfg.seq, &mut |y| {
                error = regression::mse(y, target, 1.0, &mut vec![0.0; y.len()]);
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
            let logits = std::mem::take(&mut *self.buffers.first().logits.write()?);
            match count_beyond(&logits, f32::MAX) == 0 {
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
            *self.buffers.position.write()? = at;
            self.pass_tokens(tokens, Ending::LastLogits)?;
            let logits = self.buffers.last_logits.read()?.clone();
            match count_beyond(&logits, f32::MAX) == 0 {
                true => Ok(logits),
                false => Err(self.blame("a logit", tokens)),
            }
        })
    }

    /// The mean loss of a window of S + 1 `tokens`, in nats per token.
    ///
    /// # Errors
    /// As [`Network::logits`].
    pub fn evaluate(&self, tokens: &[u32]) -> Result<f64, StepError> {
        self.loss_of(Window::Tokens(tokens.to_vec()), tokens)
    }

    /// The sum of the losses of a window's targets by their `weights`, in nats.
    ///
    /// # Errors
    /// As [`Network::logits`].
    pub(crate) fn evaluate_weighted(
        &self,
        tokens: &[u32],
        starts: &[usize],
        weights: Vec<f32>,
    ) -> Result<f64, StepError> {
        let window = Window::Weighted { tokens: tokens.to_vec(), starts: starts.to_vec(), weights };
        self.loss_of(window, tokens)
    }

    fn loss_of(&self, window: Window, tokens: &[u32]) -> Result<f64, StepError> {
        self.check_window(&window)?;
        let loss = self.pool().install(|| {
            self.pass(window, Ending::Loss)?;
            Ok::<f64, StepError>(*self.buffers.loss.read()?)
        })?;
        match loss.is_finite() {
            true => Ok(loss),
            false => Err(self.blame("the loss", tokens)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ModelConfig, init_params};
    use crate::model::{LADDER, Precision};
    use crate::step::{Build, StepGraph};
    use ane::{DeviceKind, Pool, SoftOptions};
    use std::sync::Arc;

    fn network(build: &Build) -> Arc<Network> {
        let cfg = ModelConfig { qk_norm: true, ..ModelConfig::preset("tiny").unwrap() };
        let pool = Pool::new(1).unwrap();
        let device = ane::open(DeviceKind::Soft, SoftOptions { pool: pool.clone() }).unwrap();
        Arc::new(Network::new(&cfg, init_params(&cfg, 3), device, pool, build, &mut |_| {}).unwrap())
    }

    #[test]
    fn forward_only_plans_are_the_training_graph_cut_short() {
        let cfg = ModelConfig { qk_norm: true, ..ModelConfig::preset("tiny").unwrap() };
        for rung in &LADDER[..2] {
            let network = network(&Build::train(Precision::F16).rung(rung, &cfg));
            let step = StepGraph::new(Arc::clone(&network), 1).unwrap();
            let tasks = step.plan().tasks();
            let forward = tasks.iter().position(|t| t.name == "0.loss").unwrap();
            for ending in Ending::ALL {
                let plan = network.forward_plan(ending).unwrap();
                for (a, b) in plan.tasks().iter().zip(&tasks[..forward]) {
                    let of = |t: &flow::TaskInfo| (t.name.clone(), t.reads.clone(), t.writes.clone());
                    assert_eq!(of(a), of(b), "{ending:?} of {}", rung.name);
                }
                let tail: Vec<&str> = plan.tasks()[forward..].iter().map(|t| t.name.as_str()).collect();
                let want: &[&str] = match ending {
                    Ending::Stream | Ending::Checked => &["check.stream"],
                    Ending::Logits | Ending::LastLogits => &["check.stream", "logits"],
                    Ending::Loss => &["check.stream", "loss"],
                };
                assert_eq!(tail, want, "{ending:?}");
            }
        }
    }

    #[test]
    fn what_cannot_be_is_an_error_with_its_place() {
        let inferring = network(&Build::infer(Precision::F16));
        let error = StepGraph::new(inferring, 1).unwrap_err();
        assert!(matches!(error, StepError::Internal { .. }), "{error}");
        assert!(error.to_string().contains("graph/mod.rs:"), "{error}");
        assert!(error.hint().is_some_and(|hint| hint.contains("report")));

        let network = network(&Build::train(Precision::F16));
        let zeros = || vec![0.0; network.cfg.dim * network.cfg.seq];
        let error = network.evaluate_sample(&zeros(), &zeros()).unwrap_err();
        assert!(error.to_string().contains("does not fit the model's task"), "{error}");
        let graph = StepGraph::new(Arc::clone(&network), 1).unwrap();
        let window = Window::Sample { x: zeros(), target: zeros() };
        let error = graph.run(vec![window], &mut flow::Trace::new()).unwrap_err();
        assert!(matches!(error, StepError::Internal { .. }), "{error}");
    }

    #[test]
    fn memory_that_is_held_outside_is_an_error_and_no_wait() {
        let network = network(&Build::infer(Precision::F16));
        let tokens = vec![1; network.cfg.seq + 1];
        let held = network.buffers.first().head.read().unwrap();
        let error = network.logits(&tokens).unwrap_err();
        assert_eq!(error.to_string(), "the memory of a step: cell `head` is in use");
        drop(held);
        assert!(network.logits(&tokens).is_ok());
    }
}
