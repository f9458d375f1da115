//! `backpropane mil`: what can be done with MIL text. One file a command; what they share is how programs and weights
//! are found ([`program`], [`weights`]), and how values come from files and go to them ([`arrays`], [`inputs`],
//! [`outputs`]).

mod arrays;
mod check;
mod convert;
mod diff;
mod engine;
mod find;
mod fix;
mod fmt;
mod grad;
mod indices;
mod inputs;
mod npy;
mod outputs;
mod profile;
mod program;
mod rules;
mod run;
mod shapes;
mod stats;
mod weights;

use crate::error::CommandError;
use crate::ui::Ui;

/// Read, check, run and differentiate MIL programs
///
/// MIL is the language of Core ML's ML programs. A PROGRAM is a MIL text, a folder that has a `model.mil` in it, as
/// `X.mlmodelc` has, an `X.mlpackage`, or an `X.mlmodel`. The content decides, not the name.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  backpropane mil check model.mil               what is wrong with it, and where
  backpropane mil run model.mlmodelc --random 1 run it with its weights on random inputs
  backpropane mil check X.mlpackage             the same for what coremltools saved
  backpropane mil grad model.mil --wrt x        its backward program
  backpropane mil convert model.mil X.mlpackage a package for Core ML, with its weights

Exit codes: 0 fine, 1 the answer is no (errors found, not formatted, programs differ), 2 wrong input.")]
pub struct MilArgs {
    #[command(subcommand)]
    command: MilCommand,
}

#[derive(clap::Subcommand, Debug)]
enum MilCommand {
    Fmt(fmt::FmtArgs),
    Check(check::CheckArgs),
    Rules(rules::RulesArgs),
    Run(run::RunArgs),
    Grad(grad::GradArgs),
    Stats(stats::StatsArgs),
    Diff(diff::DiffArgs),
    Convert(convert::ConvertArgs),
}

pub fn run(ui: &Ui, args: &MilArgs) -> Result<(), CommandError> {
    match &args.command {
        MilCommand::Fmt(args) => fmt::run(ui, args),
        MilCommand::Check(args) => check::run(ui, args),
        MilCommand::Rules(args) => rules::run(ui, args),
        MilCommand::Run(args) => run::run(ui, args),
        MilCommand::Grad(args) => grad::run(ui, args),
        MilCommand::Stats(args) => stats::run(ui, args),
        MilCommand::Diff(args) => diff::run(ui, args),
        MilCommand::Convert(args) => convert::run(ui, args),
    }
}
