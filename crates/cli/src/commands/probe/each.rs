//! Runs a probe in its own process: an engine can crash a process, break it, or hang.

use super::kind::ProbeKind;
use super::record::{FindingRecord, Record, Submission};
use crate::child;
use crate::commands::engine::EngineArgs;
use crate::error::CommandError;
use ane::Engine;
use std::process::Command;
use std::time::{Duration, Instant};

/// Runs the probe; if the process fails, its failure is the answer.
///
/// # Errors
/// If no process can be started.
pub fn ask(
    asked: ProbeKind,
    engine: EngineArgs,
    kind: Engine,
    limit: Duration,
) -> Result<Record, CommandError> {
    let began = Instant::now();
    let failed =
        |e: std::io::Error| CommandError::failure(format!("cannot start a process for a probe: {e}"));
    let program = std::env::current_exe().map_err(failed)?;
    let mut command = Command::new(program);
    command.args(["probe", asked.id(), "--json"]).args(engine.words(kind));
    let Some(ended) = child::run(&mut command, limit).map_err(failed)? else {
        let says = format!("no answer in {} s: the process was ended", limit.as_secs());
        return Ok(lost(asked, began, &says));
    };
    let submission = serde_json::from_str::<Submission>(&ended.stdout).ok();
    match submission.and_then(|s| s.probes.into_iter().next()) {
        Some(record) if ended.status.success() => Ok(record),
        _ => {
            let says = format!("the process ended with {}: {}", ended.status, ended.complaint());
            Ok(lost(asked, began, &says))
        }
    }
}

/// Of each rule nothing was learnt.
fn lost(asked: ProbeKind, began: Instant, says: &str) -> Record {
    let abouts = if asked.rules().is_empty() { vec![asked.id()] } else { asked.rules().to_vec() };
    Record {
        id: asked.id().to_owned(),
        question: asked.question().to_owned(),
        seconds: began.elapsed().as_secs_f64(),
        findings: abouts.into_iter().map(|about| FindingRecord::unclear(about, says)).collect(),
    }
}
