//! The messages of Core ML's public schema, by field number: programs ([`mil`]) and what a model says of itself
//! ([`model`]).
//!
//! Maps of the schema are lists of entries here, which are the same bytes: an order is kept, and a key that comes twice is seen.
//!
//! Source: apple/coremltools, `mlmodel/format/{Model,FeatureTypes,MIL}.proto`.

pub mod mil;
pub mod model;
