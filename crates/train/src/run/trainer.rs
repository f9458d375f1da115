//! A run: steps, validations, checkpoints.

mod average;
mod sample;
pub(super) mod save;
mod step;
mod validate;

use super::corpus::Corpus;
use super::fault::{Evidence, Fault, Knob};
use super::{Metrics, RunError, Settings};
use crate::checkpoint::{RunFolder, TrainState};
use crate::config::ModelConfig;
use crate::data::{ExampleCounts, Sampler};
use crate::fs::RunLock;
use crate::optim::{Average, LossScaler, OptimizerState};
use crate::step::{BudgetExhausted, ChosenRung, Network, OutOfRange, StepGraph};
use crate::tokenizer::Tokenizer;
use flow::Trace;
use std::sync::Arc;
use std::time::Duration;

/// Steps whose mean loss is that of the end.
const LAST: usize = 10;

/// Losses differ by about a hundredth from batch to batch.
const NOISE: f64 = 1.01;

/// A training run.
#[derive(Debug)]
pub struct Run {
    parts: Parts,
    trace: Trace,
    sampler: Option<Sampler>,
    /// The result and trace of the next step's forward and backward pass, if already computed.
    measured: Option<Measured>,
    next_trace: Trace,
    /// Number of skipped steps in a row.
    not_finite: u32,
    /// Steps of the newest checkpoint and of the model in the folder.
    saved: Option<u64>,
    exported: Option<u64>,
    /// The step of a checkpoint whose weights have not been used in a forward and backward pass yet.
    unmeasured: Option<u64>,
    restarted: Duration,
    /// Updates of the weights by this process.
    updates: u64,
    /// The first and the last finite loss of a step.
    losses: Option<(f64, f64)>,
    /// Tokens of the last step, without padding.
    last_tokens: u64,
    /// Whether average and weights have changed places.
    shows_average: bool,
}

/// A loss at the end of a run that is above that of its first step.
#[derive(Clone, Debug, PartialEq)]
pub struct Worsened {
    /// The loss of the first step.
    pub first: f64,
    /// The loss at the end.
    pub last: f64,
    /// What is at fault.
    pub fault: Fault,
}

/// The result of a forward and backward pass; the gradients are in the network.
#[derive(Clone, Copy, Debug)]
struct Measured {
    loss: f64,
    /// Whether a gradient that kernels computed is not 0.
    has_gradient: bool,
    /// The global norm of the gradient, after `scale` has removed loss scale and number of windows.
    grad_norm: f64,
    scale: f64,
    took: Duration,
    engine: Duration,
    dispatches: u64,
    converting: Duration,
    waiting: Duration,
    lanes: Duration,
    /// Tokens that it trains on, without padding.
    tokens: u64,
}

impl Measured {
    fn is_finite(&self) -> bool {
        self.loss.is_finite() && self.grad_norm.is_finite()
    }
}

/// The parts of a run.
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
    pub optimizer: OptimizerState,
    pub average: Average,
    pub metrics: Metrics,
    pub budget: Option<u32>,
    /// Whether the folder's model is of the state's step.
    pub has_model: bool,
    /// Of a resumed run, its settings until then.
    pub before: Option<Settings>,
    #[expect(dead_code, reason = "held as long as the run lives")]
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

/// Memory of a run, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunMemory {
    /// Weights, fp32.
    pub weights: usize,
    /// Gradients, the optimizer's moments and its working memory, the average of the weights.
    pub optimizer: usize,
    /// Surfaces.
    pub surfaces: usize,
    /// Weights and constants inside compiled kernels.
    pub kernels: usize,
    /// The engine's working memory, shared by all kernels.
    pub shared: usize,
}

/// Compilations of a process, on an engine with a budget for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compiles {
    /// Programs that it may compile.
    pub budget: u32,
    /// Programs compiled when a run is opened.
    pub first: u64,
    /// Programs recompiled by each step.
    pub step: u64,
}

