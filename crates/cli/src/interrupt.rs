//! Ctrl-C: the first saves the run or ends an answer, the second quits at once.

use crate::error::CommandError;
use crate::ui::Ui;
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering::SeqCst};

#[cfg(not(unix))]
mod elsewhere;
#[cfg(unix)]
mod unix;

#[cfg(not(unix))]
use elsewhere::Watcher;
#[cfg(unix)]
use unix::Watcher;

/// Nothing to save: an interrupt ends the process.
const FREE: u8 = 0;
/// An interrupt is recorded, so that the run can be saved.
const GUARDED: u8 = 1;
/// An interrupt was recorded.
const ASKED: u8 = 2;

/// The exit code of a process that Ctrl-C ended.
const INTERRUPTED: i32 = 130;

/// Watches for Ctrl-C and the system's termination signals.
#[derive(Debug)]
pub struct Interrupt {
    state: Arc<AtomicU8>,
    watcher: Watcher,
}

impl Interrupt {
    /// Starts watching. Call it before any other thread starts. `guarded`: there is something to save already. `noticed` is said
    /// when an interrupt is recorded, unless it is empty.
    pub fn watch(ui: &Ui, guarded: bool, noticed: &'static str) -> Result<Interrupt, CommandError> {
        let state = Arc::new(AtomicU8::new(if guarded { GUARDED } else { FREE }));
        let (shared, ui) = (Arc::clone(&state), ui.clone());
        let on_request = move || match shared.compare_exchange(GUARDED, ASKED, SeqCst, SeqCst) {
            Ok(_) if noticed.is_empty() => {}
            Ok(_) => ui.say(noticed),
            Err(_) => {
                ui.say("interrupted");
                process::exit(INTERRUPTED);
            }
        };
        let watcher = Watcher::start(on_request)
            .map_err(|e| CommandError::failure(format!("Ctrl-C cannot be watched for: {e}")))?;
        Ok(Interrupt { state, watcher })
    }

    /// From now on there is something to save; an earlier interrupt stays recorded.
    pub fn guard(&self) {
        let _ = self.state.compare_exchange(FREE, GUARDED, SeqCst, SeqCst);
    }

    /// From now on there is nothing to save; returns whether an interrupt was recorded.
    pub fn release(&self) -> bool {
        self.state.swap(FREE, SeqCst) == ASKED
    }

    /// Stops watching; the run's next process takes over.
    pub fn leave(self) {
        self.watcher.leave();
    }

    /// Whether an interrupt was recorded.
    pub fn asked(&self) -> bool {
        self.state.load(SeqCst) == ASKED
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interrupt_outlives_a_second_guard() {
        let state = Arc::new(AtomicU8::new(FREE));
        let interrupt = Interrupt { state, watcher: Watcher::default() };
        interrupt.guard();
        assert!(!interrupt.asked());
        // What the handler does.
        interrupt.state.store(ASKED, SeqCst);
        interrupt.guard();
        assert!(interrupt.asked() && interrupt.release());
        assert!(!interrupt.release());
    }
}
