//! Lanes: the queues that tasks are assigned to.

use std::fmt;

/// A serial queue of tasks; one thread runs them in declaration order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// Dispatches to the engine.
    Engine,
    /// Computation on the host.
    Cpu,
}

impl Lane {
    /// Every lane, in the order in which they are listed and drawn.
    pub const ALL: [Self; Self::COUNT] = [Self::Engine, Self::Cpu];

    pub(crate) const COUNT: usize = 2;

    /// The lane's name in listings, drawings and traces.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Engine => "engine",
            Self::Cpu => "cpu",
        }
    }

    /// The lane's index in [`Lane::ALL`].
    pub(crate) const fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
