//! One optimizer step: forward and backward pass, update, record.

use super::{Measured, Parts, Run};
use crate::data::{ExampleWindow, ExampleWindows, TokenFile, regression_sample};
use crate::error::TrainError;
use crate::optim::{Update, clip_factor};
use crate::run::corpus::Corpus;
use crate::run::{RunError, StepRecord};
use crate::step::{OutOfRange, StepError, Window};
use flow::Lane;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A run fails after this many steps in a row without a finite gradient.
const MAX_SKIPPED: u32 = 10;

/// The windows of `step`, and the number of their tokens. The loss is the mean over all targets of the step that count, so a
/// window with many of them weighs more: what each weighs is the number of windows over the number of targets, because losses
/// and gradients are divided by the number of windows.
fn of_examples(
    file: &TokenFile,
    windows: &ExampleWindows,
    step: u64,
    count: usize,
) -> Result<(Vec<Window>, u64), TrainError> {
    let first = step * count as u64;
    let windows = (first..).take(count).map(|index| windows.train(file, index));
    let windows = windows.collect::<Result<Vec<_>, _>>()?;
    let targets: usize = windows.iter().map(ExampleWindow::targets).sum();
    let weight = (count as f64 / targets.max(1) as f64) as f32;
    let tokens = windows.iter().map(|window| window.used as u64).sum();
    let weighted = |window: ExampleWindow| Window::Weighted {
        weights: window.weights(weight),
        tokens: window.tokens,
        starts: window.starts,
    };
    Ok((windows.into_iter().map(weighted).collect(), tokens))
}

impl Run {
    /// The windows of the next step, and the number of their tokens.
    fn windows(&self) -> Result<(Vec<Window>, u64), RunError> {
        let (step, cfg) = (self.parts.state.step, self.config());
        if let Corpus::Examples { file, windows, .. } = &self.parts.corpus {
            return Ok(of_examples(file, windows, step, self.settings().windows())?);
        }
        let window = |i: usize| -> Result<Window, RunError> {
            match (&self.parts.corpus, &self.sampler) {
                (Corpus::Tokens { file, .. }, Some(sampler)) => {
                    let mut tokens = vec![0; cfg.seq + 1];
                    file.window(sampler.start(step, i as u64), &mut tokens)?;
                    Ok(Window::Tokens(tokens))
                }
                _ => {
                    let (x, target) = regression_sample(cfg, self.settings().seed, i as u64);
                    Ok(Window::Sample { x, target })
                }
            }
        };
        let windows = (0..self.settings().windows()).map(window).collect::<Result<_, _>>()?;
        Ok((windows, self.tokens_per_step()))
    }

    /// Runs the forward and backward pass of the next step, unless already done.
    pub(super) fn measure(&mut self) -> Result<Measured, RunError> {
        if let Some(measured) = self.measured {
            return Ok(measured);
        }
        let started = Instant::now();
        let (windows, tokens) = self.windows()?;
        let network = Arc::clone(&self.parts.network);
        network.take_engine_time();
        network.take_convert_time();
        network.take_compile_time();
        let trace = &mut self.next_trace;
        trace.clear();
        let loss = self.parts.graph.run(windows, trace)?;
        let (engine, dispatches) = network.take_engine_time();
        // Workers run equal shares of the step at the same time: times are means of theirs.
        let workers = u32::try_from(self.parts.graph.workers()).unwrap_or(u32::MAX);
        let lanes = trace.lanes().map(|lane| trace.busy(lane)).sum::<Duration>() / workers;
        let busy = if workers > 1 { lanes } else { trace.busy(Lane::Engine) };
        let waiting = trace.elapsed().saturating_sub(busy);
        let scale = 1.0 / (f64::from(network.loss_scale()) * self.settings().windows() as f64);
        let measured = Measured {
            loss,
            grad_norm: network.gradient_norm()? * scale,
            scale,
            took: started.elapsed(),
            engine: engine / workers,
            dispatches,
            converting: network.take_convert_time() / workers,
            waiting,
            lanes,
            tokens,
        };
        self.measured = Some(measured);
        Ok(measured)
    }

    /// Takes one optimizer step, and records it in `metrics.jsonl`.
    ///
    /// If loss or gradient are not finite, the weights are not updated and the step is recorded as skipped. If the new
    /// weights need more compilations than this process has left, [`Run::exhausted`] says so, and the run can only be saved.
    ///
    /// # Errors
    /// If data or engine fail, or after ten skipped steps in a row.
    pub fn step(&mut self) -> Result<StepRecord, RunError> {
        let measured = self.measure()?;
        self.measured = None;
        std::mem::swap(&mut self.trace, &mut self.next_trace);
        let network = Arc::clone(&self.parts.network);
        let updating = Instant::now();
        let Measured { loss, grad_norm, .. } = measured;
        let lr = self
            .settings()
            .schedule()
            .lr_at(u32::try_from(self.step_count()).unwrap_or(u32::MAX), self.settings().lr);
        let finite = measured.is_finite();
        if finite {
            let factor = clip_factor(grad_norm, self.settings().clip);
            self.update(lr, (measured.scale * factor) as f32)?;
            self.trace.mark(Lane::Cpu, "AdamW, new weights", updating);
            self.not_finite = 0;
            self.unmeasured = None;
            self.updates += 1;
        } else {
            self.not_finite += 1;
        }
        if loss.is_finite() {
            self.losses = Some((self.losses.map_or(loss, |(first, _)| first), loss));
        }
        self.parts.state.step += 1;
        let tokens = measured.tokens;
        self.last_tokens = tokens;
        self.parts.state.tokens_seen += tokens;

        let (updated, compiling) = (updating.elapsed(), network.take_compile_time());
        let wall = (measured.took + updated).as_secs_f64();
        let host = measured.lanes.saturating_sub(measured.engine) + updated;
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        let record = StepRecord {
            step: self.step_count(),
            loss,
            lr: f64::from(lr),
            grad_norm,
            ms: wall * 1e3,
            tokens_per_s: tokens as f64 / wall,
            engine_ms: ms(measured.engine),
            host_ms: ms(host),
            convert_ms: ms(measured.converting),
            wait_ms: ms(measured.waiting),
            update_ms: ms(updated.saturating_sub(compiling)),
            compile_ms: ms(compiling),
            restart_ms: ms(std::mem::take(&mut self.restarted)),
            dispatches: measured.dispatches,
            skipped: !finite,
        };
        self.parts.metrics.step(&record)?;
        if self.not_finite >= MAX_SKIPPED {
            let (step, steps, saved) = (record.step, self.not_finite, self.fall_back()?);
            let found = self.out_of_range()?;
            let (fault, found) = (self.fault(loss, found.clone()), found.map(Box::new));
            return Err(RunError::NotFinite { step, steps, loss, saved, found, fault });
        }
        Ok(record)
    }

    /// The first value of a forward pass on the next step's data that is out of range, if any.
    pub(super) fn out_of_range(&self) -> Result<Option<OutOfRange>, RunError> {
        for window in self.windows()?.0 {
            if let Window::Tokens(tokens) | Window::Weighted { tokens, .. } = window
                && let StepError::NotFinite { found: Some(found), .. } =
                    self.parts.network.blame("the loss", &tokens)
            {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    pub(super) fn update(&mut self, lr: f32, grad_scale: f32) -> Result<(), RunError> {
        let t = u32::try_from(self.parts.state.step + 1).unwrap_or(u32::MAX);
        let update = Update { t, lr, grad_scale };
        let Parts { network, settings, optimizer: state, .. } = &mut self.parts;
        Ok(network.apply_update(&settings.optimizer(), update, state)?)
    }
}
