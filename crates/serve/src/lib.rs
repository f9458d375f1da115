//! OpenAI's API over HTTP, for a language model behind two traits.
//!
//! ```text
//! http      connections, limits, who may ask, what is where       one thread
//!    │  request: the JSON of a request, checked                    Language: its tokens (blocking threads)
//!    ▼
//! batch     a queue; texts are read and written together          the engine's thread: Writer
//!    │  pieces, a channel for each request
//!    ▼
//! answer    a whole answer, or events as they come
//! ```
//!
//! Nothing here knows a model: [`Language`] makes tokens of what was asked, [`Writer`] continues them.
#![forbid(unsafe_code)]

mod answer;
mod batch;
mod error;
mod http;
mod log;
mod model;
mod options;
mod request;
mod server;

pub use log::{End, Entry};
pub use model::{
    Chat, Finish, Language, Likely, Piece, Reading, Refusal, Sampling, TextOptions, Token, Writer,
};
pub use options::{Limits, ModelCard};
pub use server::{Options, ServeError, Stop, run};