impl Compiles {
    /// The number of steps of one process. Its last step compiles nothing: the next process compiles those weights.
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
            Corpus::Examples { .. } | Corpus::Synthetic => None,
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
            updates: 0,
            losses: None,
            last_tokens: 0,
            shows_average: false,
        }
    }

    /// The model's name.
    pub fn name(&self) -> &str {
        self.parts.state.launch.model.as_deref().unwrap_or("model")
    }

    /// The model's configuration.
    pub fn config(&self) -> &ModelConfig {
        &self.parts.network.cfg
    }

    /// Number of weights that are trained.
    pub fn trained_count(&self) -> usize {
        self.parts.network.params.trained_count()
    }

    /// The settings.
    pub fn settings(&self) -> &Settings {
        &self.parts.settings
    }

    /// The settings that resuming changed: name, earlier and present value.
    pub fn changes(&self) -> Vec<(&'static str, String, String)> {
        self.parts.before.as_ref().map_or_else(Vec::new, |before| self.settings().changes(before))
    }

    /// What is at fault if the loss of a step is now `loss`, or its gradient is not finite, and `found` left its range.
    fn fault(&self, loss: f64, found: Option<OutOfRange>) -> Box<Fault> {
        let (rates, flag) = (self.settings().rates(self.config()), "--loss-scale");
        let (value, usual) = (f64::from(self.parts.state.loss_scale), f64::from(LossScaler::FIRST));
        let loss_scale = Knob { flag, value, usual, divisor: 16.0 };
        // Updates of earlier processes count if they had the same rates and scale.
        let is_same = |before: &Settings| {
            before.rates(self.config()) == rates && before.loss_scale == self.settings().loss_scale
        };
        let same = self.parts.before.as_ref().is_some_and(is_same);
        let updates = if same { self.step_count() } else { self.updates };
        let has_risen = self.losses.is_some_and(|(first, last)| last > first);
        Box::new(Fault::of(Evidence { rates, loss_scale, updates, loss, has_risen, found }))
    }

    /// The loss at the end, if it and that of the last steps are clearly above the loss of the first step; `validation` is that of
    /// the end, if there is one.
    ///
    /// # Errors
    /// If the metrics cannot be read.
    pub fn worsened(&self, validation: Option<f64>) -> Result<Option<Worsened>, RunError> {
        let (steps, _) = Metrics::read(&self.folder().metrics())?;
        let losses: Vec<f64> = steps.iter().map(|step| step.loss).filter(|loss| loss.is_finite()).collect();
        let Some((&first, later)) = losses.split_first() else { return Ok(None) };
        let end = &later[later.len() - later.len().min(LAST)..];
        let mean = end.iter().sum::<f64>() / end.len() as f64;
        let last = validation.unwrap_or(mean);
        let fault = || Fault::rates(self.settings().rates(self.config()));
        let least = NOISE * first;
        Ok((mean > least && last > least).then(|| Worsened { first, last, fault: fault() }))
    }

    /// The folder.
    pub fn folder(&self) -> &RunFolder {
        &self.parts.folder
    }

    /// The engine.
    pub fn device(&self) -> &ane::DeviceInfo {
        self.parts.network.device().info()
    }

    /// Number of steps done.
    pub fn step_count(&self) -> u64 {
        self.parts.state.step
    }

    /// Whether all steps are done.
    pub fn is_done(&self) -> bool {
        self.step_count() >= self.settings().steps
    }

    /// Tokens of a step's windows, with padding.
    pub fn tokens_per_step(&self) -> u64 {
        (self.settings().windows() * self.config().seq) as u64
    }

    /// Tokens that the last step of this process trained on, without padding.
    pub fn last_tokens(&self) -> u64 {
        self.last_tokens
    }

    /// What became of the examples, if the data are examples.
    pub fn examples(&self) -> Option<ExampleCounts> {
        match &self.parts.corpus {
            Corpus::Examples { windows, .. } => Some(windows.counts()),
            _ => None,
        }
    }

    /// The number of a step's windows that run at the same time; 1 if they run one after the other.
    pub fn windows_side_by_side(&self) -> usize {
        self.parts.graph.workers()
    }

    /// Kernels per layer.
    pub fn kernels_per_layer(&self) -> usize {
        self.parts.network.kernels.per_layer()
    }

    /// Compilations of this process, if the engine has a budget for them.
    pub fn compiles(&self) -> Option<Compiles> {
        let network = &self.parts.network;
        let of = |budget| Compiles {
            budget,
            first: network.kernels.programs(),
            step: network.kernels.programs_with_weights(),
        };
        self.parts.budget.map(of)
    }

    /// Why this process cannot take another step, if it cannot: the kernels would have to be recompiled, and the budget is
    /// exhausted. The last step is complete: save, and continue in a new process.
    pub fn exhausted(&self) -> Option<&BudgetExhausted> {
        self.parts.network.exhausted()
    }

    /// Records the time since the last step of the previous process; the next step reports it.
    pub fn note_restart(&mut self, took: Duration) {
        self.restarted = took;
    }

    /// Whether weights are passed on surfaces, so that all layers share one set of kernels.
    pub fn has_dynamic_weights(&self) -> bool {
        self.parts.network.kernels.is_dynamic()
    }

    /// The rung of the ladder that it was compiled with.
    pub fn rung(&self) -> Option<ChosenRung> {
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
            Corpus::Examples { windows, .. } => Some(windows.tokens()),
            Corpus::Synthetic => None,
        }
    }

    /// Memory of the run, in bytes.
    pub fn memory(&self) -> RunMemory {
        let params = &self.parts.network.params;
        let weights = params.bytes();
        let (kernels, shared) = self.parts.network.kernels.bytes();
        let surfaces = self.parts.network.buffers.surface_bytes();
        let specs = params.trained().map(|param| &param.spec);
        let state = self.parts.optimizer.bytes(&self.settings().optimizer(), specs);
        let average = 4 * self.parts.average.values().map_or(0, <[f32]>::len);
        let optimizer = 4 * params.trained_count() + state + average;
        RunMemory { weights, optimizer, surfaces, kernels, shared }
    }

    /// The schedule of a step as text, one line per task.
    pub fn schedule(&self) -> String {
        self.parts.graph.plan().to_string()
    }

    /// When each task of the last step ran.
    pub fn trace(&self) -> &Trace {
        &self.trace
    }

    /// Whether the settings ask for a checkpoint after the last step.
    pub fn save_due(&self) -> bool {
        let (every, step) = (self.settings().save_every, self.step_count());
        every > 0 && step > 0 && step.is_multiple_of(every)
    }
}
