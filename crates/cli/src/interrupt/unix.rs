//! Signals are blocked in all threads and one thread waits for them, so no handler interrupts anything. A signal still
//! pending when a new process replaces this one (`exec`) stays pending for the new process's watcher.

use nix::sys::signal::{SigSet, Signal, kill};
use nix::unistd::Pid;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread::{self, JoinHandle};

/// Wakes the watcher, so that it checks whether to stop; ignored otherwise.
const LOOK: Signal = Signal::SIGUSR1;

/// The thread that waits for signals.
#[derive(Debug, Default)]
pub struct Watcher {
    thread: Option<JoinHandle<()>>,
    leaves: Arc<AtomicBool>,
}

impl Watcher {
    /// Calls `on_request` for each termination signal. Threads started earlier do not block these signals.
    ///
    /// # Errors
    /// If signals cannot be blocked or no thread started.
    pub fn start(on_request: impl Fn() + Send + 'static) -> io::Result<Watcher> {
        let mut signals: SigSet = [Signal::SIGINT, Signal::SIGTERM, LOOK].into_iter().collect();
        if !ignores_hangups() {
            signals.add(Signal::SIGHUP);
        }
        signals.thread_block()?;
        let leaves = Arc::new(AtomicBool::new(false));
        let left = Arc::clone(&leaves);
        let watch = move || {
            while !left.load(SeqCst) {
                // An interrupted wait has no signal.
                if signals.wait().is_ok_and(|signal| signal != LOOK) {
                    on_request();
                }
            }
        };
        let thread = thread::Builder::new().name("interrupts".to_owned()).spawn(watch)?;
        Ok(Watcher { thread: Some(thread), leaves })
    }

    /// Stops after all received signals are reported; later ones stay pending for the next process.
    pub fn leave(self) {
        self.leaves.store(true, SeqCst);
        if let (Some(thread), Ok(())) = (self.thread, kill(Pid::this(), LOOK)) {
            let _ = thread.join();
        }
    }
}

/// Whether SIGHUP is ignored, as under `nohup`: a blocked signal that is ignored stays pending on Linux.
fn ignores_hangups() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let bit = 1 << (Signal::SIGHUP as u32 - 1);
    ignored.is_some_and(|bits| u64::from_str_radix(bits.trim(), 16).is_ok_and(|bits| bits & bit != 0))
}
