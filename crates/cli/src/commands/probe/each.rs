//! Runs a probe in its own process: an engine can crash a process, break it, or hang.

use super::kind::ProbeKind;
use super::record::{FindingRecord, Record, Submission};
use crate::commands::engine::EngineArgs;
use crate::error::CommandError;
use ane::Engine;
use std::io::Read;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// How often a process is looked at.
const GLANCE: Duration = Duration::from_millis(5);

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
    let mut child = Command::new(program)
        .args(["probe", asked.id(), "--json"])
        .args(engine.words(kind))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    let (said, complained) = (reader(child.stdout.take()), reader(child.stderr.take()));
    let status = ended(&mut child, limit).map_err(failed)?;
    let Some(status) = status else {
        let says = format!("no answer in {} s: the process was ended", limit.as_secs());
        return Ok(lost(asked, began, &says));
    };
    let text = said.join().unwrap_or_default();
    let submission = serde_json::from_str::<Submission>(&text).ok();
    match submission.and_then(|s| s.probes.into_iter().next()) {
        Some(record) if status.success() => Ok(record),
        _ => {
            let why = complained.join().unwrap_or_default();
            let why = why.lines().find(|line| !line.trim().is_empty()).unwrap_or("no message");
            Ok(lost(asked, began, &format!("the process ended with {status}: {why}")))
        }
    }
}

/// Reads all that a process writes, beside it: a full pipe would stop it.
fn reader(pipe: Option<impl Read + Send + 'static>) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            // Unreadable output counts as none.
            let _ = pipe.read_to_end(&mut bytes);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// Waits for the end, `None` if it had to be brought about.
fn ended(child: &mut Child, limit: Duration) -> std::io::Result<Option<ExitStatus>> {
    let began = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if began.elapsed() >= limit {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        thread::sleep(GLANCE);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(unix)]
    fn a_process_that_does_not_answer_is_ended() {
        let mut slow = Command::new("sleep").arg("60").spawn().unwrap();
        assert!(ended(&mut slow, Duration::from_millis(20)).unwrap().is_none());
        let mut quick = Command::new("true").spawn().unwrap();
        assert!(ended(&mut quick, Duration::from_secs(60)).unwrap().is_some_and(|s| s.success()));
    }
}
