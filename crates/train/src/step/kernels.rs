//! The compiled kernels of a model on its device.

use super::weight_files::{LayerWeights, WeightFiles};
use super::{Params, StepError};
use crate::config::ParamKind;
use crate::model::{KernelSpec, LayerKernels, Rung};
use ane::{Device, Engine, Kernel};
use flow::{Arena, Handle};
use mil::Weights;
use std::collections::HashSet;

/// The rung that a model was compiled with.
#[derive(Clone, Copy, Debug)]
pub struct ChosenRung {
    /// The rung.
    pub rung: &'static Rung,
    /// The number of plans that the engine refused before it, in this process.
    pub refused: usize,
    /// The engine that compiled it.
    pub engine: Engine,
}

/// The layers whose kernels are compiled, and in which order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CompileOrder {
    /// Each.
    Each,
    /// The first of each kind: the others share its kernels.
    OnePerKind,
    /// Each, the last first; the memory of its weights is released then.
    AndRelease,
}

/// A compiled kernel.
pub(super) type Compiled = Handle<Box<dyn Kernel>>;

/// The compiled kernels of a model.
pub struct Kernels {
    /// The programs of the kernels of the first kind of layers; those of other kinds differ in constants alone.
    pub(super) specs: LayerKernels,
    /// The kind of each layer.
    kinds: Vec<usize>,
    /// The programs of each kind.
    of_kinds: Vec<LayerKernels>,
    /// Sets of kernels: one for each layer, or for each kind of layers if weights are on surfaces.
    pub(super) compiled: Vec<Vec<Compiled>>,
    /// The set of each layer.
    sets: Vec<usize>,
    pub(super) device: Box<dyn Device>,
    /// The kinds of weights that are trained.
    pub(super) changing: HashSet<ParamKind>,
    /// The rung of the ladder, if the plan is one.
    pub(super) rung: Option<ChosenRung>,
}

impl std::fmt::Debug for Kernels {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kernels").field("specs", &self.specs).finish_non_exhaustive()
    }
}

impl Kernels {
    /// Kernels `of_kinds` for the layers of these `kinds` on `device`, not yet compiled.
    ///
    /// # Errors
    /// `Internal`, if there is no kind.
    pub(super) fn new(
        of_kinds: Vec<LayerKernels>,
        kinds: Vec<usize>,
        device: Box<dyn Device>,
    ) -> Result<Kernels, StepError> {
        let specs = of_kinds.first().cloned().ok_or_else(|| StepError::internal("a model without layers"))?;
        Ok(Kernels {
            specs,
            kinds,
            of_kinds,
            compiled: Vec::new(),
            sets: Vec::new(),
            device,
            changing: HashSet::new(),
            rung: None,
        })
    }

    /// The programs of the kernels of `layer`.
    pub(super) fn specs_of(&self, layer: usize) -> &[KernelSpec] {
        self.of_kinds.get(self.kind(layer)).map_or(&[], |of| &of.kernels)
    }

    /// The kind of `layer`, in order of first use.
    pub(super) fn kind(&self, layer: usize) -> usize {
        self.kinds.get(layer).copied().unwrap_or(0)
    }

    /// Compiles the first `used` kernels of each layer in the given order; `progress` gets the number of layers compiled.
    ///
    /// # Errors
    /// If the device refuses a kernel, or a weight has another size than in the kernel's program.
    pub(super) fn compile(
        &mut self,
        (order, used): (CompileOrder, usize),
        params: &Params,
        files: &WeightFiles,
        arena: &mut Arena,
        progress: &mut dyn FnMut(usize),
    ) -> Result<(), StepError> {
        let layers = self.kinds.len();
        self.sets = vec![0; layers];
        for done in 0..layers {
            let layer = if order == CompileOrder::AndRelease { layers - 1 - done } else { done };
            let is_same = |&other: &usize| self.kind(other) == self.kind(layer);
            if order == CompileOrder::OnePerKind
                && let Some(other) = (0..layer).find(is_same)
            {
                self.sets[layer] = self.sets[other];
                continue;
            }
            let theta = params.theta.read()?;
            let mut set = Vec::new();
            for (k, spec) in self.specs_of(layer).iter().take(used).enumerate() {
                let weights = LayerWeights { params, layer, theta: &theta };
                let compile = |files: &Weights| load(self.device.as_ref(), spec, layer, files);
                let kernel = files.with((self.kind(layer), k), spec, weights, compile)?;
                set.push(arena.cell(format!("L{layer}.{}", spec.name), kernel));
            }
            drop(theta);
            if order == CompileOrder::AndRelease {
                params.release_from(layer)?;
            }
            self.sets[layer] = self.compiled.len();
            self.compiled.push(set);
            progress(done + 1);
        }
        Ok(())
    }

    /// The kernels of `layer`.
    pub(super) fn set(&self, layer: usize) -> &[Compiled] {
        &self.compiled[self.sets[layer]]
    }

    /// Kernel `k` of `layer`.
    pub(super) fn kernel(&self, k: usize, layer: usize) -> &Compiled {
        &self.set(layer)[k]
    }

    /// Every compiled kernel with its description.
    fn all(&self) -> impl Iterator<Item = (&Compiled, &KernelSpec)> {
        self.compiled.iter().flat_map(|layer| layer.iter().zip(&self.specs.kernels))
    }

    /// Kernels per layer.
    pub fn per_layer(&self) -> usize {
        self.specs.kernels.len()
    }

    /// Whether weights are on surfaces, so that one set of kernels serves all layers of a kind.
    pub fn is_dynamic(&self) -> bool {
        self.all().any(|(_, spec)| !spec.input_weights.is_empty())
    }

    /// Number of compiled programs.
    pub fn programs(&self) -> u64 {
        self.all().count() as u64
    }

    /// Number of programs that a change of weights recompiles, on an engine with a compile budget.
    pub fn programs_with_weights(&self) -> u64 {
        let changes = |spec: &KernelSpec| spec.const_weights.iter().any(|w| self.changing.contains(&w.kind));
        self.all().filter(|(_, spec)| changes(spec)).count() as u64
    }

    /// Bytes of all kernels' constants, and of their shared working memory.
    pub fn bytes(&self) -> (usize, usize) {
        self.all().fold((0, 0), |(constants, shared), (kernel, _)| match kernel.read() {
            Ok(kernel) => {
                let m = kernel.memory();
                (constants + m.constants, shared.max(m.scratch))
            }
            Err(_) => (constants, shared),
        })
    }
}

/// Compiles a kernel of `layer` with the given weight files.
pub(super) fn load(
    device: &dyn Device,
    spec: &KernelSpec,
    layer: usize,
    files: &Weights,
) -> Result<Box<dyn Kernel>, StepError> {
    let name = format!("L{layer}.{}", spec.name);
    let kernel = device.compile(&name, &spec.packed.program, files);
    kernel.map_err(|e| StepError::of_kernel(e, spec.has_norm))
}

/// Refuses a model whose kernels are more `programs` than a process may compile on `device`.
///
/// # Errors
/// `Budget`.
pub(super) fn check_budget(device: &dyn Device, programs: u64) -> Result<(), StepError> {
    match device.compiles_left() {
        Some(left) if programs > u64::from(left) => {
            Err(StepError::Budget { programs, left, engine: device.info().engine })
        }
        _ => Ok(()),
    }
}
