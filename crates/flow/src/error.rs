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
    /// A task names a resource that another graph made.
    #[error("task `{task}` names resource number {resource}, this graph has made {known}")]
    UnknownResource {
        /// The task.
        task: String,
        /// The resource's number, counted from 0.
        resource: u32,
        /// How many resources the graph has.
        known: usize,
    },
}

impl GraphError {
    /// What the caller can do about it: one sentence, imperative.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::DuplicateTask { .. } => Some("Put the layer or the micro-batch into the task's name."),
            Self::UnknownResource { .. } => {
                Some("Name only resources made by `resource` of the graph that holds the task.")
            }
        }
    }
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
    /// The plan is being run by someone else, or by one of its own tasks.
    #[error("the plan is running already")]
    Busy,
}

impl<E> RunError<E> {
    /// What the caller can do about it, if anything: one sentence, imperative.
    ///
    /// A task's own error knows its own remedy: ask `source`.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Task { .. } => None,
            Self::Panic { .. } => {
                Some("Run again with `RUST_BACKTRACE=1` and report the place it names: this is a bug.")
            }
            Self::Thread { .. } => {
                Some("Raise the number of threads this user may start (`ulimit -u`), or end other programs.")
            }
            Self::Busy => Some("Wait until the first run has returned, or build a second plan."),
        }
    }
}
