//! Weights that are baked into kernels and weights that travel on surfaces: the same numbers, other compilations.

use ane::{
    Device, DeviceError, DeviceInfo, DeviceKind, DeviceOptions, Kernel, KernelMemory, Pool, SoftOptions,
    Surface, WeightMode,
};
use mil::{Program, TensorType, Verified, Weights};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use train::config::{ModelConfig, Rope, RopeKind, init_params};
use train::model::{Fusion, KernelPlan, Precision};
use train::optim::{AdamW, Muon, Optimizer, OptimizerState, Update};
use train::run::{Metrics, Options, Overrides, Run};
use train::step::{Build, Network, StepError, StepGraph, Window};

/// Steps of a comparison: the kernels compute with weights that have changed twice.
const STEPS: u32 = 3;

/// Losses and norms of gradients before each step, and the weights after the last.
#[derive(Debug, PartialEq)]
struct Trained {
    losses: Vec<f64>,
    norms: Vec<f64>,
    theta: Vec<f32>,
}

fn soft(pool: &Pool, budget: Option<u32>) -> Box<dyn Device> {
    let wanted = DeviceOptions { compile_budget: budget, ..DeviceKind::Soft.into() };
    ane::open(wanted, SoftOptions { pool: pool.clone() }).expect("engine")
}

fn network(cfg: &ModelConfig, build: &Build, budget: Option<u32>) -> Result<Network, StepError> {
    let pool = Pool::new(2).expect("threads");
    Network::new(cfg, init_params(cfg, 3), soft(&pool, budget), pool, build, &mut |_| {})
}

fn trained(cfg: &ModelConfig, build: &Build, budget: Option<u32>) -> Result<Trained, StepError> {
    train(cfg, network(cfg, build, budget)?)
}

fn train(cfg: &ModelConfig, network: Network) -> Result<Trained, StepError> {
    train_by(&Optimizer::from(AdamW::default()), cfg, network)
}

fn train_by(optimizer: &Optimizer, cfg: &ModelConfig, network: Network) -> Result<Trained, StepError> {
    let network = Arc::new(network);
    network.set_loss_scale(256.0);
    let graph = StepGraph::new(Arc::clone(&network), 2)?;
    let mut state = OptimizerState::new(cfg.param_count());
    let window = |seed: u32| {
        let token = |i: u32| (i * i * seed + i) % cfg.vocab as u32;
        Window::Tokens((0..=cfg.seq as u32).map(token).collect())
    };
    let (mut losses, mut norms) = (Vec::new(), Vec::new());
    for t in 1..=STEPS {
        losses.push(graph.run(vec![window(7), window(11)], &mut flow::Trace::new())?);
        norms.push(network.gradient_norm()?);
        assert!((norms[t as usize - 1] / norm_of_all(&network) - 1.0).abs() < 1e-12);
        network.apply_update(optimizer, Update { t, lr: 1e-2, grad_scale: 1.0 / 512.0 }, &mut state)?;
    }
    let theta = network.params.theta.read().expect("no thread failed").clone();
    Ok(Trained { losses, norms, theta })
}

/// The norm of all gradients, with the loss scale, as it is defined.
fn norm_of_all(network: &Network) -> f64 {
    let gradients = network.params.specs().map(|spec| network.gradient(&spec.name).expect("a gradient"));
    let square = |x: f32| (f64::from(x) * f64::from(network.loss_scale())).powi(2);
    gradients.map(|g| g.into_iter().map(square).sum::<f64>()).sum::<f64>().sqrt()
}

fn build(precision: Precision, weights: WeightMode) -> Build {
    Build { weights, ..Build::train(precision) }
}

/// Models with all that weights can be: shared key heads, norms of heads, an embedding of its own, sizes that are no
/// multiples of 32.
fn models() -> Vec<(&'static str, ModelConfig)> {
    let tiny = || ModelConfig::preset("tiny").expect("a preset");
    let interleaved = Rope { kind: RopeKind::Interleaved, ..tiny().rope };
    vec![
        ("tiny", tiny()),
        ("norms of heads, untied", ModelConfig { qk_norm: true, tied: false, ..tiny() }),
        ("wide heads, interleaved", ModelConfig { head_dim: 24, rope: interleaved, qk_norm: true, ..tiny() }),
        (
            "odd sizes",
            ModelConfig { dim: 60, hidden: 100, heads: 3, kv_heads: 1, head_dim: 20, seq: 24, ..tiny() },
        ),
    ]
}

