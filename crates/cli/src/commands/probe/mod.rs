//! `backpropane probe`.

mod each;
mod kind;
mod record;
mod sram;

pub use record::{Submission, read as read_submission};

use super::engine::EngineArgs;
use crate::error::CommandError;
use crate::output::{check_place, print_json, write_file};
use crate::ui::Ui;
use crate::units;
use ane::{Device, DeviceError, Engine, SoftOptions};
use anelint::probe::Prober;
use kind::{MANY, ProbeKind};
use record::{FindingRecord, Record};
use serde::Serialize;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Test what is reported of Neural Engines on this machine's engine, and compare with our table
///
/// A probe compiles small programs, runs them on data that is the same in no two places, and compares with the reference
/// meaning. Its verdict is about rules of `backpropane mil rules`: as in the table, differs, or could not tell. Without
/// a name all probes are listed. With `all` each runs in a process of its own, so that one which ends or never answers
/// costs the others nothing.
///
/// The software engine breaks no rule, so a probe on it shows how a correct engine behaves, and nothing about hardware;
/// it is labelled so.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  backpropane probe                                  the list
  backpropane probe binding                          one of them
  backpropane probe all --submit-file verdicts.json  all of them, for a report: minutes on a Neural Engine")]
pub struct ProbeArgs {
    /// The probe, as `binding`; or `all`
    #[arg(value_name = "ID")]
    id: Option<String>,

    /// Print JSON
    #[arg(long)]
    json: bool,

    /// Write system, chip, version, engine and all verdicts to FILE, as JSON that can be sent
    #[arg(long, value_name = "FILE", requires = "id")]
    submit_file: Option<PathBuf>,

    /// With `all`: how long a probe may take
    #[arg(long, value_name = "SECONDS", default_value_t = 180, value_parser = super::engine::positive::<u64>)]
    timeout: u64,

    #[command(flatten)]
    engine: EngineArgs,
}

#[derive(Debug, Serialize)]
struct Listed {
    id: &'static str,
    rules: &'static [&'static str],
    question: &'static str,
    compiles: u32,
}

pub fn run(ui: &Ui, args: &ProbeArgs) -> Result<(), CommandError> {
    let Some(id) = &args.id else { return list(ui, args.json) };
    check_place(args.submit_file.as_deref())?;
    let device = open(args.engine, 0)?;
    let records = match id.as_str() {
        "all" => {
            let engine = device.info().engine;
            let bar = ui.steps("probing");
            let all = ProbeKind::all();
            let limit = Duration::from_secs(args.timeout);
            let ask = |(i, asked): (usize, &ProbeKind)| {
                bar.at(i, all.len());
                each::ask(*asked, args.engine, engine, limit)
            };
            all.iter().enumerate().map(ask).collect::<Result<Vec<Record>, CommandError>>()?
        }
        id => {
            let asked = ProbeKind::find(id).ok_or_else(|| {
                let hint = "List them with `backpropane probe`.";
                CommandError::input(format!("there is no probe `{id}`"), hint)
            })?;
            vec![here(asked, args.engine, device.as_ref())?]
        }
    };
    let submission = Submission::of(device.info(), records);
    if let Some(path) = &args.submit_file {
        let text = serde_json::to_string_pretty(&submission)
            .map_err(|e| CommandError::failure(format!("the verdicts make no JSON: {e}")))?;
        write_file(path, &(text + "\n"))?;
        ui.say(format!("verdicts are in `{}`", path.display()));
    }
    if args.json { print_json(ui, &submission) } else { ui.result(&submission.shown()) }
}

/// The engine that is wanted, for a probe that compiles `compiles` programs.
fn open(engine: EngineArgs, compiles: u32) -> Result<Box<dyn Device>, CommandError> {
    let open = |wanted| {
        let options = SoftOptions::threads(engine.threads)?;
        ane::open(wanted, options)
    };
    let failed = |e: DeviceError| CommandError::from(train::run::RunError::from(e));
    let wanted = engine.device();
    let device = open(wanted).map_err(failed)?;
    if device.info().engine == Engine::Soft || compiles <= MANY || wanted.compile_budget.is_some() {
        return Ok(device);
    }
    // The probe tests the engine's limit, not ours.
    let more = ane::DeviceOptions { compile_budget: Some(compiles + MANY), ..wanted };
    open(more).map_err(failed)
}

/// Runs the probe in this process.
fn here(asked: ProbeKind, engine: EngineArgs, device: &dyn Device) -> Result<Record, CommandError> {
    let began = Instant::now();
    let chip = record::family(&crate::machine::chip());
    let findings = match asked {
        ProbeKind::Sram => vec![sram::ask(engine)?],
        ProbeKind::Probe(probe) if probe.compiles > MANY => {
            let larger = open(engine, probe.compiles)?;
            probe.ask(&Prober::new(larger.as_ref()).on(chip))
        }
        ProbeKind::Probe(probe) => probe.ask(&Prober::new(device).on(chip)),
    };
    let told = findings.iter().map(|f| FindingRecord::of(f, chip)).collect();
    Ok(Record {
        id: asked.id().to_owned(),
        question: asked.question().to_owned(),
        seconds: began.elapsed().as_secs_f64(),
        findings: told,
    })
}

fn list(ui: &Ui, json: bool) -> Result<(), CommandError> {
    let all = ProbeKind::all();
    if json {
        let listed = all.iter().map(|a| Listed {
            id: a.id(),
            rules: a.rules(),
            question: a.question(),
            compiles: a.compiles(),
        });
        return print_json(ui, &listed.collect::<Vec<_>>());
    }
    let lines = all.iter().map(|a| format!("{:<21} {:<7} {}\n", a.id(), a.rules().join(" "), a.question()));
    let text: String = lines.collect();
    ui.result(&format!("{text}{}", units::plural(all.len(), "probe")))
}
