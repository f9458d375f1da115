//! Lanes: the queues that tasks are assigned to.

use std::fmt;

/// A serial queue of tasks; one thread runs them in declaration order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// Dispatches to the engine.
    Engine,
    /// Computation on the host.
    Cpu,
    /// All the work of one of several equal threads, counted from 0.
    Worker(u16),
}

impl Lane {
    /// The lanes with a name of their own; those of workers follow them.
    const NAMED: [Self; 2] = [Self::Engine, Self::Cpu];

    /// The lane's place in listings, drawings and traces.
    pub(crate) const fn index(self) -> usize {
        match self {
            Self::Engine => 0,
            Self::Cpu => 1,
            Self::Worker(n) => Self::NAMED.len() + n as usize,
        }
    }

    /// The lane with this [`Lane::index`].
    pub(crate) fn at(index: usize) -> Self {
        match Self::NAMED.get(index) {
            Some(lane) => *lane,
            None => Self::Worker((index - Self::NAMED.len()) as u16),
        }
    }
}

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Engine => f.pad("engine"),
            Self::Cpu => f.pad("cpu"),
            Self::Worker(n) => f.pad(&format!("worker {n}")),
        }
    }
}
