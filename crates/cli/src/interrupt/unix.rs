//! No handler interrupts anything here: signals are held back for all threads, and one thread waits for them. What
//! nobody has taken when a new process takes the place of this one is still there for its watcher: the system passes
//! on what is held back.

use nix::sys::signal::{SigSet, Signal, kill};
use nix::unistd::Pid;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread::{self, JoinHandle};

/// Tells the watcher to look whether it is to end; from anybody else it means nothing.
const LOOK: Signal = Signal::SIGUSR1;

/// The thread that waits for signals.
#[derive(Debug, Default)]
pub struct Watcher {
    thread: Option<JoinHandle<()>>,
    leaves: Arc<AtomicBool>,
}

impl Watcher {
    /// Calls `on_request` for each request to end. Threads that were there before may still be ended by one.
    ///
    /// # Errors
    /// The system's.
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
                // A wait fails if it is broken off: then there is nothing to hear of.
                if signals.wait().is_ok_and(|signal| signal != LOOK) {
                    on_request();
                }
            }
        };
        let thread = thread::Builder::new().name("interrupts".to_owned()).spawn(watch)?;
        Ok(Watcher { thread: Some(thread), leaves })
    }

    /// Ends the watch when all that was taken is heard of; what comes from now on is for the next process.
    pub fn leave(self) {
        self.leaves.store(true, SeqCst);
        if let (Some(thread), Ok(())) = (self.thread, kill(Pid::this(), LOOK)) {
            let _ = thread.join();
        }
    }
}

/// Whether this process is to outlive its terminal, as `nohup` has it: what is ignored and held back, Linux keeps, and
/// other systems drop.
fn ignores_hangups() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let bit = 1 << (Signal::SIGHUP as u32 - 1);
    ignored.is_some_and(|bits| u64::from_str_radix(bits.trim(), 16).is_ok_and(|bits| bits & bit != 0))
}
