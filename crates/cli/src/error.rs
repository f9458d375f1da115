//! Errors of commands: kind, message, hint and exit code.

use std::error::Error;
use std::io;
use std::process::ExitCode;
use train::error::TrainError;
use train::run::RunError;

/// Why a command did not succeed.
#[derive(Debug)]
pub struct CommandError {
    kind: Kind,
    message: String,
    hint: Option<String>,
}

/// Decides the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Invalid input: 2, as for an invalid flag.
    Input,
    /// Invalid input, already reported: 2.
    ReportedInput,
    /// A failure of the machine, an engine or this program: 1.
    Failure,
    /// Ctrl-C, after everything was saved: 130, as shells report it.
    Interrupted,
    /// The answer is no, already reported: 1.
    Negative,
    /// The reader closed our output, which is no failure: 0.
    PipeClosed,
}

impl CommandError {
    /// An error caused by invalid input.
    pub fn input(message: impl Into<String>, hint: impl Into<String>) -> CommandError {
        CommandError { kind: Kind::Input, message: message.into(), hint: Some(hint.into()) }
    }

    /// A failure of the machine, an engine or this program.
    pub fn failure(message: impl Into<String>) -> CommandError {
        CommandError { kind: Kind::Failure, message: message.into(), hint: None }
    }

    /// The same error with another hint.
    pub fn with_hint(self, hint: impl Into<String>) -> CommandError {
        CommandError { hint: Some(hint.into()), ..self }
    }

    /// The user stopped a run, which was saved.
    pub fn interrupted(message: impl Into<String>, hint: impl Into<String>) -> CommandError {
        CommandError { kind: Kind::Interrupted, message: message.into(), hint: Some(hint.into()) }
    }

    /// The answer is no, and was already printed.
    pub fn negative() -> CommandError {
        CommandError { kind: Kind::Negative, message: String::new(), hint: None }
    }

    /// Drops message and hint, which were printed already; keeps the exit code.
    pub fn reported(self) -> CommandError {
        let kind = if self.kind == Kind::Input { Kind::ReportedInput } else { Kind::Negative };
        CommandError { kind, message: String::new(), hint: None }
    }

    /// The message; `None` if there is nothing to report.
    pub fn message(&self) -> Option<&str> {
        let is_silent = matches!(self.kind, Kind::PipeClosed | Kind::Negative | Kind::ReportedInput);
        (!is_silent).then_some(&self.message)
    }

    /// What the user can do about it: one imperative sentence.
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// Whether the message is an error; an interrupt by the user is none.
    pub fn is_failure(&self) -> bool {
        matches!(self.kind, Kind::Input | Kind::Failure)
    }

    /// The exit code.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self.kind {
            Kind::PipeClosed => 0,
            Kind::Failure | Kind::Negative => 1,
            Kind::Input | Kind::ReportedInput => 2,
            Kind::Interrupted => 130,
        })
    }

    fn new(kind: Kind, error: &dyn Error, hint: Option<String>) -> CommandError {
        CommandError { kind, message: chain(error), hint }
    }
}

/// The error with its causes. A cause that a message already quotes is not repeated.
pub fn chain(error: &dyn Error) -> String {
    let mut message = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let text = cause.to_string();
        if !message.contains(&text) {
            message.push_str(": ");
            message.push_str(&text);
        }
        source = cause.source();
    }
    message
}

impl From<RunError> for CommandError {
    fn from(error: RunError) -> CommandError {
        let kind = if error.is_input() { Kind::Input } else { Kind::Failure };
        let hint = error.hint().or_else(|| remedy(&error).map(str::to_owned));
        CommandError::new(kind, &error, hint)
    }
}

/// The hint for errors that have none of their own.
fn remedy(error: &RunError) -> Option<&'static str> {
    Some(match error {
        RunError::Train(TrainError::Io { doing: "read", .. }) => {
            "Check that the path is a file or folder of the expected kind."
        }
        RunError::Train(TrainError::Io { .. }) => {
            "Choose another place with `--out`, one that may be written and has room."
        }
        RunError::Setting { .. } => "Give another value; `backpropane train --help` says what each is for.",
        RunError::NotLanguage { .. } => "Leave it out, or name a language model such as `shakespeare`.",
        _ => return None,
    })
}

impl From<TrainError> for CommandError {
    fn from(error: TrainError) -> CommandError {
        RunError::from(error).into()
    }
}

impl From<::bench::BenchError> for CommandError {
    fn from(error: ::bench::BenchError) -> CommandError {
        match error {
            ::bench::BenchError::Run(error) => (*error).into(),
            error => CommandError::new(Kind::Failure, &error, error.hint()),
        }
    }
}

impl From<train::model::ModelError> for CommandError {
    fn from(error: train::model::ModelError) -> CommandError {
        CommandError::new(Kind::Failure, &error, None)
    }
}

/// Errors of stdout; errors of files are `TrainError`s with a path.
impl From<io::Error> for CommandError {
    fn from(error: io::Error) -> CommandError {
        match error.kind() {
            io::ErrorKind::BrokenPipe => {
                CommandError { kind: Kind::PipeClosed, message: String::new(), hint: None }
            }
            _ => CommandError::failure(format!("cannot write the result: {error}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    #[test]
    fn a_quoted_cause_is_not_repeated() {
        let source = io::Error::new(io::ErrorKind::NotFound, "no such file");
        let error = TrainError::Io { doing: "read", path: PathBuf::from("a.txt"), source };
        let error = CommandError::from(error);
        assert_eq!(error.message(), Some("cannot read `a.txt`: no such file"));
        assert_eq!((error.kind, error.hint()), (Kind::Input, Some("Check the path.")));
    }

    #[test]
    fn a_closed_pipe_is_no_failure() {
        let error = CommandError::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!((error.message(), error.is_failure()), (None, false));
        assert_eq!(error.exit_code(), ExitCode::SUCCESS);
    }
}
