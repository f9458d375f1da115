//! `backpropane train`.

mod args;
mod end;
mod folder;
mod session;
mod settings;

use crate::error::CommandError;
use crate::interrupt::Interrupt;
use crate::restart::ResumeState;
use crate::ui::Ui;
pub use args::TrainArgs;
use session::{Outcome, Session};

/// The message after the first Ctrl-C.
const SAVING: &str = "finishing the step, then saving; Ctrl-C again quits at once";

pub fn run(ui: &Ui, args: &TrainArgs) -> Result<(), CommandError> {
    let before = ResumeState::take()?;
    let interrupt = Interrupt::watch(ui, before.is_some(), SAVING)?;
    let outcome = Session::new(ui, args, &interrupt, before)?.run()?;
    match outcome {
        Outcome::Done => Ok(()),
        // The run is closed by now: an engine has unloaded its programs.
        Outcome::Restart(next) => {
            interrupt.leave();
            Err(next.start(ui))
        }
    }
}
