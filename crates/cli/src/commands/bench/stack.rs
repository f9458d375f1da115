//! `backpropane bench peak`, `sram` and `int8`: stacks of equal convolutions.

use super::output::{Measured, OutputArgs, Subject};
use crate::commands::engine::{EngineArgs, positive};
use crate::error::CommandError;
use crate::output::{check_place, write_file};
use crate::plot::{self, Series};
use crate::ui::Ui;
use crate::units;
use ::bench::{StackOptions, StackSize, StackTime, int8_sizes, knee, peak_sizes, sram_sizes, stacks};
use ane::Engine;
use ane::chain::StackPrecision;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::time::Duration;

/// Time stacks of equal convolutions: the peak throughput of an engine
///
/// Stacks of 32 to 256 convolutions of 256, 384 and 512 channels on 64 columns, and on images of 64×64; on the software
/// engine those of 64×64 are short unless --full is given. Weights are Hadamard matrices, dense and different in each
/// layer, so the correct results are known at any depth. They are checked before a time is shown.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  backpropane bench peak                          all stacks
  backpropane bench peak --device soft --threads 1 --json > before.json
  backpropane bench peak --plot peak.svg          GFLOP/s over depth")]
pub struct PeakArgs {
    #[command(flatten)]
    stack: StackArgs,
}

/// Time convolutions of growing working sets, and find where the throughput falls
///
/// One convolution of 256 to 8192 channels (4096 on the software engine unless --full is given) on 64 columns. Prints
/// milliseconds, GFLOP/s, and GFLOP/s per MB of weights. The knee is the size from which throughput stays below 70 % of its
/// maximum. 4096 outputs of each convolution are compared with known sums before a time is shown.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  backpropane bench sram                          the sweep
  backpropane bench sram --plot sram.svg          GFLOP/s over MB
  backpropane probe sram                          the knee alone, compared with reports")]
pub struct SramArgs {
    #[command(flatten)]
    stack: StackArgs,
}

/// Time stacks of convolutions in fp16 and in int8
///
/// Each stack runs with weights in fp16, and with weights in int8 whose activations are quantized between layers
/// (W8A8). The correct results of both are known and checked before a time is shown. On the software engine, which
/// unpacks int8 weights, stacks are small unless --full is given.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  backpropane bench int8                          fp16 and int8 in turn
  backpropane bench int8 --json | jq '.stacks[] | [.name, .gflops]'")]
pub struct Int8Args {
    #[command(flatten)]
    stack: StackArgs,
}

#[derive(clap::Args, Debug)]
struct StackArgs {
    /// Run the large sizes on the software engine too, which takes minutes
    #[arg(long)]
    full: bool,

    /// Most dispatches of each stack; timing ends after two seconds, but not before three dispatches
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = positive::<usize>)]
    samples: usize,

    #[command(flatten)]
    engine: EngineArgs,

    #[command(flatten)]
    output: OutputArgs,

    /// Draw GFLOP/s, as SVG
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
}

/// Time for the dispatches of one stack.
const BUDGET: Duration = Duration::from_secs(2);

