//! A function after a repair.

use super::ports::PortMap;
use mil::Function;

/// A function that a repair has rewritten.
#[derive(Clone, Debug)]
pub struct Rewritten {
    /// The new function. Constants that are new have the elements that mathematics wants: rounding them to their type
    /// comes last, so that what is proven is not blurred by it.
    pub function: Function,
    /// The changes, in words, one sentence for each place.
    pub changes: Vec<String>,
    /// The mapping of parameters and results.
    pub ports: PortMap,
}
