//! Runs a plan with one thread per lane.
//!
//! Lanes share one thing: how many tasks each has finished. A task waits only for tasks declared before it, and so do
//! all tasks ahead of it in its lane. The earliest unfinished task can therefore always begin, and a run terminates.

use std::any::Any;
use std::hint;
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Instant;

use crate::hazard::Clock;
use crate::trace::Record;
use crate::{Lane, Plan, RunError, Span, TaskError, Trace};

/// Spin iterations before a lane sleeps: a few microseconds, about the cost of sleeping and waking.
const SPINS: u32 = 100;

/// Starts threads for [`Plan::run_on`].
pub type Start<'a> = dyn FnMut(usize, &(dyn Fn(usize) + Sync)) -> bool + 'a;

impl<'a, E: Send + 'a> Plan<'a, E> {
    /// Runs every task once, each lane on its own thread; the calling thread runs the first lane.
    ///
    /// # Errors
    /// The first task to fail or panic, by name. Running tasks are then joined; others are
    /// skipped. The plan may be run again afterwards. `Busy`, if a plan of the arena is already running.
    pub fn run(&self) -> Result<(), RunError<E>> {
        self.execute(None, None)
    }

    /// Like [`Plan::run`], and records task timings in `trace`. While the calling thread waits, it calls `idle`
    /// repeatedly instead of sleeping.
    ///
    /// Use this on a thread of a pool that tasks use too: `idle` runs one job of the pool, which prevents a deadlock
    /// between the task and the waiting thread.
    ///
    /// # Errors
    /// As [`Plan::run`]; `trace` then holds the tasks that had begun.
    pub fn run_busy(&self, trace: &mut Trace, idle: &dyn Fn()) -> Result<(), RunError<E>> {
        self.recorded(trace, |recorder| self.execute(Some(recorder), Some(idle)))
    }

    /// Like [`Plan::run_busy`], with the lanes on threads of the caller: `start(n, serve)` calls `serve` at the same time on
    /// at least n threads, numbered from 0, and returns true when all have returned; or it returns false without a call, and
    /// the lanes run as in [`Plan::run_busy`]. A thread that waits, that has no lane, or whose lane is done calls `idle` until
    /// the run ends.
    ///
    /// # Errors
    /// As [`Plan::run_busy`].
    pub fn run_on(
        &self,
        start: &mut Start<'_>,
        trace: &mut Trace,
        idle: &(dyn Fn() + Sync),
    ) -> Result<(), RunError<E>> {
        self.recorded(trace, |recorder| {
            let lanes = self.lanes().count();
            let started = {
                let (_running, progress) = self.begin()?;
                let started = start(lanes, &|thread| {
                    if let Some(lane) = self.lanes().nth(thread) {
                        self.serve(lane, &progress, Some(recorder), Some(&idle));
                        progress.left.fetch_add(1, Ordering::Release);
                    }
                    while progress.left.load(Ordering::Acquire) < lanes {
                        idle();
                    }
                });
                progress.outcome()?;
                started
            };
            if started { Ok(()) } else { self.execute(Some(recorder), Some(&idle)) }
        })
    }

    /// Calls `run` with the recorder of `trace`.
    fn recorded(
        &self,
        trace: &mut Trace,
        run: impl FnOnce(&Recorder<'_>) -> Result<(), RunError<E>>,
    ) -> Result<(), RunError<E>> {
        let (began, origin, plan) = (Instant::now(), trace.origin, trace.place(&self.tasks));
        trace.reserve(self.lanes.len());
        let done = run(&Recorder { origin, plan, lanes: Mutex::new(&mut trace.lanes) });
        trace.elapsed += began.elapsed();
        done
    }

    /// Begins a run.
    fn begin(&self) -> Result<(Running<'_>, Progress<'_, E>), RunError<E>> {
        let running = Running::begin(&self.arena.running).ok_or(RunError::Busy)?;
        self.finished.iter().for_each(|count| count.store(0, Ordering::Release));
        Ok((running, Progress::new(&self.finished)))
    }

    fn execute(&self, recorder: Option<&Recorder<'_>>, idle: Option<&dyn Fn()>) -> Result<(), RunError<E>> {
        let (_running, progress) = self.begin()?;
        let mut served = self.lanes();
        let Some(first) = served.next() else { return Ok(()) };
        thread::scope(|scope| {
            let mut spawned = 0;
            for lane in served {
                let progress = &progress;
                let started =
                    thread::Builder::new().name(format!("{lane} lane")).spawn_scoped(scope, move || {
                        self.serve(lane, progress, recorder, None);
                        progress.left.fetch_add(1, Ordering::Release);
                    });
                match started {
                    Ok(_) => spawned += 1,
                    Err(source) => progress.stop(RunError::Thread { lane, source }),
                }
            }
            self.serve(first, &progress, recorder, idle);
            // The last tasks of other lanes may still need the pool of the calling thread.
            while let Some(idle) = idle
                && progress.left.load(Ordering::Acquire) < spawned
            {
                idle();
            }
        });
        progress.outcome()
    }

    fn perform(&self, t: usize) -> Result<(), TaskError<E>> {
        match &self.around {
            Some(call) => call(&self.work[t]),
            None => self.work[t](),
        }
    }

    fn queue(&self, lane: Lane) -> &[usize] {
        &self.lanes[lane.index()]
    }

    /// Runs the tasks of `lane` in order until they are done or the run is stopped.
    fn serve(
        &self,
        lane: Lane,
        progress: &Progress<'_, E>,
        recorder: Option<&Recorder<'_>>,
        idle: Option<&dyn Fn()>,
    ) {
        for &t in self.queue(lane) {
            if !progress.wait_for(&self.needs[t], idle) {
                return;
            }
            let start = Instant::now();
            // A task that panics poisons the cells that it writes.
            let result = panic::catch_unwind(AssertUnwindSafe(|| self.perform(t)));
            if let Some(recorder) = recorder {
                recorder.record(lane, t, start);
            }
            let task = || self.tasks[t].name.clone();
            let failure = match result {
                Ok(Ok(())) => {
                    progress.advance(lane);
                    continue;
                }
                Ok(Err(TaskError::Work(source))) => RunError::Task { task: task(), lane, source },
                Ok(Err(TaskError::Access(source))) => RunError::Access { task: task(), lane, source },
                Err(payload) => RunError::Panic { task: task(), lane, message: message(payload) },
            };
            progress.stop(failure);
            return;
        }
    }
}

