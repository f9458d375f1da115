//! Task metadata: resources, dependencies and the work itself.

use std::fmt;

use crate::{Lane, Resource, TaskError};

/// How two tasks conflict over a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Hazard {
    /// The later task reads what the earlier one writes.
    ReadAfterWrite,
    /// The later task overwrites what the earlier one reads.
    WriteAfterRead,
    /// The later task overwrites what the earlier one writes.
    WriteAfterWrite,
}

impl fmt::Display for Hazard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::ReadAfterWrite => "read after write",
            Self::WriteAfterRead => "write after read",
            Self::WriteAfterWrite => "write after write",
        })
    }
}

/// A dependency on an earlier task, and its reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait {
    /// The earlier task's index in [`crate::Plan::tasks`].
    pub task: usize,
    /// The kind of conflict.
    pub hazard: Hazard,
    /// The resource; of several, the first that the later task declares.
    pub resource: Resource,
}

/// A task of a plan.
#[derive(Clone, Debug)]
pub struct TaskInfo {
    /// The name, unique in the plan.
    pub name: String,
    /// The lane that runs it.
    pub lane: Lane,
    /// The resources that it reads.
    pub reads: Vec<Resource>,
    /// The resources that it writes.
    pub writes: Vec<Resource>,
    /// Dependencies on tasks of other lanes: at most one per lane, none implied by another. Earlier tasks of its own lane
    /// need no entry.
    pub waits: Vec<Wait>,
}

/// A task's work with its declared cells bound to it.
pub type Work<'a, E> = dyn Fn() -> Result<(), TaskError<E>> + Send + Sync + 'a;

/// A wrapper that calls a task's work.
pub(crate) type Around<'a, E> = Box<dyn Fn(&Work<'a, E>) -> Result<(), TaskError<E>> + Send + Sync + 'a>;
