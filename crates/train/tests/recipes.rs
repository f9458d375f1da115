//! Recipes of runs: loss scale, optimizers, averages of weights. What each leaves in its folder, and that it goes on with the same
//! bits.
#![expect(clippy::result_large_err, reason = "tests hand errors on as the library has them")]

use std::path::{Path, PathBuf};
use train::formats::load_model;
use train::fs::TensorFile;
use train::optim::LossScale;
use train::run::{Metrics, OptimizerKind, Options, Overrides, Run, RunError};

const MODEL: &str = "preset = \"tiny\"\ndim = 16\nhidden = 32\nlayers = 2\nheads = 2\nkv_heads = 1\nhead_dim = 8\n\
                     vocab = 64\nseq = 16\n";

/// A folder with a small model and its tokens.
struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Place {
        let place = Place { dir: tempfile::tempdir().expect("a folder") };
        std::fs::write(place.path("small.toml"), MODEL).expect("written");
        let tokens: Vec<u8> =
            (0..4000u64).flat_map(|i| ((i * i / 7 + i) as u16 % 64).to_le_bytes()).collect();
        std::fs::write(place.path("d.bin"), tokens).expect("written");
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Options of a run of 12 steps with checkpoints after 5 and 10.
    fn options(&self, out: &str, change: impl FnOnce(&mut Overrides)) -> Options {
        let mut overrides = Overrides {
            steps: Some(12),
            batch: Some(2),
            warmup: Some(2),
            save_every: Some(5),
            ..Overrides::default()
        };
        change(&mut overrides);
        Options {
            model: Some(self.path("small.toml").display().to_string()),
            data: Some(self.path("d.bin")),
            examples: Default::default(),
            tokenizer: None,
            out: self.path(out),
            resume: false,
            overrides,
            threads: 1,
            device: ane::DeviceKind::Soft.into(),
        }
    }

    /// To go on with a run, without saying anything again.
    fn resumed(&self, out: &str) -> Options {
        let options = self.options(out, |_| ());
        Options { model: None, data: None, resume: true, overrides: Overrides::default(), ..options }
    }
}

/// Takes steps up to `until`, with checkpoints where they are due.
fn go_on(options: &Options, until: u64) -> Result<Run, RunError> {
    let mut run = Run::open(options, &mut |_| {})?;
    while !run.is_done() && run.step_count() < until {
        run.step()?;
        if run.save_due() {
            run.save()?;
        }
    }
    Ok(run)
}

fn finish(options: &Options) {
    go_on(options, u64::MAX).expect("it goes on").save_last().expect("saved");
}

fn model(dir: &Path) -> Vec<u8> {
    std::fs::read(dir.join("model.safetensors")).expect("a model")
}

/// Where no gradient is above fp16's smallest number, what the host has gradients of would learn alone.
#[test]
fn gradients_that_are_all_0_end_a_run() {
    let place = Place::new();
    let options = place.options("run", |o| o.loss_scale = Some(LossScale::Fixed(1e-12)));
    let error = go_on(&options, 12).map(|_| ()).expect_err("nothing is learned");
    assert!(matches!(error, RunError::Idle { steps: 10, .. }), "{error}");
    assert!(error.to_string().contains("at the loss scale 0.000000000001"), "{error}");
    assert_eq!(error.hint().as_deref(), Some("Start again with `--loss-scale auto`."));
    // What it says helps.
    let auto = place.options("auto", |o| o.loss_scale = Some(LossScale::Auto));
    finish(&auto);
    // The scale begins at that of new models, and is doubled later than this: all bits are the same.
    finish(&place.options("fixed", |_| ()));
    assert!(model(&place.path("auto")) == model(&place.path("fixed")));
    let (steps, _) = Metrics::read(&place.path("auto/metrics.jsonl")).expect("metrics");
    assert!(steps.iter().all(|step| step.loss_scale == Some(256.0) && !step.skipped));
}

/// Trained weights have a scale that changes, unless the user gives one.
#[test]
fn trained_weights_have_an_automatic_loss_scale() {
    let place = Place::new();
    finish(&place.options("first", |_| ()));
    let tuned = |change: fn(&mut Overrides)| Options {
        model: Some(place.path("first").display().to_string()),
        ..place.options("tuned", change)
    };
    let scale = |options: &Options| go_on(options, 0).expect("opens").settings().loss_scale;
    assert_eq!(scale(&place.options("new", |_| ())), LossScale::Fixed(256.0));
    assert_eq!(scale(&tuned(|_| ())), LossScale::Auto);
    assert_eq!(scale(&tuned(|o| o.loss_scale = Some(LossScale::Fixed(64.0)))), LossScale::Fixed(64.0));
}

