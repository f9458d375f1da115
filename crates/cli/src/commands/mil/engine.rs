//! On what programs run.

use super::program::Source;
use super::shapes::specialised;
use super::weights::Folder;
use crate::error::CommandError;
use crate::ui::Ui;
use clap::ValueEnum;
use mil::eval::{EvalError, Rounding, run_function};
use mil::stats::Stats;
use mil::{DType, Function, Program, Tensor, TensorType, Weights, bytes};
use softane::{Arena, Buffer, Executable, Pool, Slice, SliceMut};

/// An engine that runs any program.
#[derive(ValueEnum, Clone, Copy, Debug)]
pub enum EngineArg {
    /// The software engine: fast, with the rounding of each operation's type
    Soft,
    /// The reference meaning: slow, exact in f64, rounded once after each operation
    Reference,
}

impl EngineArg {
    /// As messages call it.
    pub fn name(self) -> &'static str {
        match self {
            EngineArg::Soft => "soft",
            EngineArg::Reference => "reference",
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
    /// Runs the function; what its results are.
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
        let weights = folder.load(std::slice::from_ref(function))?;
        match engine {
            EngineArg::Reference => {
                run_function(function, &weights, inputs, Rounding::AsTyped).map_err(|e| meaning(&e))
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
    program: &mil::Verified<Program>,
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

/// What the reference meaning refuses is in the program or its inputs.
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
