//! The engines of `mil run`.

use super::program::Source;
use super::shapes::specialised;
use super::weights::{Folder, OTHER_TYPE};
use crate::error::CommandError;
use crate::ui::Ui;
use ane::{Device, DeviceError, DeviceKind, SoftOptions, Surface};
use clap::ValueEnum;
use mil::eval::{EvalError, Rounding, run_function};

use mil::stats::Stats;
use mil::{DType, Function, Program, Tensor, TensorType, ValueId, Verified, Weights, bytes};
use softane::{Arena, Buffer, Executable, Pool, Slice, SliceMut};
use train::run::RunError;

/// An engine that runs any program.
#[derive(ValueEnum, Clone, Copy, Debug)]
pub enum EngineArg {
    /// The software engine: fast, with the rounding of each operation's type
    Soft,
    /// The reference evaluator: slow, exact in f64, rounded once after each operation
    Reference,
    /// The Apple Neural Engine: programs whose inputs and outputs are in fp16
    Ane,
}

impl EngineArg {
    /// As messages call it.
    pub fn name(self) -> &'static str {
        match self {
            EngineArg::Soft => "soft",
            EngineArg::Reference => "reference",
            EngineArg::Ane => "ane",
        }
    }
}

/// Something to run.
#[derive(Clone, Copy, Debug)]
pub struct Job<'a> {
    pub source: &'a Source,
    pub program: &'a Program,
    pub function: &'a Function,
    /// In order of the function's parameters.
    pub inputs: &'a [Tensor],
}

impl Job<'_> {
    /// Runs the function and returns its results.
    ///
    /// # Errors
    /// If weights are missing or wrong, or the function does not take these inputs.
    pub fn run(
        self,
        ui: &Ui,
        engine: EngineArg,
        folder: &mut Folder,
        threads: usize,
    ) -> Result<Vec<Tensor>, CommandError> {
        let Job { source, program, function, inputs } = self;
        let functions = std::slice::from_ref(function);
        let weights = match engine {
            EngineArg::Ane => {
                folder.load_in_memory(functions, |error| ui.warn(format!("{error}; {OTHER_TYPE}")))?
            }
            EngineArg::Soft | EngineArg::Reference => folder.load(functions)?,
        };
        match engine {
            EngineArg::Reference => {
                run_function(function, &weights, inputs, Rounding::AsTyped).map_err(|e| meaning(&e))
            }
            EngineArg::Ane => {
                let options = SoftOptions::threads(threads).map_err(RunError::from)?;
                let device = ane::open(DeviceKind::Ane, options).map_err(of_device)?;
                let types: Vec<TensorType> = inputs.iter().map(|t| t.ty.clone()).collect();
                let program = specialised(ui, source, function, &types, program)?;
                on_device(device.as_ref(), &function.name, &program, &weights, inputs).map_err(of_device)
            }
            EngineArg::Soft => {
                let types: Vec<TensorType> = inputs.iter().map(|t| t.ty.clone()).collect();
                let program = specialised(ui, source, function, &types, program)?;
                let entry = program.entry();
                let texts =
                    entry.inputs.iter().chain(&entry.outputs).find(|&&v| entry.ty(v).dtype == DType::Str);
                if let Some(&v) = texts {
                    return Err(CommandError::input(
                        format!(
                            "`{}` is a text, which the software engine does not hold",
                            entry.value(v).name
                        ),
                        "Run it with `--engine reference`.",
                    ));
                }
                has_room(entry)?;
                let pool = Pool::new(threads)
                    .map_err(|e| CommandError::failure(format!("cannot start threads: {e}")))?;
                pool.install(|| soft(&program, &weights, inputs))
            }
        }
    }
}

