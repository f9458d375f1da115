//! Threads to compute on.

use rayon::iter::IndexedParallelIterator;
use rayon::iter::plumbing::{Producer, ProducerCallback};
use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// How often a busy thread looks for work before it yields the processor: some hundred microseconds. Beside other busy processes a yield
/// may take milliseconds, and the waits within a product are shorter than this.
const SPINS: u32 = 4000;

/// Sets the flag on drop, including on unwind.
struct SetOnDrop<'a>(&'a AtomicBool, bool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(self.1, Ordering::Release);
    }
}

/// A fixed number of threads; clones are the same threads.
#[derive(Clone, Debug)]
pub struct Pool(Arc<Threads>);

#[derive(Debug)]
struct Threads {
    pool: rayon::ThreadPool,
    /// Whether the threads are kept awake.
    busy: AtomicBool,
}

impl PartialEq for Pool {
    fn eq(&self, other: &Pool) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Pool {
    /// A pool of `threads` threads; 0 means one per hardware thread.
    ///
    /// # Errors
    /// The system's reason for not starting them.
    pub fn new(threads: usize) -> Result<Pool, String> {
        // The kernel gives tiles to a process best before it has threads.
        let _ = crate::tile_unit::status();
        rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .thread_name(|i| format!("softane-{i}"))
            .build()
            .map(|pool| Pool(Arc::new(Threads { pool, busy: AtomicBool::new(false) })))
            .map_err(|e| e.to_string())
    }

    /// How many threads it has.
    pub fn threads(&self) -> usize {
        self.0.pool.current_num_threads()
    }

    /// Runs `f` and its tasks on the pool.
    pub fn install<R: Send>(&self, f: impl FnOnce() -> R + Send) -> R {
        self.0.pool.install(f)
    }

    /// The number of the calling thread, if it is one of them.
    pub fn current(&self) -> Option<usize> {
        self.0.pool.current_thread_index()
    }

    /// Runs `f` as [`Pool::install`] does; idle threads look for work meanwhile instead of falling asleep, as waking them
    /// for every product would take a tenth of its time. For work of some milliseconds that all threads share. Nested in
    /// such work, or concurrent with it, it is the same as [`Pool::install`].
    pub fn busy<R: Send>(&self, f: impl FnOnce() -> R + Send) -> R {
        let Some(_end) = self.keep_awake() else { return self.install(f) };
        let done = AtomicBool::new(false);
        let look = |_| {
            let mut backoff = SpinBackoff(0);
            while !done.load(Ordering::Acquire) {
                backoff.look();
            }
        };
        self.gather(&look, |_| {
            let _done = SetOnDrop(&done, true);
            f()
        })
    }

    /// Calls `f` on every thread at the same time, with the number of the thread; true when all have returned. False without
    /// a call within [`Pool::busy`] or this, or concurrent with it.
    ///
    /// A call may wait for another, if it looks for work of the pool meanwhile.
    pub fn on_each(&self, f: impl Fn(usize) + Sync) -> bool {
        let Some(_end) = self.keep_awake() else { return false };
        self.gather(&f, &f);
        true
    }

    /// Claims all threads until the result is dropped; `None`, if they are.
    fn keep_awake(&self) -> Option<SetOnDrop<'_>> {
        let busy = &self.0.busy;
        // Only a claim that succeeded may have a guard: its drop ends the claim.
        (!busy.swap(true, Ordering::AcqRel)).then(|| SetOnDrop(busy, false))
    }

