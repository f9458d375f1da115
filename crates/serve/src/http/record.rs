//! What a server has for all requests, and what it notes of each.

use crate::batch::Queue;
use crate::error::ApiError;
use crate::log::{End, Entry};
use crate::model::Language;
use crate::options::{Limits, ModelCard};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::{Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::watch;

/// Takes what is known of each request when it has ended.
pub(crate) type Log = Box<dyn Fn(&Entry) + Send + Sync>;

/// What a server has for all requests.
pub(crate) struct State {
    pub(crate) model: ModelCard,
    pub(crate) key: Option<String>,
    pub(crate) limits: Limits,
    pub(crate) language: Arc<dyn Language>,
    pub(crate) queue: Queue,
    pub(crate) log: Log,
    pub(crate) is_stopping: AtomicBool,
    /// Requests that have not ended.
    pub(crate) open: watch::Sender<usize>,
    /// Counts requests; begins at the time of the start, so that names of answers differ between runs.
    pub(crate) count: AtomicU64,
}

impl State {
    /// The model's entry in the list of models.
    pub(crate) fn card(&self) -> Value {
        json!({
            "id": self.model.id,
            "object": "model",
            "created": self.model.created,
            "owned_by": "backpropane",
            "context_length": self.model.context,
        })
    }
}

/// Seconds and microseconds since 1970.
pub(crate) fn now() -> (u64, u64) {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    (since.as_secs(), since.as_micros() as u64)
}

/// A request under way: its entry is logged when it is dropped.
pub(crate) struct Record {
    state: Arc<State>,
    number: u64,
    began: Instant,
    pub(crate) entry: Entry,
}

impl Record {
    pub(crate) fn new(state: &Arc<State>, method: &str, path: &str) -> Record {
        state.open.send_modify(|open| *open += 1);
        let entry = Entry {
            method: method.to_owned(),
            path: path.to_owned(),
            status: 0,
            end: End::Gone,
            is_stream: false,
            prompt_tokens: 0,
            completion_tokens: 0,
            first: None,
            whole: std::time::Duration::ZERO,
            error: None,
        };
        let number = state.count.fetch_add(1, SeqCst);
        Record { state: Arc::clone(state), number, began: Instant::now(), entry }
    }

    /// A number that no other request of this server has.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// The name of the request.
    pub(crate) fn id(&self) -> String {
        format!("{:016x}", self.number)
    }

    /// A token has come.
    pub(crate) fn note_token(&mut self) {
        let began = self.began;
        self.entry.first.get_or_insert_with(|| began.elapsed());
    }

    /// The answer is complete.
    pub(crate) fn answered(&mut self, status: u16) {
        (self.entry.status, self.entry.end) = (status, End::Whole);
    }

    /// The request is answered with an error.
    pub(crate) fn failed(&mut self, error: &ApiError) {
        self.entry.error = Some(error.message.clone());
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        self.entry.whole = self.began.elapsed();
        (self.state.log)(&self.entry);
        self.state.open.send_modify(|open| *open -= 1);
    }
}
