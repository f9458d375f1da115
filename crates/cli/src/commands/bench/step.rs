//! `backpropane bench step`.

use crate::commands::engine::{EngineArgs, StorageArg, positive};
use crate::commands::print_json;
use crate::error::CommandError;
use crate::report::process_peak;
use crate::ui::Ui;
use crate::units;
use serde::Serialize;
use std::time::Duration;
use train::bench::{StepBench, StepOptions, StepTimes, Workload};
use train::config::ModelConfig;

/// Time a full training step: forward, backward and AdamW
///
/// Batch 1, fp32 master weights, numbers that follow from splitmix64. The first loss, the norm of the first gradient
/// and the fourth loss are printed too: other programs that train the same model must show the same.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  backpropane bench step                                          one layer, dim 768, S 512
  backpropane bench step --model stories110m --model stories15m   two models, one after the other
  backpropane bench step --threads 1 --json                       for programs
  backpropane bench step --line                                   the line that benches/peers print")]
pub struct StepArgs {
    /// A preset, a folder with a config.json, or a TOML file; may be given several times
    #[arg(long, value_name = "MODEL", default_value = "layer768")]
    model: Vec<String>,

    /// Steps to time, after a warm-up of four
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = positive::<usize>)]
    samples: usize,

    /// Seconds after which timing ends; at least ten steps are timed
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = positive::<u64>)]
    budget: u64,

    /// Element type of programs and surfaces
    #[arg(long, value_name = "TYPE", default_value = "f16")]
    storage: StorageArg,

    #[command(flatten)]
    engine: EngineArgs,

    /// Print one line a model: model program type threads median_ms, then what else there is
    #[arg(long, conflicts_with = "json")]
    line: bool,

    /// Print a JSON list, one object a model
    #[arg(long)]
    json: bool,

    /// Write when each task of the last step ran, as a Chrome trace
    #[arg(long, value_name = "FILE")]
    trace: Option<std::path::PathBuf>,
}

#[derive(Debug, Serialize)]
struct StepResult {
    model: String,
    threads: usize,
    math: &'static str,
    chip: String,
    tokens: usize,
    parameters: usize,
    median_ms: f64,
    min_ms: f64,
    max_ms: f64,
    samples: usize,
    gflop: f64,
    gflops: f64,
    compile_ms: f64,
    loss0: f64,
    gradient_norm: f64,
    loss3: f64,
    process_peak: Option<u64>,
}

pub fn run(ui: &Ui, args: &StepArgs) -> Result<(), CommandError> {
    let options = StepOptions {
        threads: args.engine.threads,
        device: args.engine.device(),
        storage: args.storage.into(),
        samples: args.samples,
        budget: Duration::from_secs(args.budget),
    };
    let mut results = Vec::new();
    for name in &args.model {
        let workload = Workload::new(ModelConfig::find(name)?);
        let (tokens, parameters, flops) =
            (workload.config.seq, workload.config.param_count(), workload.flops());
        let bar = ui.bar(name, (4 + args.samples) as u64);
        let times = StepBench::new(workload, &options)?.run(&options, &mut |done, total| {
            if let Some(bar) = &bar {
                bar.set_position(done as u64);
                bar.set_message(format!("step {done} of {total}"));
            }
        })?;
        if let Some(bar) = bar {
            bar.finish_and_clear();
        }
        if let Some(path) = &args.trace {
            let written = std::fs::write(path, times.trace.to_chrome_json());
            written.map_err(|e| CommandError::failure(format!("cannot write `{}`: {e}", path.display())))?;
        }
        let result = summary(name, tokens, parameters, flops, &times);
        if args.line {
            ui.result(&line(&result))?;
        } else if !args.json {
            ui.result(&text(&result))?;
        }
        results.push(result);
    }
    if args.json { print_json(ui, &results) } else { Ok(()) }
}

fn summary(model: &str, tokens: usize, parameters: usize, flops: f64, times: &StepTimes) -> StepResult {
    let mut ms: Vec<f64> = times.samples.iter().map(|t| t.as_secs_f64() * 1e3).collect();
    ms.sort_by(f64::total_cmp);
    let median = ms.get(ms.len() / 2).copied().unwrap_or(f64::NAN);
    StepResult {
        model: model.to_owned(),
        threads: times.device.threads,
        math: match times.device.math {
            ane::Math::F32 => "f32",
            ane::Math::Bf16 => "bf16",
        },
        chip: times.device.chip.clone(),
        tokens,
        parameters,
        median_ms: median,
        min_ms: ms.first().copied().unwrap_or(f64::NAN),
        max_ms: ms.last().copied().unwrap_or(f64::NAN),
        samples: ms.len(),
        gflop: flops / 1e9,
        gflops: flops / median / 1e6,
        compile_ms: times.compile.as_secs_f64() * 1e3,
        loss0: times.loss0,
        gradient_norm: times.gradient_norm,
        loss3: times.loss3,
        process_peak: process_peak(),
    }
}

fn line(r: &StepResult) -> String {
    format!(
        "{} backpropane {} {} {:.2}  # min {:.2} n {} loss0 {:.6} gnorm {:.6} loss3 {:.6} ok",
        r.model, r.math, r.threads, r.median_ms, r.min_ms, r.samples, r.loss0, r.gradient_norm, r.loss3
    )
}

fn text(r: &StepResult) -> String {
    let peak = r.process_peak.map_or(String::new(), |p| format!(", peak memory {}", units::bytes(p)));
    format!(
        "{}: {:.1} ms a step ({:.1} to {:.1}, {} steps), {} tokens/s, {:.0} GFLOP/s
  {} parameters, {} tokens a step, {}, products in {}, {}, kernels compiled in {:.0} ms{peak}
  loss {:.6}, gradient norm {:.6}, loss after three steps {:.6}",
        r.model,
        r.median_ms,
        r.min_ms,
        r.max_ms,
        r.samples,
        units::count(r.tokens as f64 / r.median_ms * 1e3),
        r.gflops,
        units::count(r.parameters as f64),
        r.tokens,
        r.chip,
        r.math,
        units::plural(r.threads, "thread"),
        r.compile_ms,
        r.loss0,
        r.gradient_norm,
        r.loss3,
    )
}
