//! Options for opening an engine.

use crate::device::Engine;
use crate::error::{DeviceError, Explain};
use softane::Pool;
use softane::gemm::MatmulPrecision;

/// The requested kind of engine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum DeviceKind {
    /// The Neural Engine, if one can be opened and its compile budget suffices; otherwise the software engine.
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

    /// Its name in flags and checkpoints.
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
    /// Suits the engine: dynamic if it freezes constants, baked if kernels accept new weights.
    #[default]
    Auto,
    /// Constants of programs: an engine that freezes them must recompile after every change.
    Baked,
    /// Parts of the input surfaces, next to the activations: programs are compiled once, for all layers.
    Dynamic,
}

impl WeightMode {
    /// All there are.
    pub const ALL: [WeightMode; 3] = [WeightMode::Auto, WeightMode::Baked, WeightMode::Dynamic];

    /// Its name in flags and checkpoints.
    pub fn name(self) -> &'static str {
        match self {
            WeightMode::Auto => "auto",
            WeightMode::Baked => "baked",
            WeightMode::Dynamic => "dynamic",
        }
    }

    /// Whether this engine receives weights on input surfaces.
    pub fn is_dynamic(self, engine: Engine) -> bool {
        match self {
            WeightMode::Auto => engine == Engine::Apple,
            WeightMode::Baked => false,
            WeightMode::Dynamic => true,
        }
    }
}

/// Options for opening an engine.
#[derive(Clone, Copy, Debug, Default)]
pub struct DeviceOptions {
    /// The engine.
    pub engine: DeviceKind,
    /// The arithmetic of matrix products on the software engine and the host.
    pub math: MatmulPrecision,
    /// The compile budget of the process. `None`: the known limit of the Apple engine, unlimited on the software engine.
    /// With a budget the software engine behaves as the hardware does: changed weights require recompilation.
    pub compile_budget: Option<u32>,
    /// Programs that one process has to compile, if known: `Auto` skips an engine whose budget is smaller.
    pub compiles: Option<u64>,
    /// How a model's weights reach it.
    pub weights: WeightMode,
    /// Names the rules that a refused program likely breaks. `None`: refusals name no rules.
    pub explain: Option<Explain>,
}

impl DeviceOptions {
    /// Sets the number of programs that a process has to compile.
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
    /// The compute threads, which the host's work may share. Results do not depend on their number.
    pub pool: Pool,
}

impl SoftOptions {
    /// Options with a new pool of `threads` threads; 0 means one per hardware thread.
    ///
    /// # Errors
    /// `Threads`, if the system refuses to start them.
    pub fn threads(threads: usize) -> Result<SoftOptions, DeviceError> {
        let pool = Pool::new(threads).map_err(|reason| DeviceError::Threads { threads, reason })?;
        Ok(SoftOptions { pool })
    }
}
