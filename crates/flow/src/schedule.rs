//! The plan on a pretend clock.

use std::sync::Arc;
use std::time::Duration;

use crate::plan::TaskInfo;
use crate::trace::Record;
use crate::{Lane, Plan, Span, Trace, chrome};

/// When each task would run if each took as long as it was said to.
#[derive(Clone, Debug)]
pub struct Schedule {
    tasks: Arc<[TaskInfo]>,
    spans: Vec<Span>,
}

impl<E> Plan<'_, E> {
    /// Runs the plan on a pretend clock: every task begins as soon as its lane is free and those it waits
    /// for are done, and takes `cost`.
    pub fn simulate(&self, cost: impl Fn(&TaskInfo) -> Duration) -> Schedule {
        let mut free = [Duration::ZERO; Lane::COUNT];
        let mut spans: Vec<Span> = Vec::with_capacity(self.tasks.len());
        for task in self.tasks.iter() {
            let lane = &mut free[task.lane.index()];
            let start = task.waits.iter().map(|wait| spans[wait.task].end).fold(*lane, Duration::max);
            *lane = start + cost(task);
            spans.push(Span { start, end: *lane });
        }
        Schedule { tasks: Arc::clone(&self.tasks), spans }
    }
}

impl Schedule {
    /// When the last task ends.
    pub fn makespan(&self) -> Duration {
        self.spans.iter().map(|span| span.end).max().unwrap_or_default()
    }

    /// Every task with its span, in declaration order.
    pub fn spans(&self) -> impl Iterator<Item = (&TaskInfo, Span)> {
        self.tasks.iter().zip(self.spans.iter().copied())
    }

    /// The span of the task called `name`.
    pub fn span(&self, name: &str) -> Option<Span> {
        self.spans().find(|(task, _)| task.name == name).map(|(_, span)| span)
    }

    /// How long `lane` works, waiting not counted.
    pub fn busy(&self, lane: Lane) -> Duration {
        self.spans().filter(|(task, _)| task.lane == lane).map(|(_, span)| span.duration()).sum()
    }

    /// The schedule as Chrome trace JSON, for `chrome://tracing` or Perfetto: tasks, what lanes wait for, and idle time.
    pub fn to_chrome_json(&self) -> String {
        let mut trace = Trace::new();
        let plan = trace.place(&self.tasks);
        for (task, &span) in self.spans.iter().enumerate() {
            trace.lanes[self.tasks[task].lane.index()].push(Record { plan, task, span });
        }
        chrome::trace_json(&trace)
    }
}
