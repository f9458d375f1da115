//! The software engine as a device.

use crate::budget::Budget;
use crate::device::{Device, DeviceInfo, Engine, Kernel, KernelMemory};
use crate::error::DeviceError;
use crate::options::{DeviceOptions, SoftOptions};
use crate::ports::Ports;
use crate::surface::Surface;
use mil::{Program, TensorType, Verified, Weights};
use softane::gemm::MatmulPrecision;
use softane::{Arena, Executable, Pool, QuantMatrix, SharedConstants, Slice, SliceMut};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

/// The software engine: threads and working memory, which all its kernels share.
pub(crate) struct SoftDevice {
    info: DeviceInfo,
    shared: Arc<Shared>,
}

struct Shared {
    pool: Pool,
    arenas: Arenas,
    /// The constants of all kernels, to keep equal ones once.
    constants: Mutex<SharedConstants>,
    /// The compile budget, if the hardware's limit is emulated.
    budget: Option<Budget>,
}

/// Working memory, one arena per concurrent dispatch, each with the thread that used it last. Arenas are taken out, not
/// locked: a pool thread that waits for a task of its dispatch may start another dispatch meanwhile, and would deadlock on
/// its own lock.
struct Arenas(Mutex<Vec<(Option<usize>, Arena)>>);

impl Arenas {
    /// One.
    fn new() -> Arenas {
        Arenas(Mutex::new(vec![Default::default()]))
    }

    /// Free ones.
    fn idle(&self) -> MutexGuard<'_, Vec<(Option<usize>, Arena)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes out a free arena, or a new one if all are in use: the one that this `thread` used last, which is in its cache.
    fn take(&self, thread: Option<usize>) -> Arena {
        let mut idle = self.idle();
        match idle.iter().position(|(last, _)| *last == thread) {
            Some(mine) => idle.swap_remove(mine).1,
            None => idle.pop().map(|(_, arena)| arena).unwrap_or_default(),
        }
    }

    /// Runs `f` with a free arena.
    fn with<R>(&self, pool: &Pool, f: impl FnOnce(&mut Arena) -> R) -> R {
        let thread = pool.current();
        let mut arena = self.take(thread);
        let result = f(&mut arena);
        self.idle().push((thread, arena));
        result
    }
}

impl SoftDevice {
    pub(crate) fn open(name: &str, wanted: DeviceOptions, options: SoftOptions) -> SoftDevice {
        let (math, pool) = (wanted.math, options.pool);
        let budget = wanted.compile_budget.map(|limit| Budget::new(Arc::default(), limit));
        let info = DeviceInfo {
            name: match math {
                MatmulPrecision::F32 => name.to_owned(),
                math => format!("{name}, {} products", math.name()),
            },
            chip: softane::instruction_set(),
            engine: Engine::Soft,
            threads: pool.threads(),
            math,
        };
        SoftDevice {
            info,
            shared: Arc::new(Shared { pool, arenas: Arenas::new(), constants: Mutex::default(), budget }),
        }
    }
}

impl Device for SoftDevice {
    fn info(&self) -> &DeviceInfo {
        &self.info
    }

    fn compile(
        &self,
        name: &str,
        program: &Verified<Program>,
        weights: &Weights,
    ) -> Result<Box<dyn Kernel>, DeviceError> {
        if let Some(budget) = &self.shared.budget {
            budget.take(name)?;
        }
        let compile = || Executable::compile_with(program, weights, self.info.math);
        let mut executable = (self.shared.pool.install(compile))
            .map_err(|source| DeviceError::Compile { kernel: name.to_owned(), source })?;
        executable.share(&mut self.shared.constants.lock().unwrap_or_else(PoisonError::into_inner));
        // If all are in use, a dispatch grows its own arena.
        if let Some((_, arena)) = self.shared.arenas.idle().last_mut() {
            arena.make_ready(&executable, self.shared.pool.threads());
        }
        Ok(Box::new(SoftKernel {
            ports: Ports::of(name, program.entry()),
            executable: RwLock::new(executable),
            shared: Arc::clone(&self.shared),
        }))
    }

    fn surface(&self, name: &str, ty: &TensorType) -> Result<Surface, DeviceError> {
        Surface::host(name, ty)
    }

    fn quant_surface(&self, name: &str, ty: &TensorType, matrix: QuantMatrix) -> Option<Surface> {
        Surface::quant(name, ty, matrix)
    }

    fn compiles_left(&self) -> Option<u32> {
        self.shared.budget.as_ref().map(Budget::left)
    }
}

struct SoftKernel {
    ports: Ports,
    executable: RwLock<Executable>,
    shared: Arc<Shared>,
}

