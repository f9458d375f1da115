//! Dependencies of tasks, and how a plan prints them.

use flow::Lane::{Cpu, Engine};
use flow::{Arena, Graph, GraphError, Hazard};

use crate::plan;

/// The dependencies of the task called `name`.
fn waits(plan: &flow::Plan<'_, String>, name: &str) -> Vec<(String, Hazard, String)> {
    let task = plan.tasks().iter().find(|task| task.name == name).expect("the task is in the plan");
    let wait = |w: &flow::Wait| {
        (plan.tasks()[w.task].name.clone(), w.hazard, plan.resource_name(w.resource).to_owned())
    };
    task.waits.iter().map(wait).collect()
}

fn wait(task: &str, hazard: Hazard, resource: &str) -> (String, Hazard, String) {
    (task.to_owned(), hazard, resource.to_owned())
}

#[test]
fn a_reader_waits_for_the_writer() {
    let p = plan(&[("make", Engine, "", "a"), ("use", Cpu, "a", "")]);
    assert_eq!(waits(&p, "use"), [wait("make", Hazard::ReadAfterWrite, "a")]);
}

#[test]
fn a_writer_waits_for_the_readers() {
    let p = plan(&[("use", Engine, "a", ""), ("also use", Engine, "a", ""), ("make", Cpu, "", "a")]);
    assert_eq!(waits(&p, "make"), [wait("also use", Hazard::WriteAfterRead, "a")]);
}

#[test]
fn a_writer_waits_for_the_writer() {
    let p = plan(&[("make", Engine, "", "a"), ("make again", Cpu, "", "a")]);
    assert_eq!(waits(&p, "make again"), [wait("make", Hazard::WriteAfterWrite, "a")]);
}

#[test]
fn readers_do_not_wait_for_each_other() {
    let p = plan(&[("use", Engine, "a", ""), ("also use", Cpu, "a", "")]);
    assert_eq!(waits(&p, "also use"), []);
}

#[test]
fn tasks_that_share_nothing_do_not_wait() {
    let p = plan(&[("one", Engine, "a", "b"), ("other", Cpu, "c", "d")]);
    assert_eq!(waits(&p, "other"), []);
}

#[test]
fn a_task_that_updates_does_not_wait_for_itself() {
    let p = plan(&[("add", Cpu, "a", "a"), ("add more", Engine, "a", "a")]);
    assert_eq!(waits(&p, "add"), []);
    assert_eq!(waits(&p, "add more"), [wait("add", Hazard::ReadAfterWrite, "a")]);
}

#[test]
fn the_order_of_a_lane_needs_no_wait() {
    let p = plan(&[("make", Cpu, "", "a"), ("use", Cpu, "a", "b")]);
    assert_eq!(waits(&p, "use"), []);
}

#[test]
fn of_one_lane_only_the_latest_is_waited_for() {
    let p = plan(&[("a", Engine, "", "a"), ("b", Engine, "", "b"), ("use", Cpu, "ab", "")]);
    assert_eq!(waits(&p, "use"), [wait("b", Hazard::ReadAfterWrite, "b")]);
}

#[test]
fn what_the_lane_has_waited_for_is_not_waited_for_again() {
    let p = plan(&[("make", Engine, "", "a"), ("use", Cpu, "a", ""), ("use again", Cpu, "a", "")]);
    assert_eq!(waits(&p, "use again"), []);
}

#[test]
fn what_another_wait_implies_is_dropped() {
    let p = plan(&[("make", Engine, "", "a"), ("work", Cpu, "a", "b"), ("save", Engine, "ab", "")]);
    assert_eq!(waits(&p, "save"), [wait("work", Hazard::ReadAfterWrite, "b")]);
}

#[test]
fn a_second_writer_is_waited_for_by_later_readers() {
    let p = plan(&[("old", Engine, "", "a"), ("new", Engine, "", "a"), ("use", Cpu, "a", "")]);
    assert_eq!(waits(&p, "use"), [wait("new", Hazard::ReadAfterWrite, "a")]);
}

#[test]
fn a_plan_lists_its_tasks() {
    let p = plan(&[
        ("forward", Engine, "w", "xy"),
        ("loss", Cpu, "y", "d"),
        ("backward", Engine, "dx", "g"),
        ("save", Engine, "w", "f"),
        ("adamw", Cpu, "g", "w"),
    ]);
    let expected = "\
engine  forward
cpu     loss      waits for forward (y: read after write)
engine  backward  waits for loss (d: read after write)
engine  save
cpu     adamw     waits for save (w: write after read)
";
    assert_eq!(p.to_string(), expected);
}

#[test]
fn names_are_unique() {
    let mut graph = Graph::<String>::new(&Arena::new());
    for name in ["dx", "dw", "dx"] {
        graph.task(name).run(|(), ()| Ok(()));
    }
    let error = graph.plan().unwrap_err();
    assert_eq!(error, GraphError::DuplicateTask { name: "dx".to_owned(), first: 0, second: 2 });
    assert_eq!(error.to_string(), "tasks 0 and 2 of the graph are both called `dx`");
}
