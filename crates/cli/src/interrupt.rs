//! Ctrl-C: the first asks a run to save, the second insists.

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

/// Nothing would be lost: an interrupt ends the process.
const FREE: u8 = 0;
/// There is work to save first.
const GUARDED: u8 = 1;
/// There is, and an interrupt has asked for it.
const ASKED: u8 = 2;

/// What shells say of a process that Ctrl-C ended.
const INTERRUPTED: i32 = 130;

/// Watches for Ctrl-C, and for the requests to end that a system sends.
#[derive(Debug)]
pub struct Interrupt {
    state: Arc<AtomicU8>,
    watcher: Watcher,
}

impl Interrupt {
    /// Watches from now on, as before any other thread is started; `guarded` says whether there is something to save.
    pub fn watch(ui: &Ui, guarded: bool) -> Result<Interrupt, CommandError> {
        let state = Arc::new(AtomicU8::new(if guarded { GUARDED } else { FREE }));
        let (shared, ui) = (Arc::clone(&state), ui.clone());
        let heard = move || match shared.compare_exchange(GUARDED, ASKED, SeqCst, SeqCst) {
            Ok(_) => ui.say("finishing the step, then saving; Ctrl-C again quits at once"),
            Err(_) => {
                ui.say("interrupted");
                process::exit(INTERRUPTED);
            }
        };
        let watcher = Watcher::start(heard)
            .map_err(|e| CommandError::failure(format!("Ctrl-C cannot be watched for: {e}")))?;
        Ok(Interrupt { state, watcher })
    }

    /// From now on there is something to save; an interrupt that came before is not forgotten.
    pub fn guard(&self) {
        let _ = self.state.compare_exchange(FREE, GUARDED, SeqCst, SeqCst);
    }

    /// From now on there is nothing to save; says whether an interrupt came before.
    pub fn release(&self) -> bool {
        self.state.swap(FREE, SeqCst) == ASKED
    }

    /// From now on the next process of the run hears of interrupts, and this one does not.
    pub fn leave(self) {
        self.watcher.leave();
    }

    /// Whether an interrupt came.
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
