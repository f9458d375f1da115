//! One optimizer step: forward and backward pass, update, record.

use super::{Measured, Parts, Run};
use crate::data::{ExampleWindow, ExampleWindows, TokenFile, regression_sample};
use crate::error::TrainError;
use crate::model::Precision;
use crate::optim::{GradientRange, LossScale, LossScaler, Update, clip_factor};
use crate::run::corpus::Corpus;
use crate::run::{RunError, Settings, StepRecord};
use crate::step::{OutOfRange, StepError, Window};
use flow::Lane;
use host::dropout::Draw;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A run fails after this many steps in a row without a finite gradient.
const MAX_SKIPPED: u32 = 10;

/// A run fails if kernels computed gradients of 0 alone in its first steps, this many; an automatic loss scale has reached its bound by then.
const MAX_IDLE: u32 = 10;

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
        self.show_weights()?;
        if let Some(measured) = self.measured {
            return Ok(measured);
        }
        let started = Instant::now();
        let (windows, tokens) = self.windows()?;
        let network = Arc::clone(&self.parts.network);
        network.take_engine_time();
        network.take_convert_time();
        network.take_compile_time();
        network.set_draw(Draw { seed: self.settings().seed, step: self.parts.state.step });
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
            has_gradient: network.has_gradient()?,
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
    /// If data or engine fail, after ten skipped steps in a row, or if kernels computed gradients of 0 alone in the first ten.
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
            self.add_to_average()?;
            self.trace.mark(Lane::Cpu, "update, new weights", updating);
            self.not_finite = 0;
            self.unmeasured = None;
            self.updates += 1;
        } else {
            self.not_finite += 1;
        }
        let scale = network.loss_scale();
        self.note_range(&measured);
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
            loss_scale: (self.settings().loss_scale == LossScale::Auto).then_some(scale),
            skipped: !finite,
        };
        self.parts.metrics.step(&record)?;
        self.check_idle(loss, scale)?;
        if self.not_finite >= MAX_SKIPPED {
            let (step, steps, saved) = (record.step, self.not_finite, self.fall_back()?);
            let found = self.out_of_range()?;
            let (fault, found) = (self.fault(loss, found.clone()), found.map(Box::new));
            return Err(RunError::NotFinite { step, steps, loss, saved, found, fault });
        }
        Ok(record)
    }

    /// Lets an automatic loss scale follow the gradients of a step, and counts the steps in which kernels computed none but 0.
    fn note_range(&mut self, measured: &Measured) {
        let (state, network) = (&mut self.parts.state, &self.parts.network);
        let gradients = match (measured.is_finite(), measured.loss.is_finite()) {
            // The loss scale has no part in the forward pass.
            (false, false) => return,
            (false, true) => GradientRange::Overflow,
            (true, _) if measured.has_gradient || measured.loss == 0.0 => GradientRange::Finite,
            (true, _) => GradientRange::Underflow,
        };
        state.idle_steps = match gradients {
            GradientRange::Finite => None,
            GradientRange::Overflow => state.idle_steps,
            GradientRange::Underflow => state.idle_steps.map(|steps| steps + 1),
        };
        if self.parts.settings.loss_scale == LossScale::Auto {
            let now = LossScaler { scale: state.loss_scale, good_steps: state.good_steps };
            let LossScaler { scale, good_steps } = now.after(gradients, LossScaler::INTERVAL);
            (state.loss_scale, state.good_steps) = (scale, good_steps);
            network.set_loss_scale(scale);
        }
    }

    /// Refuses to go on with a run whose gradients have all been below the numbers of kernels.
    fn check_idle(&self, loss: f64, scale: f32) -> Result<(), RunError> {
        let Some(steps) = self.parts.state.idle_steps.filter(|&steps| steps >= MAX_IDLE) else {
            return Ok(());
        };
        let Settings { storage, loss_scale, .. } = self.settings();
        let remedy = match (storage, loss_scale) {
            (Precision::F16, LossScale::Fixed(_)) => "Start again with `--loss-scale auto`.",
            (Precision::F16, LossScale::Auto) => "Start again with `--storage f32`.",
            _ => "What is trained has no part in the loss: look at `--freeze` and at the weights.",
        };
        Err(RunError::Idle { steps, loss, scale, storage: storage.name(), remedy })
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::trainer::save::tests::options;
    use crate::run::{Metrics, Overrides};
    use std::path::Path;

    fn open(dir: &Path, out: &str, resume: bool) -> Run {
        let model = dir.join("small.toml");
        std::fs::write(&model, "preset = \"layer768\"\ndim = 32\nhidden = 64\nheads = 2\nseq = 32\n")
            .expect("written");
        let mut options = options(&model, &dir.join(out));
        options.resume = resume;
        options.overrides = match resume {
            true => Overrides::default(),
            false => Overrides { loss_scale: Some(LossScale::Auto), ..options.overrides },
        };
        Run::open(&options, &mut |_| {}).expect("opens")
    }

    /// A step that overflows is skipped and the scale halved, and a run that was stopped in between doubles it at the same step.
    #[test]
    fn an_automatic_scale_follows_the_gradients_and_goes_on() {
        let dir = tempfile::tempdir().expect("a folder");
        let run_to_end = |out: &str, stop: bool| {
            let mut run = open(dir.path(), out, false);
            // As after many doublings, in a run whose gradients grow.
            run.parts.state.loss_scale = 1e37;
            run.parts.network.set_loss_scale(1e37);
            let record = run.step().expect("a step");
            assert!(record.skipped && record.loss_scale == Some(1e37) && run.not_finite == 1, "{record:?}");
            assert_eq!(run.parts.state.loss_scale, 5e36);
            (run.parts.state.loss_scale, run.parts.state.good_steps) = (1024.0, LossScaler::INTERVAL - 3);
            run.parts.network.set_loss_scale(1024.0);
            assert!(!run.step().expect("a step").skipped);
            if stop {
                run.save_last().expect("saved");
                drop(run);
                run = open(dir.path(), out, true);
            }
            while !run.is_done() {
                run.step().expect("a step");
            }
            run.save_last().expect("saved");
            let (steps, _) = Metrics::read(&run.folder().metrics()).expect("metrics");
            let scales: Vec<f32> = steps[1..].iter().filter_map(|step| step.loss_scale).collect();
            (scales, std::fs::read(run.folder().model()).expect("a model"))
        };
        let whole = run_to_end("whole", false);
        assert_eq!(whole.0, [1024.0, 1024.0, 1024.0, 2048.0, 2048.0, 2048.0, 2048.0, 2048.0]);
        assert!(whole == run_to_end("stopped", true));
    }

    /// Gradients that overflow at an automatic scale make no weights unfit: the step will be skipped.
    #[test]
    fn what_an_automatic_scale_skips_is_saved() {
        let dir = tempfile::tempdir().expect("a folder");
        let mut run = open(dir.path(), "run", false);
        run.step().expect("a step");
        run.parts.network.set_loss_scale(1e37);
        assert_eq!(run.save().expect("saved"), crate::run::Saved::Done);
        assert!(run.step().expect("a step").skipped);
    }
}