/// The differences between the three commands.
#[derive(Clone, Copy)]
struct Kind {
    command: &'static str,
    about: &'static str,
    sizes: fn(Engine, bool) -> Vec<StackSize>,
    /// The label of the chart's horizontal axis, and a stack's coordinate.
    along: (&'static str, fn(&Stack) -> f64),
    /// The series of the chart that a stack belongs to.
    line: fn(&Stack) -> String,
}

const PEAK: Kind = Kind {
    command: "bench peak",
    about: "stacks of convolutions",
    sizes: peak_sizes,
    along: ("convolutions", |s| s.depth as f64),
    line: |s| format!("{} channels, {}×{}", s.channels, s.height, s.width),
};

const SRAM: Kind = Kind {
    command: "bench sram",
    about: "convolutions of growing working sets",
    sizes: sram_sizes,
    along: ("MB of weights, input and output", |s| s.working_bytes as f64 / 1e6),
    line: |_| "one convolution".to_owned(),
};

const INT8: Kind = Kind {
    command: "bench int8",
    about: "stacks of convolutions in fp16 and int8",
    sizes: int8_sizes,
    along: ("convolutions", |s| s.depth as f64),
    line: |s| format!("{} channels, {}", s.channels, s.precision),
};

#[derive(Debug, Serialize, Deserialize)]
struct StackResult {
    #[serde(flatten)]
    subject: Subject,
    chip: String,
    /// How the results were checked before they were timed.
    verified: String,
    stacks: Vec<Stack>,
    /// For `bench sram`: the working sets, in bytes, between which throughput falls for good.
    knee_bytes: Option<(usize, usize)>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Stack {
    name: String,
    channels: usize,
    depth: usize,
    height: usize,
    width: usize,
    precision: String,
    flops: f64,
    weight_bytes: usize,
    working_bytes: usize,
    compile_ms: Option<f64>,
    ms: Option<f64>,
    low_ms: Option<f64>,
    high_ms: Option<f64>,
    samples: usize,
    gflops: Option<f64>,
    /// GFLOP/s per MB of weights.
    gflops_per_mb: Option<f64>,
    /// The error if the stack has no time.
    problem: Option<String>,
}

impl From<StackTime> for Stack {
    fn from(t: StackTime) -> Stack {
        let StackSize { channels, depth, image: [height, width], precision } = t.size;
        let precision = match precision {
            StackPrecision::F16 => "fp16",
            StackPrecision::W8A8 => "W8A8",
        };
        let ms = |d: Duration| d.as_secs_f64() * 1e3;
        let timed = t.time.as_ref().ok();
        let gflops = timed.map(|d| t.flops / ms(d.dispatch.median) / 1e6);
        Stack {
            name: format!("{channels} channels × {depth}, {height}×{width}, {precision}"),
            channels,
            depth,
            height,
            width,
            precision: precision.to_owned(),
            flops: t.flops,
            weight_bytes: t.weight_bytes,
            working_bytes: t.working_bytes,
            compile_ms: timed.map(|d| ms(d.compile)),
            ms: timed.map(|d| ms(d.dispatch.median)),
            low_ms: timed.map(|d| ms(d.dispatch.low)),
            high_ms: timed.map(|d| ms(d.dispatch.high)),
            samples: timed.map_or(0, |d| d.samples),
            gflops,
            gflops_per_mb: gflops.map(|g| g / (t.weight_bytes as f64 / 1e6)),
            problem: t.time.err().map(|e| e.to_string()),
        }
    }
}

pub fn peak(ui: &Ui, args: &PeakArgs) -> Result<(), CommandError> {
    run(ui, &args.stack, PEAK)
}

pub fn sram(ui: &Ui, args: &SramArgs) -> Result<(), CommandError> {
    run(ui, &args.stack, SRAM)
}

pub fn int8(ui: &Ui, args: &Int8Args) -> Result<(), CommandError> {
    run(ui, &args.stack, INT8)
}

fn run(ui: &Ui, args: &StackArgs, kind: Kind) -> Result<(), CommandError> {
    args.output.check(kind.command)?;
    check_place(args.plot.as_deref())?;
    let options = StackOptions { samples: args.samples, budget: BUDGET };
    let bar = ui.steps("measuring");
    let sizes = |engine| (kind.sizes)(engine, args.full);
    let (wanted, threads) = (args.engine.device(), args.engine.threads);
    let (device, times) = stacks(wanted, threads, sizes, options, &mut |done, of| bar.at(done, of))?;
    drop(bar);
    let stacks: Vec<Stack> = times.into_iter().map(Stack::from).collect();
    let points: Vec<(usize, f64)> =
        stacks.iter().filter_map(|s| Some((s.working_bytes, s.gflops?))).collect();
    let sizes = if args.full || device.engine == Engine::Apple { "all sizes" } else { "small sizes" };
    let result = StackResult {
        subject: Subject {
            command: kind.command.to_owned(),
            model: device.name.clone(),
            threads: device.threads,
            math: device.math.name().to_owned(),
            variant: sizes.to_owned(),
        },
        chip: device.chip.clone(),
        verified: "results are known by construction: all are compared at even depths, 4096 at odd ones"
            .to_owned(),
        knee_bytes: (kind.command == SRAM.command).then(|| knee(&points)).flatten(),
        stacks,
    };
    if let Some(path) = &args.plot {
        write_file(path, &plot::drawn(drawn(kind, &result))?)?;
    }
    args.output.show(ui, &result)?;
    let failed = result.stacks.iter().any(|s| s.problem.is_some());
    if failed { Err(CommandError::negative()) } else { Ok(()) }
}

fn drawn(kind: Kind, result: &StackResult) -> Result<String, String> {
    let mut series: Vec<Series> = Vec::new();
    for s in &result.stacks {
        let Some(gflops) = s.gflops else { continue };
        let (name, point) = ((kind.line)(s), ((kind.along.1)(s), gflops));
        match series.iter_mut().find(|line| line.name == name) {
            Some(line) => line.points.push(point),
            None => series.push(Series { name, points: vec![point] }),
        }
    }
    let title = format!("{} on the {}", kind.about, result.subject.model);
    plot::lines_svg(&title, kind.along.0, "GFLOP/s", &series)
}

impl Measured for StackResult {
    fn subject(&self) -> &Subject {
        &self.subject
    }

