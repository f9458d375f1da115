//! Bodies of answers.

use super::record::Record;
use super::texts::Running;
use crate::log::End;
use hyper::Response;
use hyper::body::{Body as HttpBody, Bytes, Frame, SizeHint};
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, Interval, interval_at};

/// How long a connection is silent before a comment shows that it is alive.
const SILENCE: Duration = Duration::from_secs(15);

/// The body of an answer.
pub(crate) enum Body {
    /// All of it; the record ends when it is sent.
    Whole(Bytes, #[expect(dead_code, reason = "dropped with the body")] Record),
    Events(Box<Events>),
}

impl Body {
    pub(super) fn whole(mut text: String, record: Record) -> Body {
        text.push('\n');
        Body::Whole(text.into(), record)
    }
}

/// An answer in events.
pub(crate) struct Events {
    running: Box<Running>,
    record: Record,
    /// What is sent next.
    out: Vec<u8>,
    alive: Interval,
    is_over: bool,
}

/// An answer in events, which begins at once.
pub(super) fn events(running: Box<Running>, mut record: Record) -> Response<Body> {
    record.entry.status = 200;
    let id = record.id();
    let mut out = Vec::new();
    running.opening().iter().for_each(|part| write_event(&mut out, part));
    let alive = interval_at(Instant::now() + SILENCE, SILENCE);
    let events = Events { running, record, out, alive, is_over: false };
    let mut response = Response::new(Body::Events(Box::new(events)));
    set_headers(response.headers_mut(), "text/event-stream", &id);
    response
}

/// The headers of all answers.
pub(super) fn set_headers(headers: &mut HeaderMap, media: &'static str, id: &str) {
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Ok(id) = HeaderValue::from_str(id) {
        headers.insert(HeaderName::from_static("x-request-id"), id);
    }
}

fn write_event(out: &mut Vec<u8>, value: &Value) {
    out.extend_from_slice(format!("data: {value}\n\n").as_bytes());
}

impl Events {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        while !self.is_over
            && let Poll::Ready(next) = self.running.poll(cx)
        {
            match next {
                Ok(None) => {}
                Ok(Some(parts)) => {
                    self.record.note_token();
                    parts.iter().for_each(|part| write_event(&mut self.out, part));
                }
                Err(error) => {
                    self.record.failed(&error);
                    self.record.entry.end = End::Failed;
                    write_event(&mut self.out, &error.json());
                    self.is_over = true;
                }
            }
            self.record.entry.completion_tokens = self.running.texts.tokens();
            if !self.is_over && self.running.texts.are_done() {
                self.running.closing().iter().for_each(|part| write_event(&mut self.out, part));
                self.out.extend_from_slice(b"data: [DONE]\n\n");
                self.record.entry.end = End::Whole;
                self.is_over = true;
            }
        }
        if self.alive.poll_tick(cx).is_ready() && self.out.is_empty() && !self.is_over {
            self.out.extend_from_slice(b": waiting\n\n");
        }
        match (self.out.is_empty(), self.is_over) {
            (false, _) => Poll::Ready(Some(std::mem::take(&mut self.out).into())),
            (true, true) => Poll::Ready(None),
            (true, false) => Poll::Pending,
        }
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            Body::Whole(bytes, _) if bytes.is_empty() => Poll::Ready(None),
            Body::Whole(bytes, _) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Body::Events(events) => events.poll(cx).map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Body::Whole(bytes, _) if bytes.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Body::Whole(bytes, _) => SizeHint::with_exact(bytes.len() as u64),
            Body::Events(_) => SizeHint::default(),
        }
    }
}
