//! `backpropane bench gemm`.

use super::output::{Measured, OutputArgs, Subject};
use crate::commands::engine::{EngineArgs, positive};
use crate::error::CommandError;
use crate::output::{check_place, write_file};
use crate::plot::{self, Roof};
use crate::ui::Ui;
use ::bench::{Workload, products};
use serde::{Deserialize, Serialize};
use softane::gemm::{GemmKernel, MatmulPrecision};
use std::fmt::Write;
use std::path::PathBuf;
use train::run::RunError;
use train::step::StepError;

/// Time the matrix products of a step, and compare them with the limit of this machine
///
/// The limit is the speed of the same loop on operands that stay in the first-level cache. Operands are half precision;
/// the time includes packing them.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  backpropane bench gemm                              the products of one layer, dim 768, S 512
  backpropane bench gemm --model stories110m --math bf16 --threads 1
  backpropane bench gemm --kernel avx2-f32            as on a processor without AVX-512
  backpropane bench gemm --plot roofline.svg          speed over FLOP a byte, below the limit
  backpropane bench gemm --json > before.json
  backpropane bench gemm --compare before.json")]
pub struct GemmArgs {
    /// A preset, a folder with a config.json, or a TOML file
    #[arg(long, value_name = "MODEL", default_value = "layer768")]
    model: String,

    /// Runs of each product
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = positive::<usize>)]
    samples: usize,

    /// The micro-kernel to use, instead of the best one for --math
    #[arg(long, value_name = "NAME")]
    kernel: Option<String>,

    #[command(flatten)]
    engine: EngineArgs,

    #[command(flatten)]
    output: OutputArgs,

    /// Draw each product's speed over its FLOP a byte, with the limit, as SVG
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
}

#[derive(Debug, Serialize, Deserialize)]
struct GemmResult {
    #[serde(flatten)]
    subject: Subject,
    limit_gflops: Option<f64>,
    products: Vec<Product>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Product {
    name: String,
    shape: [usize; 3],
    ms: f64,
    gflops: f64,
}

pub fn run(ui: &Ui, args: &GemmArgs) -> Result<(), CommandError> {
    args.output.check("bench gemm")?;
    check_place(args.plot.as_deref())?;
    let workload = Workload::new(super::model::model(&args.model)?);
    let math = args.engine.device().math;
    let kernel = args.kernel(math)?;
    let times = products(&workload, kernel, args.engine.threads, args.samples).map_err(RunError::from)?;
    let products = times.products.into_iter().map(|t| {
        let (ms, [m, n, k]) = (t.time.as_secs_f64() * 1e3, t.shape);
        let gflops = 2.0 * (m * n * k) as f64 / ms / 1e6;
        Product { name: t.name.to_owned(), shape: t.shape, ms, gflops }
    });
    let result = GemmResult {
        subject: Subject {
            command: "bench gemm".to_owned(),
            model: args.model.clone(),
            threads: times.threads,
            math: math.name().to_owned(),
            variant: match &args.kernel {
                Some(name) => format!("operands in half precision, kernel {name}"),
                None => "operands in half precision".to_owned(),
            },
        },
        limit_gflops: times.limit.map(|flops| flops / 1e9),
        products: products.collect(),
    };
    if let Some(path) = &args.plot {
        write_file(path, &result.roofline()?)?;
    }
    args.output.show(ui, &result)
}

impl GemmArgs {
    /// The micro-kernel to time.
    fn kernel(&self, math: MatmulPrecision) -> Result<GemmKernel, CommandError> {
        let Some(name) = &self.kernel else {
            ane::check_math(math).map_err(|e| RunError::from(StepError::from(e)))?;
            return Ok(math.into());
        };
        GemmKernel::named(name).ok_or_else(|| {
            CommandError::input(
                format!("this processor has no micro-kernel `{name}`"),
                format!("Use one of {}.", GemmKernel::names().join(", ")),
            )
        })
    }
}

impl Product {
    /// Arithmetic intensity in FLOP per byte, if every operand is moved once: factors in half precision, results in f32.
    fn intensity(&self) -> f64 {
        let [m, n, k] = self.shape.map(|n| n as f64);
        2.0 * m * n * k / (2.0 * (m * k + k * n) + 4.0 * m * n)
    }
}

impl GemmResult {
    fn roofline(&self) -> Result<String, CommandError> {
        let s = &self.subject;
        let points: Vec<Roof> = self
            .products
            .iter()
            .map(|p| Roof { name: p.name.clone(), intensity: p.intensity(), gflops: p.gflops })
            .collect();
        let title =
            format!("products of {}, {}, {}", s.model, s.math, crate::units::plural(s.threads, "thread"));
        plot::drawn(plot::roofline_svg(&title, self.limit_gflops, &points))
    }
}

impl Measured for GemmResult {
    fn subject(&self) -> &Subject {
        &self.subject
    }

    fn lines(&self) -> Vec<(String, f64)> {
        self.products.iter().map(|p| (p.name.clone(), p.ms)).collect()
    }

    fn text(&self) -> String {
        let mut text = String::new();
        if let Some(limit) = self.limit_gflops {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "limit of this machine: {limit:.0} GFLOP/s");
        }
        for p in &self.products {
            let share = self.limit_gflops.map(|l| format!(", {:.0} % of the limit", 100.0 * p.gflops / l));
            let (share, [m, n, k]) = (share.unwrap_or_default(), p.shape);
            let _ = writeln!(
                text,
                "{:<20} {m} × {n} × {k}: {:.3} ms, {:.0} GFLOP/s{share}",
                p.name, p.ms, p.gflops
            );
        }
        if self.limit_gflops.is_some_and(|limit| self.products.iter().any(|p| p.gflops > limit)) {
            text.push_str(
                "a product above the limit: other programs slowed the measurement of the limit; repeat it\n",
            );
        }
        text.trim_end().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_that_a_product_exceeds_is_said_to_be_wrong() {
        let shown = |gflops| {
            let [command, model, math, variant] = ["bench gemm", "tiny", "f32", ""].map(str::to_owned);
            let subject = Subject { command, model, threads: 1, math, variant };
            let product = Product { name: "up".to_owned(), shape: [128, 32, 64], ms: 0.01, gflops };
            GemmResult { subject, limit_gflops: Some(50.0), products: vec![product] }.text()
        };
        assert!(shown(75.0).ends_with("150 % of the limit\na product above the limit: other programs slowed the measurement of the limit; repeat it"));
        assert!(shown(49.0).ends_with("98 % of the limit"));
    }
}
