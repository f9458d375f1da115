//! `backpropane bench kernel`.

use crate::commands::engine::{StorageArg, positive, threads};
use crate::error::CommandError;
use crate::ui::Ui;
use std::fmt::Write;
use train::bench::{Workload, kernels};
use train::config::ModelConfig;
use train::run::RunError;

/// Time each step inside the kernels of a layer, on the software engine
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  backpropane bench kernel                            the six kernels of one layer, dim 768, S 512
  backpropane bench kernel --model stories15m --threads 1")]
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
    #[arg(long, value_name = "TYPE", default_value = "f16")]
    storage: StorageArg,
}

pub fn run(ui: &Ui, args: &KernelArgs) -> Result<(), CommandError> {
    let workload = Workload::new(ModelConfig::find(&args.model)?);
    let all = kernels(&workload, args.storage.into(), args.threads, args.samples).map_err(RunError::from)?;
    let mut text = String::new();
    for kernel in all {
        let ms = kernel.total.as_secs_f64() * 1e3;
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{}: {ms:.2} ms, {:.0} GFLOP/s", kernel.name, kernel.flops / ms / 1e6);
        for (step, time) in kernel.steps {
            let step = step.split(" → ").next().unwrap_or_default();
            let _ = writeln!(text, "{:10.3} ms {step}", time.as_secs_f64() * 1e3);
        }
    }
    ui.result(text.trim_end())
}
