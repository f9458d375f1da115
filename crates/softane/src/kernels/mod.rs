//! What computes. Every kernel writes one packed buffer, and reads views of others.

pub(crate) mod concat;
mod functions;
pub(crate) mod matmul;
pub(crate) mod pointwise;
pub(crate) mod reduce;
pub(crate) mod reference;
pub(crate) mod rowwise;
pub(crate) mod tile;
pub(crate) mod transpose;

/// Elements that one task handles, about: long enough to hide what a task costs, short enough to share.
const TASK: usize = 1 << 13;

/// Elements of a tile: a few of them fit the first-level cache.
const TILE: usize = 1 << 10;
