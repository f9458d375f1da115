//! The header of a run: model, data, engine, settings.

use crate::ui::Ui;
use crate::units;
use ane::MatmulPrecision;
use softane::gemm::{GemmKernel, saves_time};
use train::config::ModelConfig;
use train::data::ExampleCounts;
use train::optim::{LossScale, LossScaler};
use train::run::{OptimizerKind, Options, Run, SettingValue, Settings};

/// Prints the header.
pub fn say(ui: &Ui, model: &str, options: &Options, run: &Run) {
    let (cfg, settings, device) = (run.config(), run.settings(), run.device());
    let mut rows = vec![("model", model_line(model, cfg))];
    let data = match (&options.data, run.data_tokens()) {
        (_, None) => "seeded synthetic activations".to_owned(),
        (data, Some((train, val))) => {
            let from = match data {
                Some(path) => path.display().to_string(),
                None if options.resume => "as before".to_owned(),
                None => "15 plays of Shakespeare, built in".to_owned(),
            };
            let (train, val) = (units::count(train as f64), units::count(val as f64));
            match run.examples() {
                None => format!("{from}: {train} tokens to train on, {val} held out"),
                Some(counts) => {
                    let (examples, targets) = (units::plural(counts.train, "example"), counts.targets as f64);
                    let targets = units::count(targets);
                    format!(
                        "{from}: {examples} to train on, {} held out; {train} tokens, {targets} count",
                        counts.valid
                    )
                }
            }
        }
    };
    rows.extend(adapters_line(run).map(|text| ("trains", text)));
    rows.push(("data", data));
    rows.extend(run.examples().and_then(|counts| left_out(&counts)).map(|text| ("", text)));
    rows.push((
        "engine",
        format!("{}: {}, {}", device.name, device.chip, units::plural(device.threads, "thread")),
    ));
    rows.push(("products", products_line(device.math)));
    let kernels = run.kernels_per_layer();
    let dispatches = kernels * cfg.layers * settings.windows();
    let each =
        if run.has_dynamic_weights() { "for all layers, weights on their surfaces" } else { "a layer" };
    let norms = if run.has_norms_on_host() { ", norms on the host" } else { "" };
    let dispatches = units::plural(dispatches, "dispatch");
    rows.push(("kernels", format!("{kernels} {each}{norms}, {dispatches} a step")));
    rows.push(("step", step_line(cfg, settings, run)));
    rows.push(("update", update_line(settings, &run.changes())));
    rows.extend(restarts_line(run).map(|text| ("restarts", text)));
    let at =
        if run.step_count() > 0 { format!(", resumed at step {}", run.step_count()) } else { String::new() };
    rows.push(("folder", format!("{}{at}", options.out.display())));
    for (name, text) in rows {
        ui.say(format!("{} {text}", ui.dim(&format!("{name:<8}"))));
    }
}

/// What of the examples is not trained on.
fn left_out(counts: &ExampleCounts) -> Option<String> {
    let ExampleCounts { cut, dropped, empty, last_only, .. } = *counts;
    let parts = [
        (cut as u64, "cut to the length of a window"),
        (dropped as u64, "left out: the window ends before what counts"),
        (empty, "left out: nothing to learn from"),
        (last_only, "of which only the last answer counts, as the template rewrites the earlier ones"),
    ];
    let said = parts.into_iter().filter(|(count, _)| *count > 0);
    let said: Vec<String> = said.map(|(count, what)| format!("{count} {what}")).collect();
    (!said.is_empty()).then(|| said.join("; "))
}

/// The precision of products, and the micro-kernel that computes them.
fn products_line(math: MatmulPrecision) -> String {
    let line = format!("{}, micro-kernel {}", math.name(), GemmKernel::from(math).name());
    if math == MatmulPrecision::F32 || saves_time(math) {
        return line;
    }
    let other = match saves_time(MatmulPrecision::Int16) {
        true => "--math int16 takes less, and is closer to f32",
        false => "--math f32 takes as long",
    };
    format!("{line}; saves no time on this processor: {other}")
}

