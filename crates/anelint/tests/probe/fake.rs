//! An engine with one fault: the software engine, and something that goes wrong.

use super::soft_engine;
use ane::error::Call;
use ane::{Device, DeviceError, DeviceInfo, Kernel, KernelMemory, Refusal, Surface};
use anelint::rules;
use mil::{Program, TensorType, Verified, Weights};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    /// Surfaces are bound in the order in which parameters and results are declared, though they are handed over in the
    /// alphabet's.
    DeclarationOrder,
    /// Surfaces of different sizes are refused.
    OneSize,
    /// Last axes that are no multiples of 16 are refused.
    Sixteens,
    /// Surfaces below this many bytes are refused.
    SmallestSurface(usize),
    /// Attention ignores its mask.
    NoMask,
    /// What is too small for a normal number becomes 0.
    NoSubnormals,
    /// What reaches 32768 becomes infinite.
    Saturates,
    /// Nothing is written but zeros.
    Zeros,
    /// Programs with this operation are refused by the compiler.
    Without(&'static str),
    /// This many programs are compiled, and then none.
    Budget(u32),
    /// Each run adds a little.
    Drifts,
    /// Texts that break this rule are refused by the compiler.
    Breaks(&'static str),
    /// A run takes longer if the one before it was more than a second ago.
    Dozes,
}

pub struct Fake {
    fault: Fault,
    inner: Box<dyn Device>,
    compiled: AtomicU32,
}

impl Fake {
    pub fn with(fault: Fault) -> Fake {
        Fake { fault, inner: soft_engine(), compiled: AtomicU32::new(0) }
    }
}

fn refused(kernel: &str, call: Call) -> DeviceError {
    DeviceError::Refused(Box::new(Refusal::new(kernel, call, Default::default())))
}

impl Device for Fake {
    fn info(&self) -> &DeviceInfo {
        self.inner.info()
    }

    fn compile(
        &self,
        name: &str,
        program: &Verified<Program>,
        weights: &Weights,
    ) -> Result<Box<dyn Kernel>, DeviceError> {
        let text = mil::text::print(program);
        let count = self.compiled.fetch_add(1, Ordering::Relaxed);
        match self.fault {
            Fault::Without(op) if text.contains(&format!(" = {op}(")) => {
                return Err(refused(name, Call::Compile));
            }
            Fault::Budget(n) if count >= n => return Err(refused(name, Call::Compile)),
            _ => {}
        }
        let unmasked = text.replace("attn_mask = mask, ", "");
        let kernel = match self.fault {
            Fault::NoMask if unmasked != text => {
                let program = mil::text::load(&unmasked).expect("attention without a mask is valid");
                self.inner.compile(name, &program, weights)?
            }
            _ => self.inner.compile(name, program, weights)?,
        };
        let order = |ids: &[mil::ValueId]| {
            let name = |i: usize| program.entry().value(ids[i]).name.clone();
            let mut order: Vec<usize> = (0..ids.len()).collect();
            order.sort_by_key(|&i| name(i));
            order
        };
        let orders = [order(&program.entry().inputs), order(&program.entry().outputs)];
        Ok(Box::new(FakeKernel {
            fault: self.fault,
            kernel,
            orders,
            runs: AtomicU32::new(0),
            last: Mutex::new(Instant::now()),
        }))
    }

    fn compile_text(
        &self,
        name: &str,
        text: &str,
        program: &Verified<Program>,
        weights: &Weights,
    ) -> Result<Box<dyn Kernel>, DeviceError> {
        let found = rules::check(&mil::text::read(text), &[rules::Chip::M4], rules::Route::InMemory);
        match self.fault {
            Fault::Breaks(id) if found.iter().any(|f| f.rule.id == id) => Err(refused(name, Call::Compile)),
            _ => {
                // As the software engine does: it reads what our parser reads.
                self.inner.compile_text(name, text, program, weights)?;
                self.compile(name, program, weights)
            }
        }
    }

    fn surface(&self, name: &str, ty: &TensorType) -> Result<Surface, DeviceError> {
        self.inner.surface(name, ty)
    }
}

struct FakeKernel {
    fault: Fault,
    kernel: Box<dyn Kernel>,
    orders: [Vec<usize>; 2],
    runs: AtomicU32,
    last: Mutex<Instant>,
}

impl FakeKernel {
    fn refuses(&self, inputs: &[&Surface], outputs: &[&Surface]) -> bool {
        let all = || inputs.iter().chain(outputs);
        let uneven = |side: &[&Surface]| side.iter().any(|s| s.bytes() != side[0].bytes());
        match self.fault {
            Fault::OneSize => uneven(inputs) || uneven(outputs),
            Fault::Sixteens => all().any(|s| s.ty().shape.last().is_none_or(|w| w % 16 != 0)),
            Fault::SmallestSurface(bytes) => all().any(|s| s.bytes() < bytes),
            _ => false,
        }
    }
}

impl Kernel for FakeKernel {
    fn dispatch(&self, inputs: &[&Surface], outputs: &[&Surface]) -> Result<Duration, DeviceError> {
        if self.refuses(inputs, outputs) {
            return Err(refused("fake", Call::Evaluate));
        }
        if self.fault == Fault::Dozes {
            let mut last = self.last.lock().expect("no run failed");
            if last.elapsed() > Duration::from_secs(1) {
                std::thread::sleep(Duration::from_millis(30));
            }
            *last = Instant::now();
        }
        let time = match self.fault {
            Fault::DeclarationOrder => {
                let from: Vec<&Surface> = self.orders[0].iter().map(|&i| inputs[i]).collect();
                let to: Vec<&Surface> = self.orders[1].iter().map(|&i| outputs[i]).collect();
                self.kernel.dispatch(&from, &to)?
            }
            _ => self.kernel.dispatch(inputs, outputs)?,
        };
        let runs = self.runs.fetch_add(1, Ordering::Relaxed);
        for surface in outputs {
            let mut values = vec![0.0; surface.ty().elements()];
            surface.read(0, &mut values)?;
            for x in &mut values {
                *x = match self.fault {
                    Fault::NoSubnormals if x.abs() < 2f32.powi(-14) => 0.0,
                    Fault::Saturates if x.abs() >= 32768.0 => f32::INFINITY.copysign(*x),
                    Fault::Zeros => 0.0,
                    Fault::Drifts => *x + runs as f32,
                    _ => *x,
                };
            }
            surface.write(0, &values)?;
        }
        Ok(time)
    }

    /// As on hardware.
    fn rebake(&self, _: &Weights) -> Result<bool, DeviceError> {
        Ok(false)
    }

    /// Files are written, and change nothing.
    fn reload(&self, _: &Weights, _: bool) -> Result<bool, DeviceError> {
        Ok(true)
    }

    /// Any is taken.
    fn set_quality(&self, _: u32) -> bool {
        true
    }

    fn memory(&self) -> KernelMemory {
        self.kernel.memory()
    }
}
