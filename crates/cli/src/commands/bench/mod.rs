//! `backpropane bench`.

mod gemm;
mod kernel;
mod step;

use crate::error::CommandError;
use crate::ui::Ui;

/// Measure how fast this machine trains
///
/// Times are medians. `step` prints losses and the norm of the gradient too, by which others can check the work.
#[derive(clap::Args, Debug)]
#[command(
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "\
Examples:
  backpropane bench step                      a full training step of one layer, dim 768, S 512
  backpropane bench step --model stories110m --threads 1 --json"
)]
pub struct BenchArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand, Debug)]
enum Command {
    Step(step::StepArgs),
    Gemm(gemm::GemmArgs),
    Kernel(kernel::KernelArgs),
}

pub fn run(ui: &Ui, args: &BenchArgs) -> Result<(), CommandError> {
    match &args.command {
        Command::Step(args) => step::run(ui, args),
        Command::Gemm(args) => gemm::run(ui, args),
        Command::Kernel(args) => kernel::run(ui, args),
    }
}
