//! Timings of runs.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::Lane;
use crate::task::TaskInfo;

/// The time interval of a task; all spans of a trace share one origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The start.
    pub start: Duration,
    /// The end.
    pub end: Duration,
}

impl Span {
    /// The duration.
    pub fn duration(&self) -> Duration {
        self.end.saturating_sub(self.start)
    }
}

/// A record of runs of one or more plans; times are relative to [`Trace::new`].
///
/// [`crate::Plan::run_busy`] adds runs. Clearing keeps the allocated memory, so later steps
/// allocate nothing.
#[derive(Clone, Debug)]
pub struct Trace {
    pub(crate) origin: Instant,
    /// By index of the lane.
    pub(crate) lanes: Vec<Vec<Record>>,
    pub(crate) elapsed: Duration,
    pub(crate) plans: Vec<Arc<[TaskInfo]>>,
    /// Work outside of plans.
    pub(crate) marks: Vec<Mark>,
}

/// One task of one run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Record {
    /// The plan's index in `Trace::plans`.
    pub(crate) plan: usize,
    pub(crate) task: usize,
    pub(crate) span: Span,
}

/// Work outside of plans.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark {
    pub(crate) lane: Lane,
    pub(crate) name: &'static str,
    pub(crate) span: Span,
}

impl Trace {
    /// An empty record whose clock starts now.
    pub fn new() -> Self {
        Self {
            origin: Instant::now(),
            lanes: Vec::new(),
            elapsed: Duration::ZERO,
            plans: Vec::new(),
            marks: Vec::new(),
        }
    }

    /// Removes all records; the clock keeps running.
    pub fn clear(&mut self) {
        self.lanes.iter_mut().for_each(Vec::clear);
        self.plans.clear();
        self.marks.clear();
        self.elapsed = Duration::ZERO;
    }

    /// Adds the records of `other`, shifted to this trace's clock.
    ///
    /// Events before this trace's origin are clamped to it.
    pub fn append(&mut self, other: &Self) {
        let later = other.origin.saturating_duration_since(self.origin);
        let earlier = self.origin.saturating_duration_since(other.origin);
        let shift = |t: Duration| (t + later).saturating_sub(earlier);
        let places: Vec<usize> = other.plans.iter().map(|tasks| self.place(tasks)).collect();
        self.reserve(other.lanes.len());
        for (mine, theirs) in self.lanes.iter_mut().zip(&other.lanes) {
            mine.extend(theirs.iter().map(|record| Record {
                plan: places[record.plan],
                span: Span { start: shift(record.span.start), end: shift(record.span.end) },
                ..*record
            }));
        }
        let moved =
            |m: &Mark| Mark { span: Span { start: shift(m.span.start), end: shift(m.span.end) }, ..*m };
        self.marks.extend(other.marks.iter().map(moved));
        self.elapsed += other.elapsed;
    }

    /// Adds work outside of plans, done on `lane` since `start`: it is drawn but not counted.
    pub fn mark(&mut self, lane: Lane, name: &'static str, start: Instant) {
        let since = |t: Instant| t.saturating_duration_since(self.origin);
        let span = Span { start: since(start), end: since(Instant::now()) };
        self.marks.push(Mark { lane, name, span });
    }

    /// The total wall time of the recorded runs.
    pub fn elapsed(&self) -> Duration {
        self.elapsed
    }

    /// The lanes that ran tasks.
    pub fn lanes(&self) -> impl Iterator<Item = Lane> {
        let used = self.lanes.iter().enumerate().filter(|(_, records)| !records.is_empty());
        used.map(|(index, _)| Lane::at(index))
    }

    /// The busy time of `lane`, without waits.
    pub fn busy(&self, lane: Lane) -> Duration {
        self.records(lane).iter().map(|record| record.span.duration()).sum()
    }

    /// The tasks that `lane` ran, with their spans, in order; includes failed ones.
    pub fn spans(&self, lane: Lane) -> impl Iterator<Item = (&TaskInfo, Span)> {
        self.records(lane).iter().map(|record| (&self.plans[record.plan][record.task], record.span))
    }

    /// The records of `lane`, in order.
    pub(crate) fn records(&self, lane: Lane) -> &[Record] {
        self.lanes.get(lane.index()).map_or(&[], |records| records)
    }

    /// Makes room for records of `lanes` lanes.
    pub(crate) fn reserve(&mut self, lanes: usize) {
        if self.lanes.len() < lanes {
            self.lanes.resize_with(lanes, Vec::new);
        }
    }

    /// The index of a plan's tasks in `plans`; adds them if they are new.
    pub(crate) fn place(&mut self, tasks: &Arc<[TaskInfo]>) -> usize {
        self.plans.iter().position(|known| Arc::ptr_eq(known, tasks)).unwrap_or_else(|| {
            self.plans.push(Arc::clone(tasks));
            self.plans.len() - 1
        })
    }
}

impl Default for Trace {
    fn default() -> Self {
        Self::new()
    }
}
