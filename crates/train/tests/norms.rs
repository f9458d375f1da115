//! RMSNorm in the kernels and RMSNorm by the host: the same model, other kernels.

use ane::{
    Call, Device, DeviceError, DeviceInfo, DeviceKind, DeviceOptions, Kernel, Pool, Refusal, SoftOptions,
    Surface, WeightMode,
};
use mil::{Program, TensorType, Verified, Weights};
use std::sync::Arc;
use train::config::{ModelConfig, init_params};
use train::model::{LADDER, Layer, LayerKernels, Norms, Precision};
use train::optim::{AdamW, Optimizer, OptimizerState, Update};
use train::run::{Options, Overrides, Run, RunError};
use train::step::{Build, Network, StepError, StepGraph, Window};

fn soft(pool: &Pool) -> Box<dyn Device> {
    ane::open(DeviceKind::Soft, SoftOptions { pool: pool.clone() }).expect("engine")
}

fn tiny() -> ModelConfig {
    ModelConfig::preset("tiny").expect("a preset")
}

/// The losses before each of five steps.
fn losses(build: &Build) -> Vec<f64> {
    let (cfg, pool) = (tiny(), Pool::new(2).expect("threads"));
    let theta = init_params(&cfg, 3);
    let network = Network::new(&cfg, theta, soft(&pool), pool, build, &mut |_| {}).expect("network");
    network.set_loss_scale(256.0);
    let network = Arc::new(network);
    let graph = StepGraph::new(Arc::clone(&network), 1).expect("schedule");
    let mut state = OptimizerState::new(cfg.param_count());
    let optimizer = Optimizer::from(AdamW::default());
    let tokens = || Window::Tokens((0..=cfg.seq as u32).map(|i| i * i * 7 % cfg.vocab as u32).collect());
    let step = |t| {
        let loss = graph.run(vec![tokens()], &mut flow::Trace::new()).expect("a step");
        let update = Update { t, lr: 3e-3, grad_scale: 1.0 / 256.0 };
        network.apply_update(&optimizer, update, &mut state).expect("learns");
        loss
    };
    (1..=5).map(step).collect()
}

#[test]
fn losses_are_the_same_but_for_rounding() {
    // f32: the sum of squares goes another way. fp16: what is normed is rounded once less.
    for (precision, close) in [(Precision::F32, 1e-6), (Precision::F16, 1e-3)] {
        for weights in [WeightMode::Baked, WeightMode::Dynamic] {
            let [engine, host] = [&LADDER[0], &LADDER[1]].map(|rung| {
                let build = Build { weights, ..Build::train(precision) };
                losses(&build.rung(rung, &tiny()))
            });
            assert!(engine[4] < engine[0] - 0.1, "it learns: {engine:?}");
            for (e, h) in engine.iter().zip(&host) {
                let apart = (e - h).abs() / e;
                assert!(apart <= close, "{precision:?}, {weights:?}: {engine:?} and {host:?}");
            }
            if precision == Precision::F16 {
                assert_ne!(engine, host, "{weights:?}: the norms are the engine's both times");
            }
        }
    }
}

#[test]
fn no_kernel_has_a_norm_if_the_host_computes_them() {
    let layer = Layer::new(&tiny(), Precision::F16).expect("a layer");
    let with_norm = |rung: usize| -> Vec<(String, bool)> {
        let plan = LADDER[rung].plan(&tiny());
        let kernels = LayerKernels::dynamic(&layer, &plan).expect("kernels").kernels;
        assert_eq!(kernels.len(), 6);
        for k in &kernels {
            let text = mil::text::print(&k.packed.program);
            assert_eq!(text.contains("pow("), k.has_norm, "{}: {text}", k.name);
        }
        kernels.into_iter().filter(|k| k.has_norm).map(|k| (k.name, true)).collect()
    };
    let both = ["fwdAttn", "fwdFFN"].map(|name| (name.to_owned(), true));
    assert_eq!(with_norm(0), both);
    assert_eq!(with_norm(1), []);
}

/// An engine whose compiler takes no RMSNorm beside products, as maderix/ANE found on M4.
struct NoNorms(Box<dyn Device>);

impl Device for NoNorms {
    fn info(&self) -> &DeviceInfo {
        self.0.info()
    }

    fn compile(
        &self,
        name: &str,
        program: &Verified<Program>,
        weights: &Weights,
    ) -> Result<Box<dyn Kernel>, DeviceError> {
        let text = mil::text::print(program);
        if text.contains("pow(") && text.contains("matmul(") {
            let refusal = Refusal::new(name, Call::Compile, ane::Answer::default());
            return Err(DeviceError::Refused(refusal.into()));
        }
        self.0.compile(name, program, weights)
    }

    fn surface(&self, name: &str, ty: &TensorType) -> Result<Surface, DeviceError> {
        self.0.surface(name, ty)
    }
}

#[test]
fn an_engine_that_refuses_norms_is_told_of_the_flag() {
    let compiled = |rung: usize| {
        let pool = Pool::new(1).expect("threads");
        let device = Box::new(NoNorms(soft(&pool)));
        let build = Build { weights: WeightMode::Dynamic, ..Build::train(Precision::F16) };
        let build = build.rung(&LADDER[rung], &tiny());
        Network::new(&tiny(), init_params(&tiny(), 3), device, pool, &build, &mut |_| {})
    };
    let error = compiled(0).expect_err("refused");
    assert!(matches!(error, StepError::Norm(_)) && error.is_retryable(), "{error}");
    let hint = RunError::from(error).hint().expect("a remedy");
    assert!(hint.starts_with("Try `--norms host`"), "{hint}");
    assert!(compiled(1).expect("compiles").has_norms_on_host());
}

#[test]
fn a_resumed_run_computes_norms_where_it_did_or_is_told_to() {
    let dir = tempfile::tempdir().expect("a folder");
    let data = dir.path().join("text.txt");
    std::fs::write(&data, "so foul and fair a day I have not seen ".repeat(400)).expect("written");
    let open = |resume: bool, norms| {
        let options = Options {
            model: (!resume).then(|| "tiny".to_owned()),
            data: Some(data.clone()),
            examples: Default::default(),
            tokenizer: None,
            out: dir.path().join("run"),
            resume,
            overrides: Overrides { steps: Some(4), batch: Some(1), norms, ..Overrides::default() },
            threads: 1,
            device: DeviceOptions::from(DeviceKind::Soft),
        };
        let mut run = Run::open(&options, &mut |_| {}).expect("opens");
        run.step().expect("a step");
        run.save().expect("saved");
        run.has_norms_on_host()
    };
    assert!(open(false, Some(Norms::Host)));
    assert!(open(true, None));
    assert!(!open(true, Some(Norms::Engine)));
    assert!(!open(true, None));
}
