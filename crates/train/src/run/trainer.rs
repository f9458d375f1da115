//! A run: steps, validations, checkpoints.

mod save;

use super::open::Corpus;
use super::{Metrics, RunError, Settings, StepRecord, Unfit, Validation};
use crate::checkpoint::{RunFolder, TrainState};
use crate::config::ModelConfig;
use crate::data::{Sampler, regression_sample};
use crate::fs::RunLock;
use crate::generate::Generator;
use crate::optim::{Update, clip_factor};
use crate::step::{BudgetExhausted, Chosen, Network, OutOfRange, StepError, StepGraph, Window};
use crate::tokenizer::Tokenizer;
use flow::{Lane, Trace};
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use save::Saved;

/// This many steps in a row without a finite gradient end a run.
const PATIENCE: u32 = 10;

/// A training run.
#[derive(Debug)]
pub struct Run {
    parts: Parts,
    trace: Trace,
    sampler: Option<Sampler>,
    /// The forward and backward pass of the next step, if it is done already, and its trace.
    measured: Option<Measured>,
    next_trace: Trace,
    /// Steps in a row that were skipped.
    not_finite: u32,
    /// The step of the newest checkpoint, and that of the model beside it.
    saved: Option<u64>,
    exported: Option<u64>,
    /// The step of a checkpoint that no step has measured yet.
    unmeasured: Option<u64>,
    restarted: Duration,
}

/// What a forward and backward pass came to; the gradients are in the network.
#[derive(Clone, Copy, Debug)]
struct Measured {
    loss: f64,
    /// The global norm of the gradient, and what gradients are multiplied with to be of one token.
    grad_norm: f64,
    scale: f64,
    took: Duration,
    engine: Duration,
    dispatches: u64,
    converting: Duration,
    waiting: Duration,
    lanes: Duration,
}

impl Measured {
    fn is_finite(&self) -> bool {
        self.loss.is_finite() && self.grad_norm.is_finite()
    }
}

/// What a run is put together from.
pub(super) struct Parts {
    pub folder: RunFolder,
    pub settings: Settings,
    pub state: TrainState,
    pub network: Arc<Network>,
    pub graph: StepGraph,
    pub corpus: Corpus,
    pub tokenizer: Option<Tokenizer>,
    pub lengths: Option<Vec<u32>>,
    /// Tokens that end a text, besides those of the tokenizer.
    pub ends: Vec<u32>,
    pub m: Vec<f32>,
    pub v: Vec<f32>,
    pub metrics: Metrics,
    pub budget: Option<u32>,
    /// Whether the folder's model is of the state's step.
    pub has_model: bool,
    #[expect(dead_code, reason = "it is held for as long as the run lives")]
    pub lock: Option<RunLock>,
}

impl std::fmt::Debug for Parts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parts")
            .field("settings", &self.settings)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

/// Bytes that a run holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Weights, fp32.
    pub weights: usize,
    /// Gradients and AdamW's moments.
    pub optimizer: usize,
    /// Surfaces.
    pub surfaces: usize,
    /// Weights and constants inside compiled kernels.
    pub kernels: usize,
    /// The engine's working memory, shared by all kernels.
    pub shared: usize,
}

/// What a process compiles for a run, on an engine that counts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compiles {
    /// Programs that it may compile.
    pub budget: u32,
    /// Programs that are compiled when a run is opened.
    pub first: u64,
    /// Programs that each step compiles again.
    pub step: u64,
}

impl Compiles {
    /// Steps that one process takes. The last of them compiles nothing: it leaves its weights to the next process.
    pub fn steps(&self) -> u64 {
        match self.step {
            0 => u64::MAX,
            step => u64::from(self.budget).saturating_sub(self.first) / step + 1,
        }
    }
}

impl Run {
    pub(super) fn assemble(parts: Parts) -> Run {
        let sampler = match &parts.corpus {
            Corpus::Tokens { split, .. } => Some(Sampler::new(parts.settings.seed, split)),
            Corpus::Synthetic => None,
        };
        let step = parts.state.step;
        Run {
            sampler,
            saved: (step > 0).then_some(step),
            exported: parts.has_model.then_some(step),
            unmeasured: (!parts.state.measured).then_some(step),
            parts,
            trace: Trace::new(),
            measured: None,
            next_trace: Trace::new(),
            not_finite: 0,
            restarted: Duration::ZERO,
        }
    }

    /// What people call the model.
    pub fn name(&self) -> &str {
        self.parts.state.launch.model.as_deref().unwrap_or("model")
    }

