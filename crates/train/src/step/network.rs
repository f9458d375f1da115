//! A model on a device: its parameters, its compiled kernels, and the memory that they work in.

use super::kernels::Kernels;
use super::ladder::Chosen;
use super::memory::{Memory, Sizes};
use super::params::Params;
use super::passes::Passes;
use super::shared::Shared;
use super::weights::{WeightFiles, WeightSync};
use super::{BudgetExhausted, Build, StepError, Window, check_budget};
use crate::config::{ModelConfig, Task};
use crate::host::squared_norms::RowSquaredNorms;
use crate::model::{Layer, ModelError, NormSite};
use ane::{Device, Pool};
use flow::Arena;
use mil::ValueId;
use mil::pass::Provider;
use std::sync::Arc;
use std::time::Duration;

/// A model that can be run and, if it was built so, trained.
pub struct Network {
    /// The configuration.
    pub cfg: ModelConfig,
    /// The parameters with their gradients.
    pub params: Params,
    /// The compiled kernels.
    pub kernels: Kernels,
    /// The surfaces and activations.
    pub memory: Memory,
    /// The layer as programs.
    pub(super) layer: Layer,
    /// Norms of the forward pass that are the host's, with the kernel that reads each first.
    pub(super) host_norms: Vec<(usize, NormSite)>,
    pub(super) sync: WeightSync,
    pub(super) shared: Arc<Shared>,
    pub(super) arena: Arena,
    pub(super) pool: Pool,
    pub(super) passes: Passes,
}

impl std::fmt::Debug for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Network").field("cfg", &self.cfg).finish_non_exhaustive()
    }
}

impl Network {
    /// Compiles the model `cfg` with weights `theta` on `device`, as `build` says. The host's work runs on `pool`;
    /// `progress` hears the number of layers compiled.
    ///
    /// # Errors
    /// If the model makes no kernels that the device takes, or more than it takes, or `theta` is of the wrong length.
    pub fn new(
        cfg: &ModelConfig,
        theta: Vec<f32>,
        device: Box<dyn Device>,
        pool: Pool,
        build: &Build,
        progress: &mut dyn FnMut(usize),
    ) -> Result<Network, StepError> {
        let mut arena = Arena::new();
        let params = Params::new(cfg, theta, &mut arena, |_| build.backward)?;
        let info = device.info();
        let (engine, math) = (info.engine, info.math);
        check_budget(device.as_ref(), build.programs(cfg.layers, engine))?;
        let layer = Layer::new(cfg, build.precision)?;
        let is_dynamic = build.weights.is_dynamic(engine) && !build.apart;
        let specs = build.kernels(&layer, engine)?;
        let host_norms = specs.host_norms(&layer);
        let sizes =
            Sizes { cfg, layer: &layer, kernels: &specs, host_norms: &host_norms, backward: build.backward };
        let memory = Memory::new(&sizes, device.as_ref(), &mut arena)?;
        let used = memory.activations.kernels();
        for input in specs.kernels.iter().take(used).flat_map(|k| &k.inputs) {
            if input.from == Provider::Host && memory.activations.host(0, input.value).is_none() {
                let value = layer.joint.function.value(input.value).name.clone();
                return Err(ModelError::Unprovided { value }.into());
            }
        }
        pool.install(|| super::range::check_weights(&params, &layer))?;
        let mut files = WeightFiles::new(used);
        let mut kernels = Kernels::new(specs, device);
        let sets = if is_dynamic { 1 } else { cfg.layers };
        kernels.compile((sets, used), &params, &files, &mut arena, progress)?;
        files.clear();
        let sync = WeightSync::new(&params, &kernels, &memory.activations, files);
        if is_dynamic {
            pool.install(|| sync.write_surfaces(&params))?;
            progress(cfg.layers);
        }
        Ok(Network {
            cfg: cfg.clone(),
            params,
            kernels,
            memory,
            layer,
            host_norms,
            sync,
            shared: Arc::new(Shared::new(cfg, math, Arc::clone(&build.host))),
            arena,
            pool,
            passes: Passes::default(),
        })
    }

    /// The rung of the ladder that its kernels are of, and how it came to that; `None` for a plan that is on none.
    pub fn rung(&self) -> Option<Chosen> {
        self.kernels.rung
    }

    /// Whether the host computes norms of the forward pass.
    pub fn has_norms_on_host(&self) -> bool {
        !self.host_norms.is_empty()
    }

    /// The device.
    pub fn device(&self) -> &dyn Device {
        self.kernels.device.as_ref()
    }

    /// The threads of the host's work.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Whether it predicts tokens.
    pub fn is_language(&self) -> bool {
        self.cfg.task == Task::Language
    }

    /// Refuses a window of another length than the model's.
    pub(super) fn check_window(&self, window: &Window) -> Result<(), StepError> {
        let stream = self.cfg.dim * self.cfg.seq;
        let (want, got) = match window {
            Window::Tokens(tokens) => (self.cfg.seq + 1, tokens.len()),
            Window::Sample { x, target: y } | Window::Linear { x, dy: y } if x.len() == stream => {
                (stream, y.len())
            }
            Window::Sample { x, .. } | Window::Linear { x, .. } => (stream, x.len()),
        };
        if want == got { Ok(()) } else { Err(StepError::Window { want, got }) }
    }

    /// The factor on the loss's gradient that keeps small gradients in the range of fp16.
    pub fn loss_scale(&self) -> f32 {
        self.shared.loss_scale()
    }

    /// Sets the factor on the loss's gradient.
    pub fn set_loss_scale(&self, scale: f32) {
        self.shared.set_loss_scale(scale);
    }

    /// The global norm of the gradient as the last step left it: with loss scale, summed over windows. Finite exactly if
    /// every gradient is.
    ///
    /// # Errors
    /// If a step was interrupted while it wrote a gradient.
    pub fn gradient_norm(&self) -> Result<f64, StepError> {
        let squares = self.params.gradients().map(|gradient| {
            let gradient = gradient.read()?;
            Ok::<f64, StepError>(RowSquaredNorms::sum(&gradient.squares))
        });
        Ok(squares.sum::<Result<f64, _>>()?.sqrt())
    }

    /// The gradient of the weight called `name` as the last step left it, summed over windows, without the loss
    /// scale; `None` if there is none.
    pub fn gradient(&self, name: &str) -> Option<Vec<f32>> {
        let gradient = self.params.named(name)?.gradient.as_ref()?.read().ok()?;
        let scale = 1.0 / self.loss_scale();
        Some(gradient.values.iter().map(|g| g * scale).collect())
    }

    /// Why the kernels have older weights than the model, if they have: nothing can be dispatched any more.
    pub fn spent(&self) -> Option<&BudgetExhausted> {
        self.shared.exhausted.get()
    }

    /// Time of the engine and number of dispatches since the last call.
    pub fn take_engine_time(&self) -> (Duration, u64) {
        self.shared.take_engine_time()
    }

    /// Time of bringing values onto surfaces and off them since the last call.
    pub fn take_convert_time(&self) -> Duration {
        self.shared.converting.take()
    }

    /// Time of compiling kernels again for new weights since the last call.
    pub fn take_compile_time(&self) -> Duration {
        self.shared.compiling.take()
    }

    /// The name of a value of the layer.
    pub(super) fn value_name(&self, v: ValueId) -> &str {
        &self.layer.joint.function.value(v).name
    }
}
