//! Weights on their way to the kernels: one path with four cases.
//!
//! | the weight is | it reaches the kernel |
//! |---|---|
//! | on a surface that the kernel reads | written there: [`Route::Surface`] |
//! | a constant whose memory the kernel lends | written there: [`Route::Constant`], `Kernel::write_weight` |
//! | a constant of a kernel that takes weight files | with the files of its layer: `Kernel::rebake` |
//! | a constant that the engine has frozen | with the files of its layer, compiled again |
//!
//! A weight is converted to what the kernel holds (rounded, transposed) in [`InputWeight::put`] and [`ConstWeight::put`].

use super::kernels::{Compiled, Kernels, load};
use super::memory::Activations;
use super::{Param, Params, StepError};
use crate::model::{ConstWeight, InputWeight, KernelSpec};
use ane::{SliceMut, Surface};
use flow::Handle;
use mil::Weights;
use mil::blob::FIRST_ENTRY;
use rayon::prelude::*;
use std::sync::Mutex;

/// Where a weight is to be written.
#[derive(Debug)]
enum Route {
    /// On a surface that a kernel reads.
    Surface { weight: InputWeight, on: Handle<Surface> },
    /// Into a compiled kernel.
    Constant { weight: ConstWeight, kernel: Compiled },
}

/// What became of a weight that was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Written {
    /// Every kernel that has it computes with it.
    All,
    /// A kernel does not lend its memory: [`WeightSync::renew`] brings the weights of its layer.
    NotAll,
}

/// The weights of a layer, to be brought into weight files.
#[derive(Clone, Copy, Debug)]
pub(super) struct LayerWeights<'a> {
    pub params: &'a Params,
    pub layer: usize,
    /// All weights, `[N]`, in checkpoint order.
    pub theta: &'a [f32],
}

/// The routes of all weights.
#[derive(Debug)]
pub(super) struct WeightSync {
    /// Of each parameter, in order of the table.
    routes: Vec<Vec<Route>>,
    files: WeightFiles,
}

impl WeightSync {
    /// Finds the routes of all weights to the kernels.
    pub(super) fn new(
        params: &Params,
        kernels: &Kernels,
        activations: &Activations,
        files: WeightFiles,
    ) -> WeightSync {
        let routes = params.iter().map(|param| {
            let Some(layer) = param.spec.layer else { return Vec::new() };
            let mut routes = Vec::new();
            for (k, spec) in kernels.specs.kernels.iter().take(activations.kernels()).enumerate() {
                for weight in spec.carried.iter().filter(|w| w.kind == param.spec.kind) {
                    let on = activations.inputs(k, layer)[weight.slot.surface].clone();
                    routes.push(Route::Surface { weight: weight.clone(), on });
                }
                for weight in spec.baked.iter().filter(|w| w.kind == param.spec.kind) {
                    let kernel = kernels.kernel(k, layer).clone();
                    routes.push(Route::Constant { weight: weight.clone(), kernel });
                }
            }
            routes
        });
        WeightSync { routes: routes.collect(), files }
    }

    /// Writes all weights to the surfaces that have a place for them; constants are compiled in.
    pub(super) fn write_surfaces(&self, params: &Params) -> Result<(), StepError> {
        let theta = params.theta.read()?;
        for (param, routes) in params.iter().zip(&self.routes) {
            for route in routes.iter().filter(|r| matches!(r, Route::Surface { .. })) {
                route.write(param, &theta[param.spec.range()])?;
            }
        }
        Ok(())
    }

    /// Writes the weight `param`, whose place in the table is `at`, wherever a kernel has it.
    pub(super) fn write(&self, at: usize, param: &Param, values: &[f32]) -> Result<Written, StepError> {
        for route in &self.routes[at] {
            if route.write(param, values)? == Written::NotAll {
                return Ok(Written::NotAll);
            }
        }
        Ok(Written::All)
    }

    /// Brings the weights of `layer` into those of its kernels that hold constants, by their weight files.
    ///
    /// # Errors
    /// If the device refuses to compile a kernel again.
    pub(super) fn renew(&self, kernels: &Kernels, weights: LayerWeights<'_>) -> Result<(), StepError> {
        let LayerWeights { layer, .. } = weights;
        let all = kernels.compiled[layer].par_iter().zip(&kernels.specs.kernels).enumerate();
        all.filter(|(_, (_, spec))| !spec.baked.is_empty()).try_for_each(|(k, (kernel, spec))| {
            self.files.with(k, spec, weights, |files| {
                if !kernel.read()?.rebake(files)? {
                    *kernel.write()? = load(kernels.device.as_ref(), spec, layer, files)?;
                }
                Ok(())
            })
        })
    }
}

impl Route {
    fn write(&self, param: &Param, values: &[f32]) -> Result<Written, StepError> {
        match self {
            Route::Surface { weight, on } => {
                weight.put(values, &*on.write()?)?;
                Ok(Written::All)
            }
            Route::Constant { weight, kernel } => {
                let put = &mut |to: SliceMut<'_>| weight.put(&param.spec.shape, values, to);
                let lent = kernel.read()?.write_weight(&weight.path, FIRST_ENTRY, put);
                Ok(if lent { Written::All } else { Written::NotAll })
            }
        }
    }
}

/// The weight files of each kernel, for whichever layer uses them; made when they are first needed.
#[derive(Debug)]
pub(super) struct WeightFiles(Vec<Mutex<Option<Weights>>>);

impl WeightFiles {
    /// None yet, of so many kernels.
    pub(super) fn new(kernels: usize) -> WeightFiles {
        WeightFiles((0..kernels).map(|_| Mutex::default()).collect())
    }

    /// Calls `f` with the files of kernel `k` filled with the weights of `layer`.
    pub(super) fn with<R>(
        &self,
        k: usize,
        spec: &KernelSpec,
        LayerWeights { params, layer, theta }: LayerWeights<'_>,
        f: impl FnOnce(&Weights) -> Result<R, StepError>,
    ) -> Result<R, StepError> {
        let blob = |source| StepError::Blob { kernel: spec.name.clone(), source };
        let mut kept = self.0[k].lock()?;
        let made = match kept.take() {
            Some(files) => files,
            None => spec.empty_weights().map_err(blob)?,
        };
        let files = kept.insert(made);
        spec.rewrite(params.specs(), layer, theta, files).map_err(blob)?;
        f(files)
    }

    /// Drops all files: they are made again where weights are compiled again.
    pub(super) fn clear(&mut self) {
        self.0.iter_mut().for_each(|files| *files = Mutex::default());
    }
}
