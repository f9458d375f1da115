//! The engine as a device.

use super::framework::{self, Framework};
use super::iosurface::{EngineReads, EngineWrites, Held, SharedMemory};
use super::model::Model;
use super::request::Request;
use crate::apple::backoff::CompileBackoff;
use crate::budget::Budget;
use crate::device::{Device, DeviceInfo, Engine, Kernel, KernelMemory};
use crate::error::{Call, DeviceError, Explain};
use crate::facts::COMPILE_BUDGET;
use crate::options::{DeviceOptions, SoftOptions};
use crate::ports::Ports;
use crate::surface::Surface;
use mil::{DType, Program, TensorType, Verified, Weights};
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Programs compiled by this process, over all devices.
static COMPILED: LazyLock<Arc<AtomicU32>> = LazyLock::new(Arc::default);

/// Serialises compiling and loading: no project reports that the service supports concurrent compilation. Dispatches do
/// not take this lock; each locks only its kernel and its surfaces.
static COMPILING: Mutex<CompileBackoff> = Mutex::new(CompileBackoff::new());

/// For tests: resets the count of refusals and sets the pause after the next one.
#[cfg(feature = "fake_ane")]
pub(super) fn pause_after_refusals(pause: std::time::Duration) {
    *COMPILING.lock().unwrap_or_else(PoisonError::into_inner) = CompileBackoff::with(pause);
}

/// The most cached requests of a kernel: a kernel shared by all layers of a model runs on the surfaces of each.
const REQUESTS: usize = 256;

/// The engine.
#[derive(Clone, Debug)]
pub(super) struct AppleDevice {
    info: DeviceInfo,
    framework: &'static Framework,
    budget: Budget,
    explain: Option<Explain>,
    /// Whether this crate's own checks are skipped: see [`Device::bare`].
    bare: bool,
}

impl AppleDevice {
    /// Opens the engine.
    ///
    /// # Errors
    /// As [`Framework::get`].
    pub(super) fn open(wanted: DeviceOptions, options: SoftOptions) -> Result<AppleDevice, DeviceError> {
        let framework = Framework::get()?;
        let name =
            if cfg!(feature = "fake_ane") { "fake of the Neural Engine" } else { "Apple Neural Engine" };
        let name = match framework::architecture() {
            Some(architecture) => format!("{name} {architecture}"),
            None => name.to_owned(),
        };
        let info = DeviceInfo {
            name,
            chip: softane::instruction_set(),
            engine: Engine::Apple,
            threads: options.pool.threads(),
            math: wanted.math,
        };
        let limit = wanted.compile_budget.unwrap_or(COMPILE_BUDGET.value);
        let budget = Budget::new(Arc::clone(&COMPILED), limit);
        Ok(AppleDevice { info, framework, budget, explain: wanted.explain, bare: false })
    }
}

impl Device for AppleDevice {
    fn info(&self) -> &DeviceInfo {
        &self.info
    }

    fn compile(
        &self,
        name: &str,
        program: &Verified<Program>,
        weights: &Weights,
    ) -> Result<Box<dyn Kernel>, DeviceError> {
        self.compile_text(name, &mil::text::print(program), program, weights)
    }

    fn compile_text(
        &self,
        name: &str,
        text: &str,
        program: &Verified<Program>,
        weights: &Weights,
    ) -> Result<Box<dyn Kernel>, DeviceError> {
        let ports = Ports::of(name, program.entry());
        // Source: `maderix/ANE`, pull request 40: fp32 without a cast gives zeros.
        if let Some((parameter, ty)) =
            ports.inputs.iter().chain(&ports.outputs).find(|(_, ty)| ty.dtype != DType::F16)
            && !self.bare
        {
            let (kernel, parameter) = (name.to_owned(), parameter.clone());
            return Err(DeviceError::Precision { kernel, parameter, ty: Box::new(ty.clone()) });
        }
        let model = {
            let mut backoff = COMPILING.lock().unwrap_or_else(PoisonError::into_inner);
            thread::sleep(backoff.wait(name, Instant::now())?);
            self.budget.take(name)?;
            let model = Model::open(self.framework, name, text.to_owned(), weights, self.explain);
            match &model {
                Ok(_) => backoff.compiled(),
                Err(DeviceError::Refused(r)) if r.call == Call::Compile => backoff.refused(Instant::now()),
                Err(_) => {}
            }
            model?
        };
        Ok(Box::new(AppleKernel {
            bound: [order(&ports.inputs), order(&ports.outputs)],
            ports,
            framework: self.framework,
            constants: weights.files().map(|(_, bytes)| bytes.len()).sum(),
            any_sizes: self.bare,
            state: Mutex::new(State { requests: Vec::new(), model }),
        }))
    }

