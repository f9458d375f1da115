//! The Apple back end against a fake of the framework: `cargo xtask apple fake_ane`.
//!
//! The tests share one process, one framework and its counts, so they run one at a time.

use ane::apple::fake_ane;
use ane::{Answer, Call, Device, DeviceError, DeviceKind, DeviceOptions, Kernel, SoftOptions, Surface, open};
use mil::{Builder, Opset, Program, Tensor, Verified, Weights, ty};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Everything that the fake engine counts.
const THINGS: [&str; 7] =
    ["descriptors", "models", "loaded", "requests", "surface_objects", "iosurfaces", "compiling"];

/// Channels and width of the surfaces: above the smallest that engines are said to take.
const SHAPE: [usize; 4] = [1, 64, 1, 32];

/// The fake engine, at rest.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    fake_ane::fault("", 0, 0).expect("the fake engine");
    fake_ane::compiles(1_000_000).expect("the fake engine");
    fake_ane::pause(Duration::ZERO);
    fake_ane::wedge(0).expect("the fake engine");
    fake_ane::hold(false).expect("the fake engine");
    turn
}

/// The live objects of each kind.
fn live() -> [i64; THINGS.len()] {
    THINGS.map(|thing| fake_ane::live(thing).expect(thing))
}

/// The folders of programs in the temporary folder.
fn folders() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(fake_ane::folders()).expect("temporary folder");
    let paths = entries.map(|e| e.expect("entry").path());
    paths.filter(|p| p.join("model.mil").exists() || p.extension().is_some_and(|e| e == "lock")).collect()
}

/// Names a rule for every program, as `anelint` does for those that break one.
fn explain(_: Call, _: &Answer, text: &str) -> Vec<String> {
    assert!(text.starts_with("program("), "{text}");
    vec!["X1: a rule".to_owned()]
}

fn device() -> Box<dyn Device> {
    let wanted =
        DeviceOptions { compile_budget: Some(1_000_000), explain: Some(explain), ..DeviceKind::Ane.into() };
    open(wanted, SoftOptions::threads(2).expect("threads")).expect("the fake engine")
}

/// `y = w·x`, and `z = x + 1`, whose names are in another order than the alphabet's.
fn program() -> Verified<Program> {
    let b = Builder::new("main", Opset::Ios18);
    let x = b.input("x", ty::f16(SHAPE));
    let w = b.weight("w", ty::f16([1, 64, 1, 1]), "@model_path/weights/w.bin", 64);
    b.finish([("z", x + 1.0), ("y", x * w)]).expect("valid")
}

fn weights(scale: f64) -> Weights {
    let mut weights = Weights::new();
    let w = Tensor::floats(ty::f16([1, 64, 1, 1]), (0..64).map(|c| scale * f64::from(c)));
    weights.add_tensor("@model_path/weights/w.bin", &w).expect("a tensor");
    weights
}

/// Surfaces for [`program`]: x, z, y.
fn surfaces(device: &dyn Device) -> [Surface; 3] {
    let surfaces = ["x", "z", "y"].map(|name| device.surface(name, &ty::f16(SHAPE)).expect(name));
    let x: Vec<f32> = (0..64 * 32).map(|i| (i % 7) as f32).collect();
    surfaces[0].write(0, &x).expect("x");
    surfaces
}

fn run(kernel: &dyn Kernel, [x, z, y]: &[Surface; 3]) -> Result<(), DeviceError> {
    kernel.dispatch(&[x], &[z, y]).map(|_| ())
}

/// Compares z and y with their values for weights of `scale` times the channel.
fn check([_, z, y]: &[Surface; 3], scale: f32) {
    let (mut got_z, mut got_y) = (vec![0.0; 64 * 32], vec![0.0; 64 * 32]);
    z.read(0, &mut got_z).expect("z");
    y.read(0, &mut got_y).expect("y");
    for i in 0..64 * 32 {
        let (x, channel) = ((i % 7) as f32, (i / 32) as f32);
        assert_eq!((got_z[i], got_y[i]), (x + 1.0, x * scale * channel), "element {i}");
    }
}

