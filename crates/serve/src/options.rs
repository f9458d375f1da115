//! What a server has to know.

use std::time::Duration;

/// The name and size of a model.
#[derive(Clone, Debug)]
pub struct ModelCard {
    /// Its name, which requests have to give.
    pub id: String,
    /// Seconds since 1970.
    pub created: u64,
    /// The most tokens of a conversation.
    pub context: usize,
}

/// Limits of a server.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The most bytes of a request's body.
    pub body: usize,
    /// The longest time for an answer.
    pub timeout: Duration,
    /// Texts that are written together.
    pub slots: usize,
    /// Texts that may wait for these.
    pub waiting: usize,
}
