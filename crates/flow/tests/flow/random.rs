//! Random graphs: the waits are right and fewest, and runs on threads give what one thread would.

use std::collections::BTreeSet;
use std::sync::RwLock;
use std::thread;

use flow::{Graph, Lane, Plan, Resource};

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

/// A task by resource numbers.
struct Task {
    lane: Lane,
    reads: Vec<usize>,
    writes: Vec<usize>,
    /// How often it gives way to other threads while it holds its resources.
    yields: usize,
}

fn tasks(seed: u64, len: usize, resources: usize) -> Vec<Task> {
    let mut lcg = Lcg(seed);
    let mut task = || Task {
        lane: Lane::ALL[lcg.below(3)],
        reads: lcg.subset(resources, 3),
        writes: lcg.subset(resources, 2),
        yields: lcg.below(4),
    };
    (0..len).map(|_| task()).collect()
}

/// Resources as values; each write makes a new one out of the task and all it read.
type Values = Vec<RwLock<u64>>;

fn values(resources: usize) -> Values {
    (0..resources as u64).map(RwLock::new).collect()
}

fn contents(values: &Values) -> Vec<u64> {
    values.iter().map(|value| *value.read().expect("no task panicked")).collect()
}

/// What task `t` does to `values`; an error if another task holds what it needs.
fn work(t: usize, task: &Task, values: &Values) -> Result<(), String> {
    let held = |r: &usize| format!("task {t} found resource {r} in use");
    let mut mix = t as u64;
    let mut stir = |value: u64| mix = (mix ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
    let mut writing = Vec::new();
    let mut reading = Vec::new();
    for r in &task.writes {
        writing.push((r, values[*r].try_write().map_err(|_| held(r))?));
    }
    for r in &task.reads {
        match writing.iter().find(|(w, _)| *w == r) {
            Some((_, guard)) => stir(**guard),
            None => {
                let guard = values[*r].try_read().map_err(|_| held(r))?;
                stir(*guard);
                reading.push(guard);
            }
        }
    }
    (0..task.yields).for_each(|_| thread::yield_now());
    for (r, guard) in &mut writing {
        **guard = mix ^ (**r as u64);
    }
    Ok(())
}

fn plan<'a>(tasks: &'a [Task], values: &'a Values) -> Plan<'a, String> {
    let mut graph = Graph::new();
    let resources: Vec<Resource> = (0..values.len()).map(|r| graph.resource(format!("r{r}"))).collect();
    let of = |numbers: &[usize]| numbers.iter().map(|&r| resources[r]).collect::<Vec<_>>();
    for (t, task) in tasks.iter().enumerate() {
        graph
            .task(format!("t{t}"))
            .on(task.lane)
            .reads(of(&task.reads))
            .writes(of(&task.writes))
            .run(move || work(t, task, values));
    }
    graph.plan().expect("names differ and resources are the graph's own")
}

#[test]
fn threads_leave_what_one_thread_would() {
    for seed in 0..60 {
        let resources = 2 + seed as usize % 9;
        let tasks = tasks(seed, 60, resources);
        let (alone, threaded) = (values(resources), values(resources));
        let plan = plan(&tasks, &threaded);
        for round in 0..5 {
            for (t, task) in tasks.iter().enumerate() {
                work(t, task, &alone).expect("one thread never meets itself");
            }
            if let Err(error) = plan.run() {
                panic!("seed {seed}, round {round}: {error:?}\n{plan}");
            }
            assert_eq!(contents(&threaded), contents(&alone), "seed {seed}, round {round}\n{plan}");
        }
    }
}

fn conflict(a: &Task, b: &Task) -> bool {
    let meet = |xs: &[usize], ys: &[usize]| xs.iter().any(|x| ys.contains(x));
    meet(&a.writes, &b.reads) || meet(&a.reads, &b.writes) || meet(&a.writes, &b.writes)
}

/// `before[t][u]`: following waits and the order of lanes, but not the wait of `t` for `skip`, `u` comes
/// before `t`.
fn ancestors(plan: &Plan<'_, String>, skip: Option<(usize, usize)>) -> Vec<Vec<bool>> {
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
        let values = values(resources);
        let plan = plan(&tasks, &values);
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
