//! The ordered graph as data: listed and run.

use std::fmt;
use std::sync::Arc;

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
    /// The tasks of each lane, in order.
    pub(crate) lanes: [Vec<usize>; Lane::COUNT],
    /// For each task, `waits` as numbers of finished tasks.
    pub(crate) needs: Vec<Clock>,
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
        let needs = hazard::derive(&mut tasks, names.len());
        let of = |lane| (0..tasks.len()).filter(|&t| tasks[t].lane == lane).collect();
        let lanes = Lane::ALL.map(of);
        Self { tasks: tasks.into(), work, around, lanes, needs, arena, names }
    }

    /// The tasks, in declaration order.
    pub fn tasks(&self) -> &[TaskInfo] {
        &self.tasks
    }

    /// The name of the cell `resource`, or `?` if the plan's arena has no such cell.
    pub fn resource_name(&self, resource: Resource) -> &str {
        self.names.get(resource.index()).map_or("?", |name| name)
    }
}

impl<E> fmt::Display for Plan<'_, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let longest = self.tasks.iter().map(|task| task.name.chars().count()).max().unwrap_or(0);
        for task in self.tasks.iter() {
            write!(f, "{:<6}  ", task.lane)?;
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
