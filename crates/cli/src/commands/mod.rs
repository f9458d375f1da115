//! The commands: one file each; the doc comment of its arguments is its `--help`.

mod bench;
mod chat;
pub mod doctor;
mod engine;
mod eval;
mod examples;
mod explore;
mod export;
mod fetch;
mod generate;
mod grads;
mod info;
mod kernels;
mod mil;
mod model;
mod probe;
mod sampling;
mod serve;
mod train;

use crate::error::CommandError;
use crate::ui::Ui;
use softane::Isa;
use std::io::Write;

/// Train transformers on Apple's Neural Engine
///
/// Where there is none, an embedded software engine runs the very same programs.
#[derive(clap::Parser, Debug)]
#[command(
    name = "backpropane",
    version,
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "\
Examples:
  backpropane train                                     train a small model on Shakespeare
  backpropane generate --model runs/shakespeare --prompt \"Romeo.\"
  backpropane mil run model.mlmodelc --random 1         run a compiled model with its weights
  backpropane help train                                the manual of a command

Exit codes: 0 success, 1 failure, 2 wrong input, 130 interrupted after saving."
)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,

    /// Vector instructions to use: all that the processor has, or at most AVX2; for tests and measurements
    #[arg(long, global = true, hide = true, value_name = "ISA", default_value = "native", value_parser = isa)]
    isa: Isa,
}

fn isa(name: &str) -> Result<Isa, String> {
    Isa::named(name).ok_or_else(|| format!("one of {}", Isa::ALL.map(Isa::name).join(", ")))
}

#[derive(clap::Subcommand, Debug)]
enum Command {
    Train(Box<train::TrainArgs>),
    Generate(generate::GenerateArgs),
    Chat(chat::ChatArgs),
    Serve(Box<serve::ServeArgs>),
    Eval(eval::EvalArgs),
    Export(export::ExportArgs),
    Info(info::InfoArgs),
    Fetch(fetch::FetchArgs),
    Grads(grads::GradsArgs),
    Kernels(kernels::KernelsArgs),
    Mil(mil::MilArgs),
    Bench(bench::BenchArgs),
    Doctor(doctor::DoctorArgs),
    Explore(explore::ExploreArgs),
    Probe(probe::ProbeArgs),
}

impl Cli {
    /// The output of the command.
    pub fn ui(&self) -> Ui {
        Ui::new(matches!(&self.command, Command::Train(args) if args.quiet))
    }

    /// Runs the command.
    pub fn run(&self, ui: &Ui) -> Result<(), CommandError> {
        self.isa.restrict().map_err(|e| CommandError::input(e.to_string(), "Leave out `--isa`."))?;
        match &self.command {
            Command::Train(args) => train::run(ui, args),
            Command::Generate(args) => generate::run(ui, args),
            Command::Chat(args) => chat::run(ui, args),
            Command::Serve(args) => serve::run(ui, args),
            Command::Eval(args) => eval::run(ui, args),
            Command::Fetch(args) => fetch::run(ui, args),
            Command::Info(args) => info::run(ui, args),
            Command::Grads(args) => grads::run(ui, args),
            Command::Kernels(args) => kernels::run(ui, args),
            Command::Mil(args) => mil::run(ui, args),
            Command::Bench(args) => bench::run(ui, args),
            Command::Doctor(args) => doctor::run(ui, args),
            Command::Export(args) => export::run(ui, args),
            Command::Explore(args) => explore::run(ui, args),
            Command::Probe(args) => probe::run(ui, args),
        }?;
        Ok(ui.out().flush()?)
    }
}
