//! `backpropane bench ablation`.

use super::output::{Measured, OutputArgs, Subject};
use crate::commands::engine::{EngineArgs, positive, storage};
use crate::error::CommandError;
use crate::output::{check_place, write_file};
use crate::plot::{self, Bar};
use crate::ui::Ui;
use crate::units;
use ::bench::{Ablation, StepBenchOptions, What, Workload, ablation, limit};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::time::Duration;
use train::model::{Norms, Precision};
use train::run::RunError;

/// Time a training step without each optimisation of maderix/ANE, and with one after the other
///
/// First all are on and one is switched off at a time; then none is on and they are switched on one after the other, in
/// the order in which that project added them. All variants compute the same: losses are equal to the bit where the
/// arithmetic is the same, and up to the rounding of fp16 where the host computes norms. Deferred waits show with --batch 2
/// only: with one window and one layer there is nothing to overlap. A ratio is the median over pairs of steps, each with a
/// step that has everything on, so it is robust against drifts of the machine's speed.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  backpropane bench ablation                          one layer, dim 768, S 512
  backpropane bench ablation --batch 4 --plot ablation.svg
  backpropane bench ablation --model stories15m --samples 10 --json")]
pub struct AblationArgs {
    /// A preset, a folder with a config.json, or a TOML file
    #[arg(long, value_name = "MODEL", default_value = "layer768")]
    model: String,

    /// Tokens of a window [default: the model's]
    #[arg(long, value_name = "N", value_parser = positive::<usize>)]
    seq: Option<usize>,

    /// Windows of a step
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = positive::<usize>)]
    batch: usize,

    /// Steps of each variant to time, after a warm-up of four; they alternate with steps that have everything on
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = positive::<usize>)]
    samples: usize,

    /// Element type of programs and surfaces
    #[arg(long, value_name = "TYPE", default_value = "f16", value_parser = storage())]
    storage: Precision,

    #[command(flatten)]
    engine: EngineArgs,

    #[command(flatten)]
    output: OutputArgs,

    /// Draw the time of a step with each variant, as SVG
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
}

#[derive(Debug, Serialize, Deserialize)]
struct AblationResult {
    #[serde(flatten)]
    subject: Subject,
    chip: String,
    gflop: f64,
    limit_gflops: Option<f64>,
    variants: Vec<Variant>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Variant {
    name: String,
    /// Whether it is of the second series, which switches one more on each time.
    cumulative: bool,
    on: Vec<String>,
    ms: f64,
    low_ms: f64,
    high_ms: f64,
    /// Median over pairs of steps: its time over the time with everything on.
    ratio: f64,
    share_of_limit: Option<f64>,
    loss0: f64,
    gradient_norm: f64,
    loss3: f64,
}

pub fn run(ui: &Ui, args: &AblationArgs) -> Result<(), CommandError> {
    args.output.check("bench ablation")?;
    check_place(args.plot.as_deref())?;
    let mut config = super::model::model(&args.model)?;
    config.seq = args.seq.unwrap_or(config.seq);
    config.validate()?;
    let workload = Workload::new(config);
    let options = StepBenchOptions {
        threads: args.engine.threads,
        device: args.engine.device(),
        start: Norms::Engine.into(),
        storage: args.storage,
        batch: 1,
        samples: args.samples,
        budget: Duration::from_secs(60),
    };
    let peak = limit(options.device.math, options.threads).map_err(RunError::from)?;
    let bar = ui.steps("measuring");
    let (device, rows) = ablation(&workload, &options, args.batch, &mut |done, of| bar.at(done, of))?;
    drop(bar);
    let flops = workload.flops() * args.batch as f64;
    let result = AblationResult {
        subject: Subject {
            command: "bench ablation".to_owned(),
            model: args.model.clone(),
            threads: device.threads,
            math: device.math.name().to_owned(),
            variant: format!(
                "{}, S {}, batch {}",
                super::model::storage_name(args.storage),
                workload.config.seq,
                args.batch
            ),
        },
        chip: device.chip.clone(),
        gflop: flops / 1e9,
        limit_gflops: peak.map(|flops| flops / 1e9),
        variants: rows.into_iter().map(|row| Variant::new(row, flops, peak)).collect(),
    };
    if let Some(path) = &args.plot {
        write_file(path, &result.plot()?)?;
    }
    args.output.show(ui, &result)
}

impl Variant {
    fn new(row: Ablation, flops: f64, limit: Option<f64>) -> Variant {
        let (name, cumulative) = match row.what {
            What::All => ("all on".to_owned(), false),
            What::Without(o) => (o.names().1.to_owned(), false),
            What::Nothing => ("none".to_owned(), true),
            What::Added(o) => (format!("+ {}", o.names().0), true),
        };
        let time = row.time.time;
        let [ms, low_ms, high_ms] = [time.median, time.low, time.high].map(|t| t.as_secs_f64() * 1e3);
        let [loss0, gradient_norm, loss3] = row.numbers;
        Variant {
            name,
            cumulative,
            on: row.on.iter().map(|o| o.names().0.to_owned()).collect(),
            ms,
            low_ms,
            high_ms,
            ratio: row.time.ratio,
            share_of_limit: limit.map(|limit| flops / (ms / 1e3) / limit),
            loss0,
            gradient_norm,
            loss3,
        }
    }
}

impl AblationResult {
    fn plot(&self) -> Result<String, CommandError> {
        let bar = |v: &Variant| Bar { name: v.name.clone(), value: v.ms, group: usize::from(v.cumulative) };
        let bars: Vec<Bar> = self.variants.iter().map(bar).collect();
        let s = &self.subject;
        let title = format!("a step of {}, {}", s.model, units::plural(s.threads, "thread"));
        plot::drawn(plot::bars_svg(&title, "ms", &bars))
    }
}

impl Measured for AblationResult {
    fn subject(&self) -> &Subject {
        &self.subject
    }

    fn lines(&self) -> Vec<(String, f64)> {
        self.variants.iter().map(|v| (v.name.clone(), v.ms)).collect()
    }

    fn text(&self) -> String {
        let s = &self.subject;
        let limit = self.limit_gflops.map(|l| format!(", limit {l:.0} GFLOP/s")).unwrap_or_default();
        let mut text = format!(
            "a step of {}, {}, {}, {}, {:.1} GFLOP{limit}",
            s.model,
            s.variant,
            self.chip,
            units::plural(s.threads, "thread"),
            self.gflop
        );
        for cumulative in [false, true] {
            text.push_str(if cumulative { "\none more at a time:" } else { "\none off at a time:" });
            for v in self.variants.iter().filter(|v| v.cumulative == cumulative) {
                let share = v.share_of_limit.map(|s| format!(", {:.0} % of the limit", 100.0 * s));
                text.push_str(&format!(
                    "\n  {:<34} {:8.2} ms ({:.2} to {:.2}), × {:.2}{}, loss {:.6}",
                    v.name,
                    v.ms,
                    v.low_ms,
                    v.high_ms,
                    v.ratio,
                    share.unwrap_or_default(),
                    v.loss3
                ));
            }
        }
        text
    }
}