    /// Calls `f` on one thread and `beside` on every other, with the number of the thread, once all threads are here.
    ///
    /// A thread that already had a task of `f` would look for work where it waits for the rest of that task, find `beside`
    /// and never finish the task, as `f` waits for it: all threads must be idle before there is a task.
    fn gather<R: Send>(&self, beside: &(impl Fn(usize) + Sync), f: impl FnOnce(usize) -> R + Send) -> R {
        let here = AtomicUsize::new(0);
        let arrive = || {
            here.fetch_add(1, Ordering::AcqRel);
            let mut backoff = SpinBackoff(0);
            while here.load(Ordering::Acquire) < self.threads() {
                backoff.wait();
            }
        };
        self.install(|| {
            let mine = rayon::current_thread_index().unwrap_or(0);
            rayon::scope(|scope| {
                scope.spawn_broadcast(|_, thread| {
                    if thread.index() != mine {
                        arrive();
                        beside(thread.index());
                    }
                });
                arrive();
                f(mine)
            })
        })
    }
}

thread_local! {
    /// Whether this thread runs all tasks of [`for_each`] itself.
    static INLINE: Cell<bool> = const { Cell::new(false) };
}

/// Runs `f` with all tasks of [`for_each`] on this thread: for work shorter than waking another thread.
pub(crate) fn inline<R>(f: impl FnOnce() -> R) -> R {
    struct Before(bool);
    impl Drop for Before {
        fn drop(&mut self) {
            INLINE.set(self.0);
        }
    }
    let _before = Before(INLINE.replace(true));
    f()
}

/// Calls `f` with each item, every one a task that any thread of the current rayon pool can take over.
///
/// A thread that waits for the last items of others stays awake, unlike in `ParallelIterator::for_each`: falling asleep
/// and being woken takes as long as a small task, and much longer where the host schedules another virtual processor
/// meanwhile.
pub fn for_each<I: IndexedParallelIterator>(items: I, f: impl Fn(I::Item) + Sync) {
    struct Split<F>(usize, F);
    impl<T, F: Fn(T) + Sync> ProducerCallback<T> for Split<F> {
        type Output = ();
        fn callback<P: Producer<Item = T>>(self, items: P) {
            halves(self.0, items, &self.1);
        }
    }
    let tasks = if INLINE.get() { 1 } else { items.len() };
    items.with_producer(Split(tasks, f));
}

fn halves<P: Producer>(len: usize, items: P, f: &(impl Fn(P::Item) + Sync)) {
    if len <= 1 {
        return items.into_iter().for_each(f);
    }
    let (left, right) = items.split_at(len / 2);
    let (begun, done) = (AtomicBool::new(false), AtomicBool::new(false));
    rayon::join(
        || {
            halves(len / 2, left, f);
            // If no other thread has begun the other half, this thread runs it, too.
            let taken = begun.load(Ordering::Acquire);
            let mut backoff = SpinBackoff(0);
            while taken && !done.load(Ordering::Acquire) {
                backoff.look();
            }
        },
        || {
            begun.store(true, Ordering::Release);
            let _done = SetOnDrop(&done, true);
            halves(len - len / 2, right, f);
        },
    );
}

/// Counts consecutive idle polls of a thread.
struct SpinBackoff(u32);

impl SpinBackoff {
    /// Runs one task of the pool, or pauses briefly if there is none.
    fn look(&mut self) {
        match rayon::yield_now() {
            Some(rayon::Yield::Executed) => self.0 = 0,
            _ => self.wait(),
        }
    }

