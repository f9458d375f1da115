//! Requests for texts.

use super::record::{Record, State, now};
use crate::answer::{Form, Texts};
use crate::batch::{Event, Full, Job};
use crate::error::ApiError;
use crate::model::{Language, Refusal, TextOptions};
use crate::request::{Endpoint, Input, Prompt, Request};
use serde_json::Value;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

/// What a request leads to.
pub(super) enum Found {
    Value(Value),
    Events(Box<Running>),
}

/// An answer under way.
pub(crate) struct Running {
    form: Form,
    pub(super) texts: Texts,
    count: usize,
    events: UnboundedReceiver<(usize, Event)>,
    seconds: u64,
}

/// Answers a request for texts.
pub(super) async fn answer(
    state: &Arc<State>,
    endpoint: Endpoint,
    body: Vec<u8>,
    record: &mut Record,
) -> Result<Found, ApiError> {
    let began = Instant::now();
    let seed = seed(now().1 ^ record.number());
    let request = Request::read(endpoint, &body, seed)?;
    drop(body);
    record.entry.is_stream = request.stream;
    if request.model != state.model.id {
        return Err(ApiError::model(&request.model, &state.model.id));
    }
    check_ids(&request.options, state.language.vocab())?;
    let Request { input, n, options, stream, include_usage, .. } = request;
    let field = if endpoint == Endpoint::Chat { "messages" } else { "prompt" };
    let language = Arc::clone(&state.language);
    // Templates and long texts take their time.
    let prompts = tokio::task::spawn_blocking(move || tokens(language.as_ref(), input)).await;
    let prompts = prompts
        .map_err(|_| ApiError::server("The prompt could not be read."))?
        .map_err(|refusal| ApiError::field(field, "invalid_prompt", refusal.message))?;
    for prompt in &prompts {
        check_prompt(state, field, prompt, options.tokens)?;
    }
    let form = Form {
        id: format!("{}-{}", if endpoint == Endpoint::Chat { "chatcmpl" } else { "cmpl" }, record.id()),
        created: now().0,
        model: state.model.id.clone(),
        endpoint,
        has_logprobs: options.logprobs.is_some(),
        include_usage,
        prompt_tokens: prompts.iter().map(Vec::len).sum(),
    };
    record.entry.prompt_tokens = form.prompt_tokens;
    let mut running = begin(state, (prompts, n), &options, form, (stream, began))?;
    if stream {
        return Ok(Found::Events(Box::new(running)));
    }
    while !running.texts.are_done() {
        if std::future::poll_fn(|cx| running.poll(cx)).await?.is_some() {
            record.note_token();
        }
    }
    record.entry.completion_tokens = running.texts.tokens();
    Ok(Found::Value(running.form.whole(&running.texts)))
}

/// Queues the texts of a request.
fn begin(
    state: &State,
    (prompts, n): (Vec<Vec<u32>>, usize),
    options: &TextOptions,
    form: Form,
    (stream, began): (bool, Instant),
) -> Result<Running, ApiError> {
    let (most, count) = (state.queue.most(), prompts.len().saturating_mul(n));
    if count > most {
        let message = format!(
            "The request is for {count} texts: this server writes at most {most} for one. Lower `n`."
        );
        return Err(ApiError::field("n", "invalid_value", message));
    }
    let (to, events) = unbounded_channel();
    let deadline = began + state.limits.timeout;
    let each = prompts.into_iter().flat_map(|prompt| std::iter::repeat_n(prompt, n)).enumerate();
    let jobs = each.map(|(index, prompt)| {
        let mut options = options.clone();
        options.sampling.seed = options.sampling.seed.wrapping_add((index % n) as u64);
        Job { prompt, options, index, to: to.clone(), deadline }
    });
    match state.queue.put(jobs.collect()) {
        Ok(true) => {}
        Ok(false) => return Err(ended()),
        Err(Full { texts, seconds }) => return Err(ApiError::busy(texts, seconds)),
    }
    let seconds = state.limits.timeout.as_secs();
    Ok(Running { form, texts: Texts::new(count, !stream), count, events, seconds })
}

/// The engine's thread is gone: it had a fault, which it reports itself.
fn ended() -> ApiError {
    ApiError::server("The model's thread has ended.")
}

/// The tokens of what is to be continued.
fn tokens(language: &dyn Language, input: Input) -> Result<Vec<Vec<u32>>, Refusal> {
    match input {
        Input::Chat(chat) => Ok(vec![language.chat(&chat)?]),
        Input::Prompts(prompts) => prompts
            .into_iter()
            .map(|prompt| match prompt {
                Prompt::Text(text) => language.prompt(&text),
                Prompt::Tokens(tokens) => Ok(tokens),
            })
            .collect(),
    }
}

/// Refuses tokens that the model does not have.
fn check_ids(options: &TextOptions, vocab: usize) -> Result<(), ApiError> {
    let biased = options.sampling.logit_bias.iter().map(|(id, _)| ("logit_bias", *id));
    let stops = options.stop_ids.iter().map(|id| ("stop_token_ids", *id));
    match biased.chain(stops).find(|(_, id)| *id as usize >= vocab) {
        Some((field, id)) => Err(no_token(field, id, vocab)),
        None => Ok(()),
    }
}

fn no_token(field: &str, id: u32, vocab: usize) -> ApiError {
    let message = format!(
        "`{field}` names the token {id}: the model has tokens from 0 to {}.",
        vocab.saturating_sub(1)
    );
    ApiError::field(field, "invalid_value", message)
}

/// Refuses a prompt of other tokens than the model's, or without room for an answer.
fn check_prompt(state: &State, field: &str, prompt: &[u32], tokens: Option<usize>) -> Result<(), ApiError> {
    let (vocab, context) = (state.language.vocab(), state.model.context);
    if let Some(&id) = prompt.iter().find(|&&id| id as usize >= vocab) {
        return Err(no_token(field, id, vocab));
    }
    if prompt.is_empty() {
        return Err(ApiError::field(
            field,
            "invalid_prompt",
            "The prompt has no tokens: it needs one at least.",
        ));
    }
    let wanted = tokens.unwrap_or(1);
    if prompt.len().saturating_add(wanted) > context {
        return Err(ApiError::context(field, prompt.len(), wanted, context));
    }
    Ok(())
}

/// Spreads numbers that are near one another.
fn seed(number: u64) -> u64 {
    let mixed = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed ^ (mixed >> 31)
}

impl Running {
    /// The parts that come before all pieces.
    pub(super) fn opening(&self) -> Vec<Value> {
        (0..self.count).filter_map(|index| self.form.opening(index)).collect()
    }

    /// The parts that come after all pieces.
    pub(super) fn closing(&self) -> Option<Value> {
        self.form.closing(&self.texts)
    }

    /// Takes the next piece: the parts that say it in events, or none where it brought no token.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Vec<Value>>, ApiError>> {
        let (index, event) = ready!(self.events.poll_recv(cx)).ok_or_else(ended)?;
        Poll::Ready(match event {
            Event::Piece(piece) => {
                let parts = self.form.parts(index, &piece, &self.texts);
                let has_token = piece.token.is_some() || !parts.is_empty();
                self.texts.add(index, piece);
                Ok(has_token.then_some(parts))
            }
            Event::Failed(refusal) => Err(ApiError::server(refusal.message)),
            Event::Late => Err(ApiError::timeout(self.seconds)),
        })
    }
}
