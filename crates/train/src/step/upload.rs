//! Weights on their way to the engine: into the memory of kernels, or onto the surfaces that kernels read.

use super::{Network, StepError};
use crate::config::ParamSpec;
use crate::model::KernelSpec;
use ane::{Kernel, SliceMut};
use mil::blob::FIRST_ENTRY;
use std::sync::RwLock;

impl Network {
    /// Whether weights travel on surfaces, and one set of kernels serves all layers.
    pub fn is_dynamic(&self) -> bool {
        self.used().iter().any(|k| !k.carried.is_empty())
    }

    /// Kernel `k` of `layer`.
    pub(super) fn kernel(&self, k: usize, layer: usize) -> &RwLock<Box<dyn Kernel>> {
        &self.compiled[layer % self.compiled.len()][k]
    }

    /// The kernels that are compiled for a layer.
    fn used(&self) -> &[KernelSpec] {
        &self.kernels.kernels[..self.buffers.inputs.len()]
    }

    /// Puts all weights of layers on their surfaces, as they are.
    pub(super) fn carry_all(&self) -> Result<(), StepError> {
        let theta = self.theta.read()?;
        self.pool()
            .install(|| self.specs.iter().try_for_each(|weight| self.carry(weight, &theta[weight.range()])))
    }

    /// Puts a weight on each surface of its layer that has a place for it.
    fn carry(&self, weight: &ParamSpec, values: &[f32]) -> Result<(), StepError> {
        let Some(layer) = weight.layer else { return Ok(()) };
        for (k, spec) in self.used().iter().enumerate() {
            for place in spec.carried.iter().filter(|c| c.kind == weight.kind) {
                place.put(values, &self.buffers.inputs(k, layer)[place.slot.surface])?;
            }
        }
        Ok(())
    }

    /// Writes a weight to the surfaces of its layer and into the memory of each kernel that has it; `false` if one has
    /// no such memory, so that it is to be baked in.
    pub(super) fn write(&self, weight: &ParamSpec, values: &[f32]) -> Result<bool, StepError> {
        let Some(layer) = weight.layer else { return Ok(true) };
        self.carry(weight, values)?;
        for (k, spec) in self.used().iter().enumerate() {
            let kernel = self.kernel(k, layer);
            for form in spec.baked.iter().filter(|b| b.kind == weight.kind) {
                let put = &mut |to: SliceMut<'_>| form.put(&weight.shape, values, to);
                if !kernel.read()?.write_weight(&form.path, FIRST_ENTRY, put) {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }
}
