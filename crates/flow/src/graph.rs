//! Declarations: resources, and tasks that say what they read and write.

use std::collections::HashMap;

use crate::plan::TaskInfo;
use crate::{GraphError, Lane, Plan};

/// Something tasks read and write: a buffer, a surface, a file.
///
/// Two resources are independent of each other, so memory that overlaps must be one resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Resource(pub(crate) u32);

impl Resource {
    /// The resource's place among those of its graph, counted from 0.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// What a task does when its turn comes.
pub(crate) type Work<'a, E> = Box<dyn Fn() -> Result<(), E> + Send + Sync + 'a>;

/// Tasks in the order in which one thread alone would run them.
///
/// `'a` is how long the data borrowed by the tasks lives, `E` what a task may fail with.
pub struct Graph<'a, E> {
    resources: Vec<String>,
    tasks: Vec<TaskInfo>,
    work: Vec<Work<'a, E>>,
}

impl<'a, E> Graph<'a, E> {
    /// A graph without tasks.
    pub fn new() -> Self {
        Self { resources: Vec::new(), tasks: Vec::new(), work: Vec::new() }
    }

    /// Makes a resource; the name is for people and need not be unique.
    pub fn resource(&mut self, name: impl Into<String>) -> Resource {
        let id = Resource(self.resources.len() as u32);
        self.resources.push(name.into());
        id
    }

    /// Begins a task, which joins the graph at [`TaskBuilder::run`].
    pub fn task(&mut self, name: impl Into<String>) -> TaskBuilder<'_, 'a, E> {
        let info = TaskInfo {
            name: name.into(),
            lane: Lane::Cpu,
            reads: Vec::new(),
            writes: Vec::new(),
            waits: Vec::new(),
        };
        TaskBuilder { graph: self, info }
    }

    /// Derives who waits for whom.
    ///
    /// # Errors
    /// If two tasks share a name, or a task names a resource this graph did not make.
    pub fn plan(self) -> Result<Plan<'a, E>, GraphError> {
        let known = self.resources.len();
        let mut names = HashMap::with_capacity(self.tasks.len());
        for (second, task) in self.tasks.iter().enumerate() {
            if let Some(first) = names.insert(task.name.as_str(), second) {
                return Err(GraphError::DuplicateTask { name: task.name.clone(), first, second });
            }
            if let Some(r) = task.reads.iter().chain(&task.writes).find(|r| r.index() >= known) {
                return Err(GraphError::UnknownResource { task: task.name.clone(), resource: r.0, known });
            }
        }
        Ok(Plan::new(self.resources, self.tasks, self.work))
    }
}

impl<E> Default for Graph<'_, E> {
    fn default() -> Self {
        Self::new()
    }
}

/// A task being declared.
#[must_use = "a task joins the graph only when `run` is called"]
pub struct TaskBuilder<'g, 'a, E> {
    graph: &'g mut Graph<'a, E>,
    info: TaskInfo,
}

impl<'a, E> TaskBuilder<'_, 'a, E> {
    /// Puts the task on `lane`; a task that does not say is on [`Lane::Cpu`].
    pub fn on(mut self, lane: Lane) -> Self {
        self.info.lane = lane;
        self
    }

    /// Adds resources the task reads.
    pub fn reads(mut self, resources: impl IntoIterator<Item = Resource>) -> Self {
        self.info.reads.extend(resources);
        self
    }

    /// Adds resources the task writes; one it also needs the old content of belongs in `reads` as well.
    pub fn writes(mut self, resources: impl IntoIterator<Item = Resource>) -> Self {
        self.info.writes.extend(resources);
        self
    }

    /// Adds the task, with what it does, at the end of the graph.
    ///
    /// `work` is called once a run and touches shared data only as declared. Tasks that share nothing may run
    /// while it does.
    pub fn run(self, work: impl Fn() -> Result<(), E> + Send + Sync + 'a) {
        self.graph.tasks.push(self.info);
        self.graph.work.push(Box::new(work));
    }
}
