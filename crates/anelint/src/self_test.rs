//! Self-tests: small programs that check the properties that kernels rely on.
//!
//! Their data is chosen so that every product and every partial sum is exact in fp16: an engine that computes at all
//! gives the reference's numbers to the bit, in whatever order it adds.

use ane::Device;
use ane::DeviceError;
use ane::Surface;
use mil::eval::{self, Rounding};
use mil::{Builder, Opset, Program, Tensor, TensorType, Verified, Weights, ty};
use std::time::{Duration, Instant};

/// A surface that engines take: wide and large enough, see rules S4 to S6.
const SHAPE: [usize; 4] = [1, 64, 1, 64];

/// A self-test and its outcome.
#[derive(Debug)]
pub struct SelfTest {
    /// One word.
    pub name: &'static str,
    /// The subject: a phrase.
    pub about: &'static str,
    /// Times and the difference, or why it did not run.
    pub outcome: Result<SelfTestOutcome, SelfTestError>,
}

/// Why a self-test did not run.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum SelfTestError {
    #[error(transparent)]
    Device(#[from] DeviceError),
    #[error("the self-test's own program is wrong: {problem}; please report it")]
    Program { problem: String },
}

/// How a self-test ran.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SelfTestOutcome {
    /// How long compiling and loading took.
    pub compile: Duration,
    /// How long the last dispatch took.
    pub dispatch: Duration,
    /// The largest difference from the reference.
    pub difference: f64,
}

impl SelfTest {
    /// Whether the engine gave the reference's numbers.
    pub fn passed(&self) -> bool {
        self.outcome.as_ref().is_ok_and(|o| o.difference == 0.0)
    }
}

/// Runs every self-test on `device`.
pub fn run(device: &dyn Device) -> Vec<SelfTest> {
    [product(), product_again(), binding(), channels()]
        .into_iter()
        .map(|TestProgram { name, about, program, weights, inputs }| {
            let outcome = program
                .map_err(|problem| SelfTestError::Program { problem })
                .and_then(|program| attempt(device, name, &program, &weights, &inputs));
            SelfTest { name, about, outcome }
        })
        .collect()
}

struct TestProgram {
    name: &'static str,
    about: &'static str,
    program: Result<Verified<Program>, String>,
    weights: Weights,
    inputs: Vec<Tensor>,
}

/// Values of `ty` that repeat at no power of two: `(i·step mod 9 − 4) / scale`.
fn values(ty: TensorType, step: usize, scale: f64) -> Tensor {
    let n = ty.elements();
    Tensor::floats(ty, (0..n).map(|i| ((i * step % 9) as f64 - 4.0) / scale))
}

/// A product with baked weights: |x| ≤ 1/2, |w| ≤ 1/4, so sums of 64 products are multiples of 1/128 up to 8.
fn product() -> TestProgram {
    let b = Builder::new("main", Opset::Ios18);
    let x = b.input("x", ty::f16(SHAPE));
    let path = "@model_path/weights/w.bin";
    let w = ty::f16([64, 64, 1, 1]);
    let y = x.conv1x1(b.weight("w", w.clone(), path, 64), 1) + 1.0;
    let mut weights = Weights::new();
    // Blob storage holds fp16.
    let _ = weights.add_tensor(path, &values(w, 5, 16.0));
    TestProgram {
        name: "product",
        about: "a program with baked weights compiles, runs and computes",
        program: b.finish([("y", y)]).map_err(|e| e.to_string()),
        weights,
        inputs: vec![values(ty::f16(SHAPE), 7, 8.0)],
    }
}

fn product_again() -> TestProgram {
    let mut case = product();
    let mut weights = Weights::new();
    let _ = weights.add_tensor("@model_path/weights/w.bin", &values(ty::f16([64, 64, 1, 1]), 4, 16.0));
    case.weights = weights;
    TestProgram { name: "weights", about: "the same program compiled with other weights uses them", ..case }
}

