//! Runs that train adapters, or freeze weights: resuming, the files in the folder, and what is refused.

use ane::DeviceKind;
use std::path::{Path, PathBuf};
use train::checkpoint::{Checkpoint, RunFolder};
use train::config::ModelConfig;
use train::formats::open_model;
use train::run::{Options, Overrides, Pattern, Run};

fn base() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/architectures/qwen2")
}

struct Place(tempfile::TempDir);

impl Place {
    /// A folder with tokens to train on.
    fn new() -> Place {
        let dir = tempfile::tempdir().expect("a folder");
        let tokens = (0..4000u32).flat_map(|i| ((3 + (i % 45) * (i % 45) * 7 % 45) as u16).to_le_bytes());
        std::fs::write(dir.path().join("data.bin"), tokens.collect::<Vec<u8>>()).expect("written");
        Place(dir)
    }

    fn options(&self, out: &str, threads: usize, overrides: Overrides) -> Options {
        Options {
            model: Some(base().display().to_string()),
            data: Some(self.0.path().join("data.bin")),
            examples: Default::default(),
            tokenizer: None,
            out: self.0.path().join(out),
            resume: false,
            overrides: Overrides {
                seq: Some(24),
                batch: Some(2),
                warmup: Some(1),
                lr: Some(1e-2),
                steps: overrides.steps.or(Some(6)),
                ..overrides
            },
            threads,
            device: DeviceKind::Soft.into(),
        }
    }

    fn run(&self, options: &Options, steps: usize) -> Vec<f64> {
        let mut run = Run::open(options, &mut |_| {}).expect("opens");
        let losses = (0..steps).map(|_| run.step().expect("a step").loss).collect();
        run.save_last().expect("saved");
        losses
    }

    fn checkpoint(&self, out: &str) -> Checkpoint {
        let folder = RunFolder::at(&self.0.path().join(out));
        let cfg = ModelConfig::read(&folder.config()).expect("a configuration");
        folder.load_newest(&ModelConfig { seq: 24, ..cfg }).expect("a checkpoint").0
    }
}

fn lora() -> Overrides {
    Overrides { lora: Some(4), lora_alpha: Some(8.0), ..Overrides::default() }
}

fn bits(x: &[f32]) -> Vec<u32> {
    x.iter().map(|x| x.to_bits()).collect()
}

#[test]
fn a_resumed_run_keeps_its_bits_at_any_number_of_threads() {
    let place = Place::new();
    for (name, overrides) in [
        ("plain", lora()),
        ("dropout", Overrides { lora_dropout: Some(0.1), accum: Some(2), ..lora() }),
        ("ends", Overrides { train_embeddings: Some(true), lora_layers: Some(1), ..lora() }),
        (
            "frozen",
            Overrides { freeze: Some(Pattern("embed|layers\\.0\\.".to_owned())), ..Overrides::default() },
        ),
    ] {
        let [whole, parts] = [format!("{name}-whole"), format!("{name}-parts")];
        let losses = place.run(&place.options(&whole, 1, overrides.clone()), 6);
        assert!(losses[5] < losses[0], "{name}: {losses:?}");
        let first = place.options(&parts, 3, overrides);
        place.run(&first, 3);
        let again =
            Options { resume: true, overrides: Overrides::default(), model: None, threads: 2, ..first };
        assert_eq!(place.run(&again, 3), losses[3..], "{name}");
        let [a, b] = [place.checkpoint(&whole), place.checkpoint(&parts)];
        for (a, b) in [(&a.params, &b.params), (&a.m, &b.m), (&a.v, &b.v)] {
            assert!(bits(a) == bits(b) && !a.is_empty(), "{name}");
        }
    }
}