#[test]
fn a_kernel_lives_and_leaves_nothing() {
    let _turn = turn();
    let (before, tidy) = (live(), folders());
    let device = device();
    assert_eq!(device.info().name, "fake of the Neural Engine h0");
    {
        let kernel = device.compile("k", &program(), &weights(1.0)).expect("compiles");
        let surfaces = surfaces(device.as_ref());
        assert_eq!(folders().len(), tidy.len() + 2, "a folder and its lock");
        for _ in 0..3 {
            run(kernel.as_ref(), &surfaces).expect("runs");
            check(&surfaces, 1.0);
        }
        assert_eq!(fake_ane::live("requests"), Ok(1), "one request serves the same surfaces");
        let again = device.compile("again", &program(), &weights(1.0)).expect("an equal program");
        drop(kernel);
        run(again.as_ref(), &surfaces).expect("its folder and program are its own");
        assert!(!again.rebake(&weights(2.0)).expect("an answer"), "weights are frozen");
        let other = device.compile("k", &program(), &weights(2.0)).expect("other weights");
        run(other.as_ref(), &surfaces).expect("runs");
        check(&surfaces, 2.0);
        // More combinations of surfaces than are remembered.
        for _ in 0..10 {
            let fresh = self::surfaces(device.as_ref());
            run(other.as_ref(), &fresh).expect("runs");
            check(&fresh, 2.0);
        }
    }
    assert_eq!(live(), before);
    assert_eq!(folders(), tidy);
}

/// Each call fails once: the error names kernel, call and answer, and nothing leaks.
#[test]
fn every_call_may_fail() {
    let _turn = turn();
    let device = device();
    let faults = [
        ("descriptor", Call::Describe, ""),
        ("model", Call::Model, ""),
        ("identifier", Call::Model, "identifier"),
        ("compile", Call::Compile, "com.apple.appleneuralengine.compiler 1"),
        ("request", Call::Bind, ""),
        ("surface", Call::Bind, ""),
        ("evaluate", Call::Evaluate, "com.apple.appleneuralengine 8"),
        ("evaluate-silently", Call::Evaluate, "no reason given"),
    ];
    let before = live();
    let tidy = folders();
    for (fault, call, said) in faults {
        let surfaces = surfaces(device.as_ref());
        fake_ane::fault(fault, 0, 1).expect("the fake engine");
        let result = device
            .compile("k", &program(), &weights(1.0))
            .and_then(|kernel| run(kernel.as_ref(), &surfaces).map(|()| kernel));
        match result.err() {
            Some(DeviceError::Refused(refusal)) => {
                let shown = refusal.to_string();
                assert_eq!((refusal.call, refusal.kernel.as_str()), (call, "k"), "{fault}");
                assert!(shown.contains(said), "{fault}: {shown}");
                println!("{fault}: {shown}");
            }
            other => panic!("{fault}: {other:?}"),
        }
        drop(surfaces);
        assert_eq!(live(), before, "{fault}");
        assert_eq!(folders(), tidy, "{fault}");
        // After the fault everything works again.
        let (kernel, surfaces) =
            (device.compile("k", &program(), &weights(1.0)).expect(fault), self::surfaces(device.as_ref()));
        run(kernel.as_ref(), &surfaces).expect(fault);
        check(&surfaces, 1.0);
    }
}

#[test]
fn loading_is_tried_twice() {
    let _turn = turn();
    let (device, before) = (device(), live());
    fake_ane::fault("load", 0, 1).expect("the fake engine");
    drop(device.compile("k", &program(), &weights(1.0)).expect("the second try"));
    fake_ane::fault("load", 0, 2).expect("the fake engine");
    let error = device.compile("k", &program(), &weights(1.0)).err().expect("no third try");
    let shown = error.to_string();
    assert!(shown.contains("load kernel `k`") && shown.contains("; likely X1"), "{shown}");
    assert_eq!(live(), before);
}

/// Rule W7: after a refusal the compiler is not called for a while, and after several not again.
#[test]
fn a_compiler_that_refused_is_left_alone() {
    let _turn = turn();
    let (device, before) = (device(), live());
    let compile = || device.compile("k", &program(), &weights(1.0));
    let refuse = |times| fake_ane::fault("compile", 0, times).expect("the fake engine");
    // It needs 200 ms and gets 300: it is never called too early, however many threads wait.
    fake_ane::pause(Duration::from_millis(300));
    fake_ane::wedge(200).expect("the fake engine");
    refuse(2);
    let compiled = std::thread::scope(|threads| {
        let tries: Vec<_> = (0..6).map(|_| threads.spawn(|| compile().is_ok())).collect();
        tries.into_iter().filter_map(|t| t.join().ok()).filter(|&done| done).count()
    });
    assert_eq!(compiled, 4, "two were refused, and nobody else");
    // Calling it too early wedges it; then nothing compiles.
    fake_ane::pause(Duration::ZERO);
    fake_ane::wedge(60_000).expect("the fake engine");
    refuse(1);
    for _ in 0..5 {
        assert!(matches!(compile(), Err(DeviceError::Refused(r)) if r.call == Call::Compile));
    }
    fake_ane::wedge(0).expect("the fake engine");
    let error = compile().err().expect("it is not asked again");
    assert!(
        matches!(&error, DeviceError::TooManyRefusals { kernel, refused: 5 } if kernel == "k"),
        "{error}"
    );
    fake_ane::pause(Duration::ZERO);
    drop(compile().expect("as in a new process"));
    assert_eq!(live(), before);
}

