//! The time of a training step.

use super::{BenchError, Workload};
use ane::{DeviceInfo, DeviceOptions, Pool, SoftOptions};
use flow::{Lane, Trace};
use std::sync::Arc;
use std::time::{Duration, Instant};
use train::model::{Precision, Start};
use train::optim::{AdamW, Optimizer, OptimizerState, Rule, Update};
use train::step::{
    Build, ChosenRung, CompileEvent, CompileRequest, Network, StepError, StepGraph, Window, compile,
};

/// How a step is measured.
#[derive(Clone, Copy, Debug)]
pub struct StepBenchOptions {
    /// Number of compute threads; 0: as many as the machine runs at once.
    pub threads: usize,
    /// The engine.
    pub device: DeviceOptions,
    /// The plans of kernels to try; only [`StepBench::new`] reads it.
    pub start: Start,
    /// The element type of programs and surfaces.
    pub storage: Precision,
    /// Windows of a step; only [`StepBench::new`] reads it.
    pub batch: usize,
    /// Number of timed steps.
    pub samples: usize,
    /// Time after which timing ends, after at least ten samples.
    pub budget: Duration,
}

/// Times of steps, with losses and gradient norm to compare with other programs.
#[derive(Clone, Debug)]
pub struct StepTimes {
    /// Each timed step, in order.
    pub samples: Vec<Duration>,
    /// The loss before the first step.
    pub loss0: f64,
    /// The norm of the gradient before the first step.
    pub gradient_norm: f64,
    /// The loss after three steps.
    pub loss3: f64,
    /// Time of compiling all kernels.
    pub compile: Duration,
    /// Whether weights are passed on surfaces.
    pub dynamic: bool,
    /// The plan of kernels that the engine accepted.
    pub rung: Option<ChosenRung>,
    /// Bytes of all surfaces.
    pub surfaces: usize,
    /// Bytes of all kernels' constants, and of their shared working memory.
    pub kernels: (usize, usize),
    /// The engine.
    pub device: DeviceInfo,
    /// When each task of the last step ran.
    pub trace: Trace,
}

/// A compiled workload.
#[derive(Debug)]
pub struct StepBench {
    network: Arc<Network>,
    graph: StepGraph,
    windows: Vec<Window>,
    optimizer: OptimizerState,
    steps: u32,
    compile: Duration,
    trace: Trace,
}

/// The optimizer, the same in all compared programs.
const OPTIMIZER: Optimizer = Optimizer {
    rule: Rule::AdamW(AdamW { beta1: 0.9, beta2: 0.95, eps: 1e-8, weight_decay: 0.0 }),
    muon: None,
};
const LEARNING_RATE: f32 = 1e-4;

/// Loss scale: keeps small gradients in the range of fp16.
const LOSS_SCALE: f32 = 256.0;

/// Steps before timing starts: caches, page tables and clocks settle.
const WARM_UP: usize = 4;

/// The fewest samples.
const LEAST: usize = 10;

