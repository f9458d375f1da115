//! Access declarations of tasks, and the guards that a task receives for them.

use std::sync::{Arc, RwLockReadGuard, RwLockWriteGuard};

use crate::arena::ArenaState;
use crate::{AccessError, Handle, Resource, Update};

/// The declared reads and writes of a task under construction.
#[derive(Debug)]
pub struct Declaration {
    pub(crate) arena: Arc<ArenaState>,
    pub(crate) reads: Vec<Resource>,
    pub(crate) writes: Vec<Resource>,
    /// The name of the first declared cell that belongs to another arena.
    pub(crate) foreign: Option<String>,
}

impl Declaration {
    fn check<T>(&mut self, handle: &Handle<T>) -> Resource {
        if !handle.is_of(&self.arena) {
            self.foreign.get_or_insert_with(|| handle.name().to_owned());
        }
        handle.resource()
    }
}

/// Permission to lock cells; a plan issues it for the duration of a task.
#[derive(Debug)]
pub struct Permit(pub(crate) ());

/// Cells that a task can declare to read: a handle, or a tuple, an `Option` or a `Vec` of such.
///
/// An implementation for another type delegates both methods to the same handles.
pub trait Read: Send + Sync {
    /// The guards that the task holds while it runs.
    type Guard<'a>
    where
        Self: 'a;

    /// Adds the cells to `to`.
    fn declare_reads(&self, to: &mut Declaration);

    /// Locks the cells.
    ///
    /// # Errors
    /// If a cell is in use outside of the plan, or a task panicked while it wrote it.
    fn lock_reads<'a>(&'a self, permit: &'a Permit) -> Result<Self::Guard<'a>, AccessError>;
}

/// Cells that a task can declare to write: a handle, an [`Update`], or a tuple, an `Option` or a `Vec` of such.
///
/// An implementation for another type delegates both methods to the same handles.
pub trait Write: Send + Sync {
    /// The guards that the task holds while it runs.
    type Guard<'a>
    where
        Self: 'a;

    /// Adds the cells to `to`.
    fn declare_writes(&self, to: &mut Declaration);

    /// Locks the cells.
    ///
    /// # Errors
    /// As [`Read::lock_reads`].
    fn lock_writes<'a>(&'a self, permit: &'a Permit) -> Result<Self::Guard<'a>, AccessError>;
}

impl<T: Send + Sync> Read for Handle<T> {
    type Guard<'a>
        = RwLockReadGuard<'a, T>
    where
        T: 'a;

    fn declare_reads(&self, to: &mut Declaration) {
        let resource = to.check(self);
        to.reads.push(resource);
    }

    fn lock_reads<'a>(&'a self, _: &'a Permit) -> Result<Self::Guard<'a>, AccessError> {
        self.lock_shared()
    }
}

impl<T: Send + Sync> Write for Handle<T> {
    type Guard<'a>
        = RwLockWriteGuard<'a, T>
    where
        T: 'a;

    fn declare_writes(&self, to: &mut Declaration) {
        let resource = to.check(self);
        to.writes.push(resource);
    }

    fn lock_writes<'a>(&'a self, _: &'a Permit) -> Result<Self::Guard<'a>, AccessError> {
        self.lock_exclusive()
    }
}

impl<T: Send + Sync> Write for Update<T> {
    type Guard<'a>
        = RwLockWriteGuard<'a, T>
    where
        T: 'a;

    fn declare_writes(&self, to: &mut Declaration) {
        let resource = to.check(&self.0);
        to.reads.push(resource);
        to.writes.push(resource);
    }

    fn lock_writes<'a>(&'a self, _: &'a Permit) -> Result<Self::Guard<'a>, AccessError> {
        self.0.lock_exclusive()
    }
}

/// Read guards of a `Vec` of declared cells; each is locked on access.
#[derive(Debug)]
pub struct List<'a, A> {
    items: &'a [A],
    permit: &'a Permit,
}

impl<A> List<'_, A> {
    /// The number of declared items.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether no item is declared.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    fn item(&self, i: usize) -> Result<&A, AccessError> {
        self.items.get(i).ok_or(AccessError::Undeclared { index: i, declared: self.items.len() })
    }
}

