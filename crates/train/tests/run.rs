//! Runs from beginning to end, on the smallest model.

use ane::MatmulPrecision;
use softane::gemm::supports;
use std::path::{Path, PathBuf};
use train::checkpoint::RunFolder;
use train::config::{ModelConfig, RopeKind};
use train::data::LossOn;
use train::evaluate::{EvaluateOptions, evaluate};
use train::formats::{FolderMetadata, save_model};
use train::fs::{NamedTensor, write_tensors};
use train::model::{Norms, Precision};
use train::run::{BudgetExhausted, Metrics, OptimizerKind, Options, Overrides, Run, RunError, ScheduleKind};
use train::step::{ComputeOptions, StepError};

fn options(out: &Path, data: &Path) -> Options {
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
            ..Overrides::default()
        },
        threads: 2,
        device: ane::DeviceKind::Soft.into(),
    }
}

fn text(dir: &Path) -> PathBuf {
    let words = ["to", "be", "or", "not", "that", "is", "the", "question", "whether", "nobler"];
    let text: Vec<&str> = (0..4000).map(|i: usize| words[(i * i + i / 7) % words.len()]).collect();
    let path = dir.join("text.txt");
    std::fs::write(&path, text.join(" ")).expect("written");
    path
}

fn go_on(options: &Options, until: u64) -> Run {
    let mut run = Run::open(options, &mut |_| {}).expect("opens");
    while !run.is_done() && run.step_count() < until {
        run.step().expect("a step");
        if run.save_due() {
            run.save().expect("saved");
        }
    }
    run
}

fn model(dir: &Path) -> Vec<u8> {
    std::fs::read(dir.join("model.safetensors")).expect("a model")
}

#[test]
fn a_killed_run_goes_on_with_the_same_bits() {
    killed_and_resumed(MatmulPrecision::F32, Norms::Engine);
}

/// Nobody has to say again how it computes.
#[test]
fn a_killed_run_goes_on_as_it_has_computed() {
    for math in MatmulPrecision::ALL.into_iter().filter(|&math| supports(math)) {
        killed_and_resumed(math, Norms::Host);
    }
}

fn killed_and_resumed(math: MatmulPrecision, norms: Norms) {
    let dir = tempfile::tempdir().expect("a folder");
    let data = text(dir.path());
    let (whole, killed) = (dir.path().join("whole"), dir.path().join("killed"));
    let options = |out: &Path, data: &Path| {
        let mut options = options(out, data);
        options.overrides.math = Some(math);
        options.overrides.norms = Some(norms);
        options
    };
    go_on(&options(&whole, &data), 6);
    // Two steps beyond the checkpoint at 3 are lost.
    drop(go_on(&options(&killed, &data), 5));
    let resumed =
        Options { resume: true, model: None, overrides: Overrides::default(), ..options(&killed, &data) };
    let run = go_on(&resumed, 6);
    assert_eq!(run.step_count(), 6);
    assert_eq!((run.device().math, run.has_norms_on_host()), (math, norms == Norms::Host));
    assert!(model(&whole) == model(&killed), "the weights differ");
    let steps = |dir: &Path| {
        let (steps, _) = Metrics::read(&dir.join("metrics.jsonl")).expect("metrics");
        steps.iter().map(|s| (s.step, s.loss.to_bits(), s.grad_norm.to_bits())).collect::<Vec<_>>()
    };
    assert_eq!(steps(&whole), steps(&killed));
}

