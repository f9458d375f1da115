//! Runs on real threads: errors, panics, repetition, traces.

use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Sender};
use std::sync::{Barrier, Mutex};

use flow::Lane::{Cpu, Engine};
use flow::{Arena, Graph, Lane, Plan, RunError, Trace};

/// A log that tasks append their names to.
#[derive(Default)]
struct Log(Mutex<Vec<&'static str>>);

impl Log {
    fn add(&self, name: &'static str) {
        self.0.lock().expect("no task panics while it logs").push(name);
    }

    fn take(&self) -> Vec<&'static str> {
        std::mem::take(&mut *self.0.lock().expect("no task panics while it logs"))
    }
}

/// A chain `one → two → three` across lanes; task `two` returns the result of the closure `two`.
fn chain<'a>(log: &'a Log, two: impl Fn() -> Result<(), String> + Send + Sync + 'a) -> Plan<'a, String> {
    let mut arena = Arena::new();
    let [a, b] = ["a", "b"].map(|name| arena.cell(name, ()));
    let mut graph = Graph::new(&arena);
    graph.task("one").on(Engine).writes(a.clone()).run(|(), _| {
        log.add("one");
        Ok(())
    });
    graph.task("two").on(Cpu).reads(a).writes(b.clone()).run(move |_, _| {
        log.add("two");
        two()
    });
    for (name, lane) in [("three", Engine), ("four", Engine), ("five", Cpu)] {
        graph.task(name).on(lane).reads(b.clone()).run(move |_, ()| {
            log.add(name);
            Ok(())
        });
    }
    graph.plan().expect("names differ")
}

#[test]
fn an_empty_plan_runs() {
    let plan = Graph::<String>::new(&Arena::new()).plan().expect("nothing to refuse");
    plan.run().expect("nothing to fail");
    assert_eq!(plan.to_string(), "");
}

