//! What can go wrong: a graph that cannot be ordered, a run that did not reach its end.

use crate::Lane;

/// Why a graph is no plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GraphError {
    /// A name is taken: listings, errors and traces could not tell the tasks apart.
    #[error("tasks {first} and {second} of the graph are both called `{name}`")]
    DuplicateTask {
        /// The name they share.
        name: String,
        /// Position of the first, counted from 0 in declaration order.
        first: usize,
        /// Position of the second.
        second: usize,
    },
    /// A task declares a cell that the arena made after the graph.
    #[error("task `{task}` declares cell {cell} of the arena, and the graph was begun with {known} cells")]
    UnknownCell {
        /// The task.
        task: String,
        /// The cell's place in the arena.
        cell: u32,
        /// How many cells the arena had.
        known: usize,
    },
    /// A task declares a cell of another arena: hazards between the two are not seen.
    #[error("task `{task}` declares cell `{cell}`, which another arena made")]
    ForeignCell {
        /// The task.
        task: String,
        /// The cell's name.
        cell: String,
    },
    /// A task declares a cell twice: it could not lock it twice.
    #[error("task `{task}` declares cell `{cell}` to write it, and declares it once more")]
    DeclaredTwice {
        /// The task.
        task: String,
        /// The cell's name.
        cell: String,
    },
}

impl GraphError {
    /// What the caller can do about it: one sentence, imperative.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::DuplicateTask { .. } => Some("Put the layer or the micro-batch into the task's name."),
            Self::UnknownCell { .. } => Some("Declare all cells before the graph is begun."),
            Self::ForeignCell { .. } => {
                Some("Declare only cells of the arena that the graph was begun with.")
            }
            Self::DeclaredTwice { .. } => {
                Some("Declare a cell that is read and written once, as an `update`.")
            }
        }
    }
}

/// Why a cell could not be locked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AccessError {
    /// A plan runs on the arena, and the cell was asked for without a declaration.
    #[error("cell `{cell}` was asked for outside of a task's declaration while a plan runs")]
    Running {
        /// The cell's name.
        cell: String,
    },
    /// A guard of the cell is held elsewhere.
    #[error("cell `{cell}` is in use")]
    InUse {
        /// The cell's name.
        cell: String,
    },
    /// A thread panicked while it wrote the cell.
    #[error("cell `{cell}` was left half written by a thread that panicked")]
    Poisoned {
        /// The cell's name.
        cell: String,
    },
    /// A task asked for more cells of a list than it declared.
    #[error("cell {index} of a list was asked for, and {declared} are declared")]
    Undeclared {
        /// The place that was asked for.
        index: usize,
        /// How many the task declared.
        declared: usize,
    },
}

/// What a task's call may come to: its own error, or a cell that could not be locked.
#[derive(Debug, thiserror::Error)]
pub enum TaskError<E> {
    /// The task's own error.
    #[error("the task failed")]
    Work(E),
    /// A declared cell could not be locked.
    #[error(transparent)]
    Access(#[from] AccessError),
}

/// Why a run stopped before its end; tasks that had not begun by then never do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError<E> {
    /// A task returned an error; `source` is that error.
    #[error("task `{task}` on the {lane} lane failed")]
    Task {
        /// The task's name.
        task: String,
        /// The lane it ran on.
        lane: Lane,
        /// What it returned.
        source: E,
    },
    /// A cell that a task declared could not be locked.
    #[error("task `{task}` on the {lane} lane: {source}")]
    Access {
        /// The task's name.
        task: String,
        /// Its lane.
        lane: Lane,
        /// Why.
        source: AccessError,
    },
    /// A task panicked.
    #[error("task `{task}` on the {lane} lane panicked: {message}")]
    Panic {
        /// The task's name.
        task: String,
        /// The lane it ran on.
        lane: Lane,
        /// What it panicked with.
        message: String,
    },
    /// The system gave a lane no thread.
    #[error("no thread for the {lane} lane")]
    Thread {
        /// The lane.
        lane: Lane,
        /// What the system said.
        source: std::io::Error,
    },
    /// The plan or another one of its arena is being run by another thread, or by one of its own tasks.
    #[error("a plan of this memory is running already")]
    Busy,
}

impl<E> RunError<E> {
    /// What the caller can do about it, if anything: one sentence, imperative.
    ///
    /// A task's own error knows its own remedy: ask `source`.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Task { .. } | Self::Access { .. } => None,
            Self::Panic { .. } => {
                Some("Run again with `RUST_BACKTRACE=1` and report the place it names: this is a bug.")
            }
            Self::Thread { .. } => {
                Some("Raise the number of threads this user may start (`ulimit -u`), or end other programs.")
            }
            Self::Busy => {
                Some("Wait until the first run has returned, or build a second plan on other memory.")
            }
        }
    }
}
