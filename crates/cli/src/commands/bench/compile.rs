//! `backpropane bench compile`.

use super::output::{Measured, OutputArgs, Subject};
use crate::commands::engine::{EngineArgs, positive, storage};
use crate::error::CommandError;
use crate::ui::Ui;
use crate::units;
use ::bench::{Workload, compilations};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use train::model::Precision;

/// Time how long the kernels of a model take to compile, forward and backward
///
/// From the configuration to loaded kernels: the layer's program is built, differentiated, cut and packed once; then
/// weight files are written and kernels compiled, layer by layer.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  backpropane bench compile                           all layers of stories110m
  backpropane bench compile --model stories15m --json > before.json
  backpropane bench compile --model stories15m --compare before.json")]
pub struct CompileArgs {
    /// A preset, a folder with a config.json, or a TOML file
    #[arg(long, value_name = "MODEL", default_value = "stories110m")]
    model: String,

    /// Compilations of the whole model
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = positive::<usize>)]
    samples: usize,

    /// Element type of programs and surfaces
    #[arg(long, value_name = "TYPE", default_value = "f16", value_parser = storage())]
    storage: Precision,

    #[command(flatten)]
    engine: EngineArgs,

    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, Serialize, Deserialize)]
struct CompileResult {
    #[serde(flatten)]
    subject: Subject,
    chip: String,
    layers: usize,
    samples: usize,
    median_ms: f64,
    low_ms: f64,
    high_ms: f64,
    parts: Vec<PartTime>,
}

/// Time of a part of the work, summed over all layers.
#[derive(Debug, Serialize, Deserialize)]
struct PartTime {
    name: String,
    ms: f64,
}

pub fn run(ui: &Ui, args: &CompileArgs) -> Result<(), CommandError> {
    args.output.check("bench compile")?;
    let workload = Workload::new(super::model::model(&args.model)?);
    let (wanted, threads) = (args.engine.device(), args.engine.threads);
    let bar = ui.steps("compiling");
    let times = compilations(&workload, args.storage, wanted, threads, args.samples, &mut |done, of| {
        bar.at(done, of);
    })?;
    drop(bar);
    let ms = |t: Duration| t.as_secs_f64() * 1e3;
    let result = CompileResult {
        subject: Subject {
            command: "bench compile".to_owned(),
            model: args.model.clone(),
            threads: times.device.threads,
            math: times.device.math.name().to_owned(),
            variant: super::model::storage_name(args.storage),
        },
        chip: times.device.chip.clone(),
        layers: times.layers,
        samples: args.samples,
        median_ms: ms(times.total.median),
        low_ms: ms(times.total.low),
        high_ms: ms(times.total.high),
        parts: times.parts.into_iter().map(|(name, t)| PartTime { name, ms: ms(t) }).collect(),
    };
    args.output.show(ui, &result)
}

impl Measured for CompileResult {
    fn subject(&self) -> &Subject {
        &self.subject
    }

    fn lines(&self) -> Vec<(String, f64)> {
        let parts = self.parts.iter().map(|p| (p.name.clone(), p.ms));
        parts.chain([("all".to_owned(), self.median_ms)]).collect()
    }

    fn text(&self) -> String {
        let rows = self.parts.iter().map(|p| {
            let kernel = !matches!(p.name.as_str(), "programs" | "weight files");
            let each = if kernel {
                format!(
                    ", {:.2} ms each of {}",
                    p.ms / self.layers as f64,
                    units::plural(self.layers, "layer")
                )
            } else {
                String::new()
            };
            format!("\n  {:<14} {:9.1} ms{each}", p.name, p.ms)
        });
        let s = &self.subject;
        format!(
            "{}: {:.0} ms to compile all kernels ({:.0} to {:.0}, {} times), {}, {}{}",
            s.model,
            self.median_ms,
            self.low_ms,
            self.high_ms,
            self.samples,
            self.chip,
            units::plural(s.threads, "thread"),
            rows.collect::<String>(),
        )
    }
}