/// The output for the spans of all lanes.
struct Recorder<'t> {
    origin: Instant,
    plan: usize,
    /// By index of the lane.
    lanes: Mutex<&'t mut [Vec<Record>]>,
}

impl Recorder<'_> {
    fn record(&self, lane: Lane, task: usize, start: Instant) {
        let since = |t: Instant| t.saturating_duration_since(self.origin);
        let span = Span { start: since(start), end: since(Instant::now()) };
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        lanes[lane.index()].push(Record { plan: self.plan, task, span });
    }
}

/// The progress of a run.
struct Progress<'p, E> {
    /// How many tasks each lane has finished, by index of the lane.
    finished: &'p [AtomicUsize],
    stopped: AtomicBool,
    /// Lanes that have ended, besides the calling thread's.
    left: AtomicUsize,
    failure: Mutex<Option<RunError<E>>>,
    changed: Condvar,
}

impl<'p, E> Progress<'p, E> {
    fn new(finished: &'p [AtomicUsize]) -> Self {
        Self {
            finished,
            stopped: AtomicBool::new(false),
            left: AtomicUsize::new(0),
            failure: Mutex::new(None),
            changed: Condvar::new(),
        }
    }

    /// Waits until every lane has finished at least `need` tasks; false if the run was stopped.
    fn wait_for(&self, need: &Clock, idle: Option<&dyn Fn()>) -> bool {
        let stopped = || self.stopped.load(Ordering::Acquire);
        let met = || {
            self.finished.iter().zip(need.iter()).all(|(done, need)| done.load(Ordering::Acquire) >= *need)
        };
        for _ in 0..SPINS {
            if stopped() || met() {
                return !stopped();
            }
            hint::spin_loop();
        }
        if let Some(idle) = idle {
            while !stopped() && !met() {
                idle();
            }
            return !stopped();
        }
        let mut guard = self.lock();
        while !stopped() && !met() {
            guard = self.changed.wait(guard).unwrap_or_else(PoisonError::into_inner);
        }
        !stopped()
    }

    fn advance(&self, lane: Lane) {
        let guard = self.lock();
        self.finished[lane.index()].fetch_add(1, Ordering::Release);
        drop(guard);
        self.changed.notify_all();
    }

    /// Stops the run because of `failure`, unless it has already stopped.
    fn stop(&self, failure: RunError<E>) {
        let mut guard = self.lock();
        self.stopped.store(true, Ordering::Release);
        guard.get_or_insert(failure);
        drop(guard);
        self.changed.notify_all();
    }

    fn outcome(self) -> Result<(), RunError<E>> {
        self.failure.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
    }

    fn lock(&self) -> MutexGuard<'_, Option<RunError<E>>> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Marks an arena as in use until it is dropped.
struct Running<'p>(&'p AtomicBool);

impl<'p> Running<'p> {
    fn begin(running: &'p AtomicBool) -> Option<Self> {
        (!running.swap(true, Ordering::AcqRel)).then_some(Self(running))
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

/// The message of a panic whose payload is a string.
fn message(payload: Box<dyn Any + Send>) -> String {
    match payload.downcast::<String>() {
        Ok(text) => *text,
        Err(payload) => match payload.downcast_ref::<&str>() {
            Some(text) => (*text).to_owned(),
            None => {
                // Dropping a custom payload could panic again and leave other lanes waiting.
                std::mem::forget(payload);
                "(no message)".to_owned()
            }
        },
    }
}
