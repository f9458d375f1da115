//! A model compiled on a device.

use super::clock::Clock;
use super::ladder::Chosen;
use super::{BudgetExhausted, Buffers, Build, StepError, StepOptions, check_budget};
use crate::config::{ModelConfig, ParamKind, ParamSpec, Task};
use crate::model::{KernelSpec, Layer, LayerKernels, ModelError, NormSite};
use crate::optim::Decay;
use ane::{Device, Kernel, MatmulPrecision, Pool};
use mil::pass::Provider;
use mil::{ValueId, Weights};
use rayon::prelude::*;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, RwLock};
use std::time::Duration;

/// A model: its weights, its kernels on a device, and the memory that they work in.
pub struct Network {
    /// The configuration.
    pub cfg: ModelConfig,
    /// All weights, in checkpoint order.
    pub specs: Vec<ParamSpec>,
    /// The layer as programs.
    pub layer: Layer,
    /// The kernels of each layer.
    pub kernels: LayerKernels,
    /// The weights, fp32, in checkpoint order.
    pub theta: RwLock<Vec<f32>>,
    /// The memory.
    pub buffers: Buffers,
    /// How a step goes.
    pub(super) options: StepOptions,
    /// The rung of the ladder that its kernels are of, if one is.
    pub(super) rung: Option<Chosen>,
    /// Norms of the forward pass that are the host's, with the kernel that wants each.
    pub(super) host_norms: Vec<(usize, NormSite)>,
    device: Box<dyn Device>,
    pool: Pool,
    /// The kernels of each layer; one set for all of them if weights travel on surfaces.
    pub(super) compiled: Vec<Vec<RwLock<Box<dyn Kernel>>>>,
    /// For each kernel, the weight files of whichever layer is being baked into it; none if nothing has been baked
    /// since it was compiled.
    files: Vec<Mutex<Option<Weights>>>,
    /// Why the kernels have older weights than `theta`, if they have.
    pub(super) spent: OnceLock<BudgetExhausted>,
    /// For each weight, whether it decays.
    pub(super) decay: Vec<Decay>,
    places: HashMap<(Option<usize>, ParamKind), usize>,
    roles: HashMap<ValueId, Role>,
    pub(super) loss_scale: AtomicU32,
    engine_ns: AtomicU64,
    dispatches: AtomicU64,
    /// Values onto surfaces and off them.
    pub(super) converting: Clock,
    /// Kernels compiled again.
    pub(super) compiling: Clock,
}

/// Which memory of the host a value of the layer is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// The residual stream before the layer.
    X,
    /// The residual stream between its halves.
    X2,
    /// The gradient of the residual stream after the layer.
    Dy,
    /// The gradient of the residual stream between its halves.
    Dx2,
    /// The gradient of queries (0) or keys (1) before their norm.
    DHead(usize),
    /// What comes of a norm that the host computes, by its place in `Network::host_norms`.
    Normed(usize),
}

impl std::fmt::Debug for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Network").field("cfg", &self.cfg).finish_non_exhaustive()
    }
}

