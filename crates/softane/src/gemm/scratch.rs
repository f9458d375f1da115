//! Working memory of matrix products, kept between them, so that a steady step allocates nothing.

use crate::buffer::Buffer;
use std::cell::RefCell;
use std::sync::{Mutex, PoisonError};

/// The working memory of one thread, which starts no task of the pool while it uses it.
#[derive(Default)]
pub(super) struct Local {
    /// A packed block of the left side.
    pub left: Buffer,
    /// The packed right side, where a thread packs it for itself.
    pub right: Buffer,
    /// Partial sums of tiles, if the inner dimension is split.
    pub sums: Buffer,
    /// The tile that is being computed.
    pub tile: Buffer,
}

thread_local! {
    static LOCAL: RefCell<Local> = RefCell::default();
}

/// Runs `f` with the calling thread's memory.
pub(super) fn local<R>(f: impl FnOnce(&mut Local) -> R) -> R {
    LOCAL.with(|local| f(&mut local.borrow_mut()))
}

/// The first `len` f32 of `buffer`, which grows if it must; their values are unspecified.
pub(super) fn take(buffer: &mut Buffer, len: usize) -> &mut [f32] {
    if buffer.len() < 4 * len {
        *buffer = Buffer::zeroed(4 * len);
    }
    &mut buffer.f32s_mut()[..len]
}

static SHARED: Mutex<Vec<Buffer>> = Mutex::new(Vec::new());

/// Memory for a product that several threads work on.
#[derive(Debug)]
pub(super) struct Shared(Buffer);

impl Shared {
    /// The largest free buffer, grown to at least `len` f32.
    pub fn new(len: usize) -> Shared {
        let mut free = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        let mut buffer = free.pop().unwrap_or_default();
        drop(free);
        if buffer.len() < 4 * len {
            buffer = Buffer::zeroed(4 * len);
        }
        Shared(buffer)
    }

    pub fn f32s(&self) -> &[f32] {
        self.0.f32s()
    }

    pub fn f32s_mut(&mut self) -> &mut [f32] {
        self.0.f32s_mut()
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let mut free = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        free.push(std::mem::take(&mut self.0));
        free.sort_by_key(Buffer::len);
    }
}
