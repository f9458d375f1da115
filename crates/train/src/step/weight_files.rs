//! Weight files of kernels.

use super::{Params, StepError};
use crate::model::KernelSpec;
use mil::Weights;
use std::sync::Mutex;

/// The weights of a layer.
#[derive(Clone, Copy, Debug)]
pub(super) struct LayerWeights<'a> {
    pub params: &'a Params,
    pub layer: usize,
    /// All weights, `[N]`, in checkpoint order.
    pub theta: &'a [f32],
}

/// The weight files of each kernel of each kind of layers, reused for all layers of the kind; created on first use.
#[derive(Debug)]
pub(super) struct WeightFiles(Vec<Vec<Mutex<Option<Weights>>>>);

impl WeightFiles {
    /// Without files, for these numbers of kinds and kernels.
    pub(super) fn new(kinds: usize, kernels: usize) -> WeightFiles {
        let kernels = || (0..kernels).map(|_| Mutex::default()).collect();
        WeightFiles((0..kinds).map(|_| kernels()).collect())
    }

    /// Calls `f` with the files of kernel `k` of this `kind` of layers filled with the weights of `layer`.
    pub(super) fn with<R>(
        &self,
        (kind, k): (usize, usize),
        spec: &KernelSpec,
        LayerWeights { params, layer, theta }: LayerWeights<'_>,
        f: impl FnOnce(&Weights) -> Result<R, StepError>,
    ) -> Result<R, StepError> {
        let blob = |source| StepError::Blob { kernel: spec.name.clone(), source };
        let mut kept = self.0[kind][k].lock()?;
        let made = match kept.take() {
            Some(files) => files,
            None => spec.empty_weights().map_err(blob)?,
        };
        let files = kept.insert(made);
        spec.rewrite(params.specs(), layer, theta, files).map_err(blob)?;
        f(files)
    }

    /// Drops all files; they are created again on next use.
    pub(super) fn clear(&mut self) {
        self.0.iter_mut().flatten().for_each(|files| *files = Mutex::default());
    }
}
