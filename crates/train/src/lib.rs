//! The trainer.
#![forbid(unsafe_code)]

pub mod chat;
pub mod checkpoint;
pub mod config;
pub mod data;
pub mod decode;
pub mod demand;
pub mod error;
pub mod evaluate;
pub mod formats;
pub mod fs;
pub mod generate;
pub mod grads;
pub mod model;
pub mod optim;
pub mod run;
pub mod sample;
pub mod step;
pub mod survey;
pub mod tokenizer;

#[cfg(test)]
mod testing;
