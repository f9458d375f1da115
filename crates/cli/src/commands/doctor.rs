//! `backpropane doctor`.

mod args;
mod kernels;

use crate::error::CommandError;
use crate::machine::{chip, system};
use crate::output::print_json;
use crate::ui::Ui;
use ane::apple::{Examination, MemberKind, examine};
use ane::{DeviceError, DeviceInfo, DeviceKind, DeviceOptions, SoftOptions};
use anelint::self_test::{self, SelfTest};
use serde::Serialize;
use softane::gemm::GemmKernel;
use std::fmt::Write;

pub use args::DoctorArgs;

/// The report for programs.
#[derive(Debug, Serialize)]
struct Diagnosis {
    version: &'static str,
    system: String,
    chip: String,
    neural_engine: bool,
    /// Why there is none, or none that can be used.
    problem: Option<String>,
    members: Vec<Member>,
    products: Products,
    tried: Tried,
    healthy: bool,
}

/// How this processor multiplies matrices.
#[derive(Debug, Serialize)]
struct Products {
    /// What `--math auto` is here.
    auto: &'static str,
    /// The micro-kernels that it can run, of one arithmetic the best first.
    kernels: Vec<&'static str>,
    /// Why none of them uses a tile unit.
    no_tile_unit: Option<String>,
}

#[derive(Debug, Serialize)]
struct Member {
    name: String,
    kind: &'static str,
    encoding: Option<String>,
    problem: Option<String>,
}

/// The engine that was tried.
#[derive(Debug, Serialize)]
struct Tried {
    engine: String,
    name: String,
    trials: Vec<TrialRecord>,
}

#[derive(Debug, Serialize)]
struct TrialRecord {
    name: &'static str,
    about: &'static str,
    passed: bool,
    compile_ms: Option<f64>,
    dispatch_ms: Option<f64>,
    /// From the reference; absent if it is not finite, or nothing ran.
    largest_difference: Option<f64>,
    problem: Option<String>,
}

pub fn run(ui: &Ui, args: &DoctorArgs) -> Result<(), CommandError> {
    if args.kernels {
        return kernels::run(ui, args);
    }
    let diagnosis = diagnose()?;
    if args.json {
        print_json(ui, &diagnosis)?;
    } else {
        ui.result(diagnosis.shown().trim_end())?;
    }
    if diagnosis.healthy { Ok(()) } else { Err(CommandError::negative()) }
}

fn diagnose() -> Result<Diagnosis, CommandError> {
    let engine_error = |e: DeviceError| CommandError::failure(e.to_string());
    let examination = examine();
    let options = SoftOptions::threads(0).map_err(engine_error)?;
    let engine = DeviceOptions { explain: Some(anelint::explain), ..DeviceKind::Ane.into() };
    let (device, problem) = match ane::open(engine, options.clone()) {
        Ok(device) => (device, None),
        Err(e) => (ane::open(DeviceKind::Soft, options).map_err(engine_error)?, Some(e)),
    };
    let DeviceInfo { name, engine, .. } = device.info().clone();
    let trials: Vec<TrialRecord> = self_test::run(device.as_ref()).iter().map(record).collect();
    // Only a Mac with Apple silicon owes a Neural Engine.
    let owed = cfg!(any(all(target_os = "macos", target_arch = "aarch64"), feature = "fake_ane"));
    let healthy = trials.iter().all(|t| t.passed) && (problem.is_none() || !owed);
    Ok(Diagnosis {
        version: env!("CARGO_PKG_VERSION"),
        system: system(),
        chip: chip(),
        neural_engine: problem.is_none(),
        problem: problem.map(|e| e.to_string()),
        members: members(examination),
        products: Products {
            auto: softane::gemm::auto().name(),
            kernels: GemmKernel::names(),
            no_tile_unit: softane::tile_unit::status().err().map(|e| e.to_string()),
        },
        tried: Tried { engine: engine.to_string(), name, trials },
        healthy,
    })
}

fn members(examination: Examination) -> Vec<Member> {
    let member = |m: ane::apple::Member| Member {
        name: m.name,
        kind: match m.kind {
            MemberKind::Library => "library",
            MemberKind::Function => "function",
            MemberKind::Class => "class",
            MemberKind::Method => "method",
        },
        encoding: m.encoding,
        problem: m.problem,
    };
    examination.members.into_iter().map(member).collect()
}

fn record(trial: &SelfTest) -> TrialRecord {
    let ms = |t: std::time::Duration| t.as_secs_f64() * 1e3;
    let outcome = trial.outcome.as_ref();
    TrialRecord {
        name: trial.name,
        about: trial.about,
        passed: trial.passed(),
        compile_ms: outcome.ok().map(|o| ms(o.compile)),
        dispatch_ms: outcome.ok().map(|o| ms(o.dispatch)),
        largest_difference: outcome.ok().map(|o| o.difference).filter(|d| d.is_finite()),
        problem: outcome.err().map(ToString::to_string),
    }
}

impl Diagnosis {
    /// The report for people, one line per item.
    fn shown(&self) -> String {
        let mut out = String::new();
        let mut line = |label: &str, text: String| {
            let _ = writeln!(out, "{label:<9} {text}");
        };
        line("version", format!("backpropane {}", self.version));
        line("system", format!("{}, {}", self.system, self.chip));
        for m in &self.members {
            let encoding = m.encoding.as_ref().map(|e| format!("  {e}")).unwrap_or_default();
            let verdict = m.problem.as_ref().map_or("ok".to_owned(), |p| format!("WRONG: {p}"));
            line(m.kind, format!("{}{encoding}: {verdict}", m.name));
        }
        match &self.problem {
            None => line("engine", self.tried.name.clone()),
            Some(problem) => {
                line("engine", problem.clone());
                line("instead", format!("trying the {}, which runs the same programs", self.tried.name));
            }
        }
        line("kernels", self.products.kernels.join(", "));
        if let Some(reason) = &self.products.no_tile_unit {
            line("AMX", format!("not used: {reason}"));
        }
        line("products", format!("--math auto is {}", self.products.auto));
        for t in &self.tried.trials {
            let verdict = match (&t.problem, t.passed, t.largest_difference) {
                (Some(problem), ..) => format!("FAILED: {problem}"),
                (None, true, _) => "ok".to_owned(),
                (None, false, Some(d)) => format!("WRONG: off by up to {d}"),
                (None, false, None) => "WRONG: some results are no numbers".to_owned(),
            };
            let times = match (t.compile_ms, t.dispatch_ms) {
                (Some(compile), Some(run)) => format!(" (compiled in {compile:.1} ms, run in {run:.3} ms)"),
                _ => String::new(),
            };
            line("trial", format!("{}: {verdict}{times}: {}", t.name, t.about));
        }
        let verdict = match (self.healthy, self.neural_engine) {
            (true, true) => "the Neural Engine passed all tests",
            (true, false) => "no Neural Engine here; the software engine is all right",
            (false, true) => "the Neural Engine answers, and not as it should",
            (false, false) => "the Neural Engine cannot be used",
        };
        line("verdict", verdict.to_owned());
        out
    }
}
