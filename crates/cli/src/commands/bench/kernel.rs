//! `backpropane bench kernel`.

use super::output::{Measured, OutputArgs, Subject};
use crate::commands::engine::{MathChoice, NormsArgs, math, positive, storage, threads};
use crate::error::CommandError;
use crate::ui::Ui;
use ::bench::{KernelTimes, Workload, kernels};
use serde::{Deserialize, Serialize};
use std::fmt::Write;
use train::model::{Norms, Precision};
use train::run::RunError;

/// Time each step inside the kernels of a layer, on the software engine
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  backpropane bench kernel                            the six kernels of one layer, dim 768, S 512
  backpropane bench kernel --model stories15m --threads 1
  backpropane bench kernel --math int16               where products of integers save time
  backpropane bench kernel --json > before.json
  backpropane bench kernel --compare before.json")]
pub struct KernelArgs {
    /// A preset, a folder with a config.json, or a TOML file
    #[arg(long, value_name = "MODEL", default_value = "layer768")]
    model: String,

    /// Runs of each kernel
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = positive::<usize>)]
    samples: usize,

    /// Threads to compute on; 0: as many as the machine runs at once
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = threads)]
    threads: usize,

    /// Element type of programs and surfaces
    #[arg(long, value_name = "TYPE", default_value = "f16", value_parser = storage())]
    storage: Precision,

    /// Matrix products, as `train` has them
    #[arg(long, value_name = "MATH", default_value = "auto", value_parser = math())]
    math: MathChoice,

    #[command(flatten)]
    norms: NormsArgs,

    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, Serialize, Deserialize)]
struct KernelResult {
    #[serde(flatten)]
    subject: Subject,
    kernels: Vec<Kernel>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Kernel {
    name: String,
    ms: f64,
    gflops: f64,
    steps: Vec<StepTime>,
}

/// A line of the engine's plan.
#[derive(Debug, Serialize, Deserialize)]
struct StepTime {
    step: String,
    ms: f64,
}

pub fn run(ui: &Ui, args: &KernelArgs) -> Result<(), CommandError> {
    args.output.check("bench kernel")?;
    let workload = Workload::new(super::model::model(&args.model)?);
    let (storage, norms) = (args.storage, args.norms.get());
    let math = args.math.fixed().unwrap_or_else(|| storage.auto_math());
    let (threads, all) =
        kernels(&workload, storage, norms, math, args.threads, args.samples).map_err(RunError::from)?;
    let result = KernelResult {
        subject: Subject {
            command: "bench kernel".to_owned(),
            model: args.model.clone(),
            threads,
            math: math.name().to_owned(),
            variant: super::model::storage_name(args.storage)
                + if norms == Norms::Host { ", norms on the host" } else { "" },
        },
        kernels: all.into_iter().map(Kernel::from).collect(),
    };
    args.output.show(ui, &result)
}

impl From<KernelTimes> for Kernel {
    fn from(times: KernelTimes) -> Kernel {
        let ms = times.total.as_secs_f64() * 1e3;
        let steps = times.steps.into_iter().map(|(step, time)| StepTime {
            step: step.split(" → ").next().unwrap_or_default().to_owned(),
            ms: time.as_secs_f64() * 1e3,
        });
        Kernel { name: times.name, ms, gflops: times.flops / ms / 1e6, steps: steps.collect() }
    }
}

impl Measured for KernelResult {
    fn subject(&self) -> &Subject {
        &self.subject
    }

    fn lines(&self) -> Vec<(String, f64)> {
        self.kernels.iter().map(|k| (k.name.clone(), k.ms)).collect()
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for kernel in &self.kernels {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{}: {:.2} ms, {:.0} GFLOP/s", kernel.name, kernel.ms, kernel.gflops);
            for s in &kernel.steps {
                let _ = writeln!(text, "{:10.3} ms {}", s.ms, s.step);
            }
        }
        text.trim_end().to_owned()
    }
}
