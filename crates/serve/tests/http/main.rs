//! A server around a model that repeats its prompt, from outside.

#[path = "../client/mod.rs"]
mod client;
mod load;
mod parrot;
mod refusals;
mod texts;
