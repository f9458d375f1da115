//! Which engine is wanted, and how it is to work.

use crate::device::Engine;
use crate::error::{DeviceError, Explain};
use softane::Pool;
use softane::gemm::MatmulPrecision;

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
    /// On the input surfaces of kernels, with the activations: programs are compiled once, for all layers.
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
