//! Hazards, plans as text, declarations, and runs on real threads.

mod access;
mod hazards;
mod random;
mod run;

use flow::{Arena, Graph, Lane, Plan};

/// A task's name, lane, reads and writes; cells are the letters.
type Row<'t> = (&'t str, Lane, &'t str, &'t str);

/// The plan of tasks that do nothing.
fn plan(rows: &[Row<'_>]) -> Plan<'static, String> {
    let mut arena = Arena::new();
    let letters: Vec<_> = ('a'..='z').map(|letter| arena.cell(letter, ())).collect();
    let mut graph = Graph::new(&arena);
    let of = |c: char| letters[c as usize - 'a' as usize].clone();
    for &(name, lane, reads, writes) in rows {
        let read: Vec<_> = reads.chars().filter(|&c| !writes.contains(c)).map(of).collect();
        let written: Vec<_> = writes.chars().filter(|&c| !reads.contains(c)).map(of).collect();
        let updated: Vec<_> = writes.chars().filter(|&c| reads.contains(c)).map(|c| of(c).update()).collect();
        graph.task(name).on(lane).reads(read).writes((written, updated)).run(|_, _| Ok(()));
    }
    graph.plan().expect("names differ")
}
