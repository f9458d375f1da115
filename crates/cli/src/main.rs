//! The binary `backpropane`: the command-line interface to the other crates.
//!
//! One file per command in [`commands`]. They share output ([`ui`], [`units`], [`progress`]), errors ([`error`]), Ctrl-C
//! ([`interrupt`]) and restarts ([`restart`]). Nothing here computes.
#![forbid(unsafe_code)]

mod child;
mod commands;
mod error;
mod header;
mod interrupt;
mod ladder;
mod machine;
mod output;
mod plot;
mod progress;
mod report;
mod restart;
mod timestamp;
mod traces;
mod ui;
mod units;
mod unread;

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    #[cfg(feature = "fake_ane")]
    pause_from_environment();
    keep_caught_panics_quiet();
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

/// Silences the panic hook for panics of the tokenizer library, which are caught and reported as errors.
fn keep_caught_panics_quiet() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if !train::tokenizer::catches_panics() {
            report(info);
        }
    }));
}

/// Takes the pause after a refusal, in milliseconds, from `FAKE_ANE_PAUSE`; on the fake engine only.
#[cfg(feature = "fake_ane")]
fn pause_from_environment() {
    let pause = std::env::var("FAKE_ANE_PAUSE").ok().and_then(|text| text.parse().ok());
    if let Some(pause) = pause {
        ane::apple::fake_ane::pause(std::time::Duration::from_millis(pause));
    }
}
