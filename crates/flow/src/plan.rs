//! The ordered graph as data: listed, drawn, simulated, run.

use std::fmt::{self, Write};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::graph::Work;
use crate::hazard::{self, Clock};
use crate::{Lane, Resource, Wait};

/// What a plan knows about a task.
#[derive(Clone, Debug)]
pub struct TaskInfo {
    /// Its name, unique in the plan.
    pub name: String,
    /// The queue it stands in.
    pub lane: Lane,
    /// What it reads.
    pub reads: Vec<Resource>,
    /// What it writes.
    pub writes: Vec<Resource>,
    /// Tasks of other lanes that must be done first: at most one a lane, none that another one implies.
    /// Earlier tasks of its own lane are done anyway.
    pub waits: Vec<Wait>,
}

/// A graph in which it is settled who waits for whom; built once, run many times.
///
/// `Display` lists one task a line in declaration order: its lane, its name, what it waits for and why.
pub struct Plan<'a, E> {
    pub(crate) tasks: Arc<[TaskInfo]>,
    pub(crate) work: Vec<Work<'a, E>>,
    /// The tasks of each lane, in order.
    pub(crate) lanes: [Vec<usize>; Lane::COUNT],
    /// For each task, `waits` as numbers of finished tasks.
    pub(crate) needs: Vec<Clock>,
    /// Set while the plan runs.
    pub(crate) busy: AtomicBool,
    resources: Vec<String>,
}

impl<'a, E> Plan<'a, E> {
    pub(crate) fn new(resources: Vec<String>, mut tasks: Vec<TaskInfo>, work: Vec<Work<'a, E>>) -> Self {
        let needs = hazard::derive(&mut tasks, resources.len());
        let of = |lane| (0..tasks.len()).filter(|&t| tasks[t].lane == lane).collect();
        let lanes = Lane::ALL.map(of);
        Self { tasks: tasks.into(), work, lanes, needs, busy: AtomicBool::new(false), resources }
    }

    /// The tasks, in declaration order.
    pub fn tasks(&self) -> &[TaskInfo] {
        &self.tasks
    }

    /// The name `resource` was made with, or `?` if another graph made it.
    pub fn resource_name(&self, resource: Resource) -> &str {
        self.resources.get(resource.index()).map_or("?", String::as_str)
    }

    /// The plan as a Graphviz drawing: a box a lane, dotted lines for its order, an arrow for each wait.
    pub fn to_dot(&self) -> String {
        let mut dot = String::from("digraph plan {\n  rankdir=LR;\n  node [shape=box];\n");
        for lane in Lane::ALL {
            let queue = &self.lanes[lane.index()];
            if queue.is_empty() {
                continue;
            }
            dot.push_str(&format!("  subgraph cluster_{lane} {{\n    label=\"{lane}\";\n"));
            for &t in queue {
                dot.push_str(&format!("    t{t} [label={}];\n", Quoted(&self.tasks[t].name)));
            }
            for pair in queue.windows(2) {
                dot.push_str(&format!("    t{} -> t{} [style=dotted];\n", pair[0], pair[1]));
            }
            dot.push_str("  }\n");
        }
        for (t, task) in self.tasks.iter().enumerate() {
            for wait in &task.waits {
                let why = format!("{}: {}", self.resource_name(wait.resource), wait.hazard);
                dot.push_str(&format!("  t{} -> t{t} [label={}];\n", wait.task, Quoted(&why)));
            }
        }
        dot.push_str("}\n");
        dot
    }
}

impl<E> fmt::Display for Plan<'_, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let longest = self.tasks.iter().map(|task| task.name.chars().count()).max().unwrap_or(0);
        for task in self.tasks.iter() {
            write!(f, "{:<6}  ", task.lane)?;
            if task.waits.is_empty() {
                writeln!(f, "{}", task.name)?;
                continue;
            }
            write!(f, "{:<longest$}  waits for ", task.name)?;
            for (i, wait) in task.waits.iter().enumerate() {
                let comma = if i > 0 { ", " } else { "" };
                let (name, resource) = (&self.tasks[wait.task].name, self.resource_name(wait.resource));
                write!(f, "{comma}{name} ({resource}: {})", wait.hazard)?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

impl<E> fmt::Debug for Plan<'_, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (tasks, resources) = (&self.tasks, &self.resources);
        f.debug_struct("Plan").field("tasks", tasks).field("resources", resources).finish_non_exhaustive()
    }
}

/// Text as a quoted DOT string.
struct Quoted<'t>(&'t str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        for c in self.0.chars() {
            match c {
                '"' | '\\' => write!(f, "\\{c}")?,
                '\n' => f.write_str("\\n")?,
                c => f.write_char(c)?,
            }
        }
        f.write_char('"')
    }
}
