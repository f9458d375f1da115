//! Threads to compute on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// How often a busy thread looks for work before it lets others have the processor: some microseconds.
const SPINS: u32 = 200;

/// Says that the work is done, also if it panics.
struct Done<'a>(&'a AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

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

    /// Runs `f` as [`Pool::install`] does; meanwhile threads that have nothing to do look for work instead of falling
    /// asleep, as waking them for every product would take a tenth of its time. For work of some milliseconds that the
    /// threads share all along.
    pub fn busy<R: Send>(&self, f: impl FnOnce() -> R + Send) -> R {
        let done = AtomicBool::new(false);
        self.install(|| {
            let mine = rayon::current_thread_index();
            rayon::scope(|scope| {
                scope.spawn_broadcast(|_, thread| {
                    let mut idle = 0;
                    while Some(thread.index()) != mine && !done.load(Ordering::Acquire) {
                        match rayon::yield_now() {
                            Some(rayon::Yield::Executed) => idle = 0,
                            _ if idle < SPINS => {
                                idle += 1;
                                std::hint::spin_loop();
                            }
                            // Whoever else wants the processor gets it.
                            _ => std::thread::yield_now(),
                        }
                    }
                });
                let _done = Done(&done);
                f()
            })
        })
    }
}
