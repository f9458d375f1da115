//! The binary `backpropane`: commands for people, over the rooms that do the work.
//!
//! One file a command in [`commands`]; what they share is how they speak ([`ui`], [`units`], [`progress`]), how they
//! fail ([`error`]), how they are stopped ([`interrupt`]) and how a run goes on in a new process ([`restart`]). Nothing here computes.
#![forbid(unsafe_code)]

mod commands;
mod error;
mod header;
mod interrupt;
mod plot;
mod progress;
mod report;
mod restart;
mod traces;
mod ui;
mod units;

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = commands::Cli::parse();
    let ui = cli.ui();
    match cli.run(&ui) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            ui.error(&error);
            error.exit_code()
        }
    }
}