impl SoftKernel {
    /// Runs on checked and locked surfaces.
    fn run<'s>(&self, sources: &[Slice<'s>], sinks: &mut [SliceMut<'s>]) -> Result<Duration, DeviceError> {
        let executable = self.executable.read().unwrap_or_else(PoisonError::into_inner);
        let executable = &*executable;
        let Shared { pool, arenas, .. } = &*self.shared;
        let start = Instant::now();
        arenas
            .with(pool, |arena| executable.run_on(pool, sources, sinks, arena))
            .map_err(|source| DeviceError::Run { kernel: self.ports.kernel.clone(), source })?;
        Ok(start.elapsed())
    }
}

impl Kernel for SoftKernel {
    fn dispatch(&self, inputs: &[&Surface], outputs: &[&Surface]) -> Result<Duration, DeviceError> {
        self.ports.check(inputs, outputs)?;
        // Packed kernels bind one surface each way, which needs no allocation.
        if let ([input], [output]) = (inputs, outputs) {
            let (read, mut written) = (input.lock()?, output.lock_mut()?);
            let source = read.slice(input.ty().dtype);
            return self.run(&[source], &mut [SliceMut::of(output.ty().dtype, written.bytes_mut())]);
        }
        // One lock per surface, even if it is bound to several inputs.
        let first_of = |i: usize| inputs.iter().position(|s| std::ptr::eq(*s, inputs[i])).unwrap_or(i);
        let read: Vec<_> = (0..inputs.len())
            .map(|i| (first_of(i) == i).then(|| inputs[i].lock()).transpose())
            .collect::<Result<_, _>>()?;
        let mut written: Vec<_> = outputs.iter().map(|s| s.lock_mut()).collect::<Result<_, _>>()?;
        let sources: Vec<Slice<'_>> = (0..inputs.len())
            .filter_map(|i| Some(read[first_of(i)].as_ref()?.slice(inputs[i].ty().dtype)))
            .collect();
        let mut sinks: Vec<SliceMut<'_>> =
            written.iter_mut().zip(outputs).map(|(w, s)| SliceMut::of(s.ty().dtype, w.bytes_mut())).collect();
        self.run(&sources, &mut sinks)
    }

    fn rebake(&self, weights: &Weights) -> Result<bool, DeviceError> {
        if self.shared.budget.is_some() {
            return Ok(false);
        }
        let mut executable = self.executable.write().unwrap_or_else(PoisonError::into_inner);
        let executable = &mut *executable;
        self.shared
            .pool
            .install(|| executable.rebake(weights))
            .map_err(|source| DeviceError::Rebake { kernel: self.ports.kernel.clone(), source })?;
        Ok(true)
    }

    fn write_weight(&self, path: &str, offset: u64, write: &mut dyn FnMut(SliceMut<'_>)) -> bool {
        if self.shared.budget.is_some() {
            return false;
        }
        let mut executable = self.executable.write().unwrap_or_else(PoisonError::into_inner);
        executable.weight_mut(path, offset).map(write).is_some()
    }

    fn memory(&self) -> KernelMemory {
        let memory = self.executable.read().unwrap_or_else(PoisonError::into_inner).memory();
        KernelMemory { constants: memory.constants, scratch: memory.scratch }
    }
}

#[cfg(test)]
mod tests {
    use crate::{DeviceError, DeviceKind, SoftOptions, open};
    use mil::{Builder, DType, Opset, Program, TensorType, Verified, Weights, ty};
    use std::time::Duration;

    /// `y = 2x + w`, `z = x` by channels summed.
    fn program() -> Verified<Program> {
        let b = Builder::new("main", Opset::Ios18);
        let x = b.input("x", ty::f16([1, 2, 1, 4]));
        let w = b.constant("w", mil::Tensor::floats(ty::f16([1, 2, 1, 1]), [1.0, -1.0]));
        let (y, z) = (x * 2.0 + w, x.reduce_sum(&[1], true));
        b.finish([("y", y), ("z", z)]).unwrap()
    }

