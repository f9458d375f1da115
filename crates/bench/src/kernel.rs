//! The time of each step inside the kernels of a layer, on the software engine.

use super::{Workload, median};
use ane::{DeviceError, Engine, MatmulPrecision, Pool};
use softane::{Arena, Buffer, Executable, Slice, SliceMut};
use std::time::Duration;
use train::model::Precision;
use train::model::{Layer, LayerKernels, Norms, Start};
use train::step::StepError;

/// Times of a kernel.
#[derive(Clone, Debug)]
pub struct KernelTimes {
    /// Its name.
    pub name: String,
    /// Floating-point operations of its matrix products, masked scores included.
    pub flops: f64,
    /// The median time of all its steps together.
    pub total: Duration,
    /// Each step as the engine's plan prints it, with its median time.
    pub steps: Vec<(String, Duration)>,
}

/// Times the kernels of a layer of `workload` on `threads` threads (0: all), `samples` times each. Returns the number of
/// threads and the times.
///
/// # Errors
/// If the layer cannot be cut into kernels, or the software engine refuses one.
pub fn kernels(
    workload: &Workload,
    storage: Precision,
    norms: Norms,
    math: MatmulPrecision,
    threads: usize,
    samples: usize,
) -> Result<(usize, Vec<KernelTimes>), StepError> {
    ane::check_math(math)?;
    let cfg = &workload.config;
    let layer = Layer::new(cfg, storage)?;
    let rung = Start::from(norms).rung(Engine::Soft);
    let layer_kernels = LayerKernels::new(&layer, &rung.plan(cfg))?;
    let (specs, theta) = (cfg.params(), workload.weights());
    let pool = Pool::new(threads).map_err(StepError::Threads)?;
    let mut arena = Arena::default();
    let mut all = Vec::new();
    for kernel in &layer_kernels.kernels {
        let blob = |source| StepError::Blob { kernel: kernel.name.clone(), source };
        let weights = kernel.weights(&specs, 0, &theta).map_err(blob)?;
        let executable = Executable::compile_with(&kernel.packed.program, &weights, math)
            .map_err(|source| DeviceError::Compile { kernel: kernel.name.clone(), source })?;
        let buffer = |ty: &mil::TensorType| Buffer::zeroed(ty.bytes().unwrap_or(0));
        let (input, output) = (&kernel.packed.input, &kernel.packed.output);
        let (mut from, mut to) = (buffer(input), buffer(output));
        // Small numbers of both signs: 0x2C00 and 0xAC00 are ±0.0625 in half precision.
        for (i, pair) in from.bytes_mut().chunks_exact_mut(2).enumerate() {
            pair.copy_from_slice(&[(i * 37) as u8, if i % 3 == 0 { 0x2C } else { 0xAC }]);
        }
        let mut times: Vec<Vec<Duration>> = Vec::new();
        for _ in 0..samples + 2 {
            let inputs = [Slice::of(input.dtype, from.bytes())];
            let mut outputs = [SliceMut::of(output.dtype, to.bytes_mut())];
            let run = pool.busy(|| executable.profile(&inputs, &mut outputs, &mut arena));
            times.push(run.map_err(|source| DeviceError::Run { kernel: kernel.name.clone(), source })?);
        }
        times.drain(..2);
        let plan = executable.plan();
        let step = |i: usize| median(times.iter().map(|t| t[i]).collect());
        let steps: Vec<_> = plan.lines().enumerate().map(|(i, l)| (l.to_owned(), step(i))).collect();
        all.push(KernelTimes {
            name: kernel.name.clone(),
            flops: kernel.stats.flops as f64,
            total: steps.iter().map(|s| s.1).sum(),
            steps,
        });
    }
    Ok((pool.threads(), all))
}
