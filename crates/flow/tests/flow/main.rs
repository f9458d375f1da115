//! Hazards, plans as text, the pretend clock, and runs on real threads.

mod hazards;
mod random;
mod run;
mod schedule;

use flow::{Lane, Plan};

/// A task's name, lane, reads and writes; resources are the letters.
type Row<'t> = (&'t str, Lane, &'t str, &'t str);

/// The plan of tasks that do nothing.
fn plan(rows: &[Row<'_>]) -> Plan<'static, String> {
    let mut graph = flow::Graph::new();
    let letters: Vec<_> = ('a'..='z').map(|letter| graph.resource(letter)).collect();
    let named = |text: &str| text.bytes().map(|b| letters[usize::from(b - b'a')]).collect::<Vec<_>>();
    for &(name, lane, reads, writes) in rows {
        graph.task(name).on(lane).reads(named(reads)).writes(named(writes)).run(|| Ok(()));
    }
    graph.plan().expect("names differ")
}