/// `tiny` has 12 kernels, of which 10 hold weights.
#[test]
fn a_process_that_may_compile_no_more_says_so_and_the_next_goes_on() {
    let dir = tempfile::tempdir().expect("a folder");
    let data = text(dir.path());
    let (whole, cut) = (dir.path().join("whole"), dir.path().join("cut"));
    go_on(&options(&whole, &data), 6);
    let device = ane::DeviceOptions { compile_budget: Some(22), ..ane::DeviceKind::Soft.into() };
    let mut next = Options { device, ..options(&cut, &data) };
    for last in [2, 4, 6] {
        let mut run = Run::open(&next, &mut |_| {}).expect("opens");
        let compiles = run.compiles().expect("a budget");
        assert_eq!((compiles.first, compiles.step, compiles.steps()), (12, 10, 2));
        assert!(run.exhausted().is_none(), "a new process has its budget");
        while run.exhausted().is_none() {
            run.step().expect("a step");
        }
        assert_eq!(run.step_count(), last);
        assert_eq!(run.exhausted(), Some(&BudgetExhausted::Budget { wanted: 10, left: 0 }));
        // The kernels are not the model's any more, so nothing is computed with them.
        for error in [run.step().map(|_| ()), run.validate(1).map(|_| ())] {
            let error = error.expect_err("the budget is exhausted");
            assert!(matches!(error, RunError::Step(StepError::BudgetExhausted(_))), "{error}");
            assert!(error.hint().is_some_and(|hint| hint.contains("new process")), "{error}");
        }
        run.save().expect("saved");
        next.resume = true;
    }
    assert!(model(&whole) == model(&cut), "the weights differ");
    let steps = |dir: &Path| {
        let (steps, _) = Metrics::read(&dir.join("metrics.jsonl")).expect("metrics");
        steps.iter().map(|s| (s.step, s.loss.to_bits(), s.grad_norm.to_bits())).collect::<Vec<_>>()
    };
    assert_eq!(steps(&whole), steps(&cut));
}

#[test]
fn a_validation_that_is_due_waits_for_the_next_process() {
    let dir = tempfile::tempdir().expect("a folder");
    let data = text(dir.path());
    let mut options = options(&dir.path().join("run"), &data);
    options.overrides.steps = Some(60);
    let mut run = go_on(&options, 50);
    assert!(run.validation_due());
    run.save().expect("saved");
    drop(run);
    options.resume = true;
    let mut run = Run::open(&options, &mut |_| {}).expect("opens");
    assert!(run.validation_due(), "nobody has done it");
    run.validate(2).expect("validated");
    assert!(!run.validation_due());
    drop(run);
    let run = Run::open(&options, &mut |_| {}).expect("opens");
    assert!(!run.validation_due(), "it is in the metrics");
}

#[test]
fn a_budget_below_one_set_of_kernels_is_refused_before_anything_is_written() {
    let dir = tempfile::tempdir().expect("a folder");
    let data = text(dir.path());
    let device = ane::DeviceOptions { compile_budget: Some(11), ..ane::DeviceKind::Soft.into() };
    let options = Options { device, ..options(&dir.path().join("run"), &data) };
    let error = Run::open(&options, &mut |_| {}).expect_err("refused");
    assert!(
        matches!(error, RunError::Step(StepError::Budget { programs: 12, left: 11, .. })) && error.is_input(),
        "{error}"
    );
    assert!(!options.out.exists());
}

#[test]
fn threads_do_not_change_a_bit() {
    let dir = tempfile::tempdir().expect("a folder");
    let data = text(dir.path());
    for optimizer in OptimizerKind::ALL {
        let weights = [1, 2, 3].map(|threads| {
            let out = dir.path().join(format!("{}-{threads}", optimizer.name()));
            let mut options = Options { threads, ..options(&out, &data) };
            options.overrides.optimizer = Some(optimizer);
            go_on(&options, 6);
            model(&out)
        });
        assert!(weights[0] == weights[1] && weights[0] == weights[2], "{optimizer:?}: the weights differ");
    }
}

#[test]
fn a_step_dispatches_six_kernels_a_layer_and_window() {
    let dir = tempfile::tempdir().expect("a folder");
    let data = text(dir.path());
    let mut options = options(&dir.path().join("run"), &data);
    options.overrides.accum = Some(2);
    let mut run = Run::open(&options, &mut |_| {}).expect("opens");
    let record = run.step().expect("a step");
    assert_eq!(record.dispatches, 6 * run.config().layers as u64 * 2 * 2);
    assert!(record.engine_ms > 0.0 && record.host_ms > 0.0 && record.ms > 0.0);
}

/// Accumulation and batch are the same sum, cut differently.
#[test]
fn accumulating_is_a_larger_batch() {
    let dir = tempfile::tempdir().expect("a folder");
    let data = text(dir.path());
    let run = |name: &str, batch, accum| {
        let mut options = options(&dir.path().join(name), &data);
        options.overrides.batch = Some(batch);
        options.overrides.accum = Some(accum);
        go_on(&options, 6).save().expect("saved");
        model(&options.out)
    };
    assert!(run("a", 4, 1) == run("b", 1, 4), "the weights differ");
}

