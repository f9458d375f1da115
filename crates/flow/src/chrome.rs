//! Spans in Chrome's trace-event format, which Perfetto reads as well.
//!
//! Source: "Trace Event Format", complete events (`ph` = `X`) and metadata events (`ph` = `M`).

use std::time::Duration;

use crate::plan::TaskInfo;
use crate::{Lane, Span};

/// One row a lane, one bar a task.
pub(crate) fn trace_json<'t>(spans: impl Iterator<Item = (&'t TaskInfo, Span)>) -> String {
    let rows = Lane::ALL.into_iter().map(|lane| {
        let row = lane.index();
        format!(r#"{{"ph":"M","pid":0,"tid":{row},"name":"thread_name","args":{{"name":"{lane}"}}}}"#)
    });
    let bars = spans.map(|(task, span)| {
        let (row, lane, name) = (task.lane.index(), task.lane, escaped(&task.name));
        let (ts, dur) = (micros(span.start), micros(span.duration()));
        format!(r#"{{"ph":"X","pid":0,"tid":{row},"name":"{name}","cat":"{lane}","ts":{ts},"dur":{dur}}}"#)
    });
    let events: Vec<String> = rows.chain(bars).collect();
    format!("{{\"displayTimeUnit\":\"ms\",\"traceEvents\":[\n{}\n]}}\n", events.join(",\n"))
}

/// Microseconds, the format's unit, exact to the nanosecond.
fn micros(t: Duration) -> String {
    let nanos = t.as_nanos();
    format!("{}.{:03}", nanos / 1000, nanos % 1000)
}

/// `text` as the inside of a JSON string.
fn escaped(text: &str) -> String {
    let mut json = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' | '\\' => json.extend(['\\', c]),
            c if c.is_control() => json.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => json.push(c),
        }
    }
    json
}
