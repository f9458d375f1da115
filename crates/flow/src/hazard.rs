//! Derives dependencies between tasks from their declarations.
//!
//! A lane runs its tasks in order, so "task `t` is done" means "its lane has finished n tasks": one number per lane
//! describes the progress. A task's clock holds these numbers (a vector clock). Waits that another wait or the lane's
//! own order already implies are dropped.

use crate::task::{Hazard, TaskInfo, Wait};

/// How many tasks each lane must have finished, by index of the lane.
pub(crate) type Clock = Box<[usize]>;

/// The last accesses of a resource: its writer, and the latest reader since on each lane.
#[derive(Clone, Default)]
struct Touched {
    writer: Option<usize>,
    /// Grows to the last lane that reads it.
    readers: Vec<Option<usize>>,
}

impl Touched {
    fn read(&mut self, lane: usize, t: usize) {
        if self.readers.len() <= lane {
            self.readers.resize(lane + 1, None);
        }
        self.readers[lane] = Some(t);
    }

    fn write(&mut self, t: usize) {
        self.writer = Some(t);
        self.readers.clear();
    }
}

/// Fills in `waits` of every task, reduced to the fewest, and returns for each task what it waits for as
/// counts. Resources must be below `resources`, indices of lanes below `lanes`.
pub(crate) fn derive(tasks: &mut [TaskInfo], resources: usize, lanes: usize) -> Vec<Clock> {
    let mut touched = vec![Touched::default(); resources];
    let mut rank = Vec::with_capacity(tasks.len()); //   index in its lane
    let mut clocks = Vec::with_capacity(tasks.len()); // the progress implied by the task's end
    let start: Clock = vec![0; lanes].into();
    let mut lanes = vec![start.clone(); lanes]; //       the clock of each lane's latest task
    let mut needs = Vec::with_capacity(tasks.len());

    for t in 0..tasks.len() {
        let lane = tasks[t].lane.index();
        let latest = latest_conflicts(t, tasks, &touched, lanes.len());
        let implied = |wait: &Wait| {
            let other = tasks[wait.task].lane.index();
            let done = |clock: &Clock| clock[other] > rank[wait.task];
            let rivals = latest.iter().flatten().filter(|w| w.task != wait.task);
            other == lane || done(&lanes[lane]) || rivals.map(|w| &clocks[w.task]).any(done)
        };
        let waits: Vec<Wait> = latest.iter().flatten().filter(|w| !implied(w)).copied().collect();

        let mut need = start.clone();
        let mut clock = lanes[lane].clone();
        for wait in &waits {
            need[tasks[wait.task].lane.index()] = rank[wait.task] + 1;
            let after: &Clock = &clocks[wait.task];
            clock.iter_mut().zip(after.iter()).for_each(|(mine, theirs)| *mine = (*mine).max(*theirs));
        }
        rank.push(clock[lane]);
        clock[lane] += 1;
        lanes[lane].clone_from(&clock);
        clocks.push(clock);
        needs.push(need);

        for r in &tasks[t].reads {
            touched[r.index()].read(lane, t);
        }
        for r in &tasks[t].writes {
            touched[r.index()].write(t);
        }
        tasks[t].waits = waits;
    }
    needs
}

/// The latest task of each lane that task `t` conflicts with.
fn latest_conflicts(t: usize, tasks: &[TaskInfo], touched: &[Touched], lanes: usize) -> Vec<Option<Wait>> {
    let mut latest: Vec<Option<Wait>> = vec![None; lanes];
    let mut conflict = |earlier: Option<usize>, hazard, resource| {
        let Some(task) = earlier else { return };
        let slot = &mut latest[tasks[task].lane.index()];
        if slot.is_none_or(|wait| wait.task < task) {
            *slot = Some(Wait { task, hazard, resource });
        }
    };
    for &r in &tasks[t].reads {
        conflict(touched[r.index()].writer, Hazard::ReadAfterWrite, r);
    }
    for &r in &tasks[t].writes {
        conflict(touched[r.index()].writer, Hazard::WriteAfterWrite, r);
        for &reader in &touched[r.index()].readers {
            conflict(reader, Hazard::WriteAfterRead, r);
        }
    }
    latest
}