#[test]
fn the_seeds_regression_learns() {
    let dir = tempfile::tempdir().expect("a folder");
    let config = dir.path().join("small.toml");
    std::fs::write(
        &config,
        "preset = \"layer768\"\ndim = 64\nhidden = 128\nheads = 4\nkv_heads = 4\nhead_dim = 16\nseq = 32\n",
    )
    .expect("written");
    let options = Options {
        model: Some(config.display().to_string()),
        data: None,
        overrides: Overrides { steps: Some(30), ..Overrides::default() },
        ..options(&dir.path().join("run"), dir.path())
    };
    let mut run = Run::open(&options, &mut |_| {}).expect("opens");
    let losses: Vec<f64> = (0..30).map(|_| run.step().expect("a step").loss).collect();
    assert!(losses[29] < 0.5 * losses[0], "{losses:?}");
    let validation = run.validate(1).expect("validated");
    assert!(validation.loss < losses[29] * 1.1, "{validation:?}");
}

/// A folder of an earlier version: rows of queries and keys as the model has them, and a key of our own that says so.
fn as_before(run: &Run) {
    let dir = run.folder().dir();
    let cfg = run.config();
    assert_eq!(cfg.rope.kind, RopeKind::Interleaved);
    let (checkpoint, _) = run.folder().load_newest(cfg).expect("a checkpoint");
    let tensors: Vec<NamedTensor<'_>> = cfg
        .params()
        .into_iter()
        .map(|p| NamedTensor { data: &checkpoint.params[p.range()], name: p.name, shape: p.shape })
        .collect();
    write_tensors(&dir.join("model.safetensors"), None, &tensors).expect("written");
    std::fs::write(dir.join("config.json"), cfg.to_hugging_face()).expect("written");
}

#[test]
fn an_interleaved_run_of_an_earlier_version_keeps_its_bits_and_gets_a_plain_folder() {
    let dir = tempfile::tempdir().expect("a folder");
    let data = text(dir.path());
    let toml = dir.path().join("model.toml");
    std::fs::write(&toml, "preset = \"tiny\"\nrope = \"interleaved\"\nqk_norm = true\n").expect("written");
    let options = |name: &str| Options {
        model: Some(toml.display().to_string()),
        ..options(&dir.path().join(name), &data)
    };
    let loss = |name: &str| {
        let options = EvaluateOptions {
            compute: ComputeOptions {
                threads: 2,
                device: ane::DeviceKind::Soft.into(),
                start: Norms::Engine.into(),
                storage: Precision::F16,
            },
            windows: Some(8),
            stride: Some(4),
            examples: Default::default(),
            loss_on: LossOn::Completion,
        };
        let dir = dir.path().join(name);
        let found = evaluate(&dir, None, &data, &options, &mut |_| {}, &mut |_, _| {}).expect("a loss");
        let sliding = found.sliding.expect("a second figure");
        assert!(
            sliding.windows > 8 && sliding.loss.is_finite() && sliding.loss != found.plain.loss,
            "{sliding:?}"
        );
        found.plain.loss
    };
    let key = |name: &str| {
        std::fs::read_to_string(dir.path().join(name).join("config.json"))
            .expect("text")
            .contains("interleaved")
    };
    drop(go_on(&options("whole"), 6));
    let old = go_on(&options("old"), 3);
    let plain = loss("old");
    as_before(&old);
    drop(old);
    // Both mean the same, whose rows differ. Tolerance: fp16 sums in another order.
    assert!(key("old") && (loss("old") - plain).abs() < 2e-3, "{} {plain}", loss("old"));

    let resumed = Options { resume: true, ..options("old") };
    let opened = Run::open(&resumed, &mut |_| {}).expect("opens");
    assert_eq!(opened.config().rope.kind, RopeKind::Interleaved);
    drop(opened);
    assert!(!key("old") && (loss("old") - plain).abs() < 1e-9, "{} {plain}", loss("old"));
    drop(go_on(&resumed, 6));
    assert!(model(&dir.path().join("old")) == model(&dir.path().join("whole")));
    assert!(loss("whole") < plain);
}

