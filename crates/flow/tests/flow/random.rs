//! Random graphs: waits are correct and minimal, and threaded runs match sequential ones.

use std::collections::BTreeSet;
use std::thread;

use flow::{AccessError, Arena, Graph, Handle, Lane, Plan, Trace};

/// Lanes of the tasks.
const LANES: [Lane; 4] = [Lane::Engine, Lane::Cpu, Lane::Worker(0), Lane::Worker(2)];

/// Knuth's MMIX generator, its high bits.
struct Lcg(u64);

impl Lcg {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % n
    }

    fn subset(&mut self, n: usize, most: usize) -> Vec<usize> {
        let len = self.below(most + 1);
        let set: BTreeSet<usize> = (0..len).map(|_| self.below(n)).collect();
        set.into_iter().collect()
    }
}

/// A task by numbers of cells.
struct Task {
    lane: Lane,
    reads: Vec<usize>,
    writes: Vec<usize>,
    /// How often it yields while it holds its cells.
    yields: usize,
}

fn tasks(seed: u64, len: usize, resources: usize) -> Vec<Task> {
    let mut lcg = Lcg(seed);
    let mut task = || Task {
        lane: LANES[lcg.below(LANES.len())],
        reads: lcg.subset(resources, 3),
        writes: lcg.subset(resources, 2),
        yields: lcg.below(4),
    };
    (0..len).map(|_| task()).collect()
}

/// The value that a task computes from its reads, in this order.
fn mixed(t: usize, read: impl Iterator<Item = u64>) -> u64 {
    let stir = |mix: u64, value: u64| (mix ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
    read.fold(t as u64, stir)
}

/// The result of sequential execution on `values`: each write depends on the task and all its reads.
fn work(t: usize, task: &Task, values: &mut [u64]) {
    let mix = mixed(t, order(task).map(|r| values[r]));
    task.writes.iter().for_each(|&r| values[r] = mix ^ r as u64);
}

/// The reads of a task: first the cells it does not write, then the others.
fn order(task: &Task) -> impl Iterator<Item = usize> {
    let (updated, read): (Vec<_>, Vec<_>) = task.reads.iter().partition(|r| task.writes.contains(r));
    read.into_iter().chain(updated)
}

/// The cells and the plan over them. A guard that another task holds is an error.
fn plan(tasks: &[Task], cells: usize) -> (Vec<Handle<u64>>, Plan<'static, AccessError>) {
    let mut arena = Arena::new();
    let handles: Vec<_> = (0..cells).map(|r| arena.cell(format!("r{r}"), r as u64)).collect();
    let mut graph = Graph::new(&arena);
    for (t, task) in tasks.iter().enumerate() {
        let yields = task.yields;
        let of = |numbers: Vec<usize>| numbers.iter().map(|&r| handles[r].clone()).collect::<Vec<_>>();
        let (updated, read): (Vec<_>, Vec<_>) = task.reads.iter().partition(|r| task.writes.contains(r));
        let written: Vec<_> = task.writes.iter().copied().filter(|r| !task.reads.contains(r)).collect();
        let numbers = (updated.clone(), written.clone());
        graph
            .task(format!("t{t}"))
            .on(task.lane)
            .reads(of(read))
            .writes((of(updated).iter().map(Handle::update).collect::<Vec<_>>(), of(written)))
            .run(move |read, (updated, written)| {
                let read = (0..read.len()).map(|i| read.read(i)).collect::<Result<Vec<_>, _>>()?;
                let lock = |i| updated.write(i);
                let mut old = (0..updated.len()).map(lock).collect::<Result<Vec<_>, _>>()?;
                let mut new = (0..written.len()).map(|i| written.write(i)).collect::<Result<Vec<_>, _>>()?;
                let mix = mixed(t, read.iter().map(|r| **r).chain(old.iter().map(|r| **r)));
                (0..yields).for_each(|_| thread::yield_now());
                old.iter_mut().zip(&numbers.0).for_each(|(to, &r)| **to = mix ^ r as u64);
                new.iter_mut().zip(&numbers.1).for_each(|(to, &r)| **to = mix ^ r as u64);
                Ok(())
            });
    }
    (handles, graph.plan().expect("names differ and cells are the arena's own"))
}

fn contents(handles: &[Handle<u64>]) -> Vec<u64> {
    handles.iter().map(|cell| *cell.read().expect("no task panicked")).collect()
}

#[test]
fn threads_leave_what_one_thread_would() {
    for seed in 0..60 {
        let resources = 2 + seed as usize % 9;
        let tasks = tasks(seed, 60, resources);
        let mut sequential: Vec<u64> = (0..resources as u64).collect();
        let (threaded, plan) = plan(&tasks, resources);
        for round in 0..5 {
            for (t, task) in tasks.iter().enumerate() {
                work(t, task, &mut sequential);
            }
            let mut start = |lanes: usize, serve: &(dyn Fn(usize) + Sync)| {
                thread::scope(|scope| (0..=lanes).for_each(|i| drop(scope.spawn(move || serve(i)))));
                true
            };
            let done = match round % 2 {
                0 => plan.run(),
                _ => plan.run_on(&mut start, &mut Trace::new(), &thread::yield_now),
            };
            if let Err(error) = done {
                panic!("seed {seed}, round {round}: {error:?}\n{plan}");
            }
            assert_eq!(contents(&threaded), sequential, "seed {seed}, round {round}\n{plan}");
        }
    }
}

fn conflict(a: &Task, b: &Task) -> bool {
    let meet = |xs: &[usize], ys: &[usize]| xs.iter().any(|x| ys.contains(x));
    meet(&a.writes, &b.reads) || meet(&a.reads, &b.writes) || meet(&a.writes, &b.writes)
}

/// `before[t][u]`: `u` precedes `t` by waits and lane order, ignoring the wait of `t` for `skip`.
fn ancestors(plan: &Plan<'_, AccessError>, skip: Option<(usize, usize)>) -> Vec<Vec<bool>> {
    let tasks = plan.tasks();
    let mut before: Vec<Vec<bool>> = Vec::new();
    for t in 0..tasks.len() {
        let mut row = vec![false; tasks.len()];
        let in_lane = (0..t).rev().find(|&u| tasks[u].lane == tasks[t].lane);
        let waits = tasks[t].waits.iter().map(|wait| wait.task).filter(|&u| skip != Some((t, u)));
        for u in in_lane.into_iter().chain(waits) {
            row[u] = true;
            row.iter_mut().zip(&before[u]).for_each(|(mine, theirs)| *mine |= theirs);
        }
        before.push(row);
    }
    before
}

#[test]
fn waits_order_every_conflict_and_none_is_spare() {
    for seed in 100..140 {
        let resources = 2 + seed as usize % 11;
        let tasks = tasks(seed, 40, resources);
        let (_, plan) = plan(&tasks, resources);
        let before = ancestors(&plan, None);
        for t in 0..tasks.len() {
            for u in (0..t).filter(|&u| conflict(&tasks[u], &tasks[t])) {
                assert!(before[t][u], "seed {seed}: t{t} does not come after t{u}\n{plan}");
            }
            for wait in &plan.tasks()[t].waits {
                let u = wait.task;
                assert!(
                    conflict(&tasks[u], &tasks[t]),
                    "seed {seed}: t{t} waits for t{u} for nothing\n{plan}"
                );
                let implied = ancestors(&plan, Some((t, u)))[t][u];
                assert!(!implied, "seed {seed}: t{t} need not wait for t{u}\n{plan}");
            }
        }
    }
}
