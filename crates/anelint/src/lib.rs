//! What is said of Neural Engines: facts, rules, repairs, and probes that ask an engine whether it is so.
//!
//! [`facts`] are numbers, each with its source. [`rules`] say what a program has to keep to, and check its text;
//! [`repair`] rewrites what breaks a rule; [`probe`] asks an engine; [`self_test`] shows whether an engine computes what
//! kernels rely on; [`explain`] names the rules that a refused program likely breaks.
//!
//! Not here: how engines are talked to (`ane`), what a model is made of (`train`).
#![forbid(unsafe_code)]

mod explain;
pub mod facts;
pub mod probe;
pub mod repair;
pub mod rules;
pub mod self_test;

pub use explain::explain;
