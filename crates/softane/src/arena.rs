//! Working memory that all programs of a device share.

use crate::buffer::Buffer;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Working memory for one run at a time; grows to the largest program it has been made ready for.
#[derive(Debug, Default)]
pub struct Arena {
    /// Values between operations.
    pub(crate) values: Buffer,
    /// Working memory of each thread inside an operation.
    pub(crate) workers: Workers,
}

impl Arena {
    /// Grows to `values` bytes of values, and banks of so many f32 for each of `threads` threads.
    pub(crate) fn grow(&mut self, values: usize, banks: &[usize], threads: usize) {
        if self.values.len() < values {
            self.values = Buffer::zeroed(values);
        }
        self.workers.grow(banks, threads);
    }

    /// Bytes it holds.
    pub fn bytes(&self) -> usize {
        let worker: usize = self.workers.sizes.iter().sum::<usize>() * 4;
        self.values.len() + worker * self.workers.banks.len()
    }
}

/// Memory of the threads: a few banks of f32 each.
#[derive(Debug, Default)]
pub(crate) struct Workers {
    sizes: Vec<usize>,
    banks: Vec<Mutex<Vec<Buffer>>>,
}

impl Workers {
    fn grow(&mut self, banks: &[usize], threads: usize) {
        let fits =
            banks.len() <= self.sizes.len() && banks.iter().zip(&self.sizes).all(|(want, have)| want <= have);
        if fits && threads <= self.banks.len() {
            return;
        }
        self.sizes.resize(self.sizes.len().max(banks.len()), 0);
        for (size, &want) in self.sizes.iter_mut().zip(banks) {
            *size = want.max(*size);
        }
        let threads = threads.max(self.banks.len());
        let worker = || Mutex::new(self.sizes.iter().map(|&n| Buffer::zeroed(4 * n)).collect());
        self.banks = (0..threads).map(|_| worker()).collect();
    }

    /// The calling thread's banks. While they are held, the thread must not start tasks of the pool: one could wait for the
    /// same lock.
    pub fn mine(&self) -> MutexGuard<'_, Vec<Buffer>> {
        let me = rayon::current_thread_index().unwrap_or(0) % self.banks.len();
        self.banks[me].lock().unwrap_or_else(PoisonError::into_inner)
    }
}
