//! Systems without signals to hold back: a handler, which is told when another process has the work.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

/// Whether another process has the work.
#[derive(Debug, Default)]
pub struct Watcher(Arc<AtomicBool>);

impl Watcher {
    /// Calls `on_request` for each request to end.
    ///
    /// # Errors
    /// The system's.
    pub fn start(on_request: impl Fn() + Send + 'static) -> io::Result<Watcher> {
        let away = Arc::new(AtomicBool::new(false));
        let left = Arc::clone(&away);
        let handler = move || {
            if !left.load(SeqCst) {
                on_request();
            }
        };
        ctrlc::set_handler(handler).map_err(io::Error::other)?;
        Ok(Watcher(away))
    }

    /// From now on this process waits for another, and ends as it does.
    pub fn leave(self) {
        self.0.store(true, SeqCst);
    }
}