    /// The model's configuration.
    pub fn config(&self) -> &ModelConfig {
        &self.parts.network.cfg
    }

    /// The settings.
    pub fn settings(&self) -> &Settings {
        &self.parts.settings
    }

    /// The folder.
    pub fn folder(&self) -> &RunFolder {
        &self.parts.folder
    }

    /// The engine.
    pub fn device(&self) -> &ane::DeviceInfo {
        self.parts.network.device().info()
    }

    /// Steps taken.
    pub fn step_count(&self) -> u64 {
        self.parts.state.step
    }

    /// Whether all steps are taken.
    pub fn is_done(&self) -> bool {
        self.step_count() >= self.settings().steps
    }

    /// Tokens that a step trains on.
    pub fn tokens_per_step(&self) -> u64 {
        (self.settings().windows() * self.config().seq) as u64
    }

    /// Kernels that a layer's step dispatches.
    pub fn kernels_per_layer(&self) -> usize {
        self.parts.network.kernels.per_layer()
    }

    /// What this process compiles for the run, if the engine counts it.
    pub fn compiles(&self) -> Option<Compiles> {
        let network = &self.parts.network;
        let of = |budget| Compiles {
            budget,
            first: network.kernels.programs(),
            step: network.kernels.programs_with_weights(),
        };
        self.parts.budget.map(of)
    }

    /// Why this process can do no more for the run, if it cannot: after the last step the kernels would have to be
    /// compiled again. The step itself is done: save, and go on in a new process.
    pub fn spent(&self) -> Option<&BudgetExhausted> {
        self.parts.network.spent()
    }

    /// Says that this process goes on for one that took its last step so long ago: the next step notes it.
    pub fn note_restart(&mut self, took: Duration) {
        self.restarted = took;
    }

    /// Whether weights travel on surfaces, so that all layers share one set of kernels.
    pub fn has_dynamic_weights(&self) -> bool {
        self.parts.network.kernels.is_dynamic()
    }

    /// The rung of the ladder that its kernels are of.
    pub fn rung(&self) -> Option<Chosen> {
        self.parts.network.rung()
    }

    /// Whether the host computes norms of the forward pass.
    pub fn has_norms_on_host(&self) -> bool {
        self.parts.network.has_norms_on_host()
    }

    /// Tokens of the data, for training and for validation; `None` for synthetic data.
    pub fn data_tokens(&self) -> Option<(u64, u64)> {
        match &self.parts.corpus {
            Corpus::Tokens { split, .. } => {
                Some((split.train.end - split.train.start, split.val.end - split.val.start))
            }
            Corpus::Synthetic => None,
        }
    }

    /// Bytes held.
    pub fn memory(&self) -> Memory {
        let n = 4 * self.config().param_count();
        let (kernels, shared) = self.parts.network.kernels.bytes();
        let surfaces = self.parts.network.memory.surface_bytes();
        Memory { weights: n, optimizer: 3 * n, surfaces, kernels, shared }
    }

    /// The schedule of a step, for people: one line a task.
    pub fn schedule(&self) -> String {
        self.parts.graph.plan().to_string()
    }

    /// When each task of the last step ran.
    pub fn trace(&self) -> &Trace {
        &self.trace
    }

    fn windows(&self) -> Result<Vec<Window>, RunError> {
        let (step, cfg) = (self.parts.state.step, self.config());
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
        (0..self.settings().windows()).map(window).collect()
    }

    /// Takes the forward and backward pass of the next step, if that is not done already.
    fn measure(&mut self) -> Result<Measured, RunError> {
        if let Some(measured) = self.measured {
            return Ok(measured);
        }
        let started = Instant::now();
        let windows = self.windows()?;
        let network = Arc::clone(&self.parts.network);
        network.take_engine_time();
        network.take_convert_time();
        network.take_compile_time();
        let trace = &mut self.next_trace;
        trace.clear();
        let loss = self.parts.graph.run(windows, trace)?;
        let (engine, dispatches) = network.take_engine_time();
        let lanes = trace.busy(Lane::Engine) + trace.busy(Lane::Cpu);
        let waiting = trace.elapsed().saturating_sub(trace.busy(Lane::Engine));
        let scale = 1.0 / (f64::from(network.loss_scale()) * self.settings().windows() as f64);
        let measured = Measured {
            loss,
            grad_norm: network.gradient_norm()? * scale,
            scale,
            took: started.elapsed(),
            engine,
            dispatches,
            converting: network.take_convert_time(),
            waiting,
            lanes,
        };
        self.measured = Some(measured);
        Ok(measured)
    }

