//! The engines available to test files.

use ane::{DeviceError, DeviceKind, SoftOptions, Surface};
use mil::bytes::{from_memory, to_memory};
use mil::eval::Rounding;
use mil::{DType, Program, Tensor, TensorType, ValueId, Verified, Weights};
use softane::{Arena, Buffer, Executable, Pool, Slice, SliceMut};

/// Runs the main function of a program on inputs in parameter order; an error is a sentence.
pub type RunFn = fn(&Verified<Program>, &Weights, &[Tensor]) -> Result<Vec<Tensor>, String>;

/// An engine for `run` tests.
#[derive(Clone, Copy, Debug)]
pub struct Engine {
    /// Its name in `engine=`.
    pub name: &'static str,
    /// Runs a program; `None` if the engine is not available.
    pub run: Option<RunFn>,
}

/// All engines.
pub const ENGINES: &[Engine] = &[
    Engine { name: "reference", run: Some(reference) },
    Engine { name: "soft", run: Some(soft) },
    Engine { name: "apple", run: None },
];

/// The reference evaluator, rounded after each operation.
fn reference(
    program: &Verified<Program>,
    weights: &Weights,
    inputs: &[Tensor],
) -> Result<Vec<Tensor>, String> {
    mil::eval::run(program, weights, inputs, Rounding::AsTyped).map_err(|e| e.to_string())
}

/// The software engine: through `ane::Device` if surfaces can hold all inputs and outputs, else directly.
fn soft(program: &Verified<Program>, weights: &Weights, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
    let function = program.entry();
    let mut ends = function.inputs.iter().chain(&function.outputs);
    if ends.all(|&v| matches!(function.ty(v).dtype, DType::F16 | DType::F32)) {
        return run_on(DeviceKind::Soft, program, weights, inputs).map_err(|e| e.to_string());
    }
    let executable = Executable::compile(program, weights).map_err(|e| e.to_string())?;
    let memory = |ty: &TensorType| match ty.bytes() {
        Some(bytes) => Ok(Buffer::zeroed(bytes)),
        None => Err(format!("it does not support values of type {ty}")),
    };
    let mut from: Vec<Buffer> = inputs.iter().map(|t| memory(&t.ty)).collect::<Result<_, _>>()?;
    for (buffer, tensor) in from.iter_mut().zip(inputs) {
        buffer.bytes_mut().copy_from_slice(&to_memory(tensor.ty.dtype, &tensor.data));
    }
    let types: Vec<TensorType> = function.outputs.iter().map(|&v| function.ty(v).clone()).collect();
    let mut to: Vec<Buffer> = types.iter().map(memory).collect::<Result<_, _>>()?;
    let sources: Vec<Slice<'_>> =
        from.iter().zip(inputs).map(|(b, t)| Slice::of(t.ty.dtype, b.bytes())).collect();
    let mut sinks: Vec<SliceMut<'_>> =
        to.iter_mut().zip(&types).map(|(b, ty)| SliceMut::of(ty.dtype, b.bytes_mut())).collect();
    let mut arena = Arena::default();
    Pool::new(2)?.install(|| executable.run(&sources, &mut sinks, &mut arena)).map_err(|e| e.to_string())?;
    let tensor = |(ty, b): (TensorType, Buffer)| Tensor { data: from_memory(ty.dtype, b.bytes()), ty };
    Ok(types.into_iter().zip(to).map(tensor).collect())
}

fn run_on(
    choice: DeviceKind,
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
