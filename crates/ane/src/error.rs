//! What can go wrong between us and the engine.

use crate::block::SurfaceBlock;
use mil::TensorType;
use softane::gemm::MatmulPrecision;
use std::io;
use std::path::PathBuf;

pub use crate::refusal::{Answer, Call, Explain, Refusal};

/// What can go wrong between us and the engine.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages say it")]
pub enum DeviceError {
    #[error("the system does not start {threads} threads: {reason}")]
    Threads { threads: usize, reason: String },
    #[error("products in {} need {}, this processor is {chip}", math.name(), math.needs())]
    MatmulPrecision { math: MatmulPrecision, chip: String },
    #[error("no Neural Engine here: {missing}")]
    Unavailable { missing: String },
    #[error("this system's Neural Engine is not the one this version knows: {what}")]
    Changed { what: String },
    #[error("{0}")]
    Refused(Box<Refusal>),
    #[error("kernel `{kernel}` would be program {} that this process compiles; it may compile {budget}", used + 1)]
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
        "`{parameter}` of kernel `{kernel}` is {ty}: the Neural Engine computes in fp16, and may give zeros for others"
    )]
    Precision { kernel: String, parameter: String, ty: Box<TensorType> },
    #[error("no memory for surface `{surface}`: {reason}")]
    SurfaceMemory { surface: String, reason: String },
    #[error("kernel `{kernel}` cannot use surface `{surface}`: the software engine made it")]
    SurfaceForeign { kernel: String, surface: String },
    #[error(
        "the {side} of kernel `{kernel}` have surfaces of {least} to {most} bytes; the Neural Engine binds surfaces of one size"
    )]
    SurfaceSizes { kernel: String, side: &'static str, least: usize, most: usize },
    #[error("kernel `{kernel}` does not compile: {source}")]
    Compile { kernel: String, source: softane::CompileError },
    #[error("kernel `{kernel}` is not compiled: its text cannot be run: {problem}")]
    Unread { kernel: String, problem: String },
    #[error("kernel `{kernel}` keeps its old weights: {source}")]
    Rebake { kernel: String, source: softane::CompileError },
    #[error("kernel `{kernel}` stopped: {source}")]
    Run { kernel: String, source: softane::RunError },
    #[error("surface `{surface}` cannot hold {ty}: surfaces hold fp16 or fp32")]
    SurfaceUnfit { surface: String, ty: TensorType },
    #[error("kernel `{kernel}` has {want} {side}, {got} surfaces are given")]
    SurfaceCount { kernel: String, side: &'static str, want: usize, got: usize },
    #[error("surface `{surface}` holds {got}, `{parameter}` of kernel `{kernel}` is {want}")]
    SurfaceType {
        kernel: String,
        parameter: String,
        surface: String,
        got: Box<TensorType>,
        want: Box<TensorType>,
    },
    #[error("kernel `{kernel}` would write surface `{surface}` and use it a second time")]
    SurfaceShared { kernel: String, surface: String },
    #[error(
        "surface `{surface}` has {channels} channels of {each} elements; {elements} elements at channel {channel} reach outside"
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
    #[error("surface `{from}` holds {from_ty}, `{to}` holds {to_ty}: a copy converts nothing")]
    SurfaceCopy { from: String, from_ty: Box<TensorType>, to: String, to_ty: Box<TensorType> },
}

impl DeviceError {
    /// Whether the same may succeed in a new process: the compiler's service refused, or has no more to give.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Refused(refusal) => matches!(refusal.call, Call::Model | Call::Compile | Call::Load),
            Self::CompileBudget { .. } => true,
            _ => false,
        }
    }

    /// What the user can do about it, if anything: one sentence, imperative.
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
                Some("Go on from the last checkpoint in a new process, or run with `--device soft`.")
            }
            Self::TooManyRefusals { .. } => Some(
                "See why it refused the first, then try again in a new process, or run with `--device soft`.",
            ),
            Self::WeightPath { .. } => Some("Call it `@model_path/weights/NAME.bin`."),
            Self::Folder { .. } => Some("See that the temporary folder can be written and has room."),
            Self::Precision { .. } => Some("Leave out `--storage f32`, or run with `--device soft`."),
            Self::SurfaceForeign { .. } => Some("Make the surface with the device that compiled the kernel."),
            Self::SurfaceSizes { .. } => Some("Pack them on one surface, or pad them to one size."),
            Self::Compile { .. } | Self::Rebake { .. } => Some(
                "Give every weight file that the program names, each with entries of the types it states.",
            ),
            Self::Unread { .. } => Some("See what `backpropane mil check` says of the text."),
            Self::SurfaceType { .. } => Some("Make the surface with the type of the kernel's parameter."),
            Self::SurfaceShared { .. } => Some("Give each output a surface of its own."),
            Self::SurfaceUnfit { .. } => Some("Cast the value to fp16 or fp32 inside the program."),
            Self::Run { .. }
            | Self::SurfaceMemory { .. }
            | Self::SurfaceCount { .. }
            | Self::SurfaceRange { .. }
            | Self::SurfaceBlock { .. }
            | Self::SurfaceCopy { .. } => None,
        }
    }
}
