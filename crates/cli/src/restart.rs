//! Continuing a run in a new process, when this one has used up its budget of compilations.
//!
//! The run is in its checkpoint. The rest (sums of the report, progress, folder) is passed to the next process as JSON in
//! the environment variable [`VARIABLE`]; the arguments are the same. On Unix the new process replaces the old one
//! (`exec`); elsewhere the old one waits for it and exits with its code. The output is that of one run.

use crate::error::CommandError;
use crate::progress::Pace;
use crate::report::Work;
use crate::timestamp::Timestamp;
use crate::ui::{Ui, program, resume_command};
use serde::{Deserialize, Serialize};
use std::env;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

/// Passes [`ResumeState`] from one process of a run to the next; not for users.
const VARIABLE: &str = "BACKPROPANE_GOES_ON";

/// New processes in a row that may fail to compile.
const TRIES: u32 = 3;

/// The pause before the second try; the n-th further try waits n times as long.
const PAUSE: Duration = Duration::from_millis(300);

/// What one process of a run passes to the next.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ResumeState {
    /// The folder, if the user named none.
    pub out: Option<String>,
    /// Whether the run began with the text that is built in.
    pub bundled: bool,
    /// Steps done so far, and the steps of the whole run.
    pub step: u64,
    pub steps: u64,
    /// New processes in a row that failed to compile.
    pub failures: u32,
    /// When the first step began, and when the previous process finished its last step.
    pub began: Timestamp,
    pub left: Timestamp,
    /// The report's sums so far.
    pub work: Work,
    /// The display's progress so far.
    pub pace: Pace,
}

impl ResumeState {
    /// Reads the state that the previous process passed; `None` in the first process.
    ///
    /// # Errors
    /// If the variable holds anything else.
    pub fn take() -> Result<Option<ResumeState>, CommandError> {
        let Some(text) = env::var_os(VARIABLE) else { return Ok(None) };
        let read = text.to_str().and_then(|text| serde_json::from_str(text).ok());
        let wrong = || {
            CommandError::input(
                format!("the environment variable `{VARIABLE}` does not hold the state of a run"),
                "Unset it: only a run sets it, for its own next process.",
            )
        };
        read.map(Some).ok_or_else(wrong)
    }

    /// The run's folder: `out` if the user named it, else the one chosen by the first process.
    pub fn folder(&self, out: Option<&Path>) -> PathBuf {
        out.map_or_else(|| PathBuf::from(self.out.as_deref().unwrap_or_default()), Path::to_owned)
    }

    /// The state for another try, after a new process failed to compile.
    ///
    /// # Errors
    /// After the last try.
    pub fn again(mut self, out: &Path, failure: CommandError) -> Result<ResumeState, CommandError> {
        self.failures += 1;
        self.work.restarts += 1;
        if self.failures < TRIES {
            thread::sleep(PAUSE * self.failures);
            return Ok(self);
        }
        let why = failure.message().unwrap_or("no reason given").to_owned();
        Err(CommandError::failure(format!(
            "{TRIES} new processes in a row could not go on after step {}: {why}",
            self.step
        ))
        .with_hint(format!(
            "Everything is saved. See what `{} doctor` says, then go on with `{}`.",
            program(),
            resume_command(out)
        )))
    }

    /// Refuses to restart if this process took no step: restarts would not end.
    ///
    /// # Errors
    /// If the previous process had reached `step` already.
    pub fn check_progress(before: Option<&ResumeState>, step: u64) -> Result<(), CommandError> {
        match before {
            Some(before) if before.step >= step => Err(CommandError::failure(format!(
                "this process took no step, and the previous one ended for the same reason, after step {step}"
            ))),
            _ => Ok(()),
        }
    }

    /// Continues in a new process. Returns only if none could be started.
    pub fn start(&self, ui: &Ui) -> CommandError {
        let failed = |e: &dyn std::fmt::Display| {
            CommandError::failure(format!("no new process can go on with the run: {e}"))
                .with_hint("Everything is saved: go on with `--resume`.")
        };
        let text = match serde_json::to_string(self) {
            Ok(text) => text,
            Err(e) => return failed(&e),
        };
        let program = match env::current_exe() {
            Ok(program) => program,
            Err(e) => return failed(&e),
        };
        if let Err(e) = ui.out().flush() {
            return e.into();
        }
        let replace_by = |program: PathBuf| {
            let mut command = Command::new(program);
            command.args(env::args_os().skip(1)).env(VARIABLE, &text);
            replace(command)
        };
        let error = replace_by(program);
        // The file may be moved or removed at any moment; Linux still has it under this name.
        if error.kind() == std::io::ErrorKind::NotFound {
            replace_by(PathBuf::from("/proc/self/exe"));
        }
        failed(&error)
    }
}

/// Replaces this process by `command`.
#[cfg(unix)]
fn replace(mut command: Command) -> std::io::Error {
    use std::os::unix::process::CommandExt;
    if let Some(name) = env::args_os().next() {
        command.arg0(name);
    }
    command.exec()
}

/// Runs `command` and exits with its code.
#[cfg(not(unix))]
fn replace(mut command: Command) -> std::io::Error {
    match command.status() {
        Ok(status) => std::process::exit(status.code().unwrap_or(1)),
        Err(e) => e,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> ResumeState {
        ResumeState {
            out: None,
            bundled: true,
            step: 7,
            steps: 9,
            failures: 0,
            began: Timestamp::now(),
            left: Timestamp::now(),
            work: Work::default(),
            pace: Pace::default(),
        }
    }

    #[test]
    fn failures_in_a_row_come_to_an_end() {
        let refused = || CommandError::failure("the engine refuses");
        let mut next = Ok(state());
        let mut tries = 0;
        let error = loop {
            match next {
                Ok(state) => next = state.again(Path::new("run"), refused()),
                Err(error) => break error,
            }
            tries += 1;
            assert!(tries < 100, "there is no end");
        };
        assert_eq!(tries, TRIES);
        assert_eq!(
            error.message(),
            Some("3 new processes in a row could not go on after step 7: the engine refuses")
        );
        assert!(error.hint().is_some_and(|hint| hint.contains("train --resume --out run")), "{error:?}");
    }

    #[test]
    fn a_process_without_a_step_is_the_last() {
        assert!(ResumeState::check_progress(None, 0).is_ok());
        assert!(ResumeState::check_progress(Some(&state()), 8).is_ok());
        assert!(ResumeState::check_progress(Some(&state()), 7).is_err());
    }

    #[test]
    fn what_is_handed_over_arrives() {
        let mut sent = state();
        sent.work.step_s = 0.1 + 0.2;
        let text = serde_json::to_string(&sent).unwrap();
        let read: ResumeState = serde_json::from_str(&text).unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), text);
        assert!(read.began.elapsed() < 3600.0);
    }
}
