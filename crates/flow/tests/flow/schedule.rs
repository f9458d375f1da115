//! The pretend clock: what overlaps, and how long a step takes.

use std::time::Duration;

use flow::Lane::{Cpu, Disk, Engine};
use flow::{Graph, Lane, Plan, Span};

use crate::plan;

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn span(start: u64, end: u64) -> Span {
    Span { start: ms(start), end: ms(end) }
}

/// The backward pass of `layers` layers and the optimizer's step: dx on the engine, dW on the CPU.
///
/// A layer's dx kernel also gives `dh`, the gradient of its hidden activations, from which dW follows.
fn backward(layers: usize) -> Plan<'static, String> {
    let mut step = Graph::new();
    let mut each =
        |what: &str, n: usize| -> Vec<_> { (0..n).map(|l| step.resource(format!("L{l}.{what}"))).collect() };
    let (x, dx, dh, dw) = (each("x", layers), each("dx", layers + 1), each("dh", layers), each("dw", layers));
    for l in (0..layers).rev() {
        let name = |what: &str| format!("L{l}.{what}");
        step.task(name("dx")).on(Engine).reads([x[l], dx[l + 1]]).writes([dx[l], dh[l]]).run(|| Ok(()));
        step.task(name("dw")).on(Cpu).reads([x[l], dh[l]]).writes([dw[l]]).run(|| Ok(()));
    }
    step.task("adamw").on(Cpu).reads(dw).run(|| Ok(()));
    step.plan().expect("names differ")
}

#[test]
fn weight_gradients_overlap_the_next_layers_dx() {
    let schedule = backward(4).simulate(|task| if task.lane == Engine { ms(10) } else { ms(8) });
    let at = |name: &str| schedule.span(name).expect("the task is in the plan");
    for l in 1..4 {
        let (dx, dw, next) =
            (at(&format!("L{l}.dx")), at(&format!("L{l}.dw")), at(&format!("L{}.dx", l - 1)));
        assert_eq!((dw.start, next.start), (dx.end, dx.end), "both begin where layer {l}'s dx ends");
        assert!(dw.overlaps(&next) && !dw.overlaps(&dx));
    }
    assert_eq!((at("L0.dw"), at("adamw")), (span(40, 48), span(48, 56)));
    assert_eq!(schedule.makespan(), ms(56));
    assert_eq!((schedule.busy(Engine), schedule.busy(Cpu), schedule.busy(Disk)), (ms(40), ms(40), ms(0)));
}

#[test]
fn a_slow_cpu_lane_queues_up_without_holding_the_engine() {
    let schedule = backward(3).simulate(|task| if task.lane == Engine { ms(1) } else { ms(10) });
    let at = |name: &str| schedule.span(name).expect("the task is in the plan");
    assert_eq!([at("L2.dx"), at("L1.dx"), at("L0.dx")], [span(0, 1), span(1, 2), span(2, 3)]);
    assert_eq!([at("L2.dw"), at("L1.dw"), at("L0.dw")], [span(1, 11), span(11, 21), span(21, 31)]);
    assert_eq!(at("adamw"), span(31, 41));
}

#[test]
fn a_buffer_used_again_holds_the_engine() {
    // One dx buffer for both layers: the second dx overwrites what the first dW reads.
    let rows = [
        ("L1.dx", Engine, "", "d"),
        ("L1.dw", Cpu, "d", "w"),
        ("L0.dx", Engine, "", "d"),
        ("L0.dw", Cpu, "d", "w"),
    ];
    let schedule = plan(&rows).simulate(|_| ms(5));
    let spans: Vec<Span> = schedule.spans().map(|(_, span)| span).collect();
    assert_eq!(spans, [span(0, 5), span(5, 10), span(10, 15), span(15, 20)]);
}

#[test]
fn an_empty_plan_takes_no_time() {
    assert_eq!(plan(&[]).simulate(|_| ms(1)).makespan(), Duration::ZERO);
}

#[test]
fn a_task_waits_for_the_later_of_two_lanes() {
    let rows = [("a", Engine, "", "a"), ("b", Disk, "", "b"), ("c", Cpu, "ab", "")];
    let cost = |lane| {
        ms(match lane {
            Lane::Engine => 3,
            Lane::Disk => 7,
            Lane::Cpu => 1,
        })
    };
    let schedule = plan(&rows).simulate(|task| cost(task.lane));
    assert_eq!(schedule.span("c"), Some(span(7, 8)));
    assert_eq!(schedule.span("d"), None);
}

#[test]
fn a_schedule_is_chrome_trace_json() {
    let rows = [("say \"dx\"\n", Engine, "", "a"), ("dw\\", Cpu, "a", "")];
    let schedule = plan(&rows).simulate(|_| Duration::from_nanos(1_500_007));
    let expected = r#"{"displayTimeUnit":"ms","traceEvents":[
{"ph":"M","pid":0,"tid":0,"name":"thread_name","args":{"name":"engine"}},
{"ph":"M","pid":0,"tid":1,"name":"thread_name","args":{"name":"cpu"}},
{"ph":"M","pid":0,"tid":2,"name":"thread_name","args":{"name":"disk"}},
{"ph":"X","pid":0,"tid":0,"name":"say \"dx\"\u000a","cat":"engine","ts":0.000,"dur":1500.007},
{"ph":"X","pid":0,"tid":0,"name":"idle","cat":"idle","ts":1500.007,"dur":1500.007},
{"ph":"X","pid":0,"tid":1,"name":"waits for say \"dx\"\u000a","cat":"wait","ts":0.000,"dur":1500.007},
{"ph":"X","pid":0,"tid":1,"name":"dw\\","cat":"cpu","ts":1500.007,"dur":1500.007}
]}
"#;
    assert_eq!(schedule.to_chrome_json(), expected);
}
