//! `backpropane bench dispatch`.

use super::output::{Measured, OutputArgs, Subject};
use crate::commands::engine::{EngineArgs, positive};
use crate::error::CommandError;
use crate::ui::Ui;
use ::bench::{Spread, dispatches};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Time dispatches of tiny kernels: the overhead of a dispatch
///
/// Outputs are checked against the reference evaluator before a time is shown. A training step dispatches from a thread of
/// the pool that the engine computes on; the second time is that of any other thread, which runs very small kernels itself
/// and wakes the pool for the others. Spreads are from the 5th to the 95th percentile.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  backpropane bench dispatch                          an addition, and 1×1 convolutions of three sizes
  backpropane bench dispatch --threads 1 --json > before.json
  backpropane bench dispatch --threads 1 --compare before.json")]
pub struct DispatchArgs {
    /// Dispatches of each kernel
    #[arg(long, value_name = "N", default_value_t = 2000, value_parser = positive::<usize>)]
    samples: usize,

    #[command(flatten)]
    engine: EngineArgs,

    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, Serialize, Deserialize)]
struct DispatchResult {
    #[serde(flatten)]
    subject: Subject,
    chip: String,
    samples: usize,
    kernels: Vec<Dispatch>,
}

/// Times of a kernel in microseconds; `outside` is a dispatch from a thread that is not of the pool.
#[derive(Debug, Serialize, Deserialize)]
struct Dispatch {
    name: String,
    shape: [usize; 4],
    median_us: f64,
    low_us: f64,
    high_us: f64,
    outside_median_us: f64,
    outside_low_us: f64,
    outside_high_us: f64,
}

pub fn run(ui: &Ui, args: &DispatchArgs) -> Result<(), CommandError> {
    args.output.check("bench dispatch")?;
    let bar = ui.steps("dispatching");
    let wanted = args.engine.device();
    let (device, times) = dispatches(wanted, args.engine.threads, args.samples, &mut |done, of| {
        bar.at(done, of);
    })?;
    drop(bar);
    let kernels = times.into_iter().map(|t| {
        let us = |t: Duration| t.as_secs_f64() * 1e6;
        let of = |s: Spread| [us(s.median), us(s.low), us(s.high)];
        let ([median_us, low_us, high_us], [outside_median_us, outside_low_us, outside_high_us]) =
            (of(t.inside), of(t.outside));
        let (name, shape) = (t.name, t.shape);
        Dispatch {
            name,
            shape,
            median_us,
            low_us,
            high_us,
            outside_median_us,
            outside_low_us,
            outside_high_us,
        }
    });
    let result = DispatchResult {
        subject: Subject {
            command: "bench dispatch".to_owned(),
            model: device.name.clone(),
            threads: device.threads,
            math: device.math.name().to_owned(),
            variant: "small kernels".to_owned(),
        },
        chip: device.chip.clone(),
        samples: args.samples,
        kernels: kernels.collect(),
    };
    args.output.show(ui, &result)
}

impl Measured for DispatchResult {
    fn subject(&self) -> &Subject {
        &self.subject
    }

    fn lines(&self) -> Vec<(String, f64)> {
        let each = self.kernels.iter().flat_map(|k| {
            [(k.name.clone(), k.median_us), (format!("{}, other thread", k.name), k.outside_median_us)]
        });
        each.collect()
    }

    fn text(&self) -> String {
        let rows = self.kernels.iter().map(|k| {
            let [_, c, _, s] = k.shape;
            format!(
                "\n{:<16} [1, {c}, 1, {s}]: {:.1} µs ({:.1} to {:.1}), from another thread {:.1} µs ({:.1} to {:.1})",
                k.name, k.median_us, k.low_us, k.high_us, k.outside_median_us, k.outside_low_us, k.outside_high_us
            )
        });
        let s = &self.subject;
        let threads = crate::units::plural(s.threads, "thread");
        format!("a dispatch on the {}, {}, {threads}:{}", s.model, self.chip, rows.collect::<String>())
    }
}