/// A program is compiled while another runs, without interference.
#[test]
fn a_program_compiles_while_another_runs() {
    let _turn = turn();
    let (before, tidy) = (live(), folders());
    let device = device();
    let kernel = device.compile("k", &program(), &weights(1.0)).expect("compiles");
    let given = surfaces(device.as_ref());
    let compiling = || fake_ane::live("compiling").expect("the fake engine");
    fake_ane::hold(true).expect("the fake engine");
    std::thread::scope(|threads| {
        let compiled = threads.spawn(|| device.compile("other", &program(), &weights(3.0)));
        while compiling() == 0 && !compiled.is_finished() {
            std::thread::yield_now();
        }
        for _ in 0..20 {
            run(kernel.as_ref(), &given).expect("runs");
            check(&given, 1.0);
        }
        assert_eq!(compiling(), 1, "the compiler was not waited for");
        fake_ane::hold(false).expect("the fake engine");
        let other = compiled.join().expect("no panic").expect("compiles");
        let fresh = surfaces(device.as_ref());
        run(other.as_ref(), &fresh).expect("runs");
        check(&fresh, 3.0);
    });
    // Both at full speed, and programs that end beside those that run.
    std::thread::scope(|threads| {
        let compiles = threads.spawn(|| {
            for round in 0..100 {
                drop(device.compile("other", &program(), &weights(f64::from(round % 3))).expect("compiles"));
            }
        });
        while !compiles.is_finished() {
            run(kernel.as_ref(), &given).expect("runs");
            check(&given, 1.0);
        }
    });
    drop((kernel, given));
    assert_eq!(live(), before);
    assert_eq!(folders(), tidy);
}

#[test]
fn a_program_that_does_not_unload_is_borne() {
    let _turn = turn();
    let (device, mut before) = (device(), live());
    fake_ane::fault("unload", 0, 1).expect("the fake engine");
    drop(device.compile("k", &program(), &weights(1.0)).expect("compiles"));
    before[2] += 1; // It stays loaded; everything else is gone.
    assert_eq!(live(), before);
}

#[test]
fn memory_may_be_refused() {
    let _turn = turn();
    let (device, before) = (device(), live());
    let make = || device.surface("x", &ty::f16(SHAPE));
    fake_ane::fault("iosurface", 0, 1).expect("the fake engine");
    assert!(matches!(make(), Err(DeviceError::SurfaceMemory { .. })));
    fake_ane::fault("lock", 0, 1).expect("the fake engine");
    let error = make().expect_err("it cannot be zeroed").to_string();
    assert!(error.contains("IOSurfaceLock returned 0xe00002d5"), "{error}");
    let surface = make().expect("memory");
    fake_ane::fault("lock", 0, 2).expect("the fake engine");
    assert!(surface.write(0, &[1.0]).is_err() && surface.read(0, &mut [0.0]).is_err());
    surface.write(63, &[1.0; 32]).expect("the last channel");
    drop(surface);
    assert_eq!(live(), before);
}

#[test]
fn what_does_not_fit_is_refused_before_the_engine_is_asked() {
    let _turn = turn();
    let device = device();
    let soft = open(DeviceKind::Soft, SoftOptions::threads(1).expect("threads")).expect("software engine");
    let kernel = device.compile("k", &program(), &weights(1.0)).expect("compiles");
    let [x, z, y] = surfaces(device.as_ref());
    let host = soft.surface("host", &ty::f16(SHAPE)).expect("memory");
    assert!(matches!(
        kernel.dispatch(&[&x], &[&z, &host]),
        Err(DeviceError::SurfaceForeign { surface, .. }) if surface == "host"
    ));
    assert!(matches!(kernel.dispatch(&[&x], &[&y, &x]), Err(DeviceError::SurfaceShared { .. })));
    assert!(matches!(kernel.dispatch(&[&x], &[&z]), Err(DeviceError::SurfaceCount { .. })));
    // The software engine takes memory of either kind.
    let other = soft.compile("k", &program(), &weights(1.0)).expect("compiles");
    other.dispatch(&[&x], &[&z, &y]).expect("runs");
    check(&[x, z, y], 1.0);

    let b = Builder::new("main", Opset::Ios18);
    let (small, large) = (b.input("a", ty::f16(SHAPE)), b.input("b", ty::f16([1, 64, 1, 4096])));
    let sizes = b.finish([("y", small.reduce_sum(&[3], true) + large)]).expect("valid");
    let kernel = device.compile("sizes", &sizes, &Weights::new()).expect("compiles");
    let surface = |name, shape: [usize; 4]| device.surface(name, &ty::f16(shape)).expect("memory");
    let (a, b, y) = (surface("a", SHAPE), surface("b", [1, 64, 1, 4096]), surface("y", [1, 64, 1, 4096]));
    let error = kernel.dispatch(&[&a, &b], &[&y]).expect_err("rule S3");
    assert!(error.to_string().contains("have surfaces of 49152 to 524288 bytes"), "{error}");

    let b = Builder::new("main", Opset::Ios18);
    let x = b.input("x", mil::TensorType::new(mil::DType::F32, SHAPE));
    let wide = b.finish([("y", x + 1.0)]).expect("valid");
    assert!(matches!(device.compile("f32", &wide, &Weights::new()), Err(DeviceError::Precision { .. })));
}

