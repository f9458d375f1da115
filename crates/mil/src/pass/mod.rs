//! Rewrites: programs in, programs out.

mod cut;
pub mod specialise;

pub use cut::{Baked, Crossing, Cut, CutError, Part, Provider, Selection, cut};