fn soft(
    program: &Verified<Program>,
    weights: &Weights,
    inputs: &[Tensor],
) -> Result<Vec<Tensor>, CommandError> {
    let failed = |e: &dyn std::error::Error| CommandError::failure(format!("the software engine: {e}"));
    let executable = Executable::compile(program, weights).map_err(|e| failed(&e))?;
    let function = program.entry();
    let size = |ty: &TensorType| ty.bytes().unwrap_or(0);
    let given: Vec<Buffer> = inputs
        .iter()
        .map(|tensor| {
            let mut buffer = Buffer::zeroed(size(&tensor.ty));
            let bytes = bytes::to_memory(tensor.ty.dtype, &tensor.data);
            buffer.bytes_mut()[..bytes.len()].copy_from_slice(&bytes);
            buffer
        })
        .collect();
    let types: Vec<&TensorType> = function.outputs.iter().map(|&v| function.ty(v)).collect();
    let mut results: Vec<Buffer> = types.iter().map(|ty| Buffer::zeroed(size(ty))).collect();
    let slices: Vec<Slice<'_>> =
        inputs.iter().zip(&given).map(|(t, buffer)| Slice::of(t.ty.dtype, buffer.bytes())).collect();
    let mut to: Vec<SliceMut<'_>> = types
        .iter()
        .zip(&mut results)
        .map(|(ty, buffer)| SliceMut::of(ty.dtype, buffer.bytes_mut()))
        .collect();
    executable.run(&slices, &mut to, &mut Arena::default()).map_err(|e| match e {
        softane::RunError::Reference(e) => meaning(&e),
        other => failed(&other),
    })?;
    drop(to);
    let read = |(ty, buffer): (&&TensorType, &Buffer)| Tensor {
        ty: (*ty).clone(),
        data: bytes::from_memory(ty.dtype, buffer.bytes()),
    };
    Ok(types.iter().zip(&results).map(read).collect())
}

/// Runs `program` once through the door that kernels of models go through.
fn on_device(
    device: &dyn Device,
    name: &str,
    program: &Verified<Program>,
    weights: &Weights,
    inputs: &[Tensor],
) -> Result<Vec<Tensor>, DeviceError> {
    let kernel = device.compile(name, program, weights)?;
    let function = program.entry();
    let surfaces = |ids: &[ValueId]| -> Result<Vec<Surface>, DeviceError> {
        ids.iter().map(|&v| device.surface(&function.value(v).name, function.ty(v))).collect()
    };
    let (from, to) = (surfaces(&function.inputs)?, surfaces(&function.outputs)?);
    for (surface, tensor) in from.iter().zip(inputs) {
        let values: Vec<f32> = tensor.to_floats().into_iter().map(|x| x as f32).collect();
        surface.write(0, &values)?;
    }
    let (read, written): (Vec<&Surface>, Vec<&Surface>) = (from.iter().collect(), to.iter().collect());
    kernel.dispatch(&read, &written)?;
    let tensor = |surface: &Surface| {
        let mut values = vec![0.0; surface.ty().elements()];
        surface.read(0, &mut values)?;
        Ok(Tensor::floats(surface.ty().clone(), values.into_iter().map(f64::from)))
    };
    to.iter().map(tensor).collect()
}

/// Asks the system whether it has memory for the values of `function`, which can be of any size.
fn has_room(function: &Function) -> Result<(), CommandError> {
    let peak = Stats::of(function).peak_bytes;
    let room = usize::try_from(peak).is_ok_and(|n| Vec::<u8>::new().try_reserve_exact(n).is_ok());
    if room {
        return Ok(());
    }
    Err(CommandError::input(
        format!("the values of `{}` need {}", function.name, crate::units::bytes(peak)),
        "Run it on smaller inputs.",
    ))
}

/// An error of the Neural Engine, with the flag that `mil run` has.
fn of_device(error: DeviceError) -> CommandError {
    let hint = error.hint().map(|hint| hint.replace("`--device soft`", "`--engine soft`"));
    let error = CommandError::from(RunError::from(error));
    match hint {
        Some(hint) => error.with_hint(hint),
        None => error,
    }
}

/// An error of the reference evaluator is due to the program or its inputs.
fn meaning(error: &EvalError) -> CommandError {
    let hint = match error {
        EvalError::Refused { reject, .. } if reject.help.is_some() => {
            format!("In the program, {}.", reject.help.as_deref().unwrap_or_default())
        }
        EvalError::TooLarge { .. } => "Run it on smaller inputs.".to_owned(),
        _ => "Check the inputs, and the program with `backpropane mil check`.".to_owned(),
    };
    CommandError::input(error.to_string(), hint)
}
