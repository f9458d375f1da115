//! Options of compiling a model.

use super::{FastMath, HostMath};
use crate::config::{ModelConfig, Trainable};
use crate::model::{Additions, KernelPlan, Layer, LayerKernels, ModelError, Precision, Rung};
use ane::{DeviceKind, DeviceOptions, Engine, WeightMode};
use std::sync::Arc;

/// Options of compiling a model.
#[derive(Clone, Debug)]
pub struct Build {
    /// The element type of programs and surfaces.
    pub precision: Precision,
    /// Whether there is a backward pass.
    pub backward: bool,
    /// The plan of kernels.
    pub plan: KernelPlan,
    /// The implementation of the host's work.
    pub host: Arc<dyn HostMath>,
    /// The weight mode.
    pub weights: WeightMode,
    /// The number of kinds of layers: each has its own kernels, even if weights are on surfaces.
    pub kinds: usize,
    /// Whether each value that a kernel reads has its own surface; this requires baked weights.
    pub separate_surfaces: bool,
    /// Whether windows hold several documents, which do not see one another.
    pub documents: bool,
    /// Windows of a step; the default is 1. Several may run side by side, each with memory of its own.
    pub windows: usize,
    /// What is trained, and adapters.
    pub trainable: Trainable,
}

impl Build {
    /// Forward and backward, in six kernels a layer.
    pub fn train(precision: Precision) -> Build {
        Build {
            precision,
            backward: true,
            plan: KernelPlan::six(),
            host: Arc::new(FastMath),
            weights: WeightMode::Auto,
            kinds: 1,
            separate_surfaces: false,
            documents: false,
            windows: 1,
            trainable: Trainable::default(),
        }
    }

    /// The forward kernels of [`Build::train`].
    pub fn infer(precision: Precision) -> Build {
        Build { backward: false, ..Build::train(precision) }
    }

    /// Sets the weight mode of `device`.
    #[must_use]
    pub fn on(self, device: DeviceOptions) -> Build {
        Build { weights: device.weights, ..self }
    }

    /// Sets the number of windows of a step.
    #[must_use]
    pub fn windows(self, windows: usize) -> Build {
        Build { windows, ..self }
    }

    /// Sets what is trained, and the adapters.
    #[must_use]
    pub fn trainable(self, trainable: Trainable) -> Build {
        Build { trainable, ..self }
    }

    /// Sets whether windows hold several documents.
    #[must_use]
    pub fn documents(self, documents: bool) -> Build {
        Build { documents, ..self }
    }

    /// Sets the plan of `rung` for layers of `cfg`, and the weight mode if the rung does not allow the current one.
    #[must_use]
    pub fn rung(self, rung: &Rung, cfg: &ModelConfig) -> Build {
        let weights = rung.weight_mode(self.weights).unwrap_or(WeightMode::Baked);
        Build {
            plan: rung.plan(cfg),
            weights,
            separate_surfaces: rung.separate_surfaces,
            kinds: cfg.layer_kinds().0.len(),
            ..self
        }
    }

    /// What layers have besides the forward pass of one text.
    pub(super) fn additions(&self) -> Additions<'_> {
        let dropout = self.backward && self.trainable.dropout() > 0.0;
        Additions { lora: self.trainable.lora.as_ref(), documents: self.documents, dropout }
    }

    /// The kernels of `layer` for an engine of this kind.
    ///
    /// # Errors
    /// If the plan does not fit the layer, or weights are too large for a surface.
    pub fn kernels(&self, layer: &Layer, engine: Engine) -> Result<LayerKernels, ModelError> {
        match (self.separate_surfaces, self.weights.is_dynamic(engine)) {
            (true, _) => LayerKernels::separate(layer, &self.plan),
            (false, true) => LayerKernels::dynamic(layer, &self.plan),
            (false, false) if self.trainable.lora.is_some() && engine == Engine::Soft => {
                LayerKernels::frozen(layer, &self.plan)
            }
            (false, false) => LayerKernels::new(layer, &self.plan),
        }
    }

    /// The number of programs of a model of `layers` layers on an engine of this kind.
    pub fn programs(&self, layers: usize, engine: Engine) -> u64 {
        let backward = if self.backward { self.plan.backward.len() } else { 0 };
        let sets = if self.weights.is_dynamic(engine) { self.kinds.min(layers) } else { layers };
        (sets * (self.plan.forward.len() + backward)) as u64
    }

    /// The options for opening an engine for a model of `layers` layers, from the user's options `device`. Programs in fp32
    /// run on the software engine only.
    pub fn wanted(&self, device: DeviceOptions, layers: usize) -> DeviceOptions {
        let wanted = device.for_compiles(self.programs(layers, Engine::Apple));
        match (self.precision, device.engine) {
            (Precision::F32, DeviceKind::Auto) => DeviceOptions { engine: DeviceKind::Soft, ..wanted },
            _ => wanted,
        }
    }
}
