//! What is known of a request when it has ended.

use std::time::Duration;

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It was answered; so was one that was refused.
    Whole,
    /// The client went away before that.
    Gone,
    /// The answer was broken off by an error.
    Failed,
}

/// A request that has ended.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its method.
    pub method: String,
    /// Its path.
    pub path: String,
    /// The status that it was answered with.
    pub status: u16,
    /// How it ended.
    pub end: End,
    /// Whether it was answered in events.
    pub is_stream: bool,
    /// Tokens of the prompts.
    pub prompt_tokens: usize,
    /// Tokens of the texts.
    pub completion_tokens: usize,
    /// The time until the first token, if there was one.
    pub first: Option<Duration>,
    /// The time until the end.
    pub whole: Duration,
    /// The error's message, if it was answered with one.
    pub error: Option<String>,
}
