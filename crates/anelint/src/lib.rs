//! Knowledge about Neural Engines: facts, rules, repairs, and probes that verify rules on an engine.
//!
//! [`facts`] are numbers, each with its source. [`rules`] state constraints on programs, and check their text;
//! [`repair`] rewrites what breaks a rule; [`probe`] tests an engine; [`self_test`] shows whether an engine computes what
//! kernels rely on; [`explain`] names the rules that a refused program likely breaks.
//!
//! Not here: access to engines (`ane`), models (`train`).
#![forbid(unsafe_code)]

mod explain;
pub mod facts;
pub mod probe;
pub mod repair;
pub mod rules;
pub mod self_test;

pub use explain::explain;