impl StepBench {
    /// Compiles `workload`; `on_event` gets its progress.
    ///
    /// # Errors
    /// If the engine cannot be opened or refuses a kernel.
    pub fn new(
        workload: Workload,
        options: &StepBenchOptions,
        on_event: &mut dyn FnMut(CompileEvent<'_>),
    ) -> Result<StepBench, BenchError> {
        let build = Build::train(options.storage).on(options.device).windows(options.batch);
        let pool = Pool::new(options.threads).map_err(StepError::Threads)?;
        let began = Instant::now();
        let (wanted, start) = (options.device, options.start);
        let request = CompileRequest { cfg: &workload.config, wanted, pool: &pool, build: &build, start };
        let network = compile(request, workload.weights(), on_event)?;
        StepBench::of(&workload, network, began.elapsed(), options.batch)
    }

    /// Compiles `workload` with the options `build`; a step trains on `batch` equal windows.
    ///
    /// # Errors
    /// As [`StepBench::new`].
    pub fn with(
        workload: &Workload,
        options: &StepBenchOptions,
        build: &Build,
        batch: usize,
    ) -> Result<StepBench, BenchError> {
        let pool = Pool::new(options.threads).map_err(StepError::Threads)?;
        let device = ane::open(options.device, SoftOptions { pool: pool.clone() })?;
        let theta = workload.weights();
        let began = Instant::now();
        let network = Network::new(&workload.config, theta, device, pool, build, &mut |_| {})?;
        StepBench::of(workload, network, began.elapsed(), batch)
    }

    fn of(
        workload: &Workload,
        network: Network,
        compile: Duration,
        batch: usize,
    ) -> Result<StepBench, BenchError> {
        let n = workload.config.param_count();
        network.set_loss_scale(LOSS_SCALE);
        let network = Arc::new(network);
        let graph = StepGraph::new(Arc::clone(&network), batch)?;
        let optimizer = OptimizerState::new(n);
        let windows = vec![workload.window(); batch];
        Ok(StepBench { network, graph, windows, optimizer, steps: 0, compile, trace: Trace::new() })
    }

    /// Takes a full step: forward, backward, AdamW. Returns the loss before it, and the norm of its gradient.
    fn step(&mut self) -> Result<(f64, f64), StepError> {
        self.trace.clear();
        let loss = self.graph.run(self.windows.clone(), &mut self.trace)?;
        let scale = 1.0 / (f64::from(LOSS_SCALE) * self.windows.len() as f64);
        let norm = self.network.gradient_norm()? * scale;
        let updating = Instant::now();
        self.steps += 1;
        let update = Update { t: self.steps, lr: LEARNING_RATE, grad_scale: scale as f32 };
        self.network.apply_update(&OPTIMIZER, update, &mut self.optimizer)?;
        self.trace.mark(Lane::Cpu, "update, new weights", updating);
        Ok((loss, norm))
    }

    /// Takes the first steps, which are not timed; returns the loss before the first, the norm of its gradient, and the
    /// loss after three.
    ///
    /// # Errors
    /// If the engine fails.
    pub fn warm_up(&mut self, progress: &mut dyn FnMut(usize)) -> Result<[f64; 3], StepError> {
        let (loss0, norm) = self.step()?;
        progress(1);
        let mut loss3 = loss0;
        for i in 1..WARM_UP {
            loss3 = self.step()?.0;
            progress(i + 1);
        }
        Ok([loss0, norm, loss3])
    }

    /// Takes one more step and returns its time.
    ///
    /// # Errors
    /// If the engine fails.
    pub fn timed(&mut self) -> Result<Duration, StepError> {
        let start = Instant::now();
        self.step()?;
        Ok(start.elapsed())
    }

    /// The engine.
    pub fn device(&self) -> &DeviceInfo {
        self.network.device().info()
    }

    /// Measures; `progress` gets the number of steps done and the number of all.
    ///
    /// # Errors
    /// If the engine fails.
    pub fn run(
        mut self,
        options: &StepBenchOptions,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<StepTimes, BenchError> {
        let total = WARM_UP + options.samples;
        let [loss0, gradient_norm, loss3] = self.warm_up(&mut |done| progress(done, total))?;
        let mut samples = Vec::with_capacity(options.samples);
        let began = Instant::now();
        while samples.len() < options.samples && (samples.len() < LEAST || began.elapsed() < options.budget) {
            samples.push(self.timed()?);
            progress(WARM_UP + samples.len(), total);
        }
        Ok(StepTimes {
            samples,
            loss0,
            gradient_norm,
            loss3,
            compile: self.compile,
            dynamic: self.network.kernels.is_dynamic(),
            rung: self.network.rung(),
            surfaces: self.network.buffers.surface_bytes(),
            kernels: self.network.kernels.bytes(),
            device: self.network.device().info().clone(),
            trace: self.trace,
        })
    }
}
