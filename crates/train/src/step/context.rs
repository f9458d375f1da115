//! State shared by all tasks of a network, besides buffers: sizes, arithmetic, dispatch, counters.

use super::buffers::ValueGuard;
use super::clock::Clock;
use super::{BudgetExhausted, HostMath, StepError};
use crate::config::ModelConfig;
use ane::{Kernel, MatmulPrecision, Surface, SurfaceBlock};
use host::dropout::Draw;
use host::embed::Rows;
use host::gemm::Elements;
use host::head::LossOptions;
use host::norm::RmsNorm;
use host::soft_cap::SoftCap;
use softane::convert;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::Duration;

/// State shared by all tasks of a network.
#[derive(Debug)]
pub(super) struct TaskContext {
    /// Channels of the residual stream, D.
    pub dim: usize,
    /// Positions, S.
    pub seq: usize,
    /// Size of the vocabulary, V.
    pub vocab: usize,
    eps: f32,
    /// What is added to a norm's weight.
    offset: f32,
    /// The width of the embedding's rows, and the factor on them.
    pub rows: Rows,
    /// The bound of the logits.
    pub cap: Option<SoftCap>,
    /// The precision of matrix products, on the host and the device.
    pub math: MatmulPrecision,
    /// The implementation of the host's work.
    pub host: Arc<dyn HostMath>,
    loss: RwLock<LossOptions>,
    /// The probability that a step leaves out an element of what adapters project.
    pub dropout: f64,
    draw: RwLock<Draw>,
    engine_ns: AtomicU64,
    dispatches: AtomicU64,
    /// Time of copying values to and from surfaces.
    pub converting: Clock,
    /// Time of recompiling kernels.
    pub compiling: Clock,
    /// Set if the kernels have older weights than the model.
    pub exhausted: OnceLock<BudgetExhausted>,
}

impl TaskContext {
    pub(super) fn new(
        cfg: &ModelConfig,
        math: MatmulPrecision,
        host: Arc<dyn HostMath>,
        dropout: f64,
    ) -> TaskContext {
        TaskContext {
            dim: cfg.dim,
            seq: cfg.seq,
            vocab: cfg.vocab,
            eps: cfg.rms_eps as f32,
            offset: cfg.variant.family.norm_offset() as f32,
            rows: Rows { dim: cfg.dim, scale: cfg.embedding_scale() },
            cap: cfg.variant.logit_cap.map(|limit| SoftCap { limit: limit as f32 }),
            math,
            host,
            loss: RwLock::default(),
            dropout,
            draw: RwLock::default(),
            engine_ns: AtomicU64::new(0),
            dispatches: AtomicU64::new(0),
            converting: Clock::default(),
            compiling: Clock::default(),
            exhausted: OnceLock::new(),
        }
    }

    /// How the loss and its gradient are formed.
    pub(super) fn loss(&self) -> LossOptions {
        *self.loss.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_loss(&self, options: LossOptions) {
        *self.loss.write().unwrap_or_else(PoisonError::into_inner) = options;
    }

    /// The random numbers of the step.
    pub(super) fn draw(&self) -> Draw {
        *self.draw.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_draw(&self, draw: Draw) {
        *self.draw.write().unwrap_or_else(PoisonError::into_inner) = draw;
    }

    /// A norm of `groups` groups of `channels` channels.
    pub(super) fn norm(&self, channels: usize, groups: usize) -> RmsNorm {
        RmsNorm { channels, groups, seq: self.seq, eps: self.eps, offset: self.offset }
    }

    /// Runs a kernel once on its surfaces.
    ///
    /// # Errors
    /// `BudgetExhausted`, if kernels have older weights than the model; or if the device fails.
    pub(super) fn dispatch(
        &self,
        kernel: &dyn Kernel,
        inputs: &[&Surface],
        output: &Surface,
    ) -> Result<(), StepError> {
        if let Some(exhausted) = self.exhausted.get() {
            return Err(StepError::BudgetExhausted(exhausted.clone()));
        }
        let took = kernel.dispatch(inputs, &[output])?;
        self.engine_ns.fetch_add(took.as_nanos() as u64, Ordering::Relaxed);
        self.dispatches.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Time of the engine and number of dispatches since the last call.
    pub(super) fn take_engine_time(&self) -> (Duration, u64) {
        let ns = self.engine_ns.swap(0, Ordering::Relaxed);
        (Duration::from_nanos(ns), self.dispatches.swap(0, Ordering::Relaxed))
    }
}

// Copies between surfaces and host activations.
impl TaskContext {
    /// Copies a value to `out` in the host's layout, widened.
    pub(super) fn download(&self, value: &ValueGuard<'_>, out: &mut [f32]) -> Result<(), StepError> {
        self.converting.time(|| {
            let is_host = value.with(|elements, is_host| {
                match elements {
                    Elements::F16(from) => convert::par_widen(from, out),
                    Elements::F32(from) => out.copy_from_slice(from),
                }
                is_host
            })?;
            if !is_host {
                self.host.to_host_layout(out, self.seq);
            }
            Ok(())
        })
    }

    /// A value in the host's layout: the host's own activation, or a copy in `buffer`.
    pub(super) fn host_values<'a>(
        &self,
        value: &'a ValueGuard<'_>,
        buffer: &'a mut [f32],
    ) -> Result<&'a [f32], StepError> {
        if let ValueGuard::Host(values) = value {
            return Ok(values);
        }
        self.download(value, buffer)?;
        Ok(buffer)
    }

    /// Writes an activation of the host to `block` of a surface.
    pub(super) fn upload(
        &self,
        values: &[f32],
        surface: &Surface,
        block: &SurfaceBlock,
    ) -> Result<(), StepError> {
        let mut written = Ok(());
        self.host.with_channel_first(values, self.seq, &mut |values| {
            written = surface.write_block(block, values);
        });
        Ok(written?)
    }
}