fn model_line(model: &str, cfg: &ModelConfig) -> String {
    let parameters = units::count(cfg.param_count() as f64);
    let layers = units::plural(cfg.layers, "layer");
    let vocab = if cfg.vocab > 0 { format!(", vocabulary {}", cfg.vocab) } else { String::new() };
    format!("{model}: {parameters} parameters, {layers}, dim {}, {} heads{vocab}", cfg.dim, cfg.heads)
}

/// What is trained, if it is not the whole model.
fn adapters_line(run: &Run) -> Option<String> {
    let (settings, cfg) = (run.settings(), run.config());
    let (trained, all) = (run.trained_count(), cfg.param_count());
    let what = match settings.lora {
        0 if trained == all => return None,
        0 => "of the weights, the others are frozen".to_owned(),
        rank => {
            let embeddings = if settings.train_embeddings { ", embedding and classifier" } else { "" };
            let dropout = match settings.lora_dropout {
                rate if rate > 0.0 => format!(", dropout {rate}"),
                _ => String::new(),
            };
            format!("of the model's size: adapters of rank {rank}{dropout}{embeddings}; the model is frozen")
        }
    };
    let share = 100.0 * trained as f64 / all as f64;
    Some(format!("{} parameters, {share:.2} % {what}", units::count(trained as f64)))
}

fn step_line(cfg: &ModelConfig, settings: &Settings, run: &Run) -> String {
    let tokens = run.tokens_per_step();
    let beside = match run.windows_side_by_side() {
        1 => String::new(),
        n => format!(", {n} side by side"),
    };
    let accum = if settings.accum > 1 { format!(" × {}", settings.accum) } else { String::new() };
    let (batch, seq, steps) = (settings.batch, cfg.seq, settings.steps);
    format!("{tokens} tokens: {batch}{accum} windows of {seq}{beside}; {steps} steps")
}

/// The optimizer with its rates, and the settings that resuming changed.
fn update_line(settings: &Settings, changes: &[(&str, String, String)]) -> String {
    let (lr, schedule) = (settings.lr, settings.schedule.name());
    let rates = match settings.optimizer {
        OptimizerKind::AdamW => format!("AdamW, learning rate {lr}"),
        OptimizerKind::Muon => {
            format!("Muon with learning rate {}, AdamW {lr} for all but layers' matrices", settings.muon_lr)
        }
        OptimizerKind::Sgd => format!("SGD with momentum {}, learning rate {lr}", settings.momentum),
        OptimizerKind::Adafactor => format!("Adafactor, relative learning rate {lr}"),
        OptimizerKind::Lion => format!("Lion, learning rate {lr}"),
    };
    let changes: Vec<String> =
        changes.iter().map(|(name, then, now)| format!("{name} {then} → {now}")).collect();
    let changed =
        if changes.is_empty() { String::new() } else { format!("; resuming changes {}", changes.join(", ")) };
    let mut others = String::new();
    if settings.ema > 0.0 {
        others += &format!(", average of weights with decay {}", settings.ema);
    }
    if settings.loss_scale != LossScale::Fixed(LossScaler::FIRST) {
        others += &format!(", loss scale {}", settings.loss_scale.text());
    }
    format!("{rates}, {schedule}{others}{changed}")
}

/// The steps per process, if the compile budget of one does not suffice for all.
fn restarts_line(run: &Run) -> Option<String> {
    let compiles = run.compiles()?;
    let (budget, first, step) = (compiles.budget, compiles.first, compiles.step);
    let (to_go, each) = (run.settings().steps.saturating_sub(run.step_count()), compiles.steps());
    let when = if each == 1 { "step".to_owned() } else { format!("{each} steps") };
    (to_go >= each).then(|| {
        format!("a new process every {when}: one may compile {budget} programs, {first} at first and {step} a step")
    })
}
