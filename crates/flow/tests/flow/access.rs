//! A task can access its declared cells only.

use flow::Lane::{Cpu, Engine};
use flow::{AccessError, Arena, Graph, GraphError, RunError, TaskError};
use std::sync::atomic::{AtomicUsize, Ordering};

#[test]
fn a_task_gets_guards_of_what_it_declared() {
    let mut arena = Arena::new();
    let numbers: Vec<_> = (1..=3).map(|i| arena.cell(format!("n{i}"), i)).collect();
    let (sum, none, name) =
        (arena.cell("sum", 0), None::<flow::Handle<u8>>, arena.cell("name", String::new()));
    let mut graph = Graph::<AccessError>::new(&arena);
    graph.task("add").reads((numbers, none)).writes((sum.update(), name.clone())).run(
        |(numbers, none), (mut sum, mut name)| {
            assert!(none.is_none());
            for i in 0..numbers.len() {
                *sum += *numbers.read(i)?;
            }
            "added".clone_into(&mut name);
            assert!(matches!(numbers.read(3), Err(AccessError::Undeclared { index: 3, declared: 3 })));
            Ok(())
        },
    );
    let plan = graph.plan().expect("a plan");
    plan.run().expect("runs");
    plan.run().expect("runs");
    assert_eq!((*sum.read().expect("idle"), name.read().expect("idle").as_str()), (12, "added"));
}

#[test]
fn a_captured_handle_is_refused_while_a_plan_runs() {
    let mut arena = Arena::new();
    let [declared, captured] = ["declared", "captured"].map(|name| arena.cell(name, 1));
    let mut graph = Graph::<AccessError>::new(&arena);
    let undeclared = captured.clone();
    graph.task("sneaks").reads(declared).run(move |_, ()| undeclared.read().map(|_| ()));
    let error = graph.plan().expect("a plan").run().expect_err("refused");
    let want = AccessError::Running { cell: "captured".to_owned() };
    assert!(matches!(error, RunError::Task { source, .. } if source == want));
    assert_eq!(*captured.read().expect("the run is over"), 1);
    *captured.write().expect("the run is over") = 2;
}

#[test]
fn a_cell_that_is_held_outside_is_an_error_and_no_wait() {
    let mut arena = Arena::new();
    let cell = arena.cell("theta", 1);
    let mut graph = Graph::<String>::new(&arena);
    graph.task("read").reads(cell.clone()).run(|_, ()| Ok(()));
    graph.task("write").writes(cell.clone()).run(|(), _| Ok(()));
    let plan = graph.plan().expect("a plan");
    let guard = cell.read().expect("idle");
    let error = plan.run().expect_err("held");
    assert_eq!(error.to_string(), "task `write` on the cpu lane: cell `theta` is in use");
    drop(guard);
    plan.run().expect("free again");
}

#[test]
fn a_task_that_panics_poisons_what_it_writes() {
    let mut arena = Arena::new();
    let cell = arena.cell("half", 1);
    let mut graph = Graph::<String>::new(&arena);
    graph.task("breaks").writes(cell.clone()).run(|(), _| panic!("no"));
    assert!(matches!(graph.plan().expect("a plan").run(), Err(RunError::Panic { .. })));
    assert_eq!(cell.read().map(|_| ()), Err(AccessError::Poisoned { cell: "half".to_owned() }));
}

#[test]
fn declarations_that_cannot_hold_are_refused() {
    let (mut arena, mut other) = (Arena::new(), Arena::new());
    let (own, foreign) = (arena.cell("own", ()), other.cell("foreign", ()));
    let mut graph = Graph::<String>::new(&arena);
    graph.task("dx").reads(foreign).run(|_, ()| Ok(()));
    let want = GraphError::ForeignCell { task: "dx".to_owned(), cell: "foreign".to_owned() };
    assert_eq!(graph.plan().unwrap_err(), want);

    for both in [true, false] {
        let mut graph = Graph::<String>::new(&arena);
        match both {
            true => graph.task("dx").reads(own.clone()).writes(own.clone()).run(|_, _| Ok(())),
            false => graph.task("dx").writes((own.clone(), own.update())).run(|(), _| Ok(())),
        }
        let want = GraphError::DeclaredTwice { task: "dx".to_owned(), cell: "own".to_owned() };
        assert_eq!(graph.plan().unwrap_err(), want);
    }

    let mut graph = Graph::<String>::new(&arena);
    let late = arena.cell("late", ());
    graph.task("dx").reads(late).run(|_, ()| Ok(()));
    let error = graph.plan().unwrap_err();
    assert_eq!(error, GraphError::UnknownCell { task: "dx".to_owned(), cell: 1, known: 1 });
    assert!(error.hint().is_some());
}

#[test]
fn plans_of_one_arena_do_not_run_at_the_same_time() {
    let mut arena = Arena::new();
    arena.cell("a", ());
    let mut inner = Graph::<String>::new(&arena);
    inner.task("inner").run(|(), ()| Ok(()));
    let inner = inner.plan().expect("a plan");
    let mut outer = Graph::<String>::new(&arena);
    outer.task("outer").run(move |(), ()| inner.run().map_err(|e| e.to_string()));
    let error = outer.plan().expect("a plan").run().expect_err("busy");
    assert!(matches!(error, RunError::Task { source, .. } if source.contains("already running")));
}

#[test]
fn each_task_is_called_through_the_graphs_hook() {
    let calls = AtomicUsize::new(0);
    let arena = Arena::new();
    let mut graph = Graph::<String>::new(&arena);
    graph.around(|task| {
        calls.fetch_add(1, Ordering::Relaxed);
        task()
    });
    graph.task("a").on(Engine).run(|(), ()| Ok(()));
    graph.task("b").on(Cpu).run(|(), ()| Err("no".to_owned()));
    let plan = graph.plan().expect("a plan");
    assert!(matches!(plan.run(), Err(RunError::Task { source, .. }) if source == "no"));
    assert!(calls.load(Ordering::Relaxed) >= 1);
    assert!(matches!(
        TaskError::<String>::from(AccessError::InUse { cell: "x".into() }),
        TaskError::Access(_)
    ));
}
