//! The flags of `backpropane doctor`.

use std::path::PathBuf;

/// Check this machine's Neural Engine, from the system's libraries to numbers that come out
///
/// Looks up every class and method that kernels call and compares their types with those that this version calls them
/// with; then compiles and runs small programs and compares their results with the reference evaluator, which must be
/// equal to the bit. Without a Neural Engine it tests the software engine instead.
///
/// Exits with 1 if the engine that was tried is not all right, and on a Mac with Apple silicon if its Neural Engine
/// cannot be used.
///
/// With --kernels it compiles the kernels of a model instead, by each plan that `train` would try one after the other, and
/// shows what the engine says of each kernel; it exits with 1 if the engine takes no plan whole.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  backpropane doctor                        what a report of a problem should begin with
  backpropane doctor --json > doctor.json   the same, for programs
  backpropane doctor --kernels --submit-file kernels.json
                                            which kernels the engine takes, as a report that can be sent")]
pub struct DoctorArgs {
    /// Compile the kernels of a model, by each plan of kernels
    #[arg(long)]
    pub kernels: bool,

    /// A preset, a configuration file, or a model's folder [default: shakespeare]
    #[arg(long, value_name = "PRESET|FILE|DIR", requires = "kernels")]
    pub model: Option<String>,

    /// Write chip, system, plans, kernels, their programs' hashes and the engine's words to this file, for a report
    #[arg(long, value_name = "FILE", requires = "kernels")]
    pub submit_file: Option<PathBuf>,

    /// Print JSON
    #[arg(long)]
    pub json: bool,
}
