//! `backpropane doctor --kernels`: which plans of kernels the engine takes.

use super::DoctorArgs;
use crate::error::CommandError;
use crate::machine::{chip, system};
use crate::output::{check_place, print_json, write_file};
use crate::ui::Ui;
use crate::units;
use ane::{DeviceInfo, DeviceKind, SoftOptions};
use serde::Serialize;
use std::fmt::Write;
use train::config::ModelConfig;
use train::run::RunError;
use train::survey::{KernelSurvey, RungSurvey, Verdict, survey};

/// The model whose kernels are compiled if none is named: that of a run by default.
const MODEL: &str = "shakespeare";

/// The full report.
#[derive(Debug, Serialize)]
struct Report {
    version: &'static str,
    system: String,
    chip: String,
    engine: String,
    /// Why it is not the Neural Engine.
    problem: Option<String>,
    model: String,
    seq: usize,
    /// The first rung all of whose kernels are compiled.
    takes: Option<&'static str>,
    rungs: Vec<RungRecord>,
}

#[derive(Debug, Serialize)]
struct RungRecord {
    name: &'static str,
    about: &'static str,
    reported_by: &'static str,
    dynamic_weights: bool,
    /// Of the whole model.
    programs: u64,
    kernels: Vec<KernelRecord>,
}

#[derive(Debug, Serialize)]
struct KernelRecord {
    name: String,
    verdict: &'static str,
    compile_ms: Option<f64>,
    /// The engine's answer, or why it was not called.
    error: Option<String>,
    mil_bytes: usize,
    mil_fnv1a64: String,
}

pub fn run(ui: &Ui, args: &DoctorArgs) -> Result<(), CommandError> {
    check_place(args.submit_file.as_deref())?;
    let engine_error = |e: ane::DeviceError| CommandError::from(RunError::from(e));
    let model = args.model.as_deref().unwrap_or(MODEL);
    let cfg = ModelConfig::find(model)?;
    let options = SoftOptions::threads(0).map_err(engine_error)?;
    let (device, problem) = match ane::open(DeviceKind::Ane, options.clone()) {
        Ok(device) => (device, None),
        Err(e) => (ane::open(DeviceKind::Soft, options).map_err(engine_error)?, Some(e.to_string())),
    };
    let bar = ui.bar("compiling", 1);
    let found = survey(&cfg, device.as_ref(), &mut |rung, kernel| {
        if let Some(bar) = &bar {
            bar.set_message(format!("{}: {kernel}", rung.name));
        }
    });
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    let rungs = found.map_err(RunError::from)?;
    let DeviceInfo { name: engine, .. } = device.info().clone();
    let takes = rungs.iter().find(|r| r.is_taken()).map(|r| r.rung.name);
    let report = Report {
        version: env!("CARGO_PKG_VERSION"),
        system: system(),
        chip: chip(),
        engine,
        problem,
        model: model.to_owned(),
        seq: cfg.seq,
        takes,
        rungs: rungs.into_iter().map(RungRecord::from).collect(),
    };
    if let Some(path) = &args.submit_file {
        let text = serde_json::to_string_pretty(&report)
            .map_err(|e| CommandError::failure(format!("the report makes no JSON: {e}")))?;
        write_file(path, &(text + "\n"))?;
        ui.say(format!("the report is in `{}`: read it, and attach it to an issue", path.display()));
    }
    match args.json {
        true => print_json(ui, &report)?,
        false => ui.result(report.shown().trim_end())?,
    }
    if report.takes.is_some() { Ok(()) } else { Err(CommandError::negative()) }
}

impl From<RungSurvey> for RungRecord {
    fn from(found: RungSurvey) -> RungRecord {
        RungRecord {
            name: found.rung.name,
            about: found.rung.about,
            reported_by: found.rung.reported_by,
            dynamic_weights: found.dynamic,
            programs: found.programs,
            kernels: found.kernels.into_iter().map(KernelRecord::from).collect(),
        }
    }
}

impl From<KernelSurvey> for KernelRecord {
    fn from(found: KernelSurvey) -> KernelRecord {
        let (verdict, compile_ms, error) = match found.verdict {
            Verdict::Compiled(took) => ("compiled", Some(took.as_secs_f64() * 1e3), None),
            Verdict::Refused(said) => ("refused", None, Some(said)),
            Verdict::NotAsked(why) => ("not asked", None, Some(why)),
        };
        KernelRecord {
            name: found.name,
            verdict,
            compile_ms,
            error,
            mil_bytes: found.text.len(),
            mil_fnv1a64: format!("{:016x}", found.hash),
        }
    }
}

impl Report {
    /// The report for people, one line per item.
    fn shown(&self) -> String {
        let mut out = String::new();
        let mut line = |label: &str, text: String| {
            // Writing to a string cannot fail.
            let _ = writeln!(out, "{label:<9} {text}");
        };
        line("version", format!("backpropane {}", self.version));
        line("system", format!("{}, {}", self.system, self.chip));
        line("engine", self.engine.clone());
        if let Some(problem) = &self.problem {
            line("instead", format!("of the Neural Engine: {problem}"));
        }
        line("model", format!("{}, windows of {}", self.model, units::plural(self.seq, "token")));
        for rung in &self.rungs {
            let weights = if rung.dynamic_weights { "weights on surfaces" } else { "weights baked" };
            let programs = units::plural(rung.programs as usize, "program");
            line("plan", format!("`{}`: {}; {weights}, {programs}", rung.name, rung.about));
            let compiled: Vec<&str> =
                rung.kernels.iter().filter(|k| k.error.is_none()).map(|k| k.name.as_str()).collect();
            if !compiled.is_empty() {
                line("", format!("compiled: {}", compiled.join(", ")));
            }
            for kernel in &rung.kernels {
                if let Some(error) = &kernel.error {
                    line("", format!("{} {}: {error}", kernel.name, kernel.verdict));
                }
            }
        }
        let verdict = match self.rungs.iter().find(|r| Some(r.name) == self.takes) {
            Some(rung) => format!("`{}`: {}", rung.name, rung.about),
            None => "the engine takes no plan whole".to_owned(),
        };
        line("verdict", verdict);
        out
    }
}
