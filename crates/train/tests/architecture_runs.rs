//! Training of each architecture: a stopped run goes on with the same bits, its folder is the same model, and engines are
//! expected to accept its kernels.

use anelint::rules::{self, Chip, Route};
use mil::diag::Severity;
use std::fs;
use std::path::{Path, PathBuf};
use train::config::{LayerKind, ModelConfig};
use train::formats::open_model;
use train::model::{KernelPlan, Layer, LayerKernels, Precision};
use train::run::{Options, Overrides, Run};

/// One folder of `tests/architectures` for each kind of model.
const NAMES: [&str; 9] = [
    "llama_bias",
    "qwen2",
    "qwen3_bias",
    "rope_dynamic",
    "rope_yarn",
    "smollm3",
    "mistral",
    "gemma2",
    "gemma3",
];

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/architectures").join(name)
}

fn options(dir: &Path, name: &str, out: &str) -> Options {
    Options {
        model: Some(folder(name).display().to_string()),
        data: Some(dir.join("d.bin")),
        examples: Default::default(),
        tokenizer: None,
        out: dir.join(out),
        resume: false,
        overrides: Overrides {
            steps: Some(4),
            batch: Some(2),
            warmup: Some(0),
            seq: Some(24),
            save_every: Some(2),
            ..Overrides::default()
        },
        threads: 1,
        device: ane::DeviceKind::Soft.into(),
    }
}

fn go_on(options: &Options, until: u64) {
    let mut run = Run::open(options, &mut |_| {}).expect("opens");
    while !run.is_done() && run.step_count() < until {
        run.step().expect("a step");
        if run.save_due() {
            run.save().expect("saved");
        }
    }
}

#[test]
fn a_stopped_run_goes_on_with_the_same_bits_and_its_folder_is_the_same_model() {
    for name in NAMES {
        let dir = tempfile::tempdir().expect("a folder");
        let tokens: Vec<u8> =
            (0..600u64).flat_map(|i| u16::to_le_bytes(((i * i + i / 7) % 48) as u16)).collect();
        fs::write(dir.path().join("d.bin"), tokens).expect("written");
        go_on(&options(dir.path(), name, "whole"), 4);
        let stopped = options(dir.path(), name, "stopped");
        go_on(&stopped, 2);
        go_on(
            &Options { model: None, data: None, resume: true, overrides: Overrides::default(), ..stopped },
            4,
        );
        let of = |out: &str| fs::read(dir.path().join(out).join("model.safetensors")).expect("a model");
        assert!(of("whole") == of("stopped"), "{name}: bits differ");

        let (before, after) =
            (open_model(&folder(name), None).expect(name), open_model(&dir.path().join("whole"), None));
        let after = after.expect(name);
        let want = ModelConfig { seq: 24, ..before.config };
        assert_eq!(after.config.difference(&want), None, "{name}");
        assert!(
            after.params != before.params && after.params.len() == before.params.len(),
            "{name} has learnt"
        );
    }
}

#[test]
fn kernels_of_each_architecture_break_no_rule_for_sure() {
    for name in NAMES {
        let of = open_model(&folder(name), None).expect(name).config;
        let large = ModelConfig::preset("shakespeare").expect("a preset");
        let (kv_heads, variant) = (2, of.variant.clone());
        let cfg = ModelConfig { kv_heads, qk_norm: of.qk_norm, variant, layers: of.layers, ..large };
        for kind in cfg.layer_kinds().0 {
            let layer = Layer::of_kind(&cfg, kind, Precision::F16).expect(name);
            for make in [LayerKernels::new, LayerKernels::dynamic] {
                let kernels = make(&layer, &KernelPlan::six().fit(&cfg)).expect(name).kernels;
                for kernel in kernels {
                    let text = mil::text::print(&kernel.packed.program);
                    let read = mil::text::read(&text);
                    assert!(!read.report.has_errors(), "{name}: {}", read.report);
                    for found in rules::check(&read, &Chip::ALL, Route::Both) {
                        let what = found.diagnostic();
                        assert!(found.severity() < Severity::Error, "{name}, {}: {what:?}", kernel.name);
                    }
                }
            }
        }
    }
}

/// Programs of layers of different kinds differ in constants alone, so that what holds for one holds for all.
#[test]
fn kinds_of_layers_have_the_same_operations() {
    for name in ["smollm3", "qwen2_window", "gemma3"] {
        let cfg = ModelConfig { seq: 24, ..open_model(&folder(name), None).expect(name).config };
        let kinds: Vec<LayerKind> = cfg.layer_kinds().0;
        assert_eq!(kinds.len(), 2, "{name}");
        let of = |kind: &LayerKind| {
            let layer = Layer::of_kind(&cfg, *kind, Precision::F16).expect(name);
            let kernels = LayerKernels::new(&layer, &KernelPlan::six()).expect(name).kernels;
            let values = |k: &train::model::KernelSpec| {
                let names = k.inputs.iter().chain(&k.outputs).map(|b| (b.value, b.region.clone()));
                (k.stats, names.map(|(v, region)| (v, format!("{region:?}"))).collect::<Vec<_>>())
            };
            kernels.iter().map(values).collect::<Vec<_>>()
        };
        let [one, other] = [&kinds[0], &kinds[1]].map(of);
        assert_eq!(format!("{one:?}"), format!("{other:?}"), "{name}");
    }
}
