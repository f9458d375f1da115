//! `backpropane bench scaling`.

use super::output::{Measured, OutputArgs, Subject};
use crate::commands::engine::{EngineArgs, positive, storage};
use crate::error::CommandError;
use crate::output::{check_place, write_file};
use crate::plot::{self, Series};
use crate::ui::Ui;
use ::bench::{Over, StepBenchOptions, scaling};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::time::Duration;
use train::model::{Norms, Precision};

/// Time a training step at several sizes, to see how its cost grows
///
/// Prints milliseconds, milliseconds per unit, and milliseconds per unit added since the previous size, which are
/// constant where the cost is linear.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  backpropane bench scaling --over layers               stories15m with 1, 2, 4 and 8 layers
  backpropane bench scaling --over seq --model layer768 --sizes 128,256,512,1024
  backpropane bench scaling --over vocab --plot vocab.svg --json")]
pub struct ScalingArgs {
    /// The dimension that grows
    #[arg(long, value_name = "WHAT")]
    over: OverArg,

    /// Its sizes [default: four, each twice the previous one]
    #[arg(long, value_name = "N,N,...", value_delimiter = ',', value_parser = positive::<usize>)]
    sizes: Vec<usize>,

    /// A preset, a folder with a config.json, or a TOML file
    #[arg(long, value_name = "MODEL", default_value = "stories15m")]
    model: String,

    /// Steps to time at each size, after a warm-up of four
    #[arg(long, value_name = "N", default_value_t = 15, value_parser = positive::<usize>)]
    samples: usize,

    /// Element type of programs and surfaces
    #[arg(long, value_name = "TYPE", default_value = "f16", value_parser = storage())]
    storage: Precision,

    #[command(flatten)]
    engine: EngineArgs,

    #[command(flatten)]
    output: OutputArgs,

    /// Draw milliseconds over sizes, as SVG
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
}

/// The dimension that grows.
#[derive(ValueEnum, Clone, Copy, Debug)]
enum OverArg {
    /// Layers of the model
    Layers,
    /// Windows of a step
    Batch,
    /// Tokens of the vocabulary
    Vocab,
    /// Tokens of a window
    Seq,
}

impl OverArg {
    fn over(self) -> (Over, &'static str, &'static str) {
        match self {
            OverArg::Layers => (Over::Layers, "layers", "layer"),
            OverArg::Batch => (Over::Batch, "batch", "window"),
            OverArg::Vocab => (Over::Vocab, "vocab", "token of the vocabulary"),
            OverArg::Seq => (Over::Seq, "seq", "token of a window"),
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct ScalingResult {
    #[serde(flatten)]
    subject: Subject,
    chip: String,
    over: String,
    unit: String,
    sizes: Vec<SizeTime>,
}

#[derive(Debug, Serialize, Deserialize)]
struct SizeTime {
    size: usize,
    ms: f64,
    low_ms: f64,
    high_ms: f64,
    gflops: f64,
    ms_per_unit: f64,
    /// Milliseconds per unit added since the previous size.
    ms_per_added_unit: Option<f64>,
}

pub fn run(ui: &Ui, args: &ScalingArgs) -> Result<(), CommandError> {
    args.output.check("bench scaling")?;
    check_place(args.plot.as_deref())?;
    let config = super::model::model(&args.model)?;
    let (over, name, unit) = args.over.over();
    let sizes = if args.sizes.is_empty() { over.sizes().to_vec() } else { args.sizes.clone() };
    let options = StepBenchOptions {
        threads: args.engine.threads,
        device: args.engine.device(),
        start: Norms::Engine.into(),
        storage: args.storage,
        batch: 1,
        samples: args.samples,
        budget: Duration::from_secs(60),
    };
    let bar = ui.steps("measuring");
    let (device, times) = scaling(&config, over, &sizes, &options, &mut |done, of| bar.at(done, of))?;
    drop(bar);
    let ms = |t: Duration| t.as_secs_f64() * 1e3;
    let mut rows: Vec<SizeTime> = Vec::new();
    for t in times {
        let median = ms(t.time.median);
        let before = rows.last().filter(|before| before.size != t.size);
        let added = before.map(|before| (median - before.ms) / (t.size as f64 - before.size as f64));
        rows.push(SizeTime {
            size: t.size,
            ms: median,
            low_ms: ms(t.time.low),
            high_ms: ms(t.time.high),
            gflops: t.flops / median / 1e6,
            ms_per_unit: median / t.size as f64,
            ms_per_added_unit: added,
        });
    }
    let result = ScalingResult {
        subject: Subject {
            command: "bench scaling".to_owned(),
            model: args.model.clone(),
            threads: device.threads,
            math: device.math.name().to_owned(),
            variant: format!("{}, over {name}", super::model::storage_name(args.storage)),
        },
        chip: device.chip.clone(),
        over: name.to_owned(),
        unit: unit.to_owned(),
        sizes: rows,
    };
    if let Some(path) = &args.plot {
        let points = result.sizes.iter().map(|s| (s.size as f64, s.ms)).collect();
        let title = format!("a step of {} over {name}", args.model);
        let series = [Series { name: name.to_owned(), points }];
        write_file(path, &plot::drawn(plot::lines_svg(&title, name, "ms", &series))?)?;
    }
    args.output.show(ui, &result)
}

impl Measured for ScalingResult {
    fn subject(&self) -> &Subject {
        &self.subject
    }

    fn lines(&self) -> Vec<(String, f64)> {
        self.sizes.iter().map(|s| (format!("{} {}", self.over, s.size), s.ms)).collect()
    }

    fn text(&self) -> String {
        let rows = self.sizes.iter().map(|s| {
            let added = s.ms_per_added_unit.map(|ms| format!(", {ms:.4} ms each more")).unwrap_or_default();
            format!(
                "\n{:>7} {:9.2} ms ({:.2} to {:.2}), {:.0} GFLOP/s, {:.4} ms a {}{added}",
                s.size, s.ms, s.low_ms, s.high_ms, s.gflops, s.ms_per_unit, self.unit
            )
        });
        let s = &self.subject;
        let threads = crate::units::plural(s.threads, "thread");
        format!(
            "a step of {} over {}, {}, {threads}:{}",
            s.model,
            self.over,
            self.chip,
            rows.collect::<String>()
        )
    }
}
