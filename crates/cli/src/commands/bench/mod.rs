//! `backpropane bench`.

mod ablation;
mod compile;
mod dispatch;
mod gemm;
mod generate;
mod kernel;
mod model;
mod output;
mod peers;
mod scaling;
mod stack;
mod step;

use crate::error::CommandError;
use crate::ui::Ui;

/// Measure how fast this machine trains, and what its engine can do
///
/// Times are medians. `step` also prints losses and the norm of the gradient, so that results can be compared with other
/// programs. `peak`, `sram` and `int8` need no model.
#[derive(clap::Args, Debug)]
#[command(
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "\
Examples:
  backpropane bench step                      a full training step of one layer, dim 768, S 512
  backpropane bench step --model stories110m --threads 1 --json
  backpropane bench ablation                  what each optimisation is worth"
)]
pub struct BenchArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand, Debug)]
enum Command {
    Step(step::StepArgs),
    Generate(generate::GenerateArgs),
    Gemm(gemm::GemmArgs),
    Kernel(kernel::KernelArgs),
    Dispatch(dispatch::DispatchArgs),
    Compile(compile::CompileArgs),
    Ablation(ablation::AblationArgs),
    Scaling(scaling::ScalingArgs),
    Peers(peers::PeersArgs),
    Peak(stack::PeakArgs),
    Sram(stack::SramArgs),
    Int8(stack::Int8Args),
}

pub fn run(ui: &Ui, args: &BenchArgs) -> Result<(), CommandError> {
    match &args.command {
        Command::Step(args) => step::run(ui, args),
        Command::Generate(args) => generate::run(ui, args),
        Command::Gemm(args) => gemm::run(ui, args),
        Command::Kernel(args) => kernel::run(ui, args),
        Command::Dispatch(args) => dispatch::run(ui, args),
        Command::Compile(args) => compile::run(ui, args),
        Command::Ablation(args) => ablation::run(ui, args),
        Command::Scaling(args) => scaling::run(ui, args),
        Command::Peers(args) => peers::run(ui, args),
        Command::Peak(args) => stack::peak(ui, args),
        Command::Sram(args) => stack::sram(ui, args),
        Command::Int8(args) => stack::int8(ui, args),
    }
}
