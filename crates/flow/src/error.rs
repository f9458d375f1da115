//! Errors of graph construction and of runs.

use crate::Lane;

/// Why a graph cannot be planned.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GraphError {
    /// Two tasks share a name, so listings, errors and traces would be ambiguous.
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
    #[error("task `{task}` declares cell {cell} of the arena, but the graph was created with {known} cells")]
    UnknownCell {
        /// The task.
        task: String,
        /// The cell's index in the arena.
        cell: u32,
        /// Cells in the arena when the graph was created.
        known: usize,
    },
    /// A task declares a cell of another arena; hazards across arenas are not tracked.
    #[error("task `{task}` declares cell `{cell}`, which belongs to another arena")]
    ForeignCell {
        /// The task.
        task: String,
        /// The cell's name.
        cell: String,
    },
    /// A task declares a cell that it writes twice; it could not lock it twice.
    #[error("task `{task}` writes cell `{cell}` and declares it a second time")]
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
            Self::UnknownCell { .. } => Some("Declare all cells before creating the graph."),
            Self::ForeignCell { .. } => {
                Some("Declare only cells of the arena that the graph was created with.")
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
    /// The cell was accessed without a declaration while a plan runs on the arena.
    #[error("cell `{cell}` was accessed without a declaration while a plan runs")]
    Running {
        /// The cell's name.
        cell: String,
    },
    /// Another guard of the cell is alive.
    #[error("cell `{cell}` is in use")]
    InUse {
        /// The cell's name.
        cell: String,
    },
    /// A thread panicked while it wrote the cell.
    #[error("cell `{cell}` may be half written: a thread panicked while writing it")]
    Poisoned {
        /// The cell's name.
        cell: String,
    },
    /// A task indexed past the end of a declared list of cells.
    #[error("cell {index} of a list was accessed, but only {declared} are declared")]
    Undeclared {
        /// The requested index.
        index: usize,
        /// The length of the declared list.
        declared: usize,
    },
}

/// Why a task failed: its own error, or a cell that could not be locked.
#[derive(Debug, thiserror::Error)]
pub enum TaskError<E> {
    /// The task's own error.
    #[error("the task failed")]
    Work(E),
    /// A declared cell could not be locked.
    #[error(transparent)]
    Access(#[from] AccessError),
}

/// Why a run stopped early; tasks that had not begun are skipped.
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
        /// The error that it returned.
        source: E,
    },
    /// A declared cell could not be locked.
    #[error("task `{task}` on the {lane} lane: {source}")]
    Access {
        /// The task's name.
        task: String,
        /// The lane it ran on.
        lane: Lane,
        /// The reason.
        source: AccessError,
    },
    /// A task panicked.
    #[error("task `{task}` on the {lane} lane panicked: {message}")]
    Panic {
        /// The task's name.
        task: String,
        /// The lane it ran on.
        lane: Lane,
        /// The panic message.
        message: String,
    },
    /// The system refused to start a thread for a lane.
    #[error("cannot start a thread for the {lane} lane")]
    Thread {
        /// The lane.
        lane: Lane,
        /// The system's error.
        source: std::io::Error,
    },
    /// A plan of the arena is already running, on another thread or around this call.
    #[error("a plan of this arena is already running")]
    Busy,
}

impl<E> RunError<E> {
    /// What the caller can do about it, if anything: one sentence, imperative.
    ///
    /// For a task's own error, see `source`.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Task { .. } | Self::Access { .. } => None,
            Self::Panic { .. } => {
                Some("Run again with `RUST_BACKTRACE=1` and report the location it prints: this is a bug.")
            }
            Self::Thread { .. } => {
                Some("Raise the number of threads this user may start (`ulimit -u`), or end other programs.")
            }
            Self::Busy => {
                Some("Wait until the first run has returned, or build a second plan on another arena.")
            }
        }
    }
}
