//! The time of dispatching tiny kernels.

use super::{BenchError, Spread};
use ane::{Device, DeviceInfo, DeviceOptions, Kernel, Pool, SoftOptions, Surface};
use mil::eval::{Rounding, run};
use mil::{Builder, Opset, Program, Tensor, Verified, Weights, ty};
use std::time::{Duration, Instant};
use train::step::StepError;

/// Times of dispatches of a kernel.
#[derive(Clone, Debug)]
pub struct DispatchTime {
    /// The kernel's name, such as `conv 16 × 16`.
    pub name: String,
    /// Shape of its input, `[1, C, 1, S]`.
    pub shape: [usize; 4],
    /// Time of a dispatch by a thread of the pool that the engine computes on, as in a step.
    pub inside: Spread,
    /// Time of a dispatch by any other thread.
    pub outside: Spread,
}

/// Dispatches before timing starts.
const WARM_UP: usize = 20;

/// Tolerance of an output relative to the largest: eight times the rounding of fp16, for engines that sum in fp16.
const CLOSE: f64 = 1.0 / 256.0;

/// Channels and positions of the products that are measured.
const PRODUCTS: [(usize, usize); 3] = [(16, 16), (64, 64), (256, 64)];

/// Times dispatches of an addition and of a few 1×1 convolutions, `samples` times each.
///
/// # Errors
/// If the engine cannot be opened or refuses a kernel; `Wrong` if an output differs from the reference evaluator's.
pub fn dispatches(
    wanted: DeviceOptions,
    threads: usize,
    samples: usize,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<(DeviceInfo, Vec<DispatchTime>), BenchError> {
    let pool = Pool::new(threads).map_err(StepError::Threads)?;
    let device = ane::open(wanted, SoftOptions { pool: pool.clone() })?;
    let total = PRODUCTS.len() + 1;
    let mut all = vec![Measured::new(device.as_ref(), "add", 16, 16, &addition()?)?.time(&pool, samples)?];
    progress(1, total);
    for (channels, seq) in PRODUCTS {
        let name = format!("conv {channels} × {channels}");
        let kernel = Measured::new(device.as_ref(), &name, channels, seq, &product(channels, seq)?)?;
        all.push(kernel.time(&pool, samples)?);
        progress(all.len(), total);
    }
    Ok((device.info().clone(), all))
}

/// `y = x + 1` on `[1, 16, 1, 16]`.
fn addition() -> Result<Verified<Program>, BenchError> {
    let b = Builder::new("main", Opset::Ios18);
    let x = b.input("x", ty::f16([1, 16, 1, 16]));
    Ok(b.finish([("y", x + 1.0)])?)
}

/// `y = W·x`, x `[1, C, 1, S]`.
fn product(channels: usize, seq: usize) -> Result<Verified<Program>, BenchError> {
    let b = Builder::new("main", Opset::Ios18);
    let x = b.input("x", ty::f16([1, channels, 1, seq]));
    let ty = ty::f16([channels, channels, 1, 1]);
    let n = ty.elements();
    let w = b.constant("w", Tensor::floats(ty, (0..n).map(|i| (i * 7 % 29) as f64 / 290.0 - 0.05)));
    Ok(b.finish([("y", x.conv1x1(w, 1))])?)
}

/// A kernel whose output was checked.
struct Measured {
    name: String,
    shape: [usize; 4],
    kernel: Box<dyn Kernel>,
    input: Surface,
    output: Surface,
}

impl Measured {
    /// Compiles `program`, which maps `x` `[1, C, 1, S]` to `y` of the same shape; runs it once and checks the output.
    fn new(
        device: &dyn Device,
        name: &str,
        channels: usize,
        seq: usize,
        program: &Verified<Program>,
    ) -> Result<Measured, BenchError> {
        let shape = [1, channels, 1, seq];
        let x = Tensor::floats(ty::f16(shape), (0..channels * seq).map(|i| (i * 5 % 23) as f64 / 11.5 - 1.0));
        let name = name.to_owned();
        let want = run(program, &Weights::new(), std::slice::from_ref(&x), Rounding::AsTyped)
            .map_err(|source| BenchError::Reference { kernel: name.clone(), source })?;
        let want = want.first().map_or(&[][..], Tensor::as_floats);

        let kernel = device.compile(&name, program, &Weights::new())?;
        let [input, output] = ["x", "y"].map(|side| device.surface(side, &ty::f16(shape)));
        let (input, output) = (input?, output?);
        let values: Vec<f32> = x.as_floats().iter().map(|&x| x as f32).collect();
        input.write(0, &values)?;
        kernel.dispatch(&[&input], &[&output])?;
        let mut got = values;
        output.read(0, &mut got)?;
        match wrong(&got, want) {
            Some((at, got, want)) => Err(BenchError::Wrong { kernel: name, at, got, want }),
            None => Ok(Measured { name, shape, kernel, input, output }),
        }
    }

    /// Dispatches `samples` times from a thread of `pool` and as often from the current thread.
    fn time(&self, pool: &Pool, samples: usize) -> Result<DispatchTime, BenchError> {
        let dispatch = || -> Result<Duration, BenchError> {
            let start = Instant::now();
            self.kernel.dispatch(&[&self.input], &[&self.output])?;
            Ok(start.elapsed())
        };
        let all = || -> Result<Spread, BenchError> {
            let times: Vec<Duration> =
                (0..WARM_UP + samples).map(|_| dispatch()).collect::<Result<_, _>>()?;
            Ok(Spread::of(times[WARM_UP..].to_vec()))
        };
        let (inside, outside) = (pool.install(all)?, all()?);
        Ok(DispatchTime { name: self.name.clone(), shape: self.shape, inside, outside })
    }
}

/// The first element outside the tolerance: its index, its value and the correct one.
fn wrong(got: &[f32], want: &[f64]) -> Option<(usize, f32, f64)> {
    let largest = want.iter().fold(0.0, |m: f64, w| m.max(w.abs()));
    let mut pairs = got.iter().zip(want).enumerate();
    let far = |got: f32, want: f64| got.is_nan() || (f64::from(got) - want).abs() > CLOSE * largest;
    pairs.find(|(_, (got, want))| far(**got, **want)).map(|(at, (&got, &want))| (at, got, want))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_that_are_timed_compute_what_they_mean() {
        let mut reports = Vec::new();
        let wanted = DeviceOptions::from(ane::DeviceKind::Soft);
        let (info, all) = dispatches(wanted, 2, 3, &mut |done, of| reports.push((done, of))).unwrap();
        assert_eq!((info.threads, all.len(), reports.last()), (2, 4, Some(&(4, 4))));
        for t in &all {
            assert!(!t.inside.median.is_zero() && t.inside.low <= t.inside.high, "{t:?}");
        }
    }

    #[test]
    fn a_wrong_output_is_found_with_its_place() {
        assert_eq!(wrong(&[1.0, 2.0], &[1.0, 2.0]), None);
        // 1/256 of 2 is 0.0078.
        assert_eq!(wrong(&[1.007, 2.0], &[1.0, 2.0]), None);
        assert_eq!(wrong(&[1.0, 2.01], &[1.0, 2.0]), Some((1, 2.01, 2.0)));
        assert!(wrong(&[f32::NAN], &[1.0]).is_some());
    }
}
