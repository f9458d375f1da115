//! `backpropane bench gemm`.

use crate::commands::engine::{EngineArgs, positive};
use crate::commands::print_json;
use crate::error::CommandError;
use crate::ui::Ui;
use serde::Serialize;
use train::bench::{Workload, products};
use train::config::ModelConfig;
use train::run::RunError;

/// Time the matrix products that a step is made of, beside the limit of this machine
///
/// The limit is the same loop on operands that never leave the first-level cache. Operands are half precision,
/// packing them is part of the time.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  backpropane bench gemm                              the products of one layer, dim 768, S 512
  backpropane bench gemm --model stories110m --math bf16 --threads 1
  backpropane bench gemm --json                       for programs")]
pub struct GemmArgs {
    /// A preset, a folder with a config.json, or a TOML file
    #[arg(long, value_name = "MODEL", default_value = "layer768")]
    model: String,

    /// Runs of each product
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = positive::<usize>)]
    samples: usize,

    #[command(flatten)]
    engine: EngineArgs,

    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct GemmResult {
    model: String,
    limit_gflops: Option<f64>,
    products: Vec<Product>,
}

#[derive(Debug, Serialize)]
struct Product {
    name: &'static str,
    shape: [usize; 3],
    ms: f64,
    gflops: f64,
}

pub fn run(ui: &Ui, args: &GemmArgs) -> Result<(), CommandError> {
    let workload = Workload::new(ModelConfig::find(&args.model)?);
    let (math, threads) = (args.engine.device().math, args.engine.threads);
    let (limit, timed) = products(&workload, math, threads, args.samples).map_err(RunError::from)?;
    let products: Vec<Product> = timed
        .into_iter()
        .map(|t| {
            let (ms, [m, n, k]) = (t.time.as_secs_f64() * 1e3, t.shape);
            Product { name: t.name, shape: t.shape, ms, gflops: 2.0 * (m * n * k) as f64 / ms / 1e6 }
        })
        .collect();
    let limit = limit.map(|flops| flops / 1e9);
    if args.json {
        return print_json(ui, &GemmResult { model: args.model.clone(), limit_gflops: limit, products });
    }
    if let Some(limit) = limit {
        ui.result(&format!("limit of this machine: {limit:.0} GFLOP/s"))?;
    }
    for p in products {
        let share = limit.map_or(String::new(), |l| format!(", {:.0} % of the limit", 100.0 * p.gflops / l));
        let [m, n, k] = p.shape;
        ui.result(&format!(
            "{:<20} {m} × {n} × {k}: {:.3} ms, {:.0} GFLOP/s{share}",
            p.name, p.ms, p.gflops
        ))?;
    }
    Ok(())
}
