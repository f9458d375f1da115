//! Options of computing with a model.

use super::ladder::{CompileEvent, CompileRequest, compile};
use super::{Build, Network, StepError};
use crate::config::ModelConfig;
use crate::model::{Precision, Start};
use ane::{DeviceOptions, Pool};

/// Where and how a model computes.
#[derive(Clone, Copy, Debug)]
pub struct ComputeOptions {
    /// Number of compute threads; 0: as many as the machine runs at once.
    pub threads: usize,
    /// The engine.
    pub device: DeviceOptions,
    /// The plans of kernels to try.
    pub start: Start,
    /// The element type of programs and surfaces.
    pub storage: Precision,
}

impl ComputeOptions {
    /// The threads.
    ///
    /// # Errors
    /// If the system refuses them.
    pub fn pool(&self) -> Result<Pool, StepError> {
        Pool::new(self.threads).map_err(StepError::Threads)
    }

    /// Compiles the model `cfg` with weights `theta` as `build` says: [`Build::infer`] or [`Build::train`]. `on_event` gets the
    /// progress.
    ///
    /// # Errors
    /// As [`compile`].
    pub fn compile(
        &self,
        cfg: &ModelConfig,
        pool: &Pool,
        build: fn(Precision) -> Build,
        theta: Vec<f32>,
        on_event: &mut dyn FnMut(CompileEvent<'_>),
    ) -> Result<Network, StepError> {
        let build = build(self.storage).on(self.device);
        let request = CompileRequest { cfg, wanted: self.device, pool, build: &build, start: self.start };
        compile(request, theta, on_event)
    }
}
