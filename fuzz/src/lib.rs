//! What must hold of any bytes: each target panics if it does not.
//!
//! The fuzzer calls these with bytes that it makes up; the test `corpus` of `softane` calls them with those that it has
//! found worth keeping.

pub mod blob;
mod generate;
pub mod model;
pub mod package;
pub mod run;
pub mod text;
