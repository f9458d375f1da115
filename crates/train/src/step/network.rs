//! A model on a device: parameters, compiled kernels and buffers.

use super::buffers::{Buffers, Sizes};
use super::context::TaskContext;
use super::in_flight::windows_in_flight;
use super::kernels::{ChosenRung, CompileOrder, Kernels, check_budget};
use super::params::Params;
use super::passes::Passes;
use super::range::check_weights;
use super::weight_files::WeightFiles;
use super::weights::WeightSync;
use super::{BudgetExhausted, Build, StepError, Window};
use crate::config::{ModelConfig, ParamKind, ParamSpec, Task};
use crate::model::{Layer, ModelError, NormSite, Precision};
use ane::{Device, Pool};
use flow::Arena;
use host::dropout::Draw;
use host::squared_norms::RowSquaredNorms;
use mil::ValueId;
use mil::pass::Provider;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

/// A compiled model, for forward passes and, if built with a backward pass, training.
pub struct Network {
    /// The configuration.
    pub cfg: ModelConfig,
    /// The parameters with their gradients.
    pub params: Params,
    /// The compiled kernels.
    pub kernels: Kernels,
    /// The surfaces and activations.
    pub buffers: Buffers,
    /// The layer's program with its gradient.
    pub(super) layer: Layer,
    /// The element type of programs and surfaces.
    pub(super) precision: Precision,
    /// Norms of the forward pass that the host computes, with the first kernel that reads each.
    pub(super) host_norms: Vec<(usize, NormSite)>,
    pub(super) sync: WeightSync,
    pub(super) context: Arc<TaskContext>,
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
    /// Compiles the model `cfg` with weights `theta` and options `build` on `device`. The host's work runs on `pool`; `progress`
    /// gets the number of layers compiled.
    ///
    /// # Errors
    /// If the device refuses a kernel or the number of kernels, or `theta` has the wrong length.
    pub fn new(
        cfg: &ModelConfig,
        theta: Vec<f32>,
        device: Box<dyn Device>,
        pool: Pool,
        build: &Build,
        progress: &mut dyn FnMut(usize),
    ) -> Result<Network, StepError> {
        let mut arena = Arena::new();
        let trainable = &build.trainable;
        let is_trained = |spec: &ParamSpec| build.backward && trainable.trains(spec);
        let mut params = Params::new(trainable.table(cfg), theta, &mut arena, is_trained)?;
        let changing: HashSet<ParamKind> = params.trained().map(|p| p.spec.kind).collect();
        let info = device.info();
        let (engine, math) = (info.engine, info.math);
        let (kinds, kind_of) = cfg.layer_kinds();
        let programs = Build { kinds: kinds.len(), ..build.clone() }.programs(cfg.layers, engine);
        check_budget(device.as_ref(), programs)?;
        let additions = build.additions();
        let layers = kinds.iter().map(|&kind| {
            let mut layer = Layer::with(cfg, kind, build.precision, additions)?;
            layer.keep_gradients(|kind| !build.backward || changing.contains(&kind));
            Ok::<_, ModelError>(layer)
        });
        let layers = layers.collect::<Result<Vec<Layer>, _>>()?;
        let is_dynamic = build.weights.is_dynamic(engine) && !build.separate_surfaces;
        let of_kinds = layers.iter().map(|layer| build.kernels(layer, engine));
        let of_kinds = of_kinds.collect::<Result<Vec<_>, _>>()?;
        let mut kernels = Kernels::new(of_kinds, kind_of, device)?;
        kernels.changing = changing;
        // Values and kernels are the same in all kinds.
        let layer = layers.into_iter().next().ok_or_else(|| StepError::internal("a model without layers"))?;
        let specs = &kernels.specs;
        let host_norms = specs.host_norms(&layer);
        let sizes = Sizes {
            cfg,
            layer: &layer,
            kernels: specs,
            host_norms: &host_norms,
            backward: build.backward,
            trains_classifier: build.backward && trainable.trains_classifier(cfg),
            windows: build.windows,
        };
        let in_flight = windows_in_flight(cfg, build, pool.threads(), engine);
        let buffers = Buffers::new(&sizes, in_flight, kernels.device.as_ref(), &mut arena)?;
        let used = buffers.first().activations.kernels();
        for input in specs.kernels.iter().take(used).flat_map(|k| &k.inputs) {
            if input.from == Provider::Host && buffers.first().activations.host(0, input.value).is_none() {
                let value = layer.joint.function.value(input.value).name.clone();
                return Err(ModelError::Unprovided { value }.into());
            }
        }
        pool.install(|| check_weights(&params, &layer))?;
        let mut files = WeightFiles::new(kinds.len(), used);
        let frozen = match build.backward && trainable.lora.is_some() {
            true => Some(pool.install(|| params.split_frozen(&mut arena, build.precision))?),
            false => None,
        };
        let baked = frozen.as_ref().unwrap_or(&params);
        let order = match (&frozen, is_dynamic) {
            (_, true) => CompileOrder::OnePerKind,
            (Some(_), false) => CompileOrder::AndRelease,
            (None, false) => CompileOrder::Each,
        };
        kernels.compile((order, used), baked, &files, &mut arena, progress)?;
        files.clear();
        let mut sync = WeightSync::new(baked, &kernels, &buffers.first().activations, files);
        if is_dynamic {
            pool.install(|| sync.write_surfaces(baked))?;
            progress(cfg.layers);
        }
        if let Some(frozen) = frozen {
            frozen.release_from(0)?;
            sync.forget(params.iter().len());
        }
        Ok(Network {
            cfg: cfg.clone(),
            params,
            kernels,
            buffers,
            layer,
            precision: build.precision,
            host_norms,
            sync,
            context: Arc::new(TaskContext::new(cfg, math, Arc::clone(&build.host), trainable.dropout())),
            arena,
            pool,
            passes: Passes::default(),
        })
    }

