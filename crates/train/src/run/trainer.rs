//! A run: steps, validations, checkpoints.

use super::open::Corpus;
use super::{Metrics, RunError, Settings, StepRecord, Validation};
use crate::checkpoint::{RunFolder, Snapshot, TrainState};
use crate::config::ModelConfig;
use crate::data::{Sampler, regression_sample};
use crate::generate::Generator;
use crate::optim::{Update, clip_factor};
use crate::step::{Chosen, Network, Spent, StepError, StepGraph, Window};
use crate::tokenizer::Tokenizer;
use flow::{Lane, Trace};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// This many steps in a row without a finite gradient end a run.
const PATIENCE: u32 = 10;

/// A training run.
#[derive(Debug)]
pub struct Run {
    parts: Parts,
    trace: Trace,
    sampler: Option<Sampler>,
    not_finite: u32,
    saved: Option<u64>,
    restarted: Duration,
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
        let saved = (parts.state.step > 0).then_some(parts.state.step);
        Run { sampler, parts, trace: Trace::new(), not_finite: 0, saved, restarted: Duration::ZERO }
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
        self.parts.network.kernels.kernels.len()
    }

    /// What this process compiles for the run, if the engine counts it.
    pub fn compiles(&self) -> Option<Compiles> {
        let network = &self.parts.network;
        let of =
            |budget| Compiles { budget, first: network.programs(), step: network.programs_with_weights() };
        self.parts.budget.map(of)
    }

    /// Why this process can do no more for the run, if it cannot: after the last step the kernels would have to be
    /// compiled again. The step itself is done: save, and go on in a new process.
    pub fn spent(&self) -> Option<&Spent> {
        self.parts.network.spent()
    }

    /// Says that this process goes on for one that took its last step so long ago: the next step notes it.
    pub fn note_restart(&mut self, took: Duration) {
        self.restarted = took;
    }

    /// Whether weights travel on surfaces, so that all layers share one set of kernels.
    pub fn has_dynamic_weights(&self) -> bool {
        self.parts.network.is_dynamic()
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
        let (kernels, shared) = self.parts.network.kernel_bytes();
        let surfaces = self.parts.network.buffers.surface_bytes();
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

    /// Takes one optimizer step, and notes it in `metrics.jsonl`.
    ///
    /// A gradient that is not finite leaves the weights as they are, and the step is noted as skipped. After a step
    /// whose weights mean compiling more than this process may, [`Run::spent`] says so: nothing but saving works then.
    ///
    /// # Errors
    /// If data or engine fail, or gradients stay not finite.
    pub fn step(&mut self) -> Result<StepRecord, RunError> {
        let started = Instant::now();
        let windows = self.windows()?;
        let network = Arc::clone(&self.parts.network);
        network.take_engine_time();
        network.take_convert_time();
        network.take_compile_time();
        self.trace.clear();
        let loss = self.parts.graph.run(windows, &mut self.trace)?;
        let (engine, dispatches) = network.take_engine_time();
        let converting = network.take_convert_time();
        let waiting = self.trace.elapsed().saturating_sub(self.trace.busy(Lane::Engine));
        let lanes = self.trace.busy(Lane::Engine) + self.trace.busy(Lane::Cpu);
        let updating = Instant::now();

        let scale = 1.0 / (f64::from(network.loss_scale()) * self.settings().windows() as f64);
        let grad_norm = network.gradient_norm() * scale;
        let lr = self
            .settings()
            .schedule()
            .lr_at(u32::try_from(self.step_count()).unwrap_or(u32::MAX), self.settings().lr);
        let finite = grad_norm.is_finite();
        if finite {
            let factor = clip_factor(grad_norm, self.settings().clip);
            self.update(lr, (scale * factor) as f32)?;
            self.trace.mark(Lane::Cpu, "AdamW, new weights", updating);
            self.not_finite = 0;
        } else {
            self.not_finite += 1;
        }
        self.parts.state.step += 1;
        let tokens = self.tokens_per_step();
        self.parts.state.tokens_seen += tokens;

        let wall = started.elapsed().as_secs_f64();
        let (updated, compiling) = (updating.elapsed(), network.take_compile_time());
        let host = lanes.saturating_sub(engine) + updated;
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        let record = StepRecord {
            step: self.step_count(),
            loss,
            lr: f64::from(lr),
            grad_norm,
            ms: wall * 1e3,
            tokens_per_s: tokens as f64 / wall,
            engine_ms: ms(engine),
            host_ms: ms(host),
            convert_ms: ms(converting),
            wait_ms: ms(waiting),
            update_ms: ms(updated.saturating_sub(compiling)),
            compile_ms: ms(compiling),
            restart_ms: ms(std::mem::take(&mut self.restarted)),
            dispatches,
            skipped: !finite,
        };
        self.parts.metrics.step(&record)?;
        if self.not_finite >= PATIENCE {
            return Err(RunError::NotFinite { step: record.step, steps: self.not_finite, loss });
        }
        Ok(record)
    }

    fn update(&mut self, lr: f32, grad_scale: f32) -> Result<(), RunError> {
        let t = u32::try_from(self.parts.state.step + 1).unwrap_or(u32::MAX);
        let (optimizer, update) = (self.parts.settings.optimizer(), Update { t, lr, grad_scale });
        let Parts { network, m, v, .. } = &mut self.parts;
        Ok(network.learn(&optimizer, update, m, v)?)
    }

    /// Whether the settings ask for a validation after the last step, and there was none yet, whichever process took
    /// the step.
    pub fn validation_due(&self) -> bool {
        let (every, step) = (self.settings().val_every, self.step_count());
        every > 0 && step > 0 && step.is_multiple_of(every) && self.parts.metrics.validated() != Some(step)
    }

    /// Measures the loss on at most `windows` validation windows, and notes it in `metrics.jsonl`.
    ///
    /// # Errors
    /// If data or engine fail.
    pub fn validate(&mut self, windows: usize) -> Result<Validation, RunError> {
        let network = Arc::clone(&self.parts.network);
        let step = self.step_count();
        let validation = match &self.parts.corpus {
            Corpus::Tokens { file, split } => {
                let starts = split.val_windows(windows);
                crate::evaluate::measure(
                    &network,
                    file,
                    &starts,
                    self.parts.lengths.as_deref(),
                    step,
                    &mut |_| {},
                )?
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

    /// Writes a checkpoint and `model.safetensors`.
    ///
    /// # Errors
    /// If they cannot be written; earlier ones are then as they were.
    pub fn save(&mut self) -> Result<(), RunError> {
        if self.saved == Some(self.step_count()) {
            return Ok(());
        }
        let settings = serde_json::to_value(&self.parts.settings);
        self.parts.state.settings = settings.unwrap_or(serde_json::Value::Null);
        let network = Arc::clone(&self.parts.network);
        let theta = network.theta.read().map_err(|_| StepError::Poisoned)?;
        let Parts { folder, state, m, v, .. } = &self.parts;
        folder.save(&network.cfg, Snapshot { state, params: &theta, m, v })?;
        self.saved = Some(self.step_count());
        Ok(())
    }

    /// Writes text as the model is now; `None` if it has no tokenizer.
    pub fn generator(&self) -> Option<Generator<'_>> {
        self.parts.tokenizer.as_ref().map(|t| Generator::new(&self.parts.network, t, &self.parts.ends))
    }
}