#[test]
fn an_error_names_its_task_and_stops_the_rest() {
    let log = Log::default();
    let plan = chain(&log, || Err("disk full".to_owned()));
    let error = plan.run().unwrap_err();
    assert_eq!(log.take(), ["one", "two"]);
    assert_eq!(error.to_string(), "task `two` on the cpu lane failed");
    match error {
        RunError::Task { task, lane: Cpu, source } => assert_eq!((&*task, &*source), ("two", "disk full")),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_panic_names_its_task_and_stops_the_rest() {
    let log = Log::default();
    let plan = chain(&log, || panic!("index {} out of bounds", 7));
    let error = plan.run().unwrap_err();
    assert_eq!(log.take(), ["one", "two"]);
    assert_eq!(error.to_string(), "task `two` on the cpu lane panicked: index 7 out of bounds");
}

#[test]
fn a_panic_without_words_is_an_error_too() {
    let log = Log::default();
    let plan = chain(&log, || std::panic::panic_any(7));
    let error = plan.run().unwrap_err();
    assert_eq!(error.to_string(), "task `two` on the cpu lane panicked: (no message)");
}

thread_local! {
    /// A sender that is dropped when the thread ends.
    static LINE: RefCell<Option<Sender<()>>> = const { RefCell::new(None) };
}

#[test]
fn a_task_under_way_is_waited_for_and_no_other_begins() {
    let (line, other_end) = mpsc::channel();
    let (line, other_end) = (Mutex::new(Some(line)), Mutex::new(other_end));
    let both_under_way = Barrier::new(2);
    let (ended, next) = (AtomicBool::new(false), AtomicBool::new(false));
    let mut graph = Graph::<String>::new(&Arena::new());
    graph.task("long").on(Engine).run(|(), ()| {
        both_under_way.wait();
        // Wait until the other lane's thread has ended, which happens only after it stopped the run.
        let received = other_end.lock().expect("nobody else uses it").recv();
        ended.store(received.is_err(), Ordering::SeqCst);
        Err("too late to be the first".to_owned())
    });
    graph.task("fails").on(Cpu).run(|(), ()| {
        LINE.set(line.lock().expect("nobody else uses it").take());
        both_under_way.wait();
        Err("no".to_owned())
    });
    graph.task("next").on(Engine).run(|(), ()| {
        next.store(true, Ordering::SeqCst);
        Ok(())
    });
    let plan = graph.plan().expect("names differ");
    assert!(matches!(plan.run(), Err(RunError::Task { task, .. }) if task == "fails"));
    assert!(ended.load(Ordering::SeqCst), "the long task was not waited for");
    assert!(!next.load(Ordering::SeqCst), "a task began after the run was stopped");
}

#[test]
fn a_plan_runs_again_also_after_an_error() {
    let (log, turn) = (Log::default(), AtomicUsize::new(0));
    let plan = chain(&log, || match turn.fetch_add(1, Ordering::SeqCst) {
        1 => Err("second time unlucky".to_owned()),
        _ => Ok(()),
    });
    for turn in 0..4 {
        assert_eq!(plan.run().is_err(), turn == 1, "turn {turn}");
        let mut ran = log.take();
        ran.sort_unstable();
        let all = ["five", "four", "one", "three", "two"];
        assert_eq!(ran, if turn == 1 { &["one", "two"][..] } else { &all[..] }, "turn {turn}");
    }
}

#[test]
fn a_plan_does_not_run_twice_at_a_time() {
    let (begun, release) = (Barrier::new(2), Barrier::new(2));
    let mut graph = Graph::<String>::new(&Arena::new());
    graph.task("wait").run(|(), ()| {
        begun.wait();
        release.wait();
        Ok(())
    });
    let plan = graph.plan().expect("names differ");
    std::thread::scope(|scope| {
        let first = scope.spawn(|| plan.run());
        begun.wait();
        let second = plan.run();
        release.wait();
        assert!(matches!(second, Err(RunError::Busy)), "{second:?}");
        assert!(matches!(first.join(), Ok(Ok(()))));
    });
}

#[test]
fn lanes_run_at_the_same_time() {
    // Each task waits for a message of the other: this needs two threads.
    let (to_cpu, from_engine) = mpsc::channel();
    let (to_engine, from_cpu) = mpsc::channel();
    let ends = [(to_cpu, from_cpu), (to_engine, from_engine)].map(Mutex::new);
    let mut graph = Graph::<String>::new(&Arena::new());
    for ((name, lane), end) in [("dx", Engine), ("dw", Cpu)].into_iter().zip(&ends) {
        graph.task(name).on(lane).run(move |(), ()| {
            let (send, receive) = &*end.lock().map_err(|e| e.to_string())?;
            send.send(()).map_err(|e| e.to_string())?;
            let patience = std::time::Duration::from_secs(20);
            receive.recv_timeout(patience).map_err(|e| e.to_string())
        });
    }
    graph.plan().expect("names differ").run().expect("both tasks received a message");
}

#[test]
fn a_trace_holds_what_ran_in_order() {
    let log = Log::default();
    let plan = chain(&log, || Ok(()));
    let mut trace = Trace::new();
    let names =
        |trace: &Trace, lane: Lane| trace.spans(lane).map(|(task, _)| task.name.clone()).collect::<Vec<_>>();
    for _ in 0..2 {
        trace.clear();
        plan.run_busy(&mut trace, &std::thread::yield_now).expect("no task fails");
        assert_eq!(names(&trace, Engine), ["one", "three", "four"]);
        assert_eq!(names(&trace, Cpu), ["two", "five"]);
    }
    let span = |name: &str| {
        let mut all = trace.lanes().flat_map(|lane| trace.spans(lane));
        all.find(|(task, _)| task.name == name).expect("the task ran").1
    };
    for (earlier, later) in [("one", "two"), ("two", "three"), ("two", "four"), ("two", "five")] {
        assert!(span(earlier).end <= span(later).start, "{later} began before {earlier} was done");
    }
    for lane in trace.lanes() {
        let sum = trace.spans(lane).map(|(_, span)| span.duration()).sum();
        assert_eq!(trace.busy(lane), sum);
        assert!(sum <= trace.elapsed());
    }
}

#[test]
fn traces_of_several_plans_join() {
    let log = Log::default();
    let (good, bad) = (chain(&log, || Ok(())), chain(&log, || Err("no".to_owned())));
    let (mut all, mut step) = (Trace::new(), Trace::new());
    for plan in [&good, &bad, &good] {
        step.clear();
        let _ = plan.run_busy(&mut step, &std::thread::yield_now);
        all.append(&step);
    }
    let names: Vec<_> = all.spans(Engine).map(|(task, _)| task.name.as_str()).collect();
    assert_eq!(names, ["one", "three", "four", "one", "one", "three", "four"]);
    let spans: Vec<_> = all.spans(Engine).map(|(_, span)| span).collect();
    assert!(spans.is_sorted_by_key(|span| span.start), "the runs follow each other: {spans:?}");
    let json = all.to_chrome_json();
    let tasks = [Engine, Cpu].map(|lane| json.matches(&format!(r#""cat":"{lane}""#)).count());
    assert_eq!(tasks.iter().sum::<usize>(), 5 + 2 + 5, "waits and idle time are of other categories");
}

/// A task of the other lane needs a job done by the thread that waits for it.
#[test]
fn a_busy_thread_works_for_those_it_waits_for() {
    for fails in [false, true] {
        let (give, jobs) = mpsc::channel::<Sender<()>>();
        let give = Mutex::new(give);
        let mut arena = Arena::new();
        let [a, b] = ["a", "b"].map(|name| arena.cell(name, ()));
        let mut graph = Graph::<String>::new(&arena);
        graph.task("one").on(Engine).writes(a.clone()).run(|(), _| Ok(()));
        graph.task("two").on(Cpu).reads(a).writes(b.clone()).run(|_, _| {
            let (done, wait) = mpsc::channel();
            give.lock().expect("nobody panics").send(done).expect("the calling thread lives");
            wait.recv().expect("the job is done");
            if fails { Err("no".to_owned()) } else { Ok(()) }
        });
        graph.task("three").on(Engine).reads(b.clone()).run(|_, ()| Ok(()));
        // The last job comes when the calling thread's own lane is done.
        graph.task("four").on(Cpu).reads(b).run(|_, ()| {
            let (done, wait) = mpsc::channel();
            give.lock().expect("nobody panics").send(done).expect("the calling thread lives");
            wait.recv().map_err(|e| e.to_string())
        });
        let plan = graph.plan().expect("names differ");
        let idle = || {
            if let Ok(done) = jobs.try_recv() {
                done.send(()).expect("somebody waits");
            }
        };
        assert_eq!(plan.run_busy(&mut Trace::new(), &idle).is_err(), fails);
    }
}

/// Calls `serve` on `threads` threads at the same time.
fn start_threads(threads: usize, serve: &(dyn Fn(usize) + Sync)) -> bool {
    std::thread::scope(|scope| {
        (0..threads).for_each(|i| drop(scope.spawn(move || serve(i))));
    });
    true
}

/// Lanes of workers on the caller's threads: as many as lanes, more, or none of them.
#[test]
fn lanes_run_on_threads_of_the_caller() {
    for extra in [Some(0), Some(3), None] {
        let idled = AtomicUsize::new(0);
        let mut arena = Arena::new();
        let sum = arena.cell("sum", Vec::new());
        let both = Barrier::new(2);
        let mut graph = Graph::<String>::new(&arena);
        for i in 0..6_u16 {
            graph.task(format!("meet {i}")).on(Lane::Worker(i % 2)).run(|(), ()| {
                both.wait();
                Ok(())
            });
            graph.task(format!("add {i}")).on(Lane::Worker(i % 2)).writes(sum.update()).run(
                move |(), mut s| {
                    s.push(i);
                    Ok(())
                },
            );
        }
        let plan = graph.plan().expect("names differ");
        assert_eq!(plan.lanes().collect::<Vec<_>>(), [Lane::Worker(0), Lane::Worker(1)]);
        let mut trace = Trace::new();
        let mut start = |lanes: usize, serve: &(dyn Fn(usize) + Sync)| {
            assert_eq!(lanes, 2);
            extra.is_some_and(|extra| start_threads(lanes + extra, serve))
        };
        let idle = || {
            idled.fetch_add(1, Ordering::Relaxed);
            std::thread::yield_now();
        };
        for round in 1..4 {
            plan.run_on(&mut start, &mut trace, &idle).expect("no task fails");
            assert_eq!(*sum.read().expect("no run"), [0, 1, 2, 3, 4, 5].repeat(round), "in declared order");
        }
        assert_eq!(trace.lanes().map(|lane| trace.spans(lane).count()).sum::<usize>(), 3 * 12);
        assert!(extra != Some(3) || idled.load(Ordering::Relaxed) > 0, "threads without a lane help");
    }
}

#[test]
fn an_error_ends_a_run_on_threads_of_the_caller() {
    let mut arena = Arena::new();
    let cell = arena.cell("cell", 0);
    let mut graph = Graph::<String>::new(&arena);
    graph.task("fails").on(Lane::Worker(0)).writes(cell.clone()).run(|(), _| Err("no".to_owned()));
    graph.task("waits").on(Lane::Worker(1)).writes(cell.update()).run(|(), mut cell| {
        *cell += 1;
        Ok(())
    });
    let plan = graph.plan().expect("names differ");
    let (mut start, mut trace) = (start_threads, Trace::new());
    let error = plan.run_on(&mut start, &mut trace, &std::thread::yield_now).unwrap_err();
    assert_eq!(error.to_string(), "task `fails` on the worker 0 lane failed");
    assert_eq!(*cell.read().expect("no run"), 0, "the other lane has stopped");
}
