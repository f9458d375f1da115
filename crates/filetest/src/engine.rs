//! The engines that files can name.

use ane::{Choice, DeviceError, SoftOptions, Surface};
use mil::eval::Rounding;
use mil::{Program, Tensor, TensorType, ValueId, Verified, Weights};

/// Runs the main function of a program on inputs in order of its parameters; a failure is a sentence.
pub type RunFn = fn(&Verified<Program>, &Weights, &[Tensor]) -> Result<Vec<Tensor>, String>;

/// An engine that files can name.
#[derive(Clone, Copy, Debug)]
pub struct Engine {
    /// As `engine=` gives it.
    pub name: &'static str,
    /// How it runs a program; `None` if it is not at hand.
    pub run: Option<RunFn>,
}

/// Every engine. A new one is a line here.
pub const ENGINES: &[Engine] = &[
    Engine { name: "reference", run: Some(reference) },
    Engine { name: "soft", run: Some(soft) },
    Engine { name: "apple", run: None },
];

/// The reference meaning, rounded after each operation.
fn reference(
    program: &Verified<Program>,
    weights: &Weights,
    inputs: &[Tensor],
) -> Result<Vec<Tensor>, String> {
    mil::eval::run(program, weights, inputs, Rounding::AsTyped).map_err(|e| e.to_string())
}

/// The software engine, by the same door as any other.
fn soft(program: &Verified<Program>, weights: &Weights, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
    run_on(Choice::Soft, program, weights, inputs).map_err(|e| e.to_string())
}

fn run_on(
    choice: Choice,
    program: &Verified<Program>,
    weights: &Weights,
    inputs: &[Tensor],
) -> Result<Vec<Tensor>, DeviceError> {
    let device = ane::open(choice, SoftOptions::threads(2)?)?;
    let kernel = device.compile("test", program, weights)?;
    let function = program.entry();
    let surfaces = |values: &[ValueId]| -> Result<Vec<Surface>, DeviceError> {
        let one = |&v: &ValueId| device.surface(&function.value(v).name, function.ty(v));
        values.iter().map(one).collect()
    };
    let (from, to) = (surfaces(&function.inputs)?, surfaces(&function.outputs)?);
    for (surface, tensor) in from.iter().zip(inputs) {
        let values: Vec<f32> = tensor.to_floats().into_iter().map(|x| x as f32).collect();
        surface.write(0, &values)?;
    }
    kernel.dispatch(&from.iter().collect::<Vec<_>>(), &to.iter().collect::<Vec<_>>())?;
    let read = |surface: &Surface| -> Result<Tensor, DeviceError> {
        let ty: TensorType = surface.ty().clone();
        let mut values = vec![0.0; ty.elements()];
        surface.read(0, &mut values)?;
        Ok(Tensor::floats(ty, values.into_iter().map(f64::from)))
    };
    to.iter().map(read).collect()
}
