//! What is known of a task: what it touches, whom it waits for, and its work.

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

/// A task that must be done before another may begin, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait {
    /// The earlier task's place in [`crate::Plan::tasks`].
    pub task: usize,
    /// How the two conflict.
    pub hazard: Hazard,
    /// Over what; where they conflict over several resources, the first declared by the later task.
    pub resource: Resource,
}

/// What a plan knows about a task.
#[derive(Clone, Debug)]
pub struct TaskInfo {
    /// Its name, unique in the plan.
    pub name: String,
    /// The lane that serves it.
    pub lane: Lane,
    /// What it reads.
    pub reads: Vec<Resource>,
    /// What it writes.
    pub writes: Vec<Resource>,
    /// Tasks of other lanes that must be done first: at most one a lane, none that another one implies.
    /// Earlier tasks of its own lane are done anyway.
    pub waits: Vec<Wait>,
}

/// A task's work with its declared cells bound to it.
pub type Work<'a, E> = dyn Fn() -> Result<(), TaskError<E>> + Send + Sync + 'a;

/// How a task's work is called.
pub(crate) type Around<'a, E> = Box<dyn Fn(&Work<'a, E>) -> Result<(), TaskError<E>> + Send + Sync + 'a>;
