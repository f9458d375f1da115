//! `backpropane bench step`.

use super::output::{Measured, OutputArgs, Subject};
use crate::commands::engine::{ModelArgs, positive};
use crate::error::CommandError;
use crate::ladder::Ladder;
use crate::output::{check_place, write_file};
use crate::plot::{self, Series};
use crate::report::process_peak;
use crate::ui::Ui;
use crate::units;
use ::bench::{StepBench, StepBenchOptions, StepTimes, Workload};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::time::Duration;

/// Time a full training step: forward, backward and AdamW
///
/// Fp32 master weights, weights and data from splitmix64; the windows of a step are equal. The first loss, the norm of the first gradient and
/// the fourth loss are printed too: other programs that train the same model must print the same.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  backpropane bench step                                          one layer, dim 768, S 512
  backpropane bench step --model stories110m --model stories15m   two models, one after the other
  backpropane bench step --threads 1 --json > before.json
  backpropane bench step --threads 1 --compare before.json        each model's time, new/old
  backpropane bench step --model shakespeare --batch 4            four windows a step
  backpropane bench step --plot samples.svg --trace step.json     all steps; all tasks of one
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

    /// Windows of a step
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = positive::<usize>)]
    batch: usize,

    #[command(flatten)]
    on: ModelArgs,

    /// Print one line per model: model program type threads median_ms, then further numbers
    #[arg(long, conflicts_with = "json")]
    line: bool,

    #[command(flatten)]
    output: OutputArgs,

    /// Write when each task of the last step ran, as a Chrome trace
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,

    /// Draw the time of every step, as SVG
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
}

#[derive(Debug, Serialize, Deserialize)]
struct StepResult {
    #[serde(flatten)]
    subject: Subject,
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
    #[serde(default)]
    surface_bytes: u64,
    /// Bytes of kernels' constants, including weights if these are baked in.
    #[serde(default)]
    kernel_bytes: u64,
    #[serde(default)]
    scratch_bytes: u64,
    process_peak: Option<u64>,
}

pub fn run(ui: &Ui, args: &StepArgs) -> Result<(), CommandError> {
    args.output.check("bench step")?;
    check_place(args.plot.as_deref())?;
    check_place(args.trace.as_deref())?;
    let ladder = Ladder::here();
    let options = StepBenchOptions {
        threads: args.on.engine.threads,
        device: args.on.device(),
        start: args.on.start(ladder.known()),
        storage: args.on.storage(),
        batch: args.batch,
        samples: args.samples,
        budget: Duration::from_secs(args.budget),
    };
    let (mut results, mut drawn) = (Vec::new(), Vec::new());
    for name in &args.model {
        let workload = Workload::new(super::model::model(name)?);
        let (tokens, parameters, flops) = (
            workload.config.seq * args.batch,
            workload.config.param_count(),
            workload.flops() * args.batch as f64,
        );
        let bar = ui.steps("stepping");
        let bench = StepBench::new(workload, &options, &mut |event| ladder.report(ui, event))?;
        let times = bench.run(&options, &mut |done, total| bar.at(done, total))?;
        drop(bar);
        if let Some(path) = &args.trace {
            write_file(path, &times.trace.to_chrome_json())?;
        }
        let subject = Subject {
            command: "bench step".to_owned(),
            model: name.clone(),
            threads: times.device.threads,
            math: times.device.math.name().to_owned(),
            variant: variant(args, &times),
        };
        let result = summary(subject, tokens, parameters, flops, &times);
        let text = if args.line { line(&result) } else { result.text() };
        args.output.show_one(ui, &text, &result)?;
        results.push(result);
        let point = |(i, t): (usize, &Duration)| ((i + 1) as f64, t.as_secs_f64() * 1e3);
        let points = times.samples.iter().enumerate().map(point).collect();
        drawn.push(Series { name: name.clone(), points });
    }
    if let Some(path) = &args.plot {
        write_file(path, &plot::drawn(plot::lines_svg("training steps", "step", "ms", &drawn))?)?;
    }
    args.output.show_list(ui, &results)
}

/// The options that differ from the defaults.
fn variant(args: &StepArgs, times: &StepTimes) -> String {
    let dynamic = if times.dynamic { ", dynamic weights" } else { "" };
    let plan = match times.rung.map(|chosen| chosen.rung).filter(|rung| rung.place() > 0) {
        Some(rung) if rung.place() == 1 => ", norms on the host".to_owned(),
        Some(rung) => format!(", plan {}", rung.name),
        None => String::new(),
    };
    let batch = if args.batch > 1 { format!(", {} windows", args.batch) } else { String::new() };
    super::model::storage_name(args.on.storage()) + dynamic + &plan + &batch
}

fn summary(subject: Subject, tokens: usize, parameters: usize, flops: f64, times: &StepTimes) -> StepResult {
    let mut ms: Vec<f64> = times.samples.iter().map(|t| t.as_secs_f64() * 1e3).collect();
    ms.sort_by(f64::total_cmp);
    let median = ms.get(ms.len() / 2).copied().unwrap_or(f64::NAN);
    StepResult {
        subject,
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
        surface_bytes: times.surfaces as u64,
        kernel_bytes: times.kernels.0 as u64,
        scratch_bytes: times.kernels.1 as u64,
        process_peak: process_peak(),
    }
}

fn line(r: &StepResult) -> String {
    format!(
        "{} backpropane {} {} {:.2}  # min {:.2} n {} MiB {} loss0 {:.6} gnorm {:.6} loss3 {:.6} ok",
        r.subject.model,
        r.subject.math,
        r.subject.threads,
        r.median_ms,
        r.min_ms,
        r.samples,
        r.process_peak.unwrap_or(0) >> 20,
        r.loss0,
        r.gradient_norm,
        r.loss3
    )
}

impl Measured for StepResult {
    fn subject(&self) -> &Subject {
        &self.subject
    }

    fn lines(&self) -> Vec<(String, f64)> {
        vec![("median of a step".to_owned(), self.median_ms), ("shortest step".to_owned(), self.min_ms)]
    }

    fn text(&self) -> String {
        let (r, s) = (self, &self.subject);
        let peak = r.process_peak.map_or(String::new(), |p| format!(", peak memory {}", units::bytes(p)));
        format!(
            "{}: {:.1} ms a step ({:.1} to {:.1}, {} steps), {} tokens/s, {:.0} GFLOP/s
  {} parameters, {} tokens a step, {}, products in {}, {}, kernels compiled in {:.0} ms{peak}
  {}: surfaces {}, constants of kernels {}, their scratch {}
  loss {:.6}, gradient norm {:.6}, loss after three steps {:.6}",
            s.model,
            r.median_ms,
            r.min_ms,
            r.max_ms,
            r.samples,
            units::count(r.tokens as f64 / r.median_ms * 1e3),
            r.gflops,
            units::count(r.parameters as f64),
            r.tokens,
            r.chip,
            s.math,
            units::plural(s.threads, "thread"),
            r.compile_ms,
            s.variant,
            units::bytes(r.surface_bytes),
            units::bytes(r.kernel_bytes),
            units::bytes(r.scratch_bytes),
            r.loss0,
            r.gradient_norm,
            r.loss3,
        )
    }
}
