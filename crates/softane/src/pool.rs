//! Threads to compute on.

use std::sync::Arc;

/// A fixed number of threads; clones are the same threads.
#[derive(Clone, Debug)]
pub struct Pool(Arc<rayon::ThreadPool>);

impl PartialEq for Pool {
    fn eq(&self, other: &Pool) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Pool {
    /// `threads` threads; 0 means as many as the machine runs at once.
    ///
    /// # Errors
    /// The system's reason for not starting them.
    pub fn new(threads: usize) -> Result<Pool, String> {
        rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .thread_name(|i| format!("softane-{i}"))
            .build()
            .map(|pool| Pool(Arc::new(pool)))
            .map_err(|e| e.to_string())
    }

    /// How many threads it has.
    pub fn threads(&self) -> usize {
        self.0.current_num_threads()
    }

    /// Runs `f` there, and what it cuts into tasks.
    pub fn install<R: Send>(&self, f: impl FnOnce() -> R + Send) -> R {
        self.0.install(f)
    }
}
