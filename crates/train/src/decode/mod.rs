//! Decoding: forward passes over the new tokens of conversations, with the keys and values of earlier tokens kept.
//!
//! A [`Session`] holds a model once: its weights on surfaces, and programs of a few sizes, compiled on first use. Each
//! [`Conversation`] has keys and values of its own, on surfaces that its layers' programs read in place. A pass takes the next
//! tokens of one conversation or of several: the products with weights are done for all together.

mod cache; //    keys and values of a conversation
mod kernels; //  compiled programs
mod loaded; //   a model in memory
mod pass; //     a forward pass
mod session; //  the model, and what is done with conversations
mod weights; //  weights on surfaces

pub use cache::Conversation;
pub use session::{Session, most_positions};
pub use weights::ModelWeights;