#[test]
fn a_checkpoint_holds_what_is_trained_alone() {
    let place = Place::new();
    place.run(&place.options("run", 2, lora()), 2);
    let checkpoint = place.checkpoint("run");
    let cfg = ModelConfig::find(&base().display().to_string()).expect("a model");
    let trainable = checkpoint.state.launch.trainable();
    let count = trainable.trained(&cfg).iter().map(|spec| spec.count()).sum::<usize>();
    // Two layers of dim 32 and hidden 48, with 4 heads of 8 channels and 2 of keys.
    assert_eq!(count, 2 * 4 * (2 * (32 + 32) + 2 * (16 + 32) + 3 * (32 + 48)));
    assert_eq!([checkpoint.params.len(), checkpoint.m.len(), checkpoint.v.len()], [count; 3]);
    let run = place.0.path().join("run");
    assert!(!run.join("model.safetensors").exists());

    // The folder is a model: the frozen one with what was learnt.
    let [own, frozen] = [run.as_path(), &base()].map(|path| open_model(path, None).expect("a model").params);
    let moved: Vec<String> =
        cfg.params().into_iter().filter(|s| own[s.range()] != frozen[s.range()]).map(|s| s.name).collect();
    assert_eq!(moved.len(), 14, "{moved:?}");
    assert!(moved.iter().all(|name| name.contains("proj")), "{moved:?}");
}

#[test]
fn what_does_not_go_together_is_refused() {
    let place = Place::new();
    let refused = |options: &Options| Run::open(options, &mut |_| {}).expect_err("refused").to_string();
    for (overrides, want) in [
        (
            Overrides { lora: Some(40), ..lora() },
            "the rank of adapters is 40, and a projection has 16 channels",
        ),
        (Overrides { lora: Some(0), ..lora() }, "`lora_alpha` is set without `--lora`"),
        (
            Overrides { lora: Some(0), lora_alpha: None, lora_dropout: Some(0.1), ..lora() },
            "`lora_dropout` is set without `--lora`",
        ),
        (Overrides { lora_dropout: Some(0.995), ..lora() }, "`--lora-dropout` is 0.995"),
        (Overrides { lora_layers: Some(3), ..lora() }, "the number of layers with adapters is 3 of 2"),
        (
            Overrides { lora_targets: Some(Pattern("x_proj".to_owned())), ..lora() },
            "`--lora-targets` is `x_proj`",
        ),
        (Overrides { freeze: Some(Pattern("nothing".to_owned())), ..lora() }, "`--freeze` is `nothing`"),
    ] {
        let error = refused(&place.options("run", 1, overrides));
        assert!(error.contains(want), "{error}");
    }
    let fresh = Options { model: Some("tiny".to_owned()), ..place.options("run", 1, lora()) };
    assert!(refused(&fresh).contains("a model with random weights"));

    // A resumed run keeps what it trains, and its model.
    place.run(&place.options("run", 1, lora()), 1);
    let again = Options { resume: true, ..place.options("run", 1, Overrides { lora: Some(5), ..lora() }) };
    assert!(refused(&again).contains("`--lora` of a resumed run is `5`, and the run began with `4`"));
    let moved = place.0.path().join("moved");
    std::fs::create_dir(&moved).expect("a folder");
    for name in ["config.json", "model.safetensors"] {
        std::fs::copy(base().join(name), moved.join(name)).expect("copied");
    }
    let options = Options { model: Some(moved.display().to_string()), ..place.options("other", 1, lora()) };
    place.run(&options, 1);
    let again = Options { resume: true, model: None, overrides: Overrides::default(), ..options };
    let other = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/lora/qwen2");
    let changed = train::formats::AdapterRef { path: other, weight: 1.0 };
    let to = train::formats::ExportOptions {
        to: train::formats::Target::HuggingFace,
        dtype: train::formats::WeightType::F32,
        shard_size: None,
        tokenizer: None,
    };
    std::fs::remove_dir_all(&moved).expect("removed");
    assert!(refused(&again).contains("is not there"));
    let from = train::formats::ModelRef { path: Some(&base()), adapters: &[changed] };
    train::formats::export(from, &moved, &to).expect("another model in its place");
    assert!(refused(&again).contains("has weights with fingerprint"));
}