    /// The rung of the ladder that it was compiled with; `None` for another plan.
    pub fn rung(&self) -> Option<ChosenRung> {
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

    /// The threads for the host's work.
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
            Window::Weighted { tokens, weights, .. } if weights.len() == self.cfg.seq => {
                (self.cfg.seq + 1, tokens.len())
            }
            Window::Weighted { weights, .. } => (self.cfg.seq, weights.len()),
            Window::Sample { x, target: y } | Window::Linear { x, dy: y } if x.len() == stream => {
                (stream, y.len())
            }
            Window::Sample { x, .. } | Window::Linear { x, .. } => (stream, x.len()),
        };
        if want == got { Ok(()) } else { Err(StepError::Window { want, got }) }
    }

    /// The factor on the loss's gradient that keeps small gradients in the range of fp16.
    pub fn loss_scale(&self) -> f32 {
        self.context.loss().scale
    }

    /// Sets the factor on the loss's gradient.
    pub fn set_loss_scale(&self, scale: f32) {
        let mut options = self.context.loss();
        options.scale = scale;
        self.context.set_loss(options);
    }

    /// Sets the random numbers of the next steps, which decide what adapters with dropout see.
    pub fn set_draw(&self, draw: Draw) {
        self.context.set_draw(draw);
    }

    /// The global norm of the last step's gradient: with loss scale, summed over windows. It is finite if and only if every
    /// gradient is.
    ///
    /// # Errors
    /// If a step was interrupted while writing a gradient.
    pub fn gradient_norm(&self) -> Result<f64, StepError> {
        let squares = self.params.gradients().map(|gradient| {
            let gradient = gradient.read()?;
            Ok::<f64, StepError>(RowSquaredNorms::sum(&gradient.squares))
        });
        Ok(squares.sum::<Result<f64, _>>()?.sqrt())
    }

    /// Whether any gradient that follows from what kernels computed is not 0, of the last step; `true` if nothing that is trained has
    /// such a gradient. Others do not show whether gradients are below the numbers of kernels: projections onto the residual stream
    /// have theirs from the host's, in f32.
    ///
    /// # Errors
    /// If a step was interrupted while writing a gradient.
    pub fn has_gradient(&self) -> Result<bool, StepError> {
        let layer = &self.layer;
        let norms = layer.norms.iter().map(|site| Ok((site.kind, layer.cotangent(site.output)?)));
        let norms = norms.collect::<Result<Vec<_>, ModelError>>()?;
        let products = layer.weight_grads.iter().map(|outer| (outer.kind, outer.dz));
        let biases = layer.bias_grads.iter().map(|bias| (bias.kind, bias.dz));
        let mut is_any = false;
        for (kind, dz) in norms.into_iter().chain(products).chain(biases) {
            if self.kernels.specs.provider(dz).is_none() {
                continue;
            }
            for param in self.params.trained().filter(|p| p.spec.layer.is_some() && p.spec.kind == kind) {
                let Some(gradient) = &param.gradient else { continue };
                if RowSquaredNorms::sum(&gradient.read()?.squares) != 0.0 {
                    return Ok(true);
                }
                is_any = true;
            }
        }
        Ok(!is_any)
    }

    /// The last step's gradient of the weight called `name`, summed over windows, without the loss scale; `None` if there
    /// is none.
    pub fn gradient(&self, name: &str) -> Option<Vec<f32>> {
        let gradient = self.params.named(name)?.gradient.as_ref()?.read().ok()?;
        let scale = 1.0 / self.loss_scale();
        Some(gradient.values.iter().map(|g| g * scale).collect())
    }

    /// Set if the kernels have older weights than the model: no further dispatch is possible.
    pub fn exhausted(&self) -> Option<&BudgetExhausted> {
        self.context.exhausted.get()
    }

    /// Time of the engine and number of dispatches since the last call.
    pub fn take_engine_time(&self) -> (Duration, u64) {
        self.context.take_engine_time()
    }

    /// Time of copying values to and from surfaces since the last call.
    pub fn take_convert_time(&self) -> Duration {
        self.context.converting.take()
    }

    /// Time of recompiling kernels for new weights since the last call.
    pub fn take_compile_time(&self) -> Duration {
        self.context.compiling.take()
    }

    /// Refuses weights of layers that are too large for the engine's element type.
    pub(crate) fn check_weights(&self) -> Result<(), StepError> {
        check_weights(&self.params, &self.layer)
    }

    /// The name of a value of the layer.
    pub(super) fn value_name(&self, v: ValueId) -> &str {
        &self.layer.joint.function.value(v).name
    }
}
