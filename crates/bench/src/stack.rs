//! The time of stacks of equal convolutions: peak throughput, the cost of larger working sets, and int8 against fp16.
//! Programs with known results are from [`ane::chain`].

use super::{BenchError, Spread};
use ane::chain::{Stack, StackPrecision};
use ane::{Device, DeviceError, DeviceInfo, DeviceOptions, Engine, Pool, SoftOptions};
use std::time::{Duration, Instant};
use train::step::StepError;

/// The fewest dispatches of a stack that are timed, even if its time is over.
const LEAST: usize = 3;

/// The size of a stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StackSize {
    /// Channels of each convolution.
    pub channels: usize,
    /// The number of convolutions.
    pub depth: usize,
    /// Height and width of the image.
    pub image: [usize; 2],
    /// The number format of the computation.
    pub precision: StackPrecision,
}

/// The measurement of a stack.
#[derive(Debug)]
pub struct StackTime {
    /// Its size.
    pub size: StackSize,
    /// Multiplications and additions per dispatch.
    pub flops: f64,
    /// Bytes of its weights.
    pub weight_bytes: usize,
    /// Bytes of its weights, its input and its output.
    pub working_bytes: usize,
    /// Its times; an error if the engine refuses it or its results are wrong.
    pub time: Result<Timed, Untimed>,
}

/// Times of a stack with correct results.
#[derive(Clone, Copy, Debug)]
pub struct Timed {
    /// Time of compiling and loading, once.
    pub compile: Duration,
    /// Times of dispatches.
    pub dispatch: Spread,
    /// The number of timed dispatches.
    pub samples: usize,
}

/// Why a stack has no time.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum Untimed {
    #[error(transparent)]
    Refused(#[from] DeviceError),
    #[error("element {at} is {got}, the correct result is {want}: it is not timed")]
    Wrong { at: usize, got: f32, want: f64 },
}

/// Limits of a measurement.
#[derive(Clone, Copy, Debug)]
pub struct StackOptions {
    /// The most dispatches of each stack.
    pub samples: usize,
    /// Time limit for each stack's dispatches; at least three are timed in any case.
    pub budget: Duration,
}

fn sizes(image: [usize; 2], precision: StackPrecision, of: &[(usize, &[usize])]) -> Vec<StackSize> {
    let one = |(channels, depths): &(usize, &[usize])| -> Vec<StackSize> {
        depths.iter().map(|&depth| StackSize { channels: *channels, depth, image, precision }).collect()
    };
    of.iter().flat_map(one).collect()
}

/// The stacks of `bench peak`: those of maderix/ANE; only small ones on the software engine unless `full`.
pub fn peak_sizes(engine: Engine, full: bool) -> Vec<StackSize> {
    let narrow: &[(usize, &[usize])] =
        &[(256, &[64, 128, 256]), (384, &[64, 128]), (512, &[32, 64, 96, 128])];
    let wide: &[(usize, &[usize])] = match engine == Engine::Apple || full {
        true => &[(256, &[128, 256]), (384, &[128]), (512, &[64, 128])],
        false => &[(256, &[2, 4]), (512, &[2])],
    };
    let [narrow, wide] =
        [([1, 64], narrow), ([64, 64], wide)].map(|(image, of)| sizes(image, StackPrecision::F16, of));
    [narrow, wide].concat()
}

/// The single convolutions of `bench sram`, small to large; the largest three on hardware or if `full`.
pub fn sram_sizes(engine: Engine, full: bool) -> Vec<StackSize> {
    let channels = [256, 384, 512, 768, 1024, 1536, 2048, 2560, 3072, 4096, 5120, 6144, 8192];
    let most = if engine == Engine::Apple || full { 8192 } else { 4096 };
    let one =
        |&channels: &usize| StackSize { channels, depth: 1, image: [1, 64], precision: StackPrecision::F16 };
    channels.iter().filter(|&&c| c <= most).map(one).collect()
}

/// The stacks of `bench int8`, each in fp16 and in int8.
pub fn int8_sizes(engine: Engine, full: bool) -> Vec<StackSize> {
    let (image, of): (_, &[(usize, &[usize])]) = match engine == Engine::Apple || full {
        true => ([64, 64], &[(256, &[128, 256]), (384, &[128]), (512, &[64, 128])]),
        false => ([8, 8], &[(256, &[4, 8]), (384, &[4]), (512, &[4])]),
    };
    let both = |size: StackSize| [size, StackSize { precision: StackPrecision::W8A8, ..size }];
    sizes(image, StackPrecision::F16, of).into_iter().flat_map(both).collect()
}

