//! `--math auto`: the error of its products, what a run records, and the whole trainer on the kernels of the tile unit.
//!
//! A processor without the unit emulates it, so these tests run on any x86-64 Linux machine.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

use ane::{DeviceKind, DeviceOptions, MatmulPrecision, SoftOptions};
use softane::gemm::{auto, supports};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use train::config::{ModelConfig, ParamKind};
use train::formats::open_model;
use train::model::Precision;
use train::run::{Options, Overrides, Run};
use train::step::{Build, Network, StepGraph, Window};

/// Makes tile instructions work, before anything computes.
fn with_tiles() {
    let is_real = fake_amx::has_real_unit();
    fake_amx::install();
    assert!(softane::tile_unit::emulate(), "something has computed before");
    println!("tiles: {}", if is_real { "the processor's" } else { "emulated; not run: the real unit" });
}

/// Whether tile instructions were executed by `f`.
fn uses_tiles(f: impl FnOnce()) -> bool {
    let before = fake_amx::executed();
    f();
    fake_amx::has_real_unit() || fake_amx::executed() > before
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures").join(name)
}

/// A trained model with tokens.
struct Model {
    cfg: ModelConfig,
    theta: Vec<f32>,
    tokens: Vec<u32>,
}

impl Model {
    /// llama2.c's smallest.
    fn stories260k() -> Model {
        let model = open_model(&fixture("stories260K.bin"), None).expect("a model");
        let reference = std::fs::read_to_string(fixture("stories260K.reference.json")).expect("a file");
        let reference: serde_json::Value = serde_json::from_str(&reference).expect("JSON");
        let tokens: Vec<u32> = serde_json::from_value(reference["token_ids"].clone()).expect("tokens");
        Model { cfg: ModelConfig { seq: tokens.len() - 1, ..model.config }, theta: model.params, tokens }
    }

    /// The same function, with a few channels as large as trained models have them: a norm's weight or an up projection's
    /// row is multiplied by `scale`, and what reads that channel divided by it.
    fn with_outliers(mut self, scale: f32) -> Model {
        let specs = self.cfg.params();
        let of = |kind, layer| {
            let spec = specs.iter().find(|p| p.kind == kind && p.layer == Some(layer));
            spec.expect("a weight of the layer").clone()
        };
        for layer in 0..self.cfg.layers {
            for channel in [3, 40] {
                for (norm, readers) in [
                    (ParamKind::AttentionNorm, &[ParamKind::Wq, ParamKind::Wk, ParamKind::Wv][..]),
                    (ParamKind::FeedForwardNorm, &[ParamKind::W1, ParamKind::W3]),
                ] {
                    self.theta[of(norm, layer).offset + channel] *= scale;
                    for matrix in readers.iter().map(|&kind| of(kind, layer)) {
                        let rows = self.theta[matrix.range()].chunks_exact_mut(self.cfg.dim);
                        rows.for_each(|row| row[channel] /= scale);
                    }
                }
                let (up, down) = (of(ParamKind::W3, layer), of(ParamKind::W2, layer));
                let row = up.offset + channel * self.cfg.dim;
                self.theta[row..row + self.cfg.dim].iter_mut().for_each(|x| *x *= scale);
                let rows = self.theta[down.range()].chunks_exact_mut(self.cfg.hidden);
                rows.for_each(|row| row[channel] /= scale);
            }
        }
        self
    }

    fn gradient(&self, precision: Precision, math: MatmulPrecision, threads: usize) -> Vec<f32> {
        let pool = ane::Pool::new(threads).expect("threads");
        let wanted = DeviceOptions { math, ..DeviceKind::Soft.into() };
        let device = ane::open(wanted, SoftOptions { pool: pool.clone() }).expect("engine");
        let build = Build::train(precision);
        let network =
            Network::new(&self.cfg, self.theta.clone(), device, pool, &build, &mut |_| {}).expect("network");
        network.set_loss_scale(256.0);
        let network = Arc::new(network);
        let graph = StepGraph::new(Arc::clone(&network), 1).expect("schedule");
        graph.run(vec![Window::Tokens(self.tokens.clone())], &mut flow::Trace::new()).expect("step");
        let specs = self.cfg.params();
        specs.iter().flat_map(|p| network.gradient(&p.name).expect("a gradient")).collect()
    }

