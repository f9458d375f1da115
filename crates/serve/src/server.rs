//! A server: it listens until it is told to stop, then finishes the requests under way.

use crate::batch;
use crate::http::{self, State};
use crate::log::Entry;
use crate::model::{Language, Writer};
use crate::options::{Limits, ModelCard};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::Duration;
use tokio::sync::{Semaphore, watch};

/// The most connections at a time; others wait until one ends.
const CONNECTIONS: usize = 512;

/// How long a connection may take for the head of its next request.
const HEAD: Duration = Duration::from_secs(75);

/// How long connections may take for the end of their answers when all are complete.
const FLUSH: Duration = Duration::from_secs(5);

/// Options of a server.
pub struct Options {
    /// The model.
    pub model: ModelCard,
    /// The key that clients have to send.
    pub key: Option<String>,
    /// Limits.
    pub limits: Limits,
    /// Takes what is known of each request when it has ended.
    pub log: Box<dyn Fn(&Entry) + Send + Sync>,
}

impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Options { model, limits, .. } = self;
        f.debug_struct("Options").field("model", model).field("limits", limits).finish_non_exhaustive()
    }
}

/// Tells a server to stop.
#[derive(Clone, Debug)]
pub struct Stop(watch::Sender<bool>);

impl Default for Stop {
    fn default() -> Stop {
        Stop(watch::Sender::new(false))
    }
}

impl Stop {
    /// Makes the server refuse what is new, and end when all that was begun is answered.
    pub fn begin(&self) {
        self.0.send_replace(true);
    }
}

/// Why a server ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The system gave no thread, or the listener cannot be used.
    #[error("cannot serve")]
    Io(#[from] io::Error),
    /// The engine's thread ended by a fault.
    #[error("the model's thread ended by a fault of this program")]
    Writer,
}

/// Answers requests that come to `listener` until it is told to stop, and all that was begun is answered.
///
/// # Errors
/// If there are no threads, or the engine's thread ends by a fault.
pub fn run<W: Writer>(
    listener: TcpListener,
    options: Options,
    language: Arc<dyn Language>,
    writer: W,
    stop: &Stop,
) -> Result<(), ServeError> {
    let Options { model, key, limits, log } = options;
    let (queue, batch) = batch::queue(limits.slots, limits.waiting);
    let is_stopping = AtomicBool::new(false);
    let (open, count) = (watch::Sender::new(0), AtomicU64::new(http::first_number()));
    let state = Arc::new(State { model, key, limits, language, queue, log, is_stopping, open, count });
    // Closed when the engine's thread ends, however it does.
    let (ends, ended) = watch::channel(());
    let engine = std::thread::Builder::new().name("engine".to_owned()).spawn(move || {
        let _ends = ends;
        batch.run(writer);
    })?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .max_blocking_threads(2)
        .build()?;
    listener.set_nonblocking(true)?;
    let served = runtime.block_on(serve(listener, Arc::clone(&state), stop.0.subscribe(), ended));
    runtime.shutdown_timeout(FLUSH);
    // The engine's thread ends when nobody is left who could ask.
    drop(state);
    match (engine.join(), served) {
        (Err(_), _) => Err(ServeError::Writer),
        (Ok(()), served) => Ok(served?),
    }
}

/// Accepts connections until all is done.
async fn serve(
    listener: TcpListener,
    state: Arc<State>,
    mut stop: watch::Receiver<bool>,
    mut ended: watch::Receiver<()>,
) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let (close, closes) = watch::channel(false);
    let mut open = state.open.subscribe();
    let limit = state.limits.timeout + FLUSH;
    let done = async {
        // An error: whoever could say so is gone, and with that the server.
        let _ = stop.wait_for(|stop| *stop).await;
        state.is_stopping.store(true, SeqCst);
        let _ = tokio::time::timeout(limit, open.wait_for(|open| *open == 0)).await;
    };
    tokio::pin!(done);
    loop {
        tokio::select! {
            biased;
            () = &mut done => break,
            _ = ended.changed() => break,
            connection = accept(&listener, &places) => {
                let Some((stream, place)) = connection else { continue };
                let (state, closes) = (Arc::clone(&state), closes.clone());
                tokio::spawn(async move {
                    let _place = place;
                    converse(stream, state, closes).await;
                });
            }
        }
    }
    drop(listener);
    close.send_replace(true);
    let all = places.acquire_many(CONNECTIONS as u32);
    let _ = tokio::time::timeout(FLUSH, all).await;
    Ok(())
}

/// The next connection, when there is a place for it.
async fn accept(
    listener: &tokio::net::TcpListener,
    places: &Arc<Semaphore>,
) -> Option<(tokio::net::TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, _)) => Some((stream, place)),
        Err(_) => {
            // The system has no more files, or the client is gone already.
            tokio::time::sleep(Duration::from_millis(20)).await;
            None
        }
    }
}

/// Answers the requests of a connection.
async fn converse(stream: tokio::net::TcpStream, state: Arc<State>, mut closes: watch::Receiver<bool>) {
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| http::answer(Arc::clone(&state), request));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(1 << 16)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    // A connection that breaks is the client's business; its records say so.
    tokio::select! {
        _ = connection.as_mut() => return,
        _ = closes.wait_for(|closes| *closes) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = connection.await;
}