impl<A: Read> List<'_, A> {
    /// Locks item `i` to read it.
    ///
    /// # Errors
    /// As [`Read::lock_reads`], or if fewer items are declared.
    pub fn read(&self, i: usize) -> Result<A::Guard<'_>, AccessError> {
        self.item(i)?.lock_reads(self.permit)
    }
}

/// Write guards of a `Vec` of declared cells; each is locked on access.
#[derive(Debug)]
pub struct ListMut<'a, A>(List<'a, A>);

impl<A: Write> ListMut<'_, A> {
    /// The number of declared items.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether no item is declared.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Locks item `i` to write it.
    ///
    /// # Errors
    /// As [`Write::lock_writes`], or if fewer items are declared.
    pub fn write(&self, i: usize) -> Result<A::Guard<'_>, AccessError> {
        self.0.item(i)?.lock_writes(self.0.permit)
    }
}

impl<A: Read> Read for Vec<A> {
    type Guard<'a>
        = List<'a, A>
    where
        A: 'a;

    fn declare_reads(&self, to: &mut Declaration) {
        self.iter().for_each(|item| item.declare_reads(to));
    }

    fn lock_reads<'a>(&'a self, permit: &'a Permit) -> Result<Self::Guard<'a>, AccessError> {
        Ok(List { items: self, permit })
    }
}

impl<A: Write> Write for Vec<A> {
    type Guard<'a>
        = ListMut<'a, A>
    where
        A: 'a;

    fn declare_writes(&self, to: &mut Declaration) {
        self.iter().for_each(|item| item.declare_writes(to));
    }

    fn lock_writes<'a>(&'a self, permit: &'a Permit) -> Result<Self::Guard<'a>, AccessError> {
        Ok(ListMut(List { items: self, permit }))
    }
}

impl<A: Read> Read for Option<A> {
    type Guard<'a>
        = Option<A::Guard<'a>>
    where
        A: 'a;

    fn declare_reads(&self, to: &mut Declaration) {
        self.iter().for_each(|item| item.declare_reads(to));
    }

    fn lock_reads<'a>(&'a self, permit: &'a Permit) -> Result<Self::Guard<'a>, AccessError> {
        self.as_ref().map(|item| item.lock_reads(permit)).transpose()
    }
}

impl<A: Write> Write for Option<A> {
    type Guard<'a>
        = Option<A::Guard<'a>>
    where
        A: 'a;

    fn declare_writes(&self, to: &mut Declaration) {
        self.iter().for_each(|item| item.declare_writes(to));
    }

    fn lock_writes<'a>(&'a self, permit: &'a Permit) -> Result<Self::Guard<'a>, AccessError> {
        self.as_ref().map(|item| item.lock_writes(permit)).transpose()
    }
}

/// Implements both traits for a tuple.
macro_rules! tuple {
    ($($name:ident $at:tt),*) => {
        impl<$($name: Read),*> Read for ($($name,)*) {
            type Guard<'a>
                = ($($name::Guard<'a>,)*)
            where
                $($name: 'a),*;

            fn declare_reads(&self, _to: &mut Declaration) {
                $(self.$at.declare_reads(_to);)*
            }

            fn lock_reads<'a>(&'a self, _permit: &'a Permit) -> Result<Self::Guard<'a>, AccessError> {
                Ok(($(self.$at.lock_reads(_permit)?,)*))
            }
        }

        impl<$($name: Write),*> Write for ($($name,)*) {
            type Guard<'a>
                = ($($name::Guard<'a>,)*)
            where
                $($name: 'a),*;

            fn declare_writes(&self, _to: &mut Declaration) {
                $(self.$at.declare_writes(_to);)*
            }

            fn lock_writes<'a>(&'a self, _permit: &'a Permit) -> Result<Self::Guard<'a>, AccessError> {
                Ok(($(self.$at.lock_writes(_permit)?,)*))
            }
        }
    };
}

tuple!();
tuple!(A 0);
tuple!(A 0, B 1);
tuple!(A 0, B 1, C 2);
tuple!(A 0, B 1, C 2, D 3);
tuple!(A 0, B 1, C 2, D 3, F 4);
tuple!(A 0, B 1, C 2, D 3, F 4, G 5);
