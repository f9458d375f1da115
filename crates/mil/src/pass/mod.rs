//! Rewrites: programs in, programs out.

mod cut;
mod dead;
mod rewrite;
pub mod specialise;

pub use cut::{Baked, Crossing, Cut, CutError, Part, Provider, Selection, cut};
pub use dead::remove_dead;
pub use rewrite::{Rewrite, rewrite};
