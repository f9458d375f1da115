//! Files: atomic writes, locks, checksums, and detection of changes.
//!
//! Not here: the content of files (`formats`, `checkpoint`, `data`).

mod atomic;
mod checksums;
mod lock;
mod steady;
mod tensors;

pub use atomic::write_atomically;
pub(crate) use atomic::{AtomicFile, is_remains};
#[cfg(test)]
pub(crate) use checksums::KEY as CHECKSUMS_KEY;
pub(crate) use lock::{RunLock, refuse_link};
pub(crate) use steady::SteadyFile;
pub use tensors::{NamedTensor, TensorFile, write_tensors};
