//! The time that compiling the kernels of a model takes.

use super::{BenchError, Spread, Workload, median};
use ane::{Device, DeviceInfo, DeviceOptions, Kernel, Pool, SoftOptions};
use std::time::{Duration, Instant};
use train::model::Precision;
use train::model::{KernelPlan, Layer, LayerKernels};
use train::step::StepError;

/// Times of compiling a model.
#[derive(Clone, Debug)]
pub struct CompileTimes {
    /// The engine.
    pub device: DeviceInfo,
    /// Layers of the model.
    pub layers: usize,
    /// Median time of each part of the work, over all layers: first what is done once (building the layer's program,
    /// deriving its gradient, cutting, packing), then writing weight files, then compiling each kernel, by name.
    pub parts: Vec<(String, Duration)>,
    /// Time of everything.
    pub total: Spread,
}

/// Compiles all kernels of `workload`, forward and backward, `samples` times.
///
/// # Errors
/// If the engine cannot be opened or refuses a kernel.
pub fn compilations(
    workload: &Workload,
    storage: Precision,
    wanted: DeviceOptions,
    threads: usize,
    samples: usize,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<CompileTimes, BenchError> {
    let pool = Pool::new(threads).map_err(StepError::Threads)?;
    let device = ane::open(wanted, SoftOptions { pool: pool.clone() })?;
    let theta = workload.weights();
    let mut all: Vec<Vec<(String, Duration)>> = Vec::new();
    let mut totals = Vec::new();
    // The first run warms the caches and is not counted.
    for i in 0..=samples {
        let began = Instant::now();
        let parts = once(workload, storage, device.as_ref(), &pool, &theta)?;
        if i > 0 {
            totals.push(began.elapsed());
            all.push(parts);
        }
        progress(i, samples);
    }
    let part = |i: usize| median(all.iter().map(|parts| parts[i].1).collect());
    let names = all.first().into_iter().flatten().map(|(name, _)| name.clone());
    Ok(CompileTimes {
        device: device.info().clone(),
        layers: workload.config.layers,
        parts: names.enumerate().map(|(i, name)| (name, part(i))).collect(),
        total: Spread::of(totals),
    })
}

/// Compiles everything once; kernels are kept until all are compiled, as in a network.
fn once(
    workload: &Workload,
    storage: Precision,
    device: &dyn Device,
    pool: &Pool,
    theta: &[f32],
) -> Result<Vec<(String, Duration)>, BenchError> {
    let cfg = &workload.config;
    let began = Instant::now();
    let layer = Layer::new(cfg, storage).map_err(StepError::from)?;
    let kernels = LayerKernels::new(&layer, &KernelPlan::six()).map_err(StepError::from)?.kernels;
    let mut parts =
        vec![("programs".to_owned(), began.elapsed()), ("weight files".to_owned(), Duration::ZERO)];
    parts.extend(kernels.iter().map(|k| (k.name.clone(), Duration::ZERO)));

    let specs = cfg.params();
    let mut loaded: Vec<Box<dyn Kernel>> = Vec::with_capacity(cfg.layers * kernels.len());
    for (k, spec) in kernels.iter().enumerate() {
        let blob = |source| StepError::Blob { kernel: spec.name.clone(), source };
        let start = Instant::now();
        let mut files = spec.empty_weights().map_err(blob)?;
        parts[1].1 += start.elapsed();
        for l in 0..cfg.layers {
            let start = Instant::now();
            pool.install(|| spec.rewrite(specs.iter(), l, theta, &mut files)).map_err(blob)?;
            parts[1].1 += start.elapsed();
            let start = Instant::now();
            loaded.push(device.compile(&spec.name, &spec.packed.program, &files)?);
            parts[k + 2].1 += start.elapsed();
        }
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use train::config::ModelConfig;

    #[test]
    fn the_total_covers_every_kernel() {
        let workload = Workload::new(ModelConfig::preset("tiny").unwrap());
        let wanted = DeviceOptions::from(ane::DeviceKind::Soft);
        let times = compilations(&workload, Precision::F16, wanted, 2, 1, &mut |_, _| {}).unwrap();
        let names: Vec<&str> = times.parts.iter().map(|p| p.0.as_str()).collect();
        let kernels = ["fwdAttn", "fwdFFN", "ffnBwd", "sdpaBwd1", "sdpaBwd2", "qkvBwd"];
        assert_eq!(names, [&["programs", "weight files"], &kernels[..]].concat());
        assert!(times.parts.iter().all(|p| !p.1.is_zero()), "{times:?}");
        assert!(times.parts.iter().map(|p| p.1).sum::<Duration>() <= times.total.median);
    }
}
