//! Errors of engines.

use crate::block::SurfaceBlock;
use mil::TensorType;
use softane::gemm::MatmulPrecision;
use std::io;
use std::path::PathBuf;

pub use crate::refusal::{Answer, Call, Explain, Refusal};

/// An error of an engine or a surface.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages say it")]
pub enum DeviceError {
    #[error("cannot start {threads} threads: {reason}")]
    Threads { threads: usize, reason: String },
    #[error("products in {} need {}, this processor is {chip}", math.name(), math.needs())]
    MatmulPrecision { math: MatmulPrecision, chip: String },
    #[error("no Neural Engine here: {missing}")]
    Unavailable { missing: String },
    #[error("this system's Neural Engine is not the one this version knows: {what}")]
    Changed { what: String },
    #[error("{0}")]
    Refused(Box<Refusal>),
    #[error(
        "cannot compile kernel `{kernel}`: this process has compiled {used} programs of the {budget} it may compile"
    )]
    CompileBudget { kernel: String, used: u32, budget: u32 },
    #[error(
        "kernel `{kernel}` is not compiled: the Neural Engine's compiler refused {refused} programs in a row"
    )]
    TooManyRefusals { kernel: String, refused: u32 },
    #[error("kernel `{kernel}` names weight file `{path}`, which is not in the program's folder")]
    WeightPath { kernel: String, path: String },
    #[error("cannot {doing} `{}` for the Neural Engine's compiler: {source}", path.display())]
    Folder { doing: &'static str, path: PathBuf, source: io::Error },
    #[error(
        "`{parameter}` of kernel `{kernel}` is {ty}: the Neural Engine computes in fp16 and may return zeros for other types"
    )]
    Precision { kernel: String, parameter: String, ty: Box<TensorType> },
    #[error("no memory for surface `{surface}`: {reason}")]
    SurfaceMemory { surface: String, reason: String },
    #[error("kernel `{kernel}` cannot use surface `{surface}`: it belongs to the software engine")]
    SurfaceForeign { kernel: String, surface: String },
    #[error(
        "the {side} of kernel `{kernel}` have surfaces of {least} to {most} bytes; the Neural Engine binds surfaces of one size"
    )]
    SurfaceSizes { kernel: String, side: &'static str, least: usize, most: usize },
    #[error("kernel `{kernel}` does not compile: {source}")]
    Compile { kernel: String, source: softane::CompileError },
    #[error("kernel `{kernel}` is not compiled: its text is not usable: {problem}")]
    Unread { kernel: String, problem: String },
    #[error("kernel `{kernel}` keeps its old weights: {source}")]
    Rebake { kernel: String, source: softane::CompileError },
    #[error("kernel `{kernel}` stopped: {source}")]
    Run { kernel: String, source: softane::RunError },
    #[error("surface `{surface}` cannot hold {ty}: surfaces hold fp16 or fp32")]
    SurfaceUnfit { surface: String, ty: TensorType },
    #[error("surface `{surface}` holds quantised weights, which only kernels read")]
    SurfaceQuantised { surface: String },
    #[error("kernel `{kernel}` has {want} {side}, but {got} surfaces were passed")]
    SurfaceCount { kernel: String, side: &'static str, want: usize, got: usize },
    #[error("surface `{surface}` holds {got}, `{parameter}` of kernel `{kernel}` is {want}")]
    SurfaceType {
        kernel: String,
        parameter: String,
        surface: String,
        got: Box<TensorType>,
        want: Box<TensorType>,
    },
    #[error("kernel `{kernel}` binds surface `{surface}` as an output and a second time")]
    SurfaceShared { kernel: String, surface: String },
    #[error(
        "surface `{surface}` has {channels} channels of {each} elements; {elements} elements at channel {channel} are out \
         of range"
    )]
    SurfaceRange { surface: String, channels: usize, each: usize, channel: usize, elements: usize },
    #[error(
        "surface `{surface}` has {channels} channels of {width} elements; {elements} elements do not fill channels {} to \
         {}, columns {} to {}",
        block.channel,
        block.channel + block.channels.saturating_sub(1),
        block.column,
        block.column + block.columns.saturating_sub(1)
    )]
    SurfaceBlock { surface: String, channels: usize, width: usize, block: SurfaceBlock, elements: usize },
    #[error(
        "surface `{from}` holds {from_ty}, `{to}` holds {to_ty}: a copy needs equal types and channel sizes"
    )]
    SurfaceCopy { from: String, from_ty: Box<TensorType>, to: String, to_ty: Box<TensorType> },
}

impl DeviceError {
    /// Whether a new process may succeed: the compiler service refused, or the compile budget is exhausted.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Refused(refusal) => matches!(refusal.call, Call::Model | Call::Compile | Call::Load),
            Self::CompileBudget { .. } => true,
            _ => false,
        }
    }

    /// A remedy, if there is one: one imperative sentence.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Threads { .. } => Some("Ask for fewer threads with `--threads`."),
            Self::MatmulPrecision { .. } => Some("Use `--math f32`: it works everywhere."),
            Self::Unavailable { .. } => Some("Run with `--device soft` to use the software engine."),
            Self::Changed { .. } => {
                Some("Run with `--device soft`, and report what `backpropane doctor` prints.")
            }
            Self::Refused(refusal) => Some(refusal.hint()),
            Self::CompileBudget { .. } => {
                Some("Resume from the last checkpoint in a new process, or run with `--device soft`.")
            }
            Self::TooManyRefusals { .. } => Some(
                "Find out why it refused the first program, then try again in a new process, or run with `--device soft`.",
            ),
            Self::WeightPath { .. } => Some("Call it `@model_path/weights/NAME.bin`."),
            Self::Folder { .. } => Some("Check that the temporary folder is writable and has space."),
            Self::Precision { .. } => Some("Leave out `--storage f32`, or run with `--device soft`."),
            Self::SurfaceForeign { .. } => Some("Make the surface with the device that compiled the kernel."),
            Self::SurfaceSizes { .. } => Some("Pack them on one surface, or pad them to one size."),
            Self::Compile { .. } | Self::Rebake { .. } => Some(
                "Give every weight file that the program names, each with entries of the types it states.",
            ),
            Self::Unread { .. } => Some("Run `backpropane mil check` on the text."),
            Self::SurfaceType { .. } => Some("Make the surface with the type of the kernel's parameter."),
            Self::SurfaceShared { .. } => Some("Bind each output to its own surface."),
            Self::SurfaceUnfit { .. } => Some("Cast the value to fp16 or fp32 inside the program."),
            Self::Run { .. }
            | Self::SurfaceMemory { .. }
            | Self::SurfaceQuantised { .. }
            | Self::SurfaceCount { .. }
            | Self::SurfaceRange { .. }
            | Self::SurfaceBlock { .. }
            | Self::SurfaceCopy { .. } => None,
        }
    }
}
