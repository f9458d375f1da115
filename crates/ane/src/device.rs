//! What every engine offers.

use crate::apple;
use crate::error::{DeviceError, Explain};
use crate::facts::COMPILE_BUDGET;
use crate::soft::SoftDevice;
use crate::surface::Surface;
use mil::{Program, TensorType, Verified, Weights};
use softane::gemm::MatmulPrecision;
use softane::{Pool, SliceMut};
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

    /// The same of at least `bytes` bytes, where an engine binds surfaces of one size alone; the tensor is at the beginning.
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

    /// The same engine without what this door refuses or adds for its sake: surfaces are of their tensor's bytes alone
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
    /// Weights and other constants, of this kernel alone.
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

/// Which engine is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum DeviceKind {
    /// The best there is: the Neural Engine where one can be opened and survives what has to be compiled, otherwise
    /// the software engine.
    #[default]
    Auto,
    /// The Apple Neural Engine.
    Ane,
    /// The software engine.
    Soft,
}

impl DeviceKind {
    /// All there are.
    pub const ALL: [DeviceKind; 3] = [DeviceKind::Auto, DeviceKind::Ane, DeviceKind::Soft];

    /// Its name, as flags and checkpoints have it.
    pub fn name(self) -> &'static str {
        match self {
            DeviceKind::Auto => "auto",
            DeviceKind::Ane => "ane",
            DeviceKind::Soft => "soft",
        }
    }
}

/// How weights reach an engine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum WeightMode {
    /// As suits the engine: dynamic where it freezes what it compiles, baked where new weights are written into kernels.
    #[default]
    Auto,
    /// As constants of programs: an engine that freezes them compiles again whenever they change.
    Baked,
    /// On the surfaces that kernels read, beside activations: programs are compiled once, for all layers.
    Dynamic,
}

impl WeightMode {
    /// All there are.
    pub const ALL: [WeightMode; 3] = [WeightMode::Auto, WeightMode::Baked, WeightMode::Dynamic];

    /// Its name, as flags and checkpoints have it.
    pub fn name(self) -> &'static str {
        match self {
            WeightMode::Auto => "auto",
            WeightMode::Baked => "baked",
            WeightMode::Dynamic => "dynamic",
        }
    }

    /// Whether weights travel on surfaces to this engine.
    pub fn is_dynamic(self, engine: Engine) -> bool {
        match self {
            WeightMode::Auto => engine == Engine::Apple,
            WeightMode::Baked => false,
            WeightMode::Dynamic => true,
        }
    }
}

/// Which engine is wanted, how it is to multiply, and how it gets weights.
#[derive(Clone, Copy, Debug, Default)]
pub struct DeviceOptions {
    /// The engine.
    pub engine: DeviceKind,
    /// How the software engine and the host's work compute matrix products.
    pub math: MatmulPrecision,
    /// Programs that the process may compile before an engine refuses to. `None`: as many as the Apple engine is known
    /// to survive, any number on the software engine. With a budget the software engine behaves as the hardware does:
    /// changed weights mean compiling again.
    pub compile_budget: Option<u32>,
    /// Programs that one process has to compile, where that is known: `Auto` takes no engine that does not survive
    /// them.
    pub compiles: Option<u64>,
    /// How a model's weights reach it.
    pub weights: WeightMode,
    /// Names the rules that a refused program likely breaks. `None`: refusals name none.
    pub explain: Option<Explain>,
}

impl DeviceOptions {
    /// The same, for work of which a process has to compile `programs` programs at least.
    #[must_use]
    pub fn for_compiles(self, programs: u64) -> DeviceOptions {
        DeviceOptions { compiles: Some(programs), ..self }
    }
}

impl From<DeviceKind> for DeviceOptions {
    /// In f32.
    fn from(engine: DeviceKind) -> DeviceOptions {
        DeviceOptions { engine, ..DeviceOptions::default() }
    }
}

/// Settings of the software engine.
#[derive(Clone, Debug, PartialEq)]
pub struct SoftOptions {
    /// The threads to compute on, which the host's work may share. The results do not depend on their number.
    pub pool: Pool,
}

impl SoftOptions {
    /// The software engine on threads of its own; 0 means as many as the machine runs at once.
    ///
    /// # Errors
    /// `Threads`, if the system refuses to start them.
    pub fn threads(threads: usize) -> Result<SoftOptions, DeviceError> {
        let pool = Pool::new(threads).map_err(|reason| DeviceError::Threads { threads, reason })?;
        Ok(SoftOptions { pool })
    }
}

/// Checks that this processor has instructions for products in `math`.
///
/// # Errors
/// `MatmulPrecision`, if it has none.
pub fn check_math(math: MatmulPrecision) -> Result<(), DeviceError> {
    match softane::gemm::supports(math) {
        true => Ok(()),
        false => Err(DeviceError::MatmulPrecision { math, chip: softane::instruction_set() }),
    }
}

/// Whether this system can have an Apple engine.
pub const HAS_FFI: bool = cfg!(any(all(target_os = "macos", target_arch = "aarch64"), feature = "fake_ane"));

/// Opens an engine.
///
/// # Errors
/// `MatmulPrecision`, if this processor has no instructions for the products that are wanted; `Unavailable` or `Changed`, if the
/// Apple engine is wanted and there is none that this version knows.
pub fn open(wanted: impl Into<DeviceOptions>, options: SoftOptions) -> Result<Box<dyn Device>, DeviceError> {
    let wanted = wanted.into();
    check_math(wanted.math)?;
    let soft = |name: &str| -> Result<Box<dyn Device>, DeviceError> {
        Ok(Box::new(SoftDevice::open(name, wanted, options.clone())))
    };
    match wanted.engine {
        DeviceKind::Soft => soft("software engine"),
        DeviceKind::Ane => apple::open(wanted, options),
        DeviceKind::Auto if !HAS_FFI => soft("software engine"),
        DeviceKind::Auto => {
            let budget = wanted.compile_budget.unwrap_or(COMPILE_BUDGET.value);
            if let Some(n) = wanted.compiles.filter(|&n| n > u64::from(budget)) {
                return soft(&format!(
                    "software engine (the kernels are {n} programs, on the Neural Engine a process can compile {budget})"
                ));
            }
            apple::open(wanted, options.clone()).or_else(|e| soft(&format!("software engine ({e})")))
        }
    }
}