    fn surface(&self, name: &str, ty: &TensorType) -> Result<Surface, DeviceError> {
        self.surface_of(name, ty, 0)
    }

    fn surface_of(&self, name: &str, ty: &TensorType, least: usize) -> Result<Surface, DeviceError> {
        let bytes = Surface::fitting(name, ty)?;
        let least = if self.bare { bytes } else { SharedMemory::taken(name, bytes.max(least))? };
        Ok(Surface::shared(name, ty, SharedMemory::zeroed(self.framework, name, bytes, least)?))
    }

    fn bare(&self) -> Option<Box<dyn Device>> {
        Some(Box::new(AppleDevice { bare: true, ..self.clone() }))
    }

    fn compiles_left(&self) -> Option<u32> {
        Some(self.budget.left())
    }
}

struct AppleKernel {
    ports: Ports,
    /// For each slot of the engine, the index of its parameter or result: inputs, outputs.
    bound: [Vec<usize>; 2],
    framework: &'static Framework,
    constants: usize,
    /// Whether surfaces of different sizes are passed to the engine.
    any_sizes: bool,
    state: Mutex<State>,
}

/// State that one dispatch at a time uses. Requests are dropped before their model.
struct State {
    requests: Vec<Request>,
    model: Model,
}

/// The engine's binding order: by name. Source: rule S1.
fn order(side: &[(String, TensorType)]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..side.len()).collect();
    order.sort_by(|&a, &b| side[a].0.cmp(&side[b].0));
    order
}

impl AppleKernel {
    /// The memory of each surface, in the engine's binding order.
    fn memory<'a>(
        &self,
        side: usize,
        name: &'static str,
        surfaces: &[&'a Surface],
    ) -> Result<Vec<&'a SharedMemory>, DeviceError> {
        let memory = |&i: &usize| {
            surfaces[i].shared_memory().ok_or_else(|| DeviceError::SurfaceForeign {
                kernel: self.ports.kernel.clone(),
                surface: surfaces[i].name().to_owned(),
            })
        };
        let memory: Vec<&SharedMemory> = self.bound[side].iter().map(memory).collect::<Result<_, _>>()?;
        let sizes = memory.iter().map(|m| m.allocated());
        match (sizes.clone().min(), sizes.max()) {
            // Rule S3.
            (Some(least), Some(most)) if least != most && !self.any_sizes => {
                Err(DeviceError::SurfaceSizes { kernel: self.ports.kernel.clone(), side: name, least, most })
            }
            _ => Ok(memory),
        }
    }
}

impl Kernel for AppleKernel {
    fn dispatch(&self, inputs: &[&Surface], outputs: &[&Surface]) -> Result<Duration, DeviceError> {
        self.ports.check(inputs, outputs)?;
        let (from, to) = (self.memory(0, "inputs", inputs)?, self.memory(1, "outputs", outputs)?);
        // One lock per surface, even if it is bound to several inputs.
        let first = |i: usize| from.iter().position(|m| std::ptr::eq(*m, from[i])).unwrap_or(i);
        let reads: Vec<Option<EngineReads<'_>>> =
            (0..from.len()).map(|i| (first(i) == i).then(|| from[i].engine_reads())).collect();
        let writes: Vec<EngineWrites<'_>> = to.iter().map(|m| m.engine_writes()).collect();
        let from: Vec<&dyn Held> =
            (0..reads.len()).filter_map(|i| reads[first(i)].as_ref().map(|r| r as &dyn Held)).collect();
        let to: Vec<&dyn Held> = writes.iter().map(|w| w as &dyn Held).collect();

        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let State { requests, model } = &mut *state;
        let at = match requests.iter().position(|r| r.binds(&from, &to)) {
            Some(at) => at,
            None => {
                let request = Request::new(self.framework, &from, &to).ok_or_else(|| model.unbound())?;
                if requests.len() == REQUESTS {
                    requests.remove(0);
                }
                requests.push(request);
                requests.len() - 1
            }
        };
        let start = Instant::now();
        model.evaluate(requests[at].object())?;
        Ok(start.elapsed())
    }

    /// Weights are frozen when a program is compiled. Source: rule W5.
    fn rebake(&self, _: &Weights) -> Result<bool, DeviceError> {
        Ok(false)
    }

    fn reload(&self, weights: &Weights, compiled: bool) -> Result<bool, DeviceError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        // Cached requests refer to the loaded model.
        state.requests.clear();
        state.model.reload(weights, compiled)
    }

    fn set_quality(&self, quality: u32) -> bool {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).model.set_quality(quality);
        true
    }

    fn memory(&self) -> KernelMemory {
        KernelMemory { constants: self.constants, scratch: 0 }
    }
}
