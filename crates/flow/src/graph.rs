//! The graph builder: tasks with their declared reads and writes.

use std::collections::HashMap;
use std::sync::Arc;

use crate::access::{Declaration, Permit};
use crate::arena::ArenaState;
use crate::task::{Around, TaskInfo, Work};
use crate::{Arena, GraphError, Lane, Plan, Read, Resource, TaskError, Write};

/// Tasks in sequential program order.
///
/// `'a` bounds the data that tasks borrow; `E` is the tasks' error type.
pub struct Graph<'a, E> {
    arena: Arc<ArenaState>,
    names: Vec<Arc<str>>,
    tasks: Vec<TaskInfo>,
    work: Vec<Box<Work<'a, E>>>,
    around: Option<Around<'a, E>>,
    /// The error of the first task with an invalid declaration.
    refused: Option<GraphError>,
}

impl<'a, E> Graph<'a, E> {
    /// An empty graph over the cells declared in `arena` so far.
    pub fn new(arena: &Arena) -> Self {
        Self {
            arena: Arc::clone(&arena.state),
            names: arena.names.clone(),
            tasks: Vec::new(),
            work: Vec::new(),
            around: None,
            refused: None,
        }
    }

    /// Calls each task's work through `call`, for example on the threads of a pool.
    pub fn around(&mut self, call: impl Fn(&Work<'a, E>) -> Result<(), TaskError<E>> + Send + Sync + 'a) {
        self.around = Some(Box::new(call));
    }

    /// Begins a task, which joins the graph at [`TaskBuilder::run`].
    pub fn task(&mut self, name: impl Into<String>) -> TaskBuilder<'_, 'a, E, (), ()> {
        TaskBuilder { graph: self, name: name.into(), lane: Lane::Cpu, reads: (), writes: () }
    }

    /// Derives the dependencies between tasks.
    ///
    /// # Errors
    /// If two tasks share a name, or a task declares a cell of another arena, or one twice of which it writes.
    pub fn plan(self) -> Result<Plan<'a, E>, GraphError> {
        if let Some(error) = self.refused {
            return Err(error);
        }
        let known = self.names.len();
        let mut names = HashMap::with_capacity(self.tasks.len());
        for (second, task) in self.tasks.iter().enumerate() {
            if let Some(first) = names.insert(task.name.as_str(), second) {
                return Err(GraphError::DuplicateTask { name: task.name.clone(), first, second });
            }
            if let Some(r) = task.reads.iter().chain(&task.writes).find(|r| r.index() >= known) {
                return Err(GraphError::UnknownCell { task: task.name.clone(), cell: r.0, known });
            }
        }
        Ok(Plan::new(self.arena, self.names, self.tasks, self.work, self.around))
    }
}

/// A task under construction that reads the cells `R` and writes the cells `W`.
#[must_use = "a task joins the graph only when `run` is called"]
pub struct TaskBuilder<'g, 'a, E, R, W> {
    graph: &'g mut Graph<'a, E>,
    name: String,
    lane: Lane,
    reads: R,
    writes: W,
}

impl<'g, 'a, E, R, W> TaskBuilder<'g, 'a, E, R, W> {
    /// Puts the task on `lane`; the default is [`Lane::Cpu`].
    pub fn on(self, lane: Lane) -> Self {
        Self { lane, ..self }
    }

    /// Declares the cells that the task reads.
    pub fn reads<R2: Read + 'a>(self, reads: R2) -> TaskBuilder<'g, 'a, E, R2, W> {
        let Self { graph, name, lane, writes, .. } = self;
        TaskBuilder { graph, name, lane, reads, writes }
    }

    /// Declares the cells that the task writes; use an [`Update`](crate::Update) for read-modify-write.
    pub fn writes<W2: Write + 'a>(self, writes: W2) -> TaskBuilder<'g, 'a, E, R, W2> {
        let Self { graph, name, lane, reads, .. } = self;
        TaskBuilder { graph, name, lane, reads, writes }
    }
}

impl<'a, E, R: Read + 'a, W: Write + 'a> TaskBuilder<'_, 'a, E, R, W> {
    /// Appends the task, with the function it runs, to the graph.
    ///
    /// `work` is called once per run with guards of the declared cells. Independent tasks may run concurrently.
    pub fn run<F>(self, work: F)
    where
        F: for<'c> Fn(R::Guard<'c>, W::Guard<'c>) -> Result<(), E> + Send + Sync + 'a,
    {
        let Self { graph, name, lane, reads, writes } = self;
        let mut to = Declaration {
            arena: Arc::clone(&graph.arena),
            reads: Vec::new(),
            writes: Vec::new(),
            foreign: None,
        };
        reads.declare_reads(&mut to);
        let read = to.reads.len();
        writes.declare_writes(&mut to);
        if let Some(cell) = to.foreign {
            graph.refused.get_or_insert_with(|| GraphError::ForeignCell { task: name.clone(), cell });
        }
        let twice = |(i, r): &(usize, &Resource)| to.reads[..read].contains(r) || to.writes[..*i].contains(r);
        if let Some((_, r)) = to.writes.iter().enumerate().find(twice) {
            let cell = graph.names.get(r.index()).map_or(String::new(), |name| name.to_string());
            graph.refused.get_or_insert_with(|| GraphError::DeclaredTwice { task: name.clone(), cell });
        }
        graph.tasks.push(TaskInfo { name, lane, reads: to.reads, writes: to.writes, waits: Vec::new() });
        graph.work.push(Box::new(move || {
            let permit = Permit(());
            let read = reads.lock_reads(&permit)?;
            let written = writes.lock_writes(&permit)?;
            work(read, written).map_err(TaskError::Work)
        }));
    }
}
