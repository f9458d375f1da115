//! Compiled programs of decoding.

use crate::config::ModelConfig;
use crate::model::{DecodePart, DecodeSpec, Precision};
use crate::step::StepError;
use ane::{Device, Engine, Kernel, Surface};
use mil::{TensorType, Weights};
use std::collections::BTreeMap;

/// The most columns of a pass: more tokens are several passes.
pub(super) const LARGEST_CHUNK: usize = 256;

/// The numbers of columns that there are programs for.
const BUCKETS: [usize; 8] = [1, 2, 4, 8, 16, 32, 64, LARGEST_CHUNK];

/// A compiled program.
pub(super) struct DecodeKernel {
    pub(super) spec: DecodeSpec,
    kernel: Box<dyn Kernel>,
    /// The surface of each input: a value or a weight, by its place among these.
    order: Vec<Source>,
}

#[derive(Clone, Copy)]
enum Source {
    Value(usize),
    Weight(usize),
}

impl DecodeKernel {
    /// Runs it once. `values` are named.
    pub(super) fn run(
        &self,
        values: &[(&str, &Surface)],
        weights: &[Surface],
        output: &Surface,
    ) -> Result<(), StepError> {
        let inputs = self.order.iter().map(|source| match *source {
            Source::Weight(i) => weights.get(i),
            Source::Value(i) => {
                let name = &self.spec.values[i].name;
                values.iter().find(|(given, _)| given == name).map(|(_, surface)| *surface)
            }
        });
        let missing = || StepError::internal(format!("an input of kernel `{}` is missing", self.spec.name));
        let inputs: Vec<&Surface> = inputs.collect::<Option<_>>().ok_or_else(missing)?;
        self.kernel.dispatch(&inputs, &[output])?;
        Ok(())
    }
}

/// The programs of a model, compiled when they are first needed, and surfaces for them.
pub(super) struct DecodeKernels {
    cfg: ModelConfig,
    pub(super) device: Box<dyn Device>,
    pub(super) precision: Precision,
    /// Whether the host computes norms of the residual stream.
    pub(super) host_norms: bool,
    compiled: BTreeMap<(DecodePart, [usize; 2]), DecodeKernel>,
}

impl std::fmt::Debug for DecodeKernels {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DecodeKernels").field("compiled", &self.compiled.keys()).finish_non_exhaustive()
    }
}

impl DecodeKernels {
    pub(super) fn new(
        cfg: &ModelConfig,
        device: Box<dyn Device>,
        (precision, host_norms): (Precision, bool),
    ) -> DecodeKernels {
        DecodeKernels { cfg: cfg.clone(), device, precision, host_norms, compiled: BTreeMap::new() }
    }

    /// Compiles the program of `part` for these numbers of columns of queries and keys, unless there is one.
    ///
    /// # Errors
    /// If the engine refuses it.
    pub(super) fn prepare(&mut self, part: DecodePart, size: [usize; 2]) -> Result<(), StepError> {
        if self.compiled.contains_key(&(part, size)) {
            return Ok(());
        }
        let spec = self.spec(part, size)?;
        let mut files = Weights::new();
        for (path, tensor) in &spec.packed.constants {
            let blob = |source| StepError::Blob { kernel: spec.name.clone(), source };
            files.add_tensor(path, tensor).map_err(blob)?;
        }
        let kernel = self.device.compile(&spec.name, &spec.packed.program, &files)?;
        let mut order = vec![Source::Value(0); spec.packed.inputs.len()];
        spec.values.iter().enumerate().for_each(|(i, region)| order[region.surface] = Source::Value(i));
        spec.weights.iter().enumerate().for_each(|(i, w)| order[w.region.surface] = Source::Weight(i));
        self.compiled.insert((part, size), DecodeKernel { spec, kernel, order });
        Ok(())
    }

    /// The program of `part`, not compiled.
    pub(super) fn spec(&self, part: DecodePart, size: [usize; 2]) -> Result<DecodeSpec, StepError> {
        Ok(DecodeSpec::new(&self.cfg, part, size, (self.precision, self.host_norms))?)
    }

    /// A program that [`DecodeKernels::prepare`] has compiled.
    pub(super) fn get(&self, part: DecodePart, size: [usize; 2]) -> Result<&DecodeKernel, StepError> {
        let missing = || StepError::internal(format!("no kernel `{}` of size {size:?}", part.name()));
        self.compiled.get(&(part, size)).ok_or_else(missing)
    }

    /// The columns of the smallest program for `count` columns.
    pub(super) fn bucket(&self, count: usize) -> usize {
        let least = match self.device.info().engine {
            Engine::Soft => 1,
            Engine::Apple => ane::facts::LAST_AXIS_MULTIPLE.value,
        };
        let mut buckets = BUCKETS.into_iter().filter(|&bucket| bucket >= least);
        buckets.find(|&bucket| bucket >= count).unwrap_or(LARGEST_CHUNK)
    }

    /// The columns of a cache for `positions` positions: a power of two, or one and a half where programs are quickly compiled.
    pub(super) fn room(&self, positions: usize) -> usize {
        let room = positions.next_power_of_two();
        let less = room / 4 * 3;
        let takes_less = self.device.info().engine == Engine::Soft && positions <= less;
        if takes_less { less } else { room }
    }

    /// The number of compiled programs.
    pub(super) fn count(&self) -> usize {
        self.compiled.len()
    }

    /// An input surface `[1, channels, 1, columns]` of programs of `part` with `keys` keys.
    ///
    /// Engines bind inputs of equal size only, so it is at least as large as every input of such a program.
    pub(super) fn input(
        &self,
        name: &str,
        [channels, columns]: [usize; 2],
        (part, keys): (DecodePart, usize),
    ) -> Result<Surface, StepError> {
        let cfg = &self.cfg;
        let (d, q, kv, e) = (cfg.dim, cfg.q_dim(), cfg.kv_dim(), cfg.head_dim);
        let most = match part {
            DecodePart::Project => (d * LARGEST_CHUNK).max(e * LARGEST_CHUNK).max(d * q.max(kv)),
            DecodePart::Attend => (q * LARGEST_CHUNK).max(kv * keys).max(LARGEST_CHUNK * keys),
            DecodePart::Output => (q * LARGEST_CHUNK).max(q * d),
            DecodePart::FeedForward => (d * LARGEST_CHUNK).max(d * cfg.hidden),
        };
        let dtype = self.precision.dtype();
        let least = most * dtype.size().unwrap_or(1);
        Ok(self.device.surface_of(name, &TensorType::new(dtype, [1, channels, 1, columns]), least)?)
    }

    /// An output surface `[1, channels, 1, columns]`.
    pub(super) fn output(&self, name: &str, [channels, columns]: [usize; 2]) -> Result<Surface, StepError> {
        let ty = TensorType::new(self.precision.dtype(), [1, channels, 1, columns]);
        Ok(self.device.surface(name, &ty)?)
    }

    /// A surface for the keys, or the values, of `columns` positions.
    pub(super) fn cache(&self, name: &str, columns: usize) -> Result<Surface, StepError> {
        self.input(name, [self.cfg.kv_dim(), columns], (DecodePart::Attend, columns))
    }
}