/// Each optimizer goes on with the bits that it would have had, on any number of threads, and stores what it keeps.
#[test]
fn a_stopped_run_goes_on_with_every_optimizer() {
    let place = Place::new();
    for kind in OptimizerKind::ALL {
        let name = kind.name();
        let (whole, stopped) = (format!("{name}-whole"), format!("{name}-stopped"));
        let with = |o: &mut Overrides| (o.optimizer, o.ema) = (Some(kind), Some(0.7));
        finish(&place.options(&whole, with));
        // Killed after step 7; the checkpoint is of step 5.
        drop(go_on(&Options { threads: 2, ..place.options(&stopped, with) }, 7).expect("it goes"));
        finish(&Options { threads: 3, ..place.resumed(&stopped) });
        assert!(model(&place.path(&whole)) == model(&place.path(&stopped)), "{name}");
        let last = |out: &str| place.path(out).join("checkpoints/step-00000012.safetensors");
        let read = |out: &str| std::fs::read(last(out)).expect("a checkpoint");
        assert!(read(&whole) == read(&stopped), "{name}");

        let file = TensorFile::open(&last(&whole)).expect("a checkpoint");
        let count = |prefix: &str| file.names().iter().filter(|name| name.starts_with(prefix)).count();
        let (all, layers) = (count("param."), 14);
        let matrices = layers + 1 + count("param.lm_head");
        let want = match kind {
            OptimizerKind::AdamW => [all, all, 0, 0],
            OptimizerKind::Muon => [all, all - layers, 0, 0],
            OptimizerKind::Sgd | OptimizerKind::Lion => [all, 0, 0, 0],
            OptimizerKind::Adafactor => [0, all - matrices, matrices, matrices],
        };
        let got = ["adamw.m.", "adamw.v.", "adafactor.rows.", "adafactor.columns."].map(count);
        assert_eq!((got, count("average.")), (want, all), "{name}");
    }
}

/// An average changes nothing of the training, validations included, and is what the folder has and what is validated.
#[test]
fn an_average_is_the_folders_model_and_no_part_of_training() {
    let place = Place::new();
    let plain = place.options("plain", |_| ());
    let averaged = place.options("averaged", |o| o.ema = Some(0.5));
    let mut runs = [&plain, &averaged].map(|options| go_on(options, 0).expect("opens"));
    let config = runs[0].config().clone();
    let weights = |run: &Run| load_model(&run.folder().model(), &config).expect("a model");
    let mut want: Option<Vec<f32>> = None;
    for _ in 0..6 {
        for run in &mut runs {
            run.step().expect("a step");
            run.validate(2).expect("a validation");
            run.save().expect("saved");
        }
        let theta = weights(&runs[0]);
        let moved =
            |want: Vec<f32>| want.iter().zip(&theta).map(|(e, theta)| e + 0.5 * (theta - e)).collect();
        want = Some(want.map_or(theta.clone(), moved));
        assert!(Some(weights(&runs[1])) == want && (runs[0].step_count() == 1 || want != Some(theta)));
    }
    let newest = |run: &Run| run.folder().load_newest(&config).expect("a checkpoint").0;
    let [plain, averaged] = runs;
    assert!(newest(&plain).params == newest(&averaged).params && newest(&plain).m == newest(&averaged).m);
    // The validation is that of the folder's model.
    let mut averaged = averaged;
    let loss = averaged.validate(4).expect("a validation").loss;
    let again = Options {
        model: Some(place.path("averaged").display().to_string()),
        ..place.options("again", |_| ())
    };
    let mut again = go_on(&again, 0).expect("opens");
    // The folder has another order of channels: sums in fp16 differ in their last bits.
    let off = |other: f64| (other - loss).abs();
    assert!(off(again.validate(4).expect("a validation").loss) < 1e-4);
    let mut plain = plain;
    assert!(off(plain.validate(4).expect("a validation").loss) > 1e-3);
}

/// What has no effect is refused.
#[test]
fn settings_of_other_optimizers_are_refused() {
    type Change = fn(&mut Overrides);
    let place = Place::new();
    let refused = |kind, change: Change| {
        let with = |o: &mut Overrides| {
            o.optimizer = Some(kind);
            change(o);
        };
        go_on(&place.options("no", with), 0).map(|_| ()).expect_err("refused").to_string()
    };
    let cases: [(OptimizerKind, Change, &str); 3] = [
        (OptimizerKind::Lion, |o| o.momentum = Some(0.5), "`--momentum`"),
        (OptimizerKind::Sgd, |o| o.beta2 = Some(0.5), "`--beta2`"),
        (OptimizerKind::Adafactor, |o| o.muon_lr = Some(0.5), "`--muon-lr`"),
    ];
    for (kind, change, want) in cases {
        let name = kind.name();
        assert_eq!(
            refused(kind, change),
            format!("{want} has no effect: the optimizer of this run is `{name}`")
        );
    }
}
