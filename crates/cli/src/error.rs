//! How a command fails: a kind, a message, a remedy, an exit code.

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

/// What the exit code says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// What the user gave: 2, as for a wrong flag.
    Input,
    /// The same, after the user was told of it.
    ToldInput,
    /// The machine, an engine or this program: 1.
    Failure,
    /// Ctrl-C, after everything was saved: 130, as shells have it.
    Interrupted,
    /// The answer to what was asked is no, and has been given: 1.
    Negative,
    /// Nobody reads our output any more, which is no failure: 0.
    PipeClosed,
}

impl CommandError {
    /// The user gave something impossible.
    pub fn input(message: impl Into<String>, hint: impl Into<String>) -> CommandError {
        CommandError { kind: Kind::Input, message: message.into(), hint: Some(hint.into()) }
    }

    /// Something failed that the user did not cause.
    pub fn failure(message: impl Into<String>) -> CommandError {
        CommandError { kind: Kind::Failure, message: message.into(), hint: None }
    }

    /// The same with another remedy.
    pub fn with_hint(self, hint: impl Into<String>) -> CommandError {
        CommandError { hint: Some(hint.into()), ..self }
    }

    /// The user stopped a run, and it was saved.
    pub fn interrupted(message: impl Into<String>, hint: impl Into<String>) -> CommandError {
        CommandError { kind: Kind::Interrupted, message: message.into(), hint: Some(hint.into()) }
    }

    /// What was asked has the answer no, which has been given.
    pub fn negative() -> CommandError {
        CommandError { kind: Kind::Negative, message: String::new(), hint: None }
    }

    /// The same verdict, after everything was said.
    pub fn told(self) -> CommandError {
        let kind = if self.kind == Kind::Input { Kind::ToldInput } else { Kind::Negative };
        CommandError { kind, message: String::new(), hint: None }
    }

    /// What happened; `None` if that is nobody's concern.
    pub fn message(&self) -> Option<&str> {
        let told = matches!(self.kind, Kind::PipeClosed | Kind::Negative | Kind::ToldInput);
        (!told).then_some(&self.message)
    }

    /// What would help: one imperative sentence.
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// Whether the message tells of a failure, and not of a wish fulfilled.
    pub fn is_failure(&self) -> bool {
        matches!(self.kind, Kind::Input | Kind::Failure)
    }

    /// The verdict for the caller.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self.kind {
            Kind::PipeClosed => 0,
            Kind::Failure | Kind::Negative => 1,
            Kind::Input | Kind::ToldInput => 2,
            Kind::Interrupted => 130,
        })
    }

    fn new(kind: Kind, error: &dyn Error, hint: Option<String>) -> CommandError {
        CommandError { kind, message: chain(error), hint }
    }
}

/// The error with its causes, each said once: some messages quote their cause already.
fn chain(error: &dyn Error) -> String {
    let mut message = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let said = cause.to_string();
        if !message.contains(&said) {
            message.push_str(": ");
            message.push_str(&said);
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

/// What helps in terms of the command line, where the error itself knows nothing better.
fn remedy(error: &RunError) -> Option<&'static str> {
    Some(match error {
        RunError::Train(TrainError::Io { doing: "read", .. }) => {
            "Check that the path names a file or folder of the kind that is wanted."
        }
        RunError::Train(TrainError::Io { .. }) => {
            "Choose another place with `--out`, one that may be written and has room."
        }
        RunError::Setting { .. } => "Give another value; `backpropane train --help` says what each is for.",
        RunError::NotLanguage { .. } => "Leave it away, or name a model of text, such as `shakespeare`.",
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

/// Of stdout: files have errors that name them.
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
    fn a_cause_is_said_once() {
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
