//! What every engine offers.

use crate::error::DeviceError;
use crate::surface::Surface;
use mil::{Program, TensorType, Verified, Weights};
use softane::SliceMut;
use softane::gemm::MatmulPrecision;
use std::fmt;
use std::time::Duration;

/// A Neural Engine, real or software.
pub trait Device: Send + Sync {
    /// Its name, its chip, and what it computes with.
    fn info(&self) -> &DeviceInfo;

    /// Compiles and loads `program`; `weights` are baked in. `name` is for messages.
    ///
    /// # Errors
    /// `Compile`, if a weight is missing or the engine cannot have the program.
    fn compile(
        &self,
        name: &str,
        program: &Verified<Program>,
        weights: &Weights,
    ) -> Result<Box<dyn Kernel>, DeviceError>;

    /// The same for a program that is written as `text`, which the engine gets as it stands: it may say what our printer
    /// never writes. `program` is what it means, with the same parameters and results. For probes; this is the answer of an
    /// engine that reads what our parser reads.
    ///
    /// # Errors
    /// As [`Device::compile`]; `Unread`, if the text is no program, or one with other parameters or results.
    fn compile_text(
        &self,
        name: &str,
        text: &str,
        program: &Verified<Program>,
        weights: &Weights,
    ) -> Result<Box<dyn Kernel>, DeviceError> {
        self.compile(name, &crate::ports::read(name, text, program)?, weights)
    }

    /// Memory both sides can touch, zeroed. `name` is for messages.
    ///
    /// # Errors
    /// `SurfaceUnfit`, if no surface can hold such a tensor.
    fn surface(&self, name: &str, ty: &TensorType) -> Result<Surface, DeviceError>;

    /// [`Device::surface`] of at least `bytes` bytes, for engines that bind surfaces of one size; the tensor is at the start.
    ///
    /// # Errors
    /// As [`Device::surface`].
    fn surface_of(&self, name: &str, ty: &TensorType, bytes: usize) -> Result<Surface, DeviceError> {
        let _ = bytes;
        self.surface(name, ty)
    }

    /// Programs that this process may still compile; `None`: any number. Where they are counted, changed weights mean
    /// compiling again: [`Kernel::rebake`] is no way.
    fn compiles_left(&self) -> Option<u32> {
        None
    }

    /// The same engine without this crate's own checks and padding: surfaces have the bytes of their tensor
    /// and of any sizes, fp32 may pass. For probes, which ask the engine itself; `None`: nothing is refused or added.
    fn bare(&self) -> Option<Box<dyn Device>> {
        None
    }
}

/// A loaded program. Dropping it unloads it.
pub trait Kernel: Send + Sync {
    /// Runs once, blocks until the outputs are written, and returns the time the engine took.
    ///
    /// `inputs` and `outputs` stand in the order of the function's parameters and results.
    ///
    /// # Errors
    /// If number or types of the surfaces are not the program's, or one is written and used twice.
    fn dispatch(&self, inputs: &[&Surface], outputs: &[&Surface]) -> Result<Duration, DeviceError>;

    /// Replaces the baked weights in place where the engine can; `false` means: compile again.
    ///
    /// # Errors
    /// If a weight is missing, or is not what the program says; the old weights stay.
    fn rebake(&self, weights: &Weights) -> Result<bool, DeviceError>;

    /// Gives `write` the kernel's own memory of the weight at `offset` of file `path`, where the engine computes with
    /// whatever is written there; `false`, without a call: it does not, [`Kernel::rebake`] is the way.
    fn write_weight(&self, path: &str, offset: u64, write: &mut dyn FnMut(SliceMut<'_>)) -> bool {
        let _ = (path, offset, write);
        false
    }

    /// Unloads the program, writes `weights` over the files that it was compiled from, `compiled` ones too if wanted,
    /// and loads it again without compiling; `false`, without a change: it keeps no files of its own. For probes.
    ///
    /// # Errors
    /// If a file cannot be written, or the program does not load again; it cannot run then.
    fn reload(&self, weights: &Weights, compiled: bool) -> Result<bool, DeviceError> {
        let _ = (weights, compiled);
        Ok(false)
    }

    /// Asks for another quality of service from the next dispatch on; `false`, without a change: it has none. For probes.
    fn set_quality(&self, quality: u32) -> bool {
        let _ = quality;
        false
    }

    /// Bytes it needs.
    fn memory(&self) -> KernelMemory;
}

/// Bytes that a kernel needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KernelMemory {
    /// Weights and other constants of this kernel.
    pub constants: usize,
    /// Peak of the values between operations; kernels of one device share this memory.
    pub scratch: usize,
}

/// What a device is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceInfo {
    /// A sentence part for people, honest about what computes.
    pub name: String,
    /// The processor, as its instruction set shows it.
    pub chip: String,
    /// The kind of engine.
    pub engine: Engine,
    /// Threads it computes on.
    pub threads: usize,
    /// How it computes matrix products.
    pub math: MatmulPrecision,
}

/// The kind of engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Engine {
    /// `softane`, on the processor.
    Soft,
    /// An Apple Neural Engine.
    Apple,
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Engine::Soft => "soft",
            Engine::Apple => "apple",
        })
    }
}
