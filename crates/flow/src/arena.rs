//! Memory that tasks share, declared once: an arena of typed handles.
//!
//! A task locks a cell only through the handles that it declared. A handle that a task captures without declaring it
//! gives [`AccessError::Running`] for as long as a plan of its arena runs, in every build.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, RwLock, RwLockReadGuard, RwLockWriteGuard, TryLockError};

use crate::AccessError;

/// The identity of a cell within its arena.
///
/// Two resources are independent of each other: memory that overlaps must be one cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Resource(pub(crate) u32);

impl Resource {
    /// The cell's place in its arena, counted from 0.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// What all cells and plans of an arena share.
#[derive(Debug, Default)]
pub(crate) struct ArenaState {
    /// Set while a plan runs on this memory.
    pub(crate) running: AtomicBool,
}

/// Declares the cells that the tasks of its graphs read and write.
#[derive(Debug, Default)]
pub struct Arena {
    pub(crate) state: Arc<ArenaState>,
    pub(crate) names: Vec<Arc<str>>,
}

impl Arena {
    /// An arena without cells.
    pub fn new() -> Self {
        Self::default()
    }

    /// Declares a cell that holds `value`; `name` is for messages and listings and need not be unique.
    pub fn cell<T>(&mut self, name: impl Into<String>, value: T) -> Handle<T> {
        let (name, place) = (Arc::from(name.into()), Resource(self.names.len() as u32));
        self.names.push(Arc::clone(&name));
        let arena = Arc::clone(&self.state);
        Handle(Arc::new(Slot { value: RwLock::new(value), name, place, arena }))
    }
}

struct Slot<T> {
    value: RwLock<T>,
    name: Arc<str>,
    place: Resource,
    arena: Arc<ArenaState>,
}

/// A typed handle of a cell. Clones are handles of the same cell.
pub struct Handle<T>(Arc<Slot<T>>);

impl<T> Clone for Handle<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> fmt::Debug for Handle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Handle").field(&self.0.name).finish()
    }
}

impl<T> Handle<T> {
    /// The cell's identity.
    pub fn resource(&self) -> Resource {
        self.0.place
    }

    /// The cell's name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Reads the cell between runs.
    ///
    /// # Errors
    /// If a plan of its arena runs, another thread writes the cell, or a task panicked while it wrote it.
    pub fn read(&self) -> Result<RwLockReadGuard<'_, T>, AccessError> {
        self.check_idle()?;
        self.lock_shared()
    }

    /// Writes the cell between runs.
    ///
    /// # Errors
    /// If a plan of its arena runs, another thread uses the cell, or a task panicked while it wrote it.
    pub fn write(&self) -> Result<RwLockWriteGuard<'_, T>, AccessError> {
        self.check_idle()?;
        self.lock_exclusive()
    }

    /// Declares a read-modify-write access to the cell.
    pub fn update(&self) -> Update<T> {
        Update(self.clone())
    }

    pub(crate) fn is_of(&self, arena: &Arc<ArenaState>) -> bool {
        Arc::ptr_eq(&self.0.arena, arena)
    }

    /// Never blocks: the plan orders conflicting tasks.
    pub(crate) fn lock_shared(&self) -> Result<RwLockReadGuard<'_, T>, AccessError> {
        self.0.value.try_read().map_err(|e| self.locked(&e))
    }

    /// Never blocks.
    pub(crate) fn lock_exclusive(&self) -> Result<RwLockWriteGuard<'_, T>, AccessError> {
        self.0.value.try_write().map_err(|e| self.locked(&e))
    }

    fn check_idle(&self) -> Result<(), AccessError> {
        match self.0.arena.running.load(Ordering::Acquire) {
            true => Err(AccessError::Running { cell: self.0.name.to_string() }),
            false => Ok(()),
        }
    }

    fn locked<G>(&self, error: &TryLockError<G>) -> AccessError {
        let cell = self.0.name.to_string();
        match error {
            TryLockError::Poisoned(_) => AccessError::Poisoned { cell },
            TryLockError::WouldBlock => AccessError::InUse { cell },
        }
    }
}

/// A cell that a task reads and writes: [`Handle::update`].
#[derive(Debug)]
pub struct Update<T>(pub(crate) Handle<T>);

impl<T> Clone for Update<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}
