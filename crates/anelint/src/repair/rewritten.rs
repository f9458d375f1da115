//! A function after a repair.

use super::ports::PortMap;
use mil::Function;

/// A function that a repair has rewritten.
#[derive(Clone, Debug)]
pub struct Rewritten {
    /// The new function. Elements of new constants are exact; they are rounded to their type after the proof, so
    /// that rounding does not hide an error.
    pub function: Function,
    /// The changes, in words, one sentence for each place.
    pub changes: Vec<String>,
    /// The mapping of parameters and results.
    pub ports: PortMap,
}
