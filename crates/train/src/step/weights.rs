//! Writing weights into the kernels.
//!
//! | the weight is | it is written |
//! |---|---|
//! | on an input surface | to the surface: [`Route::Surface`] |
//! | a constant in memory that the kernel exposes | to that memory: [`Route::Constant`], `Kernel::write_weight` |
//! | a constant of a kernel that reloads weight files | by the files of its layer: `Kernel::rebake` |
//! | an immutable constant | by recompiling the kernel with the files of its layer |
//!
//! [`InputWeight::put`] and [`ConstWeight::put`] round and transpose it as the kernel needs.

use super::buffers::Activations;
use super::kernels::{Compiled, Kernels, load};
use super::weight_files::{LayerWeights, WeightFiles};
use super::{Param, Params, StepError};
use crate::model::{ConstWeight, InputWeight};
use ane::{SliceMut, Surface};
use flow::Handle;
use mil::blob::FIRST_ENTRY;
use rayon::prelude::*;

/// The destination of a weight.
#[derive(Debug)]
enum Route {
    /// An input surface of a kernel.
    Surface { weight: InputWeight, on: Handle<Surface> },
    /// A constant of a compiled kernel.
    Constant { weight: ConstWeight, kernel: Compiled },
}

/// The result of writing a weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Written {
    /// Every kernel that uses it has the new value.
    All,
    /// A kernel's memory is not exposed: call [`WeightSync::renew`] for its layer.
    NotAll,
}

/// Writes weights to all their destinations.
#[derive(Debug)]
pub(super) struct WeightSync {
    /// The routes of each parameter, in order of the table.
    routes: Vec<Vec<Route>>,
    files: WeightFiles,
}

impl WeightSync {
    /// Finds the routes of all weights.
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
                for weight in spec.input_weights.iter().filter(|w| w.kind == param.spec.kind) {
                    let on = activations.inputs(k, layer)[weight.region.surface].clone();
                    routes.push(Route::Surface { weight: weight.clone(), on });
                }
                for weight in spec.const_weights.iter().filter(|w| w.kind == param.spec.kind) {
                    let kernel = kernels.kernel(k, layer).clone();
                    routes.push(Route::Constant { weight: weight.clone(), kernel });
                }
            }
            routes
        });
        WeightSync { routes: routes.collect(), files }
    }

    /// Forgets all routes, of a table that has `params` parameters now: no weight of the kernels' own changes any more.
    pub(super) fn forget(&mut self, params: usize) {
        self.routes.clear();
        self.routes.resize_with(params, Vec::new);
    }

    /// Writes all weights that are on surfaces.
    pub(super) fn write_surfaces(&self, params: &Params) -> Result<(), StepError> {
        let theta = params.theta.read()?;
        for (param, routes) in params.iter().zip(&self.routes) {
            for route in routes.iter().filter(|r| matches!(r, Route::Surface { .. })) {
                route.write(param, &theta[param.spec.range()])?;
            }
        }
        Ok(())
    }

    /// Writes the weight `param`, number `at` of the table, to all its destinations.
    pub(super) fn write(&self, at: usize, param: &Param, values: &[f32]) -> Result<Written, StepError> {
        for route in &self.routes[at] {
            if route.write(param, values)? == Written::NotAll {
                return Ok(Written::NotAll);
            }
        }
        Ok(Written::All)
    }

    /// Updates the kernels of a layer that hold weights as constants, by their weight files.
    ///
    /// # Errors
    /// If the device refuses to recompile a kernel.
    pub(super) fn renew(&self, kernels: &Kernels, weights: LayerWeights<'_>) -> Result<(), StepError> {
        let LayerWeights { layer, .. } = weights;
        let all = kernels.set(layer).par_iter().zip(kernels.specs_of(layer)).enumerate();
        all.filter(|(_, (_, spec))| !spec.const_weights.is_empty()).try_for_each(|(k, (kernel, spec))| {
            self.files.with((kernels.kind(layer), k), spec, weights, |files| {
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