    /// Waits a moment; after some microseconds, yields the processor.
    fn wait(&mut self) {
        if self.0 < SPINS {
            self.0 += 1;
            std::hint::spin_loop();
        } else {
            std::thread::yield_now();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rayon::prelude::*;

    #[test]
    fn work_begins_when_all_threads_look_for_it() {
        // A thread that took a task first, and polled for more work in the middle of it, would never finish that task,
        // and all would wait for it.
        let pool = Pool::new(2).expect("two threads");
        let (occupied, released, begun) =
            (AtomicBool::new(false), AtomicBool::new(false), AtomicBool::new(false));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                pool.install(|| {
                    occupied.store(true, Ordering::Release);
                    while !released.load(Ordering::Acquire) {
                        std::thread::yield_now();
                    }
                });
            });
            while !occupied.load(Ordering::Acquire) {
                std::thread::yield_now();
            }
            scope.spawn(|| pool.busy(|| begun.store(true, Ordering::Release)));
            std::thread::sleep(std::time::Duration::from_millis(100));
            let early = begun.load(Ordering::Acquire);
            released.store(true, Ordering::Release);
            assert!(!early, "one of two threads has something else to do");
        });
        assert!(begun.load(Ordering::Acquire));
    }

    #[test]
    fn each_thread_is_called_at_the_same_time() {
        let pool = Pool::new(3).expect("three threads");
        for _ in 0..20 {
            let (barrier, met) = (std::sync::Barrier::new(3), AtomicUsize::new(0));
            let ran = pool.on_each(|thread| {
                barrier.wait();
                met.fetch_add(1 << (8 * thread), Ordering::Relaxed);
                barrier.wait();
                assert!(!pool.on_each(|_| ()), "the threads are here already");
                for_each((0..10usize).into_par_iter(), |_| {
                    met.fetch_add(1 << 24, Ordering::Relaxed);
                });
            });
            assert!(ran);
            assert_eq!(met.load(Ordering::Relaxed), 0x1e_01_01_01);
        }
        assert!(!pool.busy(|| pool.on_each(|_| ())), "the others look for work");
        let panics = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            pool.on_each(|thread| assert!(thread != 1, "as it should"))
        }));
        assert!(panics.is_err());
        assert!(pool.on_each(|_| ()), "after a panic as before");
    }

    #[test]
    fn inline_work_stays_on_its_thread() {
        let here = std::thread::current().id();
        let met = AtomicUsize::new(0);
        let meet = || {
            for_each((0..100usize).into_par_iter(), |_| {
                assert_eq!(std::thread::current().id(), here);
                met.fetch_add(1, Ordering::Relaxed);
            });
        };
        inline(|| inline(meet));
        let panics = std::panic::catch_unwind(|| inline(|| panic!("as it should")));
        assert!(panics.is_err() && !INLINE.get(), "no longer than asked for");
        assert_eq!(met.load(Ordering::Relaxed), 100);
    }

    #[test]
    fn each_item_is_met_once_also_inside_of_items_and_after_a_panic() {
        let pool = Pool::new(3).expect("three threads");
        let met: Vec<AtomicUsize> = (0..1000).map(|_| AtomicUsize::new(0)).collect();
        let meet = |met: &[AtomicUsize]| {
            for_each(met.par_iter(), |m| {
                m.fetch_add(1, Ordering::Relaxed);
            });
        };
        for _ in 0..50 {
            pool.busy(|| for_each(met.par_chunks(70), meet));
        }
        pool.install(|| meet(&met[..0]));
        assert!(met.iter().all(|m| m.load(Ordering::Relaxed) == 50));
        let panics = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            pool.busy(|| for_each(met.par_iter().enumerate(), |(i, _)| assert!(i != 700, "as it should")));
        }));
        assert!(panics.is_err());
        pool.busy(|| meet(&met));
        assert!(met.iter().all(|m| m.load(Ordering::Relaxed) == 51));
    }

    #[test]
    fn work_may_be_busy_inside_of_busy_work_and_beside_it() {
        let pool = Pool::new(3).expect("three threads");
        let work = || pool.busy(|| pool.busy(|| (0..100usize).into_par_iter().sum::<usize>()));
        std::thread::scope(|scope| {
            let beside: Vec<_> =
                (0..4).map(|_| scope.spawn(|| (0..200).map(|_| work()).sum::<usize>())).collect();
            for thread in beside {
                assert_eq!(thread.join().expect("no panic"), 200 * 4950);
            }
        });
        let panics =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| pool.busy(|| panic!("as it should"))));
        assert!(panics.is_err());
        assert_eq!(work(), 4950, "after a panic as before");
    }
}
