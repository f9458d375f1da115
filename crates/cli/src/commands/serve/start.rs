//! Starting the server, and what it prints.

use super::ServeArgs;
use super::engine::Engine;
use super::language::ModelLanguage;
use crate::error::CommandError;
use crate::interrupt::Interrupt;
use crate::ui::Ui;
use crate::units;
use ::serve::{End, Entry, Limits, ModelCard, Options, Stop};
use serde_json::{Value, json};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use train::config::ModelConfig;
use train::generate::{self, Context};
use train::model::Precision;

/// Environment variable with the key that clients have to send.
const KEY: &str = "BACKPROPANE_API_KEY";

/// How often the signals of the end are looked for.
const LOOK: Duration = Duration::from_millis(50);

pub fn run(ui: &Ui, args: &ServeArgs) -> Result<(), CommandError> {
    let interrupt = Interrupt::watch(ui, false, "finishing requests under way; Ctrl-C again quits at once")?;
    let name = args.name.clone().unwrap_or_else(|| name_of(args.model.get().shown()));
    ui.say(format!("{} {name}: loading", ui.dim("model   ")));
    let key = key(args)?;
    let (listener, address) = listen(args)?;
    let writer = args.model.open(ui, args.tokenizer.as_deref(), args.on, "", Context::All)?;
    let (session, tokenizer, metadata) = writer.into_parts()?;
    let template = generate::template_of(&metadata, &tokenizer, args.chat_template.as_deref())?;
    let context = args.context.map_or(session.context(), |most| most.min(session.context()));
    say_memory(ui, session.cfg(), (args.on.storage(), session.weight_bytes().1), (context, args.slots));
    if template.is_none() {
        ui.warn("the model has no chat template: /v1/chat/completions refuses; name one with `--chat-template FILE`");
    }
    // The server runs until the process ends, and texts under way read it all that time.
    let tokenizer = &*Box::leak(Box::new(tokenizer));
    let language = ModelLanguage { tokenizer, template, vocab: session.cfg().vocab };
    let engine = Engine::new(session, tokenizer, metadata.ends().to_vec(), (context, args.slots));
    let created = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |t| t.as_secs());
    let options = Options {
        model: ModelCard { id: name.clone(), created, context },
        key,
        limits: Limits {
            body: usize::try_from(args.body_limit).unwrap_or(usize::MAX),
            timeout: Duration::try_from_secs_f64(args.timeout)
                .unwrap_or(Duration::from_secs(u32::MAX.into())),
            slots: args.slots,
            waiting: args.queue,
        },
        log: log(ui, args.json),
    };
    say_address(ui, address, (&name, args.json), options.key.is_some())?;
    let stop = Stop::default();
    interrupt.guard();
    let watched = stop.clone();
    std::thread::spawn(move || {
        while !interrupt.asked() {
            std::thread::sleep(LOOK);
        }
        watched.begin();
    });
    ::serve::run(listener, options, Arc::new(language), engine, &stop)
        .map_err(|error| CommandError::failure(error.to_string()))
}

/// The name of a model's folder, or of its file without the ending.
fn name_of(path: &Path) -> String {
    let whole = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let name = if whole.is_dir() { whole.file_name() } else { whole.file_stem() };
    name.map_or_else(|| "model".to_owned(), |name| name.to_string_lossy().into_owned())
}

/// The key, from the flag or the environment.
fn key(args: &ServeArgs) -> Result<Option<String>, CommandError> {
    let key = match &args.api_key {
        Some(key) => Some(key.clone()),
        None => std::env::var(KEY).ok().filter(|key| !key.is_empty()),
    };
    match key {
        Some(key) if key.is_empty() || !key.bytes().all(|b| b.is_ascii_graphic()) => {
            Err(CommandError::input(
                "the API key is no word of printable ASCII characters",
                "Choose another one: letters, digits and signs, without spaces.",
            ))
        }
        key => Ok(key),
    }
}

fn listen(args: &ServeArgs) -> Result<(TcpListener, SocketAddr), CommandError> {
    let (host, port) = (args.host.as_str(), args.port);
    let bound = TcpListener::bind((host, port)).and_then(|listener| {
        let address = listener.local_addr()?;
        Ok((listener, address))
    });
    bound.map_err(|e| {
        CommandError::failure(format!("cannot listen on {host}, port {port}: {e}"))
            .with_hint("Choose another one with `--host` and `--port`; `--port 0` takes a free one.")
    })
}

/// Says what the model takes: its weights, and keys and values of as many tokens as there may be.
fn say_memory(
    ui: &Ui,
    cfg: &ModelConfig,
    (storage, weights): (Precision, usize),
    (context, slots): (usize, usize),
) {
    let element = if storage == Precision::F16 { 2 } else { 4 };
    let of_token = 2 * cfg.layers * cfg.kv_heads * cfg.head_dim * element;
    let most = of_token.saturating_mul(context.next_power_of_two());
    ui.say(format!(
        "{} weights {}; keys and values at most {} a text of {context} tokens, {} texts together",
        ui.dim("memory  "),
        units::bytes(weights as u64),
        units::bytes(most as u64),
        slots
    ));
}

fn say_address(
    ui: &Ui,
    address: SocketAddr,
    (name, is_json): (&str, bool),
    has_key: bool,
) -> Result<(), CommandError> {
    if !address.ip().is_loopback() && !has_key {
        ui.warn(format!("anybody who can connect to {address} can use the model: set {KEY} or `--api-key`"));
    }
    ui.say(format!("{} http://{address}/v1, model `{name}`", ui.dim("address ")));
    match is_json {
        true => ui.result(
            &json!({ "event": "listening", "address": format!("http://{address}"), "model": name })
                .to_string(),
        ),
        false => Ok(()),
    }
}

/// Prints a line for each request: of JSON to stdout, or to a terminal.
fn log(ui: &Ui, is_json: bool) -> Box<dyn Fn(&Entry) + Send + Sync> {
    let ui = ui.clone();
    Box::new(move |entry| {
        if is_json {
            // The server goes on when the reader of the log has closed it.
            let _ = ui.result(&as_json(entry).to_string());
        } else if ui.is_watched() {
            ui.say(line(entry));
        }
    })
}

fn as_json(entry: &Entry) -> Value {
    json!({
        "event": "request",
        "method": entry.method,
        "path": entry.path,
        "status": entry.status,
        "end": end(entry.end),
        "stream": entry.is_stream,
        "prompt_tokens": entry.prompt_tokens,
        "completion_tokens": entry.completion_tokens,
        "seconds_to_first": entry.first.map(|t| t.as_secs_f64()),
        "seconds": entry.whole.as_secs_f64(),
        "error": entry.error,
    })
}

fn end(end: End) -> &'static str {
    match end {
        End::Whole => "whole",
        End::Gone => "gone",
        End::Failed => "failed",
    }
}

fn line(entry: &Entry) -> String {
    let mut line = format!("{} {} {}", entry.method, entry.path, entry.status);
    if entry.prompt_tokens > 0 {
        line.push_str(&format!(", {} + {} tokens", entry.prompt_tokens, entry.completion_tokens));
    }
    if let Some(first) = entry.first {
        line.push_str(&format!(", first after {:.2} s", first.as_secs_f64()));
    }
    line.push_str(&format!(", {:.2} s", entry.whole.as_secs_f64()));
    match (entry.end, &entry.error) {
        (End::Gone, _) => line.push_str(", the client went away"),
        (_, Some(error)) => line.push_str(&format!(": {error}")),
        _ => {}
    }
    line
}