    /// The relative L2 error of the whole gradient with fp16 storage and products in `math`; `want` is exact.
    fn error(&self, math: MatmulPrecision, want: &[f32]) -> f64 {
        let got = self.gradient(Precision::F16, math, 2);
        let norm = |x: &mut dyn Iterator<Item = f64>| x.map(|x| x * x).sum::<f64>().sqrt();
        norm(&mut got.iter().zip(want).map(|(a, b)| f64::from(a - b)))
            / norm(&mut want.iter().map(|&x| f64::from(x)))
    }
}

/// The class of half-precision storage: at most 1.5 times the error of f32 products.
const CLASS: f64 = 1.5;

/// Why `auto` is what it is: three products of bf16 are in the class; integers and single bf16 are not.
#[test]
fn auto_is_in_the_class_of_half_precision_storage() {
    with_tiles();
    assert_eq!(auto(), MatmulPrecision::F16x3, "there is a tile unit");
    let models = [Model::stories260k(), Model::stories260k().with_outliers(64.0)];
    let exact = models.each_ref().map(|model| model.gradient(Precision::F32, MatmulPrecision::F32, 2));
    let errors = |math| [0, 1].map(|i| models[i].error(math, &exact[i]));
    let f32 = errors(MatmulPrecision::F32);
    for math in MatmulPrecision::ALL.into_iter().filter(|&math| supports(math)) {
        let all = errors(math);
        let ratios = [all[0] / f32[0], all[1] / f32[1]];
        println!("{}: errors {all:?}, of f32's {ratios:.2?}", math.name());
        let is_in_class = ratios.iter().all(|&ratio| ratio <= CLASS);
        let should_be = matches!(math, MatmulPrecision::F32 | MatmulPrecision::F16x3);
        assert_eq!(is_in_class, should_be, "{}: {ratios:.3?}", math.name());
    }
}

/// A real model, whose residual stream has channels above 20,000.
#[test]
#[ignore = "reads SmolLM2-135M from the folder BACKPROPANE_SMOLLM2: see tests/smollm2/README.md"]
fn auto_is_in_the_class_on_a_real_model() {
    with_tiles();
    let folder =
        std::env::var_os("BACKPROPANE_SMOLLM2").expect("BACKPROPANE_SMOLLM2 names the model's folder");
    let model = open_model(Path::new(&folder), None).expect("a model");
    let reference = fixture("../smollm2/reference.json");
    let reference: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(reference).expect("a file")).expect("JSON");
    let all: Vec<u32> = serde_json::from_value(reference["tokens"].clone()).expect("tokens");
    // A short window: emulated tiles are slow.
    let tokens = all[..33].to_vec();
    let model = Model { cfg: ModelConfig { seq: 32, ..model.config }, theta: model.params, tokens };
    let exact = model.gradient(Precision::F32, MatmulPrecision::F32, 2);
    let f32 = model.error(MatmulPrecision::F32, &exact);
    for math in MatmulPrecision::ALL.into_iter().filter(|&math| supports(math)) {
        let error = model.error(math, &exact);
        println!("{}: error {error:.2e}, {:.2} of f32's", math.name(), error / f32);
        assert!(math != MatmulPrecision::F16x3 || error <= CLASS * f32, "{error:.3e} beside {f32:.3e}");
    }
}

/// Products in f32 where values are stored in f32: they would be the largest error.
#[test]
fn storage_in_f32_is_multiplied_in_f32() {
    with_tiles();
    assert_eq!(Precision::F32.auto_math(), MatmulPrecision::F32);
    assert_eq!(Precision::F16.auto_math(), auto());
}

#[test]
fn gradients_have_the_same_bits_on_any_number_of_threads() {
    with_tiles();
    let model = Model::stories260k();
    for math in [MatmulPrecision::F16x3, MatmulPrecision::Bf16] {
        let bits = |threads| -> Vec<u32> {
            model.gradient(Precision::F16, math, threads).iter().map(|x| x.to_bits()).collect()
        };
        let mut one = Vec::new();
        assert!(uses_tiles(|| one = bits(1)), "{}: no tile instruction", math.name());
        assert!(one == bits(2) && one == bits(3), "{}: the threads change a bit", math.name());
    }
}

