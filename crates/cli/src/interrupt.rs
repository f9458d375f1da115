//! Ctrl-C: the first asks a run to save, the second insists.

use crate::error::CommandError;
use crate::ui::Ui;
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering::SeqCst};

/// Nothing would be lost: an interrupt ends the process.
const FREE: u8 = 0;
/// There is work to save first.
const GUARDED: u8 = 1;
/// There is, and an interrupt has asked for it.
const ASKED: u8 = 2;

/// Another process has the work, and hears of an interrupt itself.
const AWAY: u8 = 3;

/// What shells say of a process that Ctrl-C ended.
const INTERRUPTED: i32 = 130;

/// Watches for Ctrl-C, and for the requests to end that a system sends.
#[derive(Clone, Debug)]
pub struct Interrupt(Arc<AtomicU8>);

impl Interrupt {
    /// Watches from now on.
    pub fn watch(ui: &Ui) -> Result<Interrupt, CommandError> {
        let state = Arc::new(AtomicU8::new(FREE));
        let (shared, ui) = (Arc::clone(&state), ui.clone());
        let handler = move || match shared.compare_exchange(GUARDED, ASKED, SeqCst, SeqCst) {
            Ok(_) => ui.say("finishing the step, then saving; Ctrl-C again quits at once"),
            Err(AWAY) => {}
            Err(_) => {
                ui.say("interrupted");
                process::exit(INTERRUPTED);
            }
        };
        ctrlc::set_handler(handler)
            .map_err(|e| CommandError::failure(format!("Ctrl-C cannot be watched for: {e}")))?;
        Ok(Interrupt(state))
    }

    /// From now on there is something to save; an interrupt that came before is not forgotten.
    pub fn guard(&self) {
        let _ = self.0.compare_exchange(FREE, GUARDED, SeqCst, SeqCst);
    }

    /// From now on there is nothing to save; says whether an interrupt came before.
    pub fn release(&self) -> bool {
        self.0.swap(FREE, SeqCst) == ASKED
    }

    /// From now on another process has the work: this one waits for it, and ends as it does.
    pub fn leave(&self) {
        self.0.store(AWAY, SeqCst);
    }

    /// Whether an interrupt came.
    pub fn asked(&self) -> bool {
        self.0.load(SeqCst) == ASKED
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interrupt_outlives_a_second_guard() {
        let interrupt = Interrupt(Arc::new(AtomicU8::new(FREE)));
        interrupt.guard();
        assert!(!interrupt.asked());
        // What the handler does.
        interrupt.0.store(ASKED, SeqCst);
        interrupt.guard();
        assert!(interrupt.asked() && interrupt.release());
        assert!(!interrupt.release());
    }
}