    #[test]
    fn a_dispatch_writes_every_output() {
        let options = SoftOptions::threads(2).unwrap();
        let pool = options.pool.clone();
        let device = open(DeviceKind::Soft, options).unwrap();
        assert_eq!(device.info().threads, 2);
        let kernel = device.compile("k", &program(), &Weights::new()).unwrap();
        let x = device.surface("x", &ty::f16([1, 2, 1, 4])).unwrap();
        let y = device.surface("y", &ty::f16([1, 2, 1, 4])).unwrap();
        let z = device.surface("z", &ty::f16([1, 1, 1, 4])).unwrap();
        x.write(0, &[1.0, 2.0, 3.0, 4.0, 10.0, 20.0, 30.0, 40.0]).unwrap();
        let dispatch = || {
            kernel.dispatch(&[&x], &[&y, &z]).unwrap();
            let (mut got_y, mut got_z) = ([0.0; 8], [0.0; 4]);
            y.read(0, &mut got_y).unwrap();
            z.read(0, &mut got_z).unwrap();
            assert_eq!(got_y, [3.0, 5.0, 7.0, 9.0, 19.0, 39.0, 59.0, 79.0]);
            assert_eq!(got_z, [11.0, 22.0, 33.0, 44.0]);
            y.write(0, &[0.0; 8]).unwrap();
        };
        // On this thread only, and on the engine's threads.
        dispatch();
        pool.install(dispatch);
        assert!(kernel.rebake(&Weights::new()).unwrap());
    }

    /// Dispatches from the engine's own threads: a thread that waits for one may start another. On a deadlock the test
    /// fails by a timeout.
    #[test]
    fn dispatches_and_compiles_meet_on_the_engines_own_threads() {
        let (done, end) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let options = SoftOptions::threads(3).unwrap();
            let pool = options.pool.clone();
            let device = open(DeviceKind::Soft, options).unwrap();
            let ty = ty::f16([1, 256, 1, 512]);
            let program = || {
                let b = Builder::new("main", Opset::Ios18);
                let x = b.input("x", ty.clone());
                b.finish([("y", (x * 2.0).softmax(3))]).unwrap()
            };
            let kernel = device.compile("k", &program(), &Weights::new()).unwrap();
            let x = device.surface("x", &ty).unwrap();
            let one = |round: usize| {
                let y = device.surface("y", &ty).unwrap();
                match round % 8 {
                    // Compiled concurrently with the other dispatches.
                    0 => drop(
                        device.compile("own", &program(), &Weights::new()).unwrap().dispatch(&[&x], &[&y]),
                    ),
                    _ => drop(kernel.dispatch(&[&x], &[&y]).unwrap()),
                }
                let mut got = [0.0; 512];
                y.read(0, &mut got).unwrap();
                got
            };
            // One per thread: one may start while tasks of another are on two threads.
            let results: Vec<[f32; 512]> = std::thread::scope(|threads| {
                let (one, pool) = (&one, &pool);
                let rounds = move || (0..300).map(|i| pool.install(|| one(i))).collect::<Vec<_>>();
                let all: Vec<_> = (0..4).map(|_| threads.spawn(rounds)).collect();
                all.into_iter().flat_map(|t| t.join().unwrap()).collect()
            });
            done.send(results).unwrap();
        });
        let results = end.recv_timeout(Duration::from_secs(120)).expect("the threads wait for one another");
        assert!(results.iter().flatten().all(|&y| y == 1.0 / 512.0));
    }

    #[test]
    fn wrong_surfaces_are_refused_by_name() {
        let device = open(DeviceKind::Soft, SoftOptions::threads(1).unwrap()).unwrap();
        let kernel = device.compile("k", &program(), &Weights::new()).unwrap();
        let x = device.surface("x", &ty::f16([1, 2, 1, 4])).unwrap();
        let y = device.surface("y", &ty::f16([1, 2, 1, 4])).unwrap();
        let z = device.surface("z", &TensorType::new(DType::F32, [1, 1, 1, 4])).unwrap();
        let error = kernel.dispatch(&[&x], &[&y, &z]).unwrap_err().to_string();
        assert_eq!(
            error,
            "surface `z` holds tensor<fp32, [1, 1, 1, 4]>, `z` of kernel `k` is tensor<fp16, [1, 1, 1, 4]>"
        );
        let z = device.surface("z", &ty::f16([1, 1, 1, 4])).unwrap();
        assert!(matches!(kernel.dispatch(&[&x], &[&y]), Err(DeviceError::SurfaceCount { .. })));
        assert!(matches!(kernel.dispatch(&[&x], &[&x, &z]), Err(DeviceError::SurfaceShared { .. })));
    }

    #[test]
    fn a_missing_weight_names_kernel_and_file() {
        let b = Builder::new("main", Opset::Ios18);
        let x = b.input("x", ty::f16([1, 2, 1, 4]));
        let w = b.weight("w", ty::f16([2, 2, 1, 1]), "@model_path/weights/w.bin", 64);
        let program = b.finish([("y", x.conv1x1(w, 1))]).unwrap();
        let device = open(DeviceKind::Soft, SoftOptions::threads(1).unwrap()).unwrap();
        let error = device.compile("k", &program, &Weights::new()).err().map(|e| e.to_string());
        let error = error.unwrap_or_default();
        assert!(error.contains("kernel `k`") && error.contains("@model_path/weights/w.bin"), "{error}");
    }
}