impl Network {
    /// Compiles the model `cfg` with weights `theta` on `device`, as `build` says. The host's work runs
    /// on `pool`; `progress` hears the number of layers compiled.
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
        let specs = cfg.params();
        let want = cfg.param_count();
        if theta.len() != want {
            return Err(StepError::Weights { want, got: theta.len() });
        }
        check_budget(device.as_ref(), build.programs(cfg.layers, device.info().engine))?;
        let layer = Layer::new(cfg, build.precision)?;
        let dynamic = build.weights.is_dynamic(device.info().engine) && !build.apart;
        let kernels = build.kernels(&layer, device.info().engine)?;
        let decay = specs.iter().map(|p| Decay::new([(p.count(), p.decay)])).collect();
        let places = specs.iter().enumerate().map(|(i, s)| ((s.layer, s.kind), i)).collect();
        let host_norms = kernels.host_norms(&layer);
        let normed: Vec<usize> = host_norms.iter().map(|(_, n)| layer.elements(n.output)).collect();
        let buffers = Buffers::new(cfg, &specs, &kernels, device.as_ref(), build.backward, &normed)?;
        let mut network = Network {
            cfg: cfg.clone(),
            specs,
            layer,
            kernels,
            theta: RwLock::new(theta),
            buffers,
            options: build.options,
            rung: None,
            host_norms,
            device,
            pool,
            compiled: Vec::new(),
            files: Vec::new(),
            spent: OnceLock::new(),
            decay,
            places,
            roles: HashMap::new(),
            loss_scale: AtomicU32::new(1f32.to_bits()),
            engine_ns: AtomicU64::new(0),
            dispatches: AtomicU64::new(0),
            converting: Clock::default(),
            compiling: Clock::default(),
        };
        network.roles = network.assign_roles()?;
        network.pool.install(|| network.check_weights())?;
        let used = if build.backward { network.kernels.kernels.len() } else { network.kernels.forward };
        network.files = (0..used).map(|_| Mutex::default()).collect();
        for l in 0..if dynamic { 1 } else { network.cfg.layers } {
            let compile = |k: usize| {
                let mut files = network.files[k].lock()?;
                Ok(RwLock::new(network.compile(l, k, &mut files)?))
            };
            let layer = (0..used).map(compile).collect::<Result<_, StepError>>()?;
            network.compiled.push(layer);
            progress(l + 1);
        }
        network.files.iter_mut().for_each(|files| *files = Mutex::default());
        if dynamic {
            network.carry_all()?;
            progress(network.cfg.layers);
        }
        Ok(network)
    }

    /// The rung of the ladder that its kernels are of, and how it came to that; `None` for a plan that is on none.
    pub fn rung(&self) -> Option<Chosen> {
        self.rung
    }

    /// Whether the host computes norms of the forward pass.
    pub fn has_norms_on_host(&self) -> bool {
        !self.host_norms.is_empty()
    }

    /// The device.
    pub fn device(&self) -> &dyn Device {
        self.device.as_ref()
    }

    /// How matrix products are computed, here and on the device.
    pub(super) fn math(&self) -> MatmulPrecision {
        self.device.info().math
    }

    /// The threads of the host's work.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Bytes of all compiled kernels' constants, and of the memory that they share.
    pub fn kernel_bytes(&self) -> (usize, usize) {
        self.compiled.iter().flatten().fold((0, 0), |(constants, shared), kernel| match kernel.read() {
            Ok(kernel) => {
                let m = kernel.memory();
                (constants + m.constants, shared.max(m.scratch))
            }
            Err(_) => (constants, shared),
        })
    }

    /// The place of a weight in [`Network::specs`].
    pub(super) fn place(&self, layer: Option<usize>, kind: ParamKind) -> Option<usize> {
        self.places.get(&(layer, kind)).copied()
    }

    /// The place of the classifier: the embedding if they are tied.
    pub(super) fn classifier(&self) -> Option<usize> {
        let kind = if self.cfg.tied { ParamKind::Embedding } else { ParamKind::Classifier };
        self.place(None, kind)
    }

    /// Whether it predicts tokens.
    pub fn is_language(&self) -> bool {
        self.cfg.task == Task::Language
    }

    /// Compiles kernel `k` of `layer`, whose weights go into `files` first.
    fn compile(
        &self,
        layer: usize,
        k: usize,
        files: &mut Option<Weights>,
    ) -> Result<Box<dyn Kernel>, StepError> {
        let spec = &self.kernels.kernels[k];
        let files = self.fill(spec, layer, &self.theta.read()?, files)?;
        self.load(spec, layer, files)
    }

    /// Brings the weights of `layer` into the weight files of a kernel, which are made if there are none.
    fn fill<'f>(
        &self,
        spec: &KernelSpec,
        layer: usize,
        theta: &[f32],
        files: &'f mut Option<Weights>,
    ) -> Result<&'f Weights, StepError> {
        let blob = |source| StepError::Blob { kernel: spec.name.clone(), source };
        let made = match files.take() {
            Some(files) => files,
            None => spec.empty_weights().map_err(blob)?,
        };
        let files = files.insert(made);
        spec.rewrite(&self.specs, layer, theta, files).map_err(blob)?;
        Ok(files)
    }

    /// Compiles a kernel with its weight files as they are.
    fn load(&self, spec: &KernelSpec, layer: usize, files: &Weights) -> Result<Box<dyn Kernel>, StepError> {
        let name = format!("L{layer}.{}", spec.name);
        let kernel = self.device.compile(&name, &spec.packed.program, files);
        kernel.map_err(|e| StepError::of_kernel(e, spec.has_norm))
    }

    /// Bakes the weights as they are in `theta` into the kernels of `layer`.
    pub(super) fn bake(&self, layer: usize, theta: &[f32]) -> Result<(), StepError> {
        let kernels = self.compiled[layer].par_iter().zip(&self.files).zip(&self.kernels.kernels);
        kernels.filter(|(_, spec)| !spec.baked.is_empty()).try_for_each(|((kernel, files), spec)| {
            let mut files = files.lock()?;
            let files = self.fill(spec, layer, theta, &mut files)?;
            let rebaked = kernel.read()?.rebake(files)?;
            if !rebaked {
                *kernel.write()? = self.load(spec, layer, files)?;
            }
            Ok(())
        })
    }

    /// Programs that are compiled.
    pub fn programs(&self) -> u64 {
        self.compiled.iter().flatten().count() as u64
    }

    /// Programs that a change of weights means compiling again, on an engine that counts them.
    pub fn programs_with_weights(&self) -> u64 {
        let kernels = self.compiled.iter().flat_map(|layer| layer.iter().zip(&self.kernels.kernels));
        kernels.filter(|(_, spec)| !spec.baked.is_empty()).count() as u64
    }

    /// Finds the values that the host provides, and refuses a plan that wants others.
    fn assign_roles(&self) -> Result<HashMap<ValueId, Role>, StepError> {
        let layer = &self.layer;
        let dx2 = layer.cotangent(layer.x2)?;
        let mut roles: HashMap<ValueId, Role> =
            [(layer.x, Role::X), (layer.x2, Role::X2), (layer.dy, Role::Dy), (dx2, Role::Dx2)].into();
        for norm in &layer.norms {
            match norm.kind {
                ParamKind::QueryNorm => roles.insert(layer.cotangent(norm.input)?, Role::DHead(0)),
                ParamKind::KeyNorm => roles.insert(layer.cotangent(norm.input)?, Role::DHead(1)),
                _ => None,
            };
        }
        roles.extend(self.host_norms.iter().enumerate().map(|(i, (_, n))| (n.output, Role::Normed(i))));
        for lying in self.kernels.kernels.iter().flat_map(|k| &k.inputs) {
            if lying.from == Provider::Host && !roles.contains_key(&lying.value) {
                let value = self.value_name(lying.value).to_owned();
                return Err(ModelError::Unprovided { value }.into());
            }
        }
        Ok(roles)
    }

    /// The host's memory of value `v` of `layer`, if it has any.
    pub(super) fn role(&self, v: ValueId) -> Option<Role> {
        self.roles.get(&v).copied()
    }

    /// Dispatches kernel `k` of `layer` on its surfaces.
    pub(super) fn dispatch(&self, k: usize, layer: usize) -> Result<(), StepError> {
        if let Some(spent) = self.spent.get() {
            return Err(StepError::BudgetExhausted(spent.clone()));
        }
        let kernel = self.kernel(k, layer).read()?;
        let (inputs, output) = (self.buffers.inputs(k, layer), self.buffers.output(k, layer));
        let took = match inputs {
            [input] => kernel.dispatch(&[input], &[output])?,
            inputs => kernel.dispatch(&inputs.iter().collect::<Vec<_>>(), &[output])?,
        };
        self.engine_ns.fetch_add(took.as_nanos() as u64, Ordering::Relaxed);
        self.dispatches.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Time of the engine and number of dispatches since the last call.
    pub fn take_engine_time(&self) -> (Duration, u64) {
        let ns = self.engine_ns.swap(0, Ordering::Relaxed);
        (Duration::from_nanos(ns), self.dispatches.swap(0, Ordering::Relaxed))
    }

    /// Time of bringing values onto surfaces and off them since the last call.
    pub fn take_convert_time(&self) -> Duration {
        self.converting.take()
    }

    /// Time of compiling kernels again for new weights since the last call.
    pub fn take_compile_time(&self) -> Duration {
        self.compiling.take()
    }

    /// The name of a value of the layer.
    pub(super) fn value_name(&self, v: ValueId) -> &str {
        &self.layer.joint.function.value(v).name
    }
}