#[test]
fn both_ways_give_the_same_bits() {
    for (name, cfg) in models() {
        cfg.validate().expect(name);
        for precision in [Precision::F32, Precision::F16] {
            let [baked, dynamic] = [WeightMode::Baked, WeightMode::Dynamic]
                .map(|weights| trained(&cfg, &build(precision, weights), None).expect(name));
            assert!(baked.losses[2] < baked.losses[0], "{name}: {:?}", baked.losses);
            assert_eq!(baked.losses, dynamic.losses, "{name}, {precision:?}");
            assert_eq!(baked.norms, dynamic.norms, "{name}, {precision:?}");
            assert!(baked.theta == dynamic.theta, "{name}, {precision:?}: the weights differ");
        }
    }
}

#[test]
fn muon_gives_the_same_bits_both_ways() {
    let muon = Some(Muon { lr_ratio: 2.0, ..Muon::default() });
    let optimizer = Optimizer { muon, ..AdamW::default().into() };
    let (name, cfg) = models().remove(2);
    let [baked, dynamic] = [WeightMode::Baked, WeightMode::Dynamic].map(|weights| {
        let network = network(&cfg, &build(Precision::F16, weights), None).expect(name);
        train_by(&optimizer, &cfg, network).expect(name)
    });
    assert!(baked.losses[2] < baked.losses[0], "{name}: {:?}", baked.losses);
    assert!(baked == dynamic, "{name}");
    let adamw = trained(&cfg, &build(Precision::F16, WeightMode::Baked), None).expect(name);
    assert!(adamw.losses[0] == baked.losses[0] && adamw.theta != baked.theta, "{name}: Muon updates nothing");
}

#[test]
fn norms_on_the_host_and_more_kernels_change_nothing() {
    let cfg = ModelConfig { qk_norm: true, ..ModelConfig::preset("tiny").expect("a preset") };
    for fusion in [Fusion { norms: false, wo: true }, Fusion { norms: true, wo: false }] {
        let [baked, dynamic] = [WeightMode::Baked, WeightMode::Dynamic].map(|weights| {
            let build = Build { plan: KernelPlan::fused(fusion), ..build(Precision::F32, weights) };
            trained(&cfg, &build, None).expect("trained")
        });
        assert!(baked == dynamic, "{fusion:?}");
    }
}

/// With a budget the software engine freezes weights, as the hardware does.
#[test]
fn one_set_of_kernels_serves_all_layers_and_all_steps() {
    let cfg = ModelConfig::preset("tiny").expect("a preset");
    let free = trained(&cfg, &build(Precision::F16, WeightMode::Baked), None).expect("trained");
    let dynamic = build(Precision::F16, WeightMode::Dynamic);
    let kernels = 6;
    assert!(trained(&cfg, &dynamic, Some(kernels)).expect("trained") == free);
    let refused = trained(&cfg, &dynamic, Some(kernels - 1)).expect_err("five programs are too few");
    assert!(matches!(refused, StepError::Budget { programs: 6, left: 5, .. }), "{refused}");
    let refused = trained(&cfg, &build(Precision::F16, WeightMode::Baked), Some(12)).expect_err("baked");
    assert!(matches!(refused, StepError::BudgetExhausted(_)), "{refused}");
}

/// An engine that lends no memory of its kernels, and takes weight files in place. It counts compilations and files.
struct TakesFiles {
    inner: Box<dyn Device>,
    compiled: Arc<AtomicUsize>,
    files: Arc<AtomicUsize>,
}

struct TakesFilesKernel(Box<dyn Kernel>, Arc<AtomicUsize>);

impl Device for TakesFiles {
    fn info(&self) -> &DeviceInfo {
        self.inner.info()
    }

    fn compile(
        &self,
        name: &str,
        program: &Verified<Program>,
        weights: &Weights,
    ) -> Result<Box<dyn Kernel>, DeviceError> {
        self.compiled.fetch_add(1, Ordering::Relaxed);
        let kernel = self.inner.compile(name, program, weights)?;
        Ok(Box::new(TakesFilesKernel(kernel, Arc::clone(&self.files))))
    }

    fn surface(&self, name: &str, ty: &TensorType) -> Result<Surface, DeviceError> {
        self.inner.surface(name, ty)
    }
}

impl Kernel for TakesFilesKernel {
    fn dispatch(&self, inputs: &[&Surface], outputs: &[&Surface]) -> Result<Duration, DeviceError> {
        self.0.dispatch(inputs, outputs)
    }

    fn rebake(&self, weights: &Weights) -> Result<bool, DeviceError> {
        self.1.fetch_add(1, Ordering::Relaxed);
        self.0.rebake(weights)
    }

    fn memory(&self) -> KernelMemory {
        self.0.memory()
    }
}