/// What a child process has to resume, on the processor as it is.
const RESUME: &str = "BACKPROPANE_TEST_RESUME";

/// The run's products are not there: it says so by name, and goes on with others if told to.
#[test]
fn a_run_resumed_without_a_tile_unit_says_what_is_missing() {
    let options = |out: PathBuf, resume: bool| Options {
        model: (!resume).then(|| "tiny".to_owned()),
        data: None,
        examples: Default::default(),
        tokenizer: None,
        out,
        resume,
        overrides: Overrides { steps: Some(2), batch: Some(1), ..Overrides::default() },
        threads: 1,
        device: DeviceKind::Soft.into(),
    };
    if let Some(out) = std::env::var_os(RESUME) {
        let mut resumed = options(out.into(), true);
        let error = Run::open(&resumed, &mut |_| {}).map(|_| ()).expect_err("no tile unit");
        let (said, hint) = (error.to_string(), error.hint().unwrap_or_default());
        assert!(
            said.contains("products in f16x3 need AMX with BF16") && said.contains("tile unit: "),
            "{said}"
        );
        assert!(hint.contains("`--math f32`"), "{hint}");
        resumed.overrides.math = Some(MatmulPrecision::F32);
        assert_eq!(Run::open(&resumed, &mut |_| {}).expect("opens").settings().math, MatmulPrecision::F32);
        return;
    }
    with_tiles();
    if fake_amx::has_real_unit() {
        return println!("not run: this processor has a tile unit");
    }
    let dir = tempfile::tempdir().expect("a folder");
    let out = dir.path().join("run");
    let mut first = options(out.clone(), false);
    first.data = Some(dir.path().join("text.txt"));
    std::fs::write(dir.path().join("text.txt"), "to be or not to be, that is the question; ".repeat(200))
        .expect("written");
    let mut run = Run::open(&first, &mut |_| {}).expect("opens");
    run.step().expect("a step");
    run.save().expect("saved");
    drop(run);
    let child = std::process::Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", "a_run_resumed_without_a_tile_unit_says_what_is_missing"])
        .env(RESUME, &out)
        .output()
        .expect("it starts");
    assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stdout));
}

/// A run records what `auto` was when it began.
#[test]
fn a_resumed_run_keeps_what_auto_was() {
    with_tiles();
    let dir = tempfile::tempdir().expect("a folder");
    let data = dir.path().join("text.txt");
    std::fs::write(&data, "to be or not to be, that is the question; ".repeat(200)).expect("written");
    let options = |out: &str, math| Options {
        model: Some("tiny".to_owned()),
        data: Some(data.clone()),
        examples: Default::default(),
        tokenizer: None,
        out: dir.path().join(out),
        resume: false,
        overrides: Overrides { steps: Some(4), batch: Some(1), math, ..Overrides::default() },
        threads: 2,
        device: DeviceKind::Soft.into(),
    };
    let train = |options: &Options, until: u64| {
        let mut run = Run::open(options, &mut |_| {}).expect("opens");
        while run.step_count() < until {
            run.step().expect("a step");
        }
        run.save().expect("saved");
        run
    };
    let model = |out: &str| std::fs::read(dir.path().join(out).join("model.safetensors")).expect("a model");
    for (out, math, want) in
        [("auto", None, MatmulPrecision::F16x3), ("f32", Some(MatmulPrecision::F32), MatmulPrecision::F32)]
    {
        let whole = options(&format!("{out}-whole"), math);
        train(&whole, 4);
        let cut = options(out, math);
        drop(train(&cut, 2));
        // Nothing is said of the products.
        let resumed = Options { resume: true, model: None, overrides: Overrides::default(), ..cut };
        let run = train(&resumed, 4);
        assert_eq!((run.settings().math, run.device().math), (want, want), "{out}");
        assert!(model(out) == model(&format!("{out}-whole")), "{out}: the weights differ");
    }
    assert!(model("auto") != model("f32"), "the products are the same");
}