/// Two inputs, in the order of the alphabet and not of the declaration.
#[test]
fn surfaces_are_bound_by_name() {
    let _turn = turn();
    let device = device();
    let b = Builder::new("main", Opset::Ios18);
    let (second, first) = (b.input("b", ty::f16(SHAPE)), b.input("a", ty::f16(SHAPE)));
    let program = b.finish([("y", second - first * 2.0)]).expect("valid");
    let kernel = device.compile("k", &program, &Weights::new()).expect("compiles");
    let surface = |name| device.surface(name, &ty::f16(SHAPE)).expect("memory");
    let (b, a, y) = (surface("b"), surface("a"), surface("y"));
    b.write(0, &[10.0; 64 * 32]).expect("b");
    a.write(0, &[1.0; 64 * 32]).expect("a");
    kernel.dispatch(&[&b, &a], &[&y]).expect("runs");
    let mut got = [0.0; 64 * 32];
    y.read(0, &mut got).expect("y");
    assert_eq!(got, [8.0; 64 * 32]);
    kernel.dispatch(&[&b, &b], &[&y]).expect("one surface may be read twice");
    y.read(0, &mut got).expect("y");
    assert_eq!(got, [-10.0; 64 * 32]);
}

#[test]
fn an_engine_that_gives_up_and_a_width_that_fails_are_named() {
    let _turn = turn();
    let device = device();
    fake_ane::compiles(0).expect("the fake engine");
    let error = device.compile("k", &program(), &weights(1.0)).err().expect("rule W6").to_string();
    assert!(error.contains("no reason given"), "{error}");
    fake_ane::compiles(1).expect("the fake engine");
    let b = Builder::new("main", Opset::Ios18);
    let x = b.input("x", ty::f16([1, 64, 1, 12]));
    let narrow = b.finish([("y", x + 1.0)]).expect("valid");
    let kernel = device.compile("narrow", &narrow, &Weights::new()).expect("it compiles");
    let surface = |name| device.surface(name, &ty::f16([1, 64, 1, 12])).expect("memory");
    let error = kernel.dispatch(&[&surface("x")], &[&surface("y")]).expect_err("rule S6").to_string();
    assert!(error.contains("status=0x1d") && error.contains("; likely X1"), "{error}");
}

/// Many kernels come and go, on several threads, and nothing grows.
#[test]
fn nothing_grows() {
    let _turn = turn();
    let (before, tidy) = (live(), folders());
    let device = device();
    let resident = || {
        let status = std::fs::read_to_string("/proc/self/statm").expect("Linux");
        let pages: usize = status.split(' ').nth(1).and_then(|n| n.parse().ok()).expect("pages");
        pages * 4096
    };
    let rounds = |count: usize| {
        std::thread::scope(|threads| {
            for thread in 0..4 {
                let device = device.as_ref();
                threads.spawn(move || {
                    for round in 0..count {
                        // Some are equal to those of other threads, most are not.
                        let scale = ((thread * round) % 5) as f64;
                        let kernel = device.compile("k", &program(), &weights(scale)).expect("compiles");
                        let surfaces = surfaces(device);
                        run(kernel.as_ref(), &surfaces).expect("runs");
                        check(&surfaces, scale as f32);
                    }
                });
            }
        });
    };
    rounds(100);
    let early = resident();
    rounds(2_400);
    let growth = resident().saturating_sub(early);
    // Ten thousand leaked surfaces would be 490 MB, and as many leaks of a page 40 MB.
    assert!(growth < 16 << 20, "{growth} bytes more after 9600 kernels");
    assert_eq!(live(), before);
    assert_eq!(folders(), tidy);
}