/// Windows that are a window apart are those of the plain figure.
#[test]
fn the_sliding_figure_with_the_windows_own_length_is_the_plain_one() {
    let dir = tempfile::tempdir().expect("a folder");
    let out = dir.path().join("run");
    go_on(&options(&out, &text(dir.path())), 6).save_last().expect("saved");
    let data = dir.path().join("whole-windows.bin");
    let tokens: Vec<u8> = (0..=3 * 32u16).flat_map(|i| (i * i % 300).to_le_bytes()).collect();
    std::fs::write(&data, tokens).expect("written");
    let found = |stride| {
        let options = EvaluateOptions {
            compute: ComputeOptions {
                threads: 1,
                device: ane::DeviceKind::Soft.into(),
                start: Norms::Engine.into(),
                storage: Precision::F32,
            },
            windows: None,
            stride: Some(stride),
            examples: Default::default(),
            loss_on: LossOn::Completion,
        };
        evaluate(&out, None, &data, &options, &mut |_| {}, &mut |_, _| {}).map_err(Box::new)
    };
    let whole = found(32).expect("a loss");
    let sliding = whole.sliding.expect("a second figure");
    assert_eq!((sliding.windows, whole.plain.windows), (3, 3));
    // Sums of exponentials in f64 here, in f32 there: some 2⁻²⁴ of 6 nats each.
    assert!((sliding.loss - whole.plain.loss).abs() < 1e-5, "{} {}", sliding.loss, whole.plain.loss);
    assert_eq!(found(8).expect("a loss").sliding.expect("a second figure").windows, 1 + 8);
    let error = found(33).expect_err("a stride beyond the window");
    assert!(error.is_input() && error.to_string().starts_with("the stride is 33"), "{error}");
}

#[test]
fn an_occupied_folder_is_left_alone() {
    let dir = tempfile::tempdir().expect("a folder");
    let data = text(dir.path());
    let options = options(&dir.path().join("run"), &data);
    go_on(&options, 3);
    let before = model(&options.out);
    let error = Run::open(&options, &mut |_| {}).expect_err("occupied");
    assert!(matches!(error, RunError::Occupied { .. }), "{error}");
    assert!(error.hint().is_some_and(|h| h.contains("--resume")));
    assert!(model(&options.out) == before);
}

/// PyTorch's AdamW on the same batch, 20 steps: `tests/fixtures`.
#[test]
fn losses_go_as_pytorchs() {
    let fixtures = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures");
    for name in ["llama_mha", "llama_gqa", "qwen3_tiny"] {
        let dir = tempfile::tempdir().expect("a folder");
        let mut cfg = ModelConfig::read(&fixtures.join(format!("{name}.json"))).expect("config");
        let file =
            train::fs::TensorFile::open(&fixtures.join(format!("{name}.safetensors"))).expect("fixture");
        let (_, tokens) = file.read_tokens("tokens").expect("tokens");
        cfg.seq = tokens.len() - 1;
        let params = train::formats::load_params_from(&file, &cfg, "param.").expect("weights");
        let start = dir.path().join("start");
        let folder = RunFolder::create(&start).expect("made");
        folder.save_metadata(&FolderMetadata::default(), &cfg, None).expect("saved");
        save_model(&start.join("model.safetensors"), &cfg, &params).expect("saved");
        let data = dir.path().join("window.bin");
        let bytes: Vec<u8> = tokens.iter().flat_map(|&t| (t as u16).to_le_bytes()).collect();
        std::fs::write(&data, bytes).expect("written");
        let options = Options {
            model: Some(start.display().to_string()),
            overrides: Overrides {
                steps: Some(20),
                batch: Some(1),
                lr: Some(1e-3),
                warmup: Some(0),
                schedule: Some(ScheduleKind::Constant),
                storage: Some(Precision::F16),
                ..Overrides::default()
            },
            ..options(&dir.path().join("run"), &data)
        };
        let mut run = Run::open(&options, &mut |_| {}).expect("opens");
        let mut want = [0.0; 20];
        file.read("adamw.losses", &[20], &mut want).expect("losses");
        for (i, want) in want.into_iter().enumerate() {
            let got = run.step().expect("a step").loss;
            // fp16 storage: the gradients' error is some 3e-3, and Adam divides by their size.
            assert!(
                (got - f64::from(want)).abs() <= 0.01 * f64::from(want),
                "{name}, step {i}: {got}, PyTorch {want}"
            );
        }
    }
}