/// The four cases of the one path: into lent memory, onto surfaces, by weight files, by compiling again.
#[test]
fn weights_that_reach_kernels_in_any_way_give_the_same_bits() {
    let cfg = ModelConfig::preset("tiny").expect("a preset");
    let baked = build(Precision::F16, WeightMode::Baked);
    let memory = trained(&cfg, &baked, None).expect("into memory");
    let surfaces = trained(&cfg, &build(Precision::F16, WeightMode::Dynamic), None).expect("onto surfaces");
    assert!(memory == surfaces, "onto surfaces");
    let again = trained(&cfg, &baked, Some(1000)).expect("compiled again");
    assert!(memory == again, "compiled again");

    let pool = Pool::new(2).expect("threads");
    let (compiled, files) = (Arc::default(), Arc::default());
    let device =
        TakesFiles { inner: soft(&pool, None), compiled: Arc::clone(&compiled), files: Arc::clone(&files) };
    let network = Network::new(&cfg, init_params(&cfg, 3), Box::new(device), pool, &baked, &mut |_| {})
        .expect("network");
    let (kernels, programs) = (network.kernels.programs(), network.kernels.programs_with_weights());
    assert!(memory == train(&cfg, network).expect("by files"), "by files");
    assert_eq!(compiled.load(Ordering::Relaxed) as u64, kernels, "nothing is compiled again");
    assert_eq!(files.load(Ordering::Relaxed) as u64, u64::from(STEPS) * programs);
}

/// What `auto` is told of compilations, so that it takes an engine that survives them.
#[test]
fn an_engine_is_asked_for_what_will_be_compiled() {
    let programs = |weights| {
        let build = Build { weights, ..Build::train(Precision::F16) };
        build.wanted(DeviceKind::Auto.into(), 12).compiles
    };
    assert_eq!(programs(WeightMode::Auto), Some(6));
    assert_eq!(programs(WeightMode::Dynamic), Some(6));
    assert_eq!(programs(WeightMode::Baked), Some(6 * 12));
}

#[test]
fn a_model_evaluates_the_same_both_ways() {
    let cfg = ModelConfig::preset("tiny").expect("a preset");
    let tokens: Vec<u32> = (0..=cfg.seq as u32).map(|i| i * i % cfg.vocab as u32).collect();
    let [baked, dynamic] = [WeightMode::Baked, WeightMode::Dynamic].map(|weights| {
        let network =
            network(&cfg, &Build { weights, ..Build::infer(Precision::F16) }, None).expect("network");
        (network.logits(&tokens).expect("logits"), network.evaluate(&tokens).expect("a loss"))
    });
    assert!(baked == dynamic);
}

fn options(out: &Path, data: &Path, weights: WeightMode) -> Options {
    Options {
        model: Some("tiny".to_owned()),
        data: Some(data.to_owned()),
        examples: Default::default(),
        tokenizer: None,
        out: out.to_owned(),
        resume: false,
        overrides: Overrides {
            steps: Some(6),
            batch: Some(2),
            save_every: Some(3),
            warmup: Some(2),
            storage: Some(Precision::F32),
            ..Overrides::default()
        },
        threads: 2,
        device: DeviceOptions { weights, ..DeviceKind::Soft.into() },
    }
}

fn text(dir: &Path) -> PathBuf {
    let words = ["so", "foul", "and", "fair", "a", "day", "I", "have", "not", "seen"];
    let text: Vec<&str> = (0..4000).map(|i: usize| words[(i * i + i / 7) % words.len()]).collect();
    let path = dir.join("text.txt");
    std::fs::write(&path, text.join(" ")).expect("written");
    path
}

/// Takes steps, saves where that is due.
fn go_on(options: &Options, until: u64) {
    let mut run = Run::open(options, &mut |_| {}).expect("opens");
    while run.step_count() < until {
        run.step().expect("a step");
        if run.save_due() {
            run.save().expect("saved");
        }
    }
}

#[test]
fn a_run_goes_on_the_other_way_with_the_same_bits() {
    let dir = tempfile::tempdir().expect("a folder");
    let data = text(dir.path());
    let (whole, mixed) = (dir.path().join("whole"), dir.path().join("mixed"));
    go_on(&options(&whole, &data, WeightMode::Baked), 6);
    go_on(&options(&mixed, &data, WeightMode::Baked), 3);
    let resumed = Options {
        resume: true,
        model: None,
        overrides: Overrides::default(),
        ..options(&mixed, &data, WeightMode::Dynamic)
    };
    go_on(&resumed, 6);
    let model = |dir: &Path| std::fs::read(dir.join("model.safetensors")).expect("a model");
    assert!(model(&whole) == model(&mixed), "the weights differ");
    let steps = |dir: &Path| {
        let (steps, _) = Metrics::read(&dir.join("metrics.jsonl")).expect("metrics");
        steps.iter().map(|s| (s.step, s.loss.to_bits(), s.grad_norm.to_bits())).collect::<Vec<_>>()
    };
    assert_eq!(steps(&whole), steps(&mixed));
}
