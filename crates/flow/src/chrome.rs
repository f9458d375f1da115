//! Spans in Chrome's trace-event format, which Perfetto reads as well.
//!
//! Source: "Trace Event Format", complete events (`ph` = `X`) and metadata events (`ph` = `M`).

use std::collections::BTreeSet;
use std::time::Duration;

use crate::{Lane, Span, Trace};

/// The shortest idle gap that is drawn; shorter ones are scheduling overhead.
const SHORTEST: Duration = Duration::from_micros(1);

impl Trace {
    /// The trace as Chrome JSON for `chrome://tracing` or Perfetto: tasks, waits and idle time.
    pub fn to_chrome_json(&self) -> String {
        trace_json(self)
    }
}

/// One row per lane and one bar per task; between tasks, bars for waits and idle time.
///
/// Timestamps are relative to the first recorded one.
fn trace_json(trace: &Trace) -> String {
    let all = || trace.lanes.iter().flatten().map(|r| r.span).chain(trace.marks.iter().map(|m| m.span));
    let zero = all().map(|span| span.start).min().unwrap_or_default();
    let end = all().map(|span| span.end).max().unwrap_or_default();
    let marked = trace.marks.iter().map(|mark| mark.lane);
    let lanes: BTreeSet<Lane> = trace.lanes().chain(marked).collect();
    let mut events: Vec<String> = lanes
        .iter()
        .map(|lane| {
            let row = lane.index();
            format!(r#"{{"ph":"M","pid":0,"tid":{row},"name":"thread_name","args":{{"name":"{lane}"}}}}"#)
        })
        .collect();
    for lane in lanes {
        let (mut bars, kind_of_work) = (Vec::new(), lane.to_string());
        let mut free = zero;
        for Work { name, span, blocker } in works(trace, lane) {
            if let Some((blocker, ready)) = blocker.filter(|(_, ready)| *ready > free) {
                let ready = ready.min(span.start);
                bars.push((format!("waits for {blocker}"), "wait", Span { start: free, end: ready }));
                free = ready;
            }
            bars.push(("idle".to_owned(), "idle", Span { start: free, end: span.start }));
            free = free.max(span.end);
            bars.push((name, kind_of_work.as_str(), span));
        }
        if !bars.is_empty() {
            bars.push(("idle".to_owned(), "idle", Span { start: free, end }));
        }
        bars.retain(|(_, kind, span)| *kind == kind_of_work || span.duration() >= SHORTEST);
        events.extend(bars.into_iter().map(|(name, kind, span)| {
            let (row, name) = (lane.index(), escaped(&name));
            let (ts, dur) = (micros(span.start.saturating_sub(zero)), micros(span.duration()));
            format!(
                r#"{{"ph":"X","pid":0,"tid":{row},"name":"{name}","cat":"{kind}","ts":{ts},"dur":{dur}}}"#
            )
        }));
    }
    format!("{{\"displayTimeUnit\":\"ms\",\"traceEvents\":[\n{}\n]}}\n", events.join(",\n"))
}

/// A recorded task of a lane.
struct Work {
    name: String,
    span: Span,
    /// The last dependency to finish, with its end.
    blocker: Option<(String, Duration)>,
}

/// The recorded tasks of a lane, by start time.
fn works(trace: &Trace, lane: Lane) -> Vec<Work> {
    let tasks = trace.records(lane).iter().map(|record| {
        let tasks = &trace.plans[record.plan];
        let ends = tasks[record.task].waits.iter().filter_map(|wait| {
            let other = &tasks[wait.task];
            // A plan may run repeatedly: the latest earlier execution belongs to the same run.
            let same = trace
                .records(other.lane)
                .iter()
                .rev()
                .filter(|r| r.plan == record.plan && r.task == wait.task);
            let end = same.map(|r| r.span.end).find(|end| *end <= record.span.start)?;
            Some((other.name.clone(), end))
        });
        let blocker = ends.max_by_key(|(_, end)| *end);
        Work { name: tasks[record.task].name.clone(), span: record.span, blocker }
    });
    let marks = trace.marks.iter().filter(|mark| mark.lane == lane);
    let marks = marks.map(|mark| Work { name: mark.name.to_owned(), span: mark.span, blocker: None });
    let mut all: Vec<Work> = tasks.chain(marks).collect();
    all.sort_by_key(|work| work.span.start);
    all
}

/// A time in microseconds, the unit of the format, with nanosecond precision.
fn micros(t: Duration) -> String {
    let nanos = t.as_nanos();
    format!("{}.{:03}", nanos / 1000, nanos % 1000)
}

/// Escapes `text` for a JSON string.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Graph;
    use crate::trace::{Mark, Record};

    #[test]
    fn waits_and_idle_time_are_bars_of_their_lane() {
        let mut arena = crate::Arena::new();
        let a = arena.cell("a", ());
        let mut graph = Graph::<()>::new(&arena);
        graph.task("first").on(Lane::Engine).writes(a.clone()).run(|(), _| Ok(()));
        graph.task("then").on(Lane::Cpu).reads(a).run(|_, ()| Ok(()));
        let plan = graph.plan().expect("a plan");
        let at = |micros: u64| Duration::from_micros(1000 + micros);
        let span = |start, end| Span { start: at(start), end: at(end) };
        let mut trace = Trace::new();
        let place = trace.place(&plan.tasks);
        trace.reserve(2);
        trace.lanes[0].push(Record { plan: place, task: 0, span: span(0, 40) });
        trace.lanes[1].push(Record { plan: place, task: 1, span: span(45, 60) });
        trace.marks.push(Mark { lane: Lane::Cpu, name: "update", span: span(70, 90) });
        let json = trace_json(&trace);
        let lines: Vec<&str> = json.lines().filter(|l| l.contains("\"X\"")).collect();
        let want = [
            (0, "first", "engine", "0.000", "40.000"),
            (0, "idle", "idle", "40.000", "50.000"),
            (1, "waits for first", "wait", "0.000", "40.000"),
            (1, "idle", "idle", "40.000", "5.000"),
            (1, "then", "cpu", "45.000", "15.000"),
            (1, "idle", "idle", "60.000", "10.000"),
            (1, "update", "cpu", "70.000", "20.000"),
        ];
        assert_eq!(lines.len(), want.len(), "{json}");
        for (line, (row, name, kind, ts, dur)) in lines.iter().zip(want) {
            let event = format!(
                r#"{{"ph":"X","pid":0,"tid":{row},"name":"{name}","cat":"{kind}","ts":{ts},"dur":{dur}}}"#
            );
            assert_eq!(line.trim_end_matches(','), event);
        }
    }
}
