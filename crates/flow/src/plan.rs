//! The ordered graph as data: listed and run.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use crate::arena::ArenaState;
use crate::hazard::{self, Clock};
use crate::task::{Around, TaskInfo, Work};
use crate::{Lane, Resource};

/// A graph with resolved dependencies; built once, run many times.
///
/// `Display` lists one task per line in declaration order: lane, name, dependencies and their hazards.
pub struct Plan<'a, E> {
    pub(crate) tasks: Arc<[TaskInfo]>,
    pub(crate) work: Vec<Box<Work<'a, E>>>,
    pub(crate) around: Option<Around<'a, E>>,
    /// The tasks of each lane, in order, by index of the lane.
    pub(crate) lanes: Vec<Vec<usize>>,
    /// For each task, `waits` as numbers of finished tasks.
    pub(crate) needs: Vec<Clock>,
    /// How many tasks each lane has finished in the current run, by index of the lane.
    pub(crate) finished: Box<[AtomicUsize]>,
    /// The arena that it runs on.
    pub(crate) arena: Arc<ArenaState>,
    names: Vec<Arc<str>>,
}

impl<'a, E> Plan<'a, E> {
    pub(crate) fn new(
        arena: Arc<ArenaState>,
        names: Vec<Arc<str>>,
        mut tasks: Vec<TaskInfo>,
        work: Vec<Box<Work<'a, E>>>,
        around: Option<Around<'a, E>>,
    ) -> Self {
        let count = tasks.iter().map(|task| task.lane.index() + 1).max().unwrap_or(0);
        let needs = hazard::derive(&mut tasks, names.len(), count);
        let mut lanes = vec![Vec::new(); count];
        tasks.iter().enumerate().for_each(|(t, task)| lanes[task.lane.index()].push(t));
        let finished = (0..count).map(|_| AtomicUsize::new(0)).collect();
        Self { tasks: tasks.into(), work, around, lanes, needs, finished, arena, names }
    }

    /// The tasks, in declaration order.
    pub fn tasks(&self) -> &[TaskInfo] {
        &self.tasks
    }

    /// The lanes that have tasks.
    pub fn lanes(&self) -> impl Iterator<Item = Lane> {
        let used = self.lanes.iter().enumerate().filter(|(_, queue)| !queue.is_empty());
        used.map(|(index, _)| Lane::at(index))
    }

    /// The name of the cell `resource`, or `?` if the plan's arena has no such cell.
    pub fn resource_name(&self, resource: Resource) -> &str {
        self.names.get(resource.index()).map_or("?", |name| name)
    }
}

impl<E> fmt::Display for Plan<'_, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.lanes().map(|lane| lane.to_string().len()).max().unwrap_or(0);
        let longest = self.tasks.iter().map(|task| task.name.chars().count()).max().unwrap_or(0);
        for task in self.tasks.iter() {
            write!(f, "{:<width$}  ", task.lane)?;
            if task.waits.is_empty() {
                writeln!(f, "{}", task.name)?;
                continue;
            }
            write!(f, "{:<longest$}  waits for ", task.name)?;
            for (i, wait) in task.waits.iter().enumerate() {
                let comma = if i > 0 { ", " } else { "" };
                let (name, resource) = (&self.tasks[wait.task].name, self.resource_name(wait.resource));
                write!(f, "{comma}{name} ({resource}: {})", wait.hazard)?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

impl<E> fmt::Debug for Plan<'_, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plan").field("tasks", &self.tasks).field("cells", &self.names).finish_non_exhaustive()
    }
}
