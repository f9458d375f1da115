//! Systems without Unix signals: a handler that is switched off once another process continues the run.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

/// Whether another process continues the run.
#[derive(Debug, Default)]
pub struct Watcher(Arc<AtomicBool>);

impl Watcher {
    /// Calls `on_request` for each request to terminate.
    ///
    /// # Errors
    /// If the system installs no handler.
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

    /// Ignores requests from now on: this process waits for another and exits with its code.
    pub fn leave(self) {
        self.0.store(true, SeqCst);
    }
}
