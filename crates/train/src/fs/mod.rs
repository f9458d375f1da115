//! Files: atomic writes, locks, checksums, and detection of changes.
//!
//! Not here: the content of files (`formats`, `checkpoint`, `data`).

mod atomic;
mod checksums;
mod limited;
mod lock;
mod steady;
mod tensor_set;
mod tensor_writer;
mod tensors;

pub use atomic::write_atomically;
pub(crate) use atomic::{AtomicFile, is_remains};
#[cfg(test)]
pub(crate) use checksums::KEY as CHECKSUMS_KEY;
pub(crate) use limited::read_limited;
pub(crate) use lock::{RunLock, refuse_link};
pub(crate) use steady::SteadyFile;
pub use tensor_set::TensorSet;
pub use tensor_writer::{FloatType, NamedTensor, write_tensors};
pub(crate) use tensor_writer::{float_bytes, write_tensors_as};
pub use tensors::TensorFile;