    /// Takes one optimizer step, and notes it in `metrics.jsonl`.
    ///
    /// A loss or a gradient that is not finite leaves the weights as they are, and the step is noted as skipped. After a
    /// step whose weights mean compiling more than this process may, [`Run::spent`] says so: nothing but saving works
    /// then.
    ///
    /// # Errors
    /// If data or engine fail, or gradients stay not finite.
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
        } else {
            self.not_finite += 1;
        }
        self.parts.state.step += 1;
        let tokens = self.tokens_per_step();
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
        if self.not_finite >= PATIENCE {
            let (step, steps, saved) = (record.step, self.not_finite, self.fall_back()?);
            let found = self.out_of_range()?.map(Box::new);
            return Err(RunError::NotFinite { step, steps, loss, saved, found });
        }
        Ok(record)
    }

    /// Where a forward pass on the data of the next step leaves its range, if it does.
    pub(super) fn out_of_range(&self) -> Result<Option<OutOfRange>, RunError> {
        for window in self.windows()? {
            if let Window::Tokens(tokens) = window
                && let StepError::NotFinite { found: Some(found), .. } =
                    self.parts.network.blame("the loss", &tokens)
            {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    fn update(&mut self, lr: f32, grad_scale: f32) -> Result<(), RunError> {
        let t = u32::try_from(self.parts.state.step + 1).unwrap_or(u32::MAX);
        let (optimizer, update) = (self.parts.settings.optimizer(), Update { t, lr, grad_scale });
        let Parts { network, m, v, .. } = &mut self.parts;
        Ok(network.apply_update(&optimizer, update, m, v)?)
    }

    /// Whether the settings ask for a validation after the last step, and there was none yet, whichever process took
    /// the step.
    pub fn validation_due(&self) -> bool {
        let (every, step) = (self.settings().val_every, self.step_count());
        every > 0 && step > 0 && step.is_multiple_of(every) && self.validated().is_none()
    }

    /// The validation after the last step, whichever process made it.
    fn validated(&self) -> Option<&Validation> {
        self.parts.metrics.validations().last().filter(|v| v.step == self.step_count())
    }

    /// The validation after the last step on at most `windows` windows, if it was made already.
    pub fn validation(&self, windows: usize) -> Option<Validation> {
        let count = match &self.parts.corpus {
            Corpus::Tokens { split, .. } => split.val_windows(windows).len(),
            Corpus::Synthetic => 1,
        };
        self.validated().filter(|v| v.windows == count).cloned()
    }

    /// Measures the loss on at most `windows` validation windows, and notes it in `metrics.jsonl`.
    ///
    /// # Errors
    /// `Diverged` if it is not finite; if data or engine fail.
    pub fn validate(&mut self, windows: usize) -> Result<Validation, RunError> {
        // It uses the memory of the next step's pass.
        self.measured = None;
        let network = Arc::clone(&self.parts.network);
        let step = self.step_count();
        let validation = match &self.parts.corpus {
            Corpus::Tokens { file, split } => {
                let starts = split.val_windows(windows);
                let lengths = self.parts.lengths.as_deref();
                match crate::evaluate::measure(&network, file, &starts, lengths, step, &mut |_| {}) {
                    Err(RunError::Step(StepError::NotFinite { found, .. })) => {
                        let unfit = Unfit::Validation { loss: f64::NAN, found: found.map(Box::new) };
                        return Err(RunError::Diverged { step, unfit, saved: self.fall_back()? });
                    }
                    measured => measured?,
                }
            }
            Corpus::Synthetic => {
                let (x, target) = regression_sample(&network.cfg, self.settings().seed, 0);
                let loss = network.evaluate_sample(&x, &target)?;
                Validation { step, loss, perplexity: loss.exp(), bits_per_byte: None, windows: 1 }
            }
        };
        let state = &mut self.parts.state;
        state.last_val = Some(validation.loss);
        state.best_val = Some(state.best_val.map_or(validation.loss, |best| best.min(validation.loss)));
        self.parts.metrics.validation(&validation)?;
        Ok(validation)
    }

    /// Whether the settings ask for a checkpoint after the last step.
    pub fn save_due(&self) -> bool {
        let (every, step) = (self.settings().save_every, self.step_count());
        every > 0 && step > 0 && step.is_multiple_of(every)
    }

    /// Writes text as the model is now; `None` if it has no tokenizer.
    pub fn generator(&self) -> Option<Generator<'_>> {
        self.parts.tokenizer.as_ref().map(|t| Generator::new(&self.parts.network, t, &self.parts.ends))
    }
}
