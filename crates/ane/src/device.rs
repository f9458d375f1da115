//! The traits of engines.

use crate::error::DeviceError;
use crate::surface::Surface;
use mil::{Program, TensorType, Verified, Weights};
use softane::QuantMatrix;
use softane::SliceMut;
use softane::gemm::MatmulPrecision;
use std::fmt;
use std::time::Duration;

/// A Neural Engine, real or software.
pub trait Device: Send + Sync {
    /// The engine's description.
    fn info(&self) -> &DeviceInfo;

    /// Compiles and loads `program`; `weights` become constants. `name` is for messages.
    ///
    /// # Errors
    /// `Compile`, if a weight is missing or the engine refuses the program.
    fn compile(
        &self,
        name: &str,
        program: &Verified<Program>,
        weights: &Weights,
    ) -> Result<Box<dyn Kernel>, DeviceError>;

    /// Like [`Device::compile`], but passes `text` to the engine unchanged; it may use syntax that our printer never writes.
    /// `program` is its meaning, with the same parameters and results. For probes; this default suits an engine that reads
    /// what our parser reads.
    ///
    /// # Errors
    /// As [`Device::compile`]; `Unread`, if the text does not parse or has other parameters or results.
    fn compile_text(
        &self,
        name: &str,
        text: &str,
        program: &Verified<Program>,
        weights: &Weights,
    ) -> Result<Box<dyn Kernel>, DeviceError> {
        self.compile(name, &crate::ports::read(name, text, program)?, weights)
    }

    /// Allocates a zeroed surface. `name` is for messages.
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

    /// A surface that only kernels read, and only as the weight `matrix`, which they see as a tensor `ty` of half precision;
    /// `None`, if the engine reads no quantised weights.
    fn quant_surface(&self, name: &str, ty: &TensorType, matrix: QuantMatrix) -> Option<Surface> {
        let _ = (name, ty, matrix);
        None
    }

    /// Programs that this process may still compile; `None` if unlimited. With a limit, changed weights require
    /// recompilation: [`Kernel::rebake`] returns `false`.
    fn compiles_left(&self) -> Option<u32> {
        None
    }

    /// The same engine without this crate's own checks and padding: surfaces have the size of their tensor, and fp32 is
    /// allowed. For probes; `None` if there are no such checks.
    fn bare(&self) -> Option<Box<dyn Device>> {
        None
    }
}

/// A loaded program. Dropping it unloads it.
pub trait Kernel: Send + Sync {
    /// Runs once, blocks until the outputs are written, and returns the time the engine took.
    ///
    /// `inputs` and `outputs` are in the order of the function's parameters and results.
    ///
    /// # Errors
    /// If the number or types of the surfaces differ from the program's, or an output surface is also bound elsewhere.
    fn dispatch(&self, inputs: &[&Surface], outputs: &[&Surface]) -> Result<Duration, DeviceError>;

    /// Replaces the constant weights in place; `false` if the engine must compile again.
    ///
    /// # Errors
    /// If a weight is missing or has another type than the program states; the old weights stay.
    fn rebake(&self, weights: &Weights) -> Result<bool, DeviceError>;

    /// Lets `write` modify the kernel's own memory of the weight at `offset` of file `path`; `false`, without a call, if
    /// the engine does not compute from that memory: use [`Kernel::rebake`].
    fn write_weight(&self, path: &str, offset: u64, write: &mut dyn FnMut(SliceMut<'_>)) -> bool {
        let _ = (path, offset, write);
        false
    }

    /// Unloads the program, overwrites its weight files with `weights`, also the `compiled` ones if set, and loads it again
    /// without compiling; `false`, without a change, if it has no such files. For probes.
    ///
    /// # Errors
    /// If a file cannot be written, or the program does not load again; it cannot run then.
    fn reload(&self, weights: &Weights, compiled: bool) -> Result<bool, DeviceError> {
        let _ = (weights, compiled);
        Ok(false)
    }

    /// Sets the quality of service of later dispatches; `false`, without a change, if the engine has none. For probes.
    fn set_quality(&self, quality: u32) -> bool {
        let _ = quality;
        false
    }

    /// The memory that it uses.
    fn memory(&self) -> KernelMemory;
}

/// The memory of a kernel, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KernelMemory {
    /// Weights and other constants of this kernel.
    pub constants: usize,
    /// Peak size of intermediate values; kernels of one device share this memory.
    pub scratch: usize,
}

/// The description of a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceInfo {
    /// A phrase for people that states what computes.
    pub name: String,
    /// The processor and its instruction set.
    pub chip: String,
    /// The kind of engine.
    pub engine: Engine,
    /// The number of compute threads.
    pub threads: usize,
    /// The arithmetic of its matrix products.
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