/// Two inputs declared in non-alphabetical order.
fn binding() -> TestProgram {
    let b = Builder::new("main", Opset::Ios18);
    let (second, first) = (b.input("b", ty::f16(SHAPE)), b.input("a", ty::f16(SHAPE)));
    TestProgram {
        name: "binding",
        about: "several inputs are bound in the order of their names",
        program: b.finish([("y", second - first * 2.0)]).map_err(|e| e.to_string()),
        weights: Weights::new(),
        inputs: vec![values(ty::f16(SHAPE), 7, 8.0), values(ty::f16(SHAPE), 5, 8.0)],
    }
}

/// Values cut out of one surface and joined on another, as every kernel of a model has them.
fn channels() -> TestProgram {
    let b = Builder::new("main", Opset::Ios18);
    let x = b.input("x", ty::f16(SHAPE));
    let part = |channel| x.slice(&[0, channel, 0, 0], &[1, 32, 1, 64]);
    let (low, high) = (part(0), part(32));
    let joined = mil::Var::concat(vec![high, low + high], 1).map(|y| [("y", y)]);
    TestProgram {
        name: "channels",
        about: "ranges of channels are cut out and joined",
        program: joined
            .ok_or("nothing to join".to_owned())
            .and_then(|y| b.finish(y).map_err(|e| e.to_string())),
        weights: Weights::new(),
        inputs: vec![values(ty::f16(SHAPE), 7, 8.0)],
    }
}

fn attempt(
    device: &dyn Device,
    name: &str,
    program: &Verified<Program>,
    weights: &Weights,
    inputs: &[Tensor],
) -> Result<SelfTestOutcome, SelfTestError> {
    let wanted = eval::run(program, weights, inputs, Rounding::AsTyped)
        .map_err(|e| SelfTestError::Program { problem: e.to_string() })?;
    let began = Instant::now();
    let kernel = device.compile(name, program, weights)?;
    let compile = began.elapsed();
    let function = program.entry();
    let surfaces = |ids: &[mil::ValueId]| -> Result<Vec<Surface>, DeviceError> {
        ids.iter().map(|&v| device.surface(&function.value(v).name, function.ty(v))).collect()
    };
    let (from, to) = (surfaces(&function.inputs)?, surfaces(&function.outputs)?);
    for (surface, tensor) in from.iter().zip(inputs) {
        let values: Vec<f32> = tensor.to_floats().into_iter().map(|x| x as f32).collect();
        surface.write(0, &values)?;
    }
    let (inputs, outputs): (Vec<&Surface>, Vec<&Surface>) = (from.iter().collect(), to.iter().collect());
    // The first dispatch may include one-time costs.
    kernel.dispatch(&inputs, &outputs)?;
    let dispatch = kernel.dispatch(&inputs, &outputs)?;
    let mut difference: f64 = 0.0;
    for (surface, want) in to.iter().zip(&wanted) {
        let mut got = vec![0.0; want.ty.elements()];
        surface.read(0, &mut got)?;
        for (&got, want) in got.iter().zip(want.to_floats()) {
            let apart = (f64::from(got) - want).abs();
            // NaN counts as infinitely far.
            difference = difference.max(if apart.is_nan() { f64::INFINITY } else { apart });
        }
    }
    Ok(SelfTestOutcome { compile, dispatch, difference })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ane::{DeviceKind, SoftOptions, open};

    #[test]
    fn the_software_engine_passes_every_self_test() {
        let device = open(DeviceKind::Soft, SoftOptions::threads(2).unwrap()).unwrap();
        let tests = run(device.as_ref());
        assert_eq!(tests.len(), 4);
        for test in tests {
            assert!(test.passed(), "{test:?}");
        }
    }

    #[test]
    fn the_data_tells_mistakes_apart() {
        let a = values(ty::f16(SHAPE), 7, 8.0).to_floats();
        let b = values(ty::f16(SHAPE), 5, 8.0).to_floats();
        assert!((0..a.len()).any(|i| b[i] - 2.0 * a[i] != a[i] - 2.0 * b[i]));
        assert!(a.chunks(64).take(2).collect::<Vec<_>>()[0] != a.chunks(64).take(2).collect::<Vec<_>>()[1]);
    }
}