    fn lines(&self) -> Vec<(String, f64)> {
        self.stacks.iter().filter_map(|s| Some((s.name.clone(), s.ms?))).collect()
    }

    fn text(&self) -> String {
        let sram = self.subject.command == SRAM.command;
        let rows = self.stacks.iter().map(|s| {
            let (Some(ms), Some(low), Some(high), Some(gflops)) = (s.ms, s.low_ms, s.high_ms, s.gflops)
            else {
                return format!("\n{:<38} FAILED: {}", s.name, s.problem.as_deref().unwrap_or_default());
            };
            let more = match s.gflops_per_mb.filter(|_| sram) {
                Some(each) => {
                    format!(
                        ", {} in all, {each:.1} GFLOP/s a MB of weights",
                        units::bytes(s.working_bytes as u64)
                    )
                }
                None => format!(", weights {}", units::bytes(s.weight_bytes as u64)),
            };
            format!("\n{:<38} {ms:9.3} ms ({low:.3} to {high:.3}), {gflops:.0} GFLOP/s{more}", s.name)
        });
        let s = &self.subject;
        let mut text = format!(
            "{} on the {}, {}, {}, {}:{}",
            if sram { SRAM.about } else { "stacks of convolutions" },
            s.model,
            self.chip,
            units::plural(s.threads, "thread"),
            s.variant,
            rows.collect::<String>()
        );
        text.push_str(&self.ratios());
        if sram {
            text.push_str(&match self.knee_bytes {
                Some((last, next)) => {
                    let [last, next] = [last, next].map(|n| units::bytes(n as u64));
                    format!("\nthroughput falls for good between {last} and {next}")
                }
                None => "\nthroughput does not fall for good up to the largest size".to_owned(),
            });
        }
        text
    }
}

impl StackResult {
    /// The time of int8 over that of fp16, for each stack measured in both.
    fn ratios(&self) -> String {
        let of = |s: &Stack| (s.channels, s.depth, s.height, s.width);
        let ratio = |s: &Stack| {
            let other = self.stacks.iter().find(|o| o.precision == "fp16" && of(o) == of(s))?;
            Some(format!(
                "\n{} channels × {}: int8 takes {:.2} of the time of fp16",
                s.channels,
                s.depth,
                s.ms? / other.ms?
            ))
        };
        self.stacks.iter().filter(|s| s.precision == "W8A8").filter_map(ratio).collect()
    }
}