/// Times dispatches of a stack of each size, from a thread of the engine's pool.
///
/// # Errors
/// If the engine cannot be opened, or a size has no known results. Refused stacks and wrong results are reported per
/// stack.
pub fn stacks(
    wanted: DeviceOptions,
    threads: usize,
    sizes: impl FnOnce(Engine) -> Vec<StackSize>,
    options: StackOptions,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<(DeviceInfo, Vec<StackTime>), BenchError> {
    let pool = Pool::new(threads).map_err(StepError::Threads)?;
    let device = ane::open(wanted, SoftOptions { pool: pool.clone() })?;
    let sizes = sizes(device.info().engine);
    let mut all = Vec::with_capacity(sizes.len());
    for &size in &sizes {
        progress(all.len(), sizes.len());
        let stack = Stack::new(size.channels, size.depth, size.image, size.precision)?;
        all.push(StackTime {
            size,
            flops: stack.flops(),
            weight_bytes: stack.weight_bytes(),
            working_bytes: stack.weight_bytes() + 2 * stack.surface_bytes(),
            time: timed(device.as_ref(), &pool, &stack, options),
        });
    }
    progress(all.len(), sizes.len());
    Ok((device.info().clone(), all))
}

fn timed(device: &dyn Device, pool: &Pool, stack: &Stack, options: StackOptions) -> Result<Timed, Untimed> {
    let began = Instant::now();
    let kernel = device.compile("stack", &stack.program, &stack.weights)?;
    let compile = began.elapsed();
    let (x, y, values) = stack.dispatch_once(device, kernel.as_ref())?;
    if let Some((at, got, want)) = stack.wrong(&values) {
        return Err(Untimed::Wrong { at, got, want });
    }
    // The first dispatch was the warm-up.
    let all = || -> Result<Vec<Duration>, DeviceError> {
        let (start, mut times) = (Instant::now(), Vec::new());
        while times.len() < options.samples && (times.len() < LEAST || start.elapsed() < options.budget) {
            let began = Instant::now();
            kernel.dispatch(&[&x], &[&y])?;
            times.push(began.elapsed());
        }
        Ok(times)
    };
    let times = pool.install(all)?;
    let samples = times.len();
    Ok(Timed { compile, dispatch: Spread::of(times), samples })
}

/// Throughput below this share of the best counts as fallen. Source: maderix/ANE reports a drop of 30 %.
const FALLEN: f64 = 0.7;

/// The working sets between which throughput falls for good: the last fast one and the next. `points` are working sets in
/// ascending order with their throughput; `None` if it does not fall within them.
pub fn knee(points: &[(usize, f64)]) -> Option<(usize, usize)> {
    let best = points.iter().map(|p| p.1).fold(0.0, f64::max);
    let last = points.iter().rposition(|p| p.1 >= FALLEN * best)?;
    Some((points[last].0, points.get(last + 1)?.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ane::DeviceKind;

    #[test]
    fn timed_stacks_have_correct_results() {
        let size = |channels, depth, precision| StackSize { channels, depth, image: [1, 16], precision };
        let sizes = vec![
            size(16, 3, StackPrecision::F16),
            size(24, 4, StackPrecision::F16),
            size(16, 4, StackPrecision::W8A8),
        ];
        let options = StackOptions { samples: 5, budget: Duration::ZERO };
        let mut reports = Vec::new();
        let wanted = DeviceOptions::from(DeviceKind::Soft);
        let (_, all) =
            stacks(wanted, 1, |_| sizes, options, &mut |done, of| reports.push((done, of))).unwrap();
        assert_eq!(reports, [(0, 3), (1, 3), (2, 3), (3, 3)]);
        for t in &all {
            assert_eq!(t.time.as_ref().unwrap().samples, LEAST, "no time, so as few as can be");
        }
        assert_eq!((all[0].flops, all[0].weight_bytes), ((2 * 16 * 16 * 16 * 3) as f64, 2 * 16 * 16 * 3));
        assert_eq!((all[2].weight_bytes, all[2].working_bytes), (16 * 16 * 4, 16 * 16 * 4 + 2 * 2 * 16 * 16));
        let none = stacks(wanted, 1, |_| vec![size(28, 1, StackPrecision::F16)], options, &mut |_, _| {});
        assert!(none.unwrap_err().to_string().contains("cannot build a stack of 28 channels"));
    }

    #[test]
    fn every_size_has_weights() {
        for engine in [Engine::Apple, Engine::Soft] {
            for full in [false, true] {
                for s in
                    [peak_sizes(engine, full), sram_sizes(engine, full), int8_sizes(engine, full)].concat()
                {
                    // One layer: the weights of all would be gigabytes.
                    if s.channels <= 512 {
                        Stack::new(s.channels, 1, [1, 1], s.precision).unwrap();
                    }
                }
            }
        }
    }

    #[test]
    fn a_knee_is_where_throughput_falls_for_good() {
        let at = |rates: &[f64]| {
            let points: Vec<(usize, f64)> = rates.iter().enumerate().map(|(i, &r)| (i + 1, r)).collect();
            knee(&points)
        };
        // Small sizes are slow because of the dispatch overhead.
        assert_eq!(at(&[10.0, 50.0, 100.0, 95.0, 60.0, 55.0]), Some((4, 5)));
        assert_eq!(at(&[10.0, 50.0, 100.0, 60.0, 80.0]), None, "it comes back");
        assert_eq!(at(&[100.0, 99.0]), None);
        assert_eq!(at(&[]), None);
    }
}
