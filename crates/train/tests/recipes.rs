//! Recipes of runs: loss scale, optimizers, averages of weights. What each leaves in its folder, and that it goes on with the same
//! bits.
#![expect(clippy::result_large_err, reason = "tests hand errors on as the library has them")]

use std::path::Path;
use train::formats::load_model;
use train::fs::TensorFile;
use train::optim::LossScale;
use train::run::{Metrics, OptimizerKind, Options, Overrides, Run, RunError};

mod small_run;
use small_run::Place;

fn place() -> Place {
    let tokens: Vec<u8> = (0..4000u64).flat_map(|i| ((i * i / 7 + i) as u16 % 64).to_le_bytes()).collect();
    Place::new(&tokens, 5)
}

/// Options of a run of 12 steps with checkpoints after 5 and 10.
fn options_with(place: &Place, out: &str, change: impl FnOnce(&mut Overrides)) -> Options {
    let mut options = place.options(out);
    change(&mut options.overrides);
    options
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
    let place = place();
    let options = options_with(&place, "run", |o| o.loss_scale = Some(LossScale::Fixed(1e-12)));
    let error = go_on(&options, 12).map(|_| ()).expect_err("nothing is learned");
    assert!(matches!(error, RunError::Idle { steps: 10, .. }), "{error}");
    assert!(error.to_string().contains("at the loss scale 0.000000000001"), "{error}");
    assert_eq!(error.hint().as_deref(), Some("Start again with `--loss-scale auto`."));
    // What it says helps.
    let auto = options_with(&place, "auto", |o| o.loss_scale = Some(LossScale::Auto));
    finish(&auto);
    // The scale begins at that of new models, and is doubled later than this: all bits are the same.
    finish(&options_with(&place, "fixed", |_| ()));
    assert!(model(&place.path("auto")) == model(&place.path("fixed")));
    let (steps, _) = Metrics::read(&place.path("auto/metrics.jsonl")).expect("metrics");
    assert!(steps.iter().all(|step| step.loss_scale == Some(256.0) && !step.skipped));
}

/// Trained weights have a scale that changes, unless the user gives one.
#[test]
fn trained_weights_have_an_automatic_loss_scale() {
    let place = place();
    finish(&options_with(&place, "first", |_| ()));
    let tuned = |change: fn(&mut Overrides)| Options {
        model: Some(place.path("first").display().to_string()),
        ..options_with(&place, "tuned", change)
    };
    let scale = |options: &Options| go_on(options, 0).expect("opens").settings().loss_scale;
    assert_eq!(scale(&options_with(&place, "new", |_| ())), LossScale::Fixed(256.0));
    assert_eq!(scale(&tuned(|_| ())), LossScale::Auto);
    assert_eq!(scale(&tuned(|o| o.loss_scale = Some(LossScale::Fixed(64.0)))), LossScale::Fixed(64.0));
}

/// Each optimizer goes on with the bits that it would have had, on any number of threads, and stores what it keeps.
#[test]
fn a_stopped_run_goes_on_with_every_optimizer() {
    let place = place();
    for kind in OptimizerKind::ALL {
        let name = kind.name();
        let (whole, stopped) = (format!("{name}-whole"), format!("{name}-stopped"));
        let with = |o: &mut Overrides| (o.optimizer, o.ema) = (Some(kind), Some(0.7));
        finish(&options_with(&place, &whole, with));
        // Killed after step 7; the checkpoint is of step 5.
        drop(go_on(&Options { threads: 2, ..options_with(&place, &stopped, with) }, 7).expect("it goes"));
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
    let place = place();
    let plain = options_with(&place, "plain", |_| ());
    let averaged = options_with(&place, "averaged", |o| o.ema = Some(0.5));
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
        ..options_with(&place, "again", |_| ())
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
    let place = place();
    let refused = |kind, change: Change| {
        let with = |o: &mut Overrides| {
            o.optimizer = Some(kind);
            change(o);
        };
        go_on(&options_with(&place, "no", with), 0).map(|_| ()).expect_err("refused").to_string()
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
