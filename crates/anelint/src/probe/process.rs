//! Probes of process limits: changing weights, threads, and the number of programs.

use super::prober::{Case, Loaded, Outcome, failed, uneven};
use super::slots::{SHAPE, WRONG, plain};
use super::{Finding, Probe, Prober};
use crate::rules::Consequence;
use ane::DeviceError;
use mil::{DType, Tensor, TensorType, Weights, ty};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Programs that are compiled to find the engine's limit; reports say about 119.
const COMPILED: u32 = 140;

pub(super) const PROBES: &[Probe] = &[
    Probe {
        id: "fp32-surfaces",
        rules: &[],
        question: "Do inputs and outputs in fp32 give zeros?",
        compiles: 1,
        ask: fp32_surfaces,
    },
    Probe {
        id: "same-bits",
        rules: &["N19"],
        question: "Does the same program on the same data give the same bits?",
        compiles: 2,
        ask: same_bits,
    },
    Probe {
        id: "weight-reload",
        rules: &["W5", "W5b"],
        question: "Does a program use weight files that were rewritten, after it is unloaded and loaded again?",
        compiles: 2,
        ask: weight_reload,
    },
    Probe {
        id: "two-threads",
        rules: &["W10"],
        question: "Are two programs right that two threads run at the same time, and how much faster is that?",
        compiles: 2,
        ask: two_threads,
    },
    Probe {
        id: "compile-while-running",
        rules: &["P2"],
        question: "Does a program run while another one is compiled, and how long does that take?",
        compiles: 6,
        ask: compile_while_running,
    },
    // Last, as they wear out the process, and perhaps more.
    Probe {
        id: "loaded-programs",
        rules: &["W6c"],
        question: "How many programs are loaded at the same time, none of them unloaded?",
        compiles: COMPILED,
        ask: |prober| vec![count(prober, "W6c", true)],
    },
    Probe {
        id: "compile-budget",
        rules: &["W6"],
        question: "How many programs does a process compile, if each is unloaded before the next?",
        compiles: COMPILED,
        ask: |prober| vec![count(prober, "W6", false)],
    },
];

/// A depthwise convolution with its own weights, `y = w·x`.
pub(super) fn scaled(step: usize) -> Case {
    let path = "@model_path/weights/w.bin";
    let w = uneven(ty::f16([SHAPE[1], 1, 1, 1]), step, 9, 4.0);
    let case = Case::new("scaled", vec![("x", plain(7))], |b, v| {
        vec![("y", v[0].conv1x1(b.weight("w", w.ty.clone(), path, mil::blob::FIRST_ENTRY), SHAPE[1]))]
    });
    case.weight(path, &w)
}

/// A claim that is no rule yet: maderix/ANE, pull request 40.
fn fp32_surfaces(prober: &Prober<'_>) -> Vec<Finding> {
    let x = Tensor::floats(TensorType::new(DType::F32, SHAPE), plain(7).to_floats());
    let case = Case::new("fp32", vec![("x", x)], |_, v| vec![("y", v[0] * 2.0 + 0.25)]);
    vec![prober.try_bare(&case, 0.0).fails("fp32-surfaces", "a program in fp32")]
}

fn same_bits(prober: &Prober<'_>) -> Vec<Finding> {
    let case = || {
        Case::new("bits", vec![("x", uneven(ty::f16(SHAPE), 7, 31, 9.7))], |_, v| {
            vec![("y", v[0].softmax(1) * v[0].sigmoid() + v[0].reduce_mean(&[1], true))]
        })
    };
    let runs = || -> Result<(usize, usize), Outcome> {
        let first = Loaded::open(prober.device(), &case())?;
        let want = first.run()?;
        let mut other = 0;
        for _ in 0..8 {
            other += usize::from(first.run()? != want);
        }
        let again = Loaded::open(prober.device(), &case())?;
        Ok((other, usize::from(again.run()? != want)))
    };
    vec![match runs() {
        Ok((0, 0)) => Finding::holds("N19", "8 runs and a second compilation give the same bits"),
        Ok((runs, compiled)) => Finding::holds_not(
            "N19",
            format!("of 8 runs {runs} give other bits, of 1 second compilation {compiled}"),
        ),
        Err(outcome) => Finding::unclear("N19", format!("the program {}", outcome.says())),
    }]
}

fn weight_reload(prober: &Prober<'_>) -> Vec<Finding> {
    let (old, new) = (scaled(5), scaled(4));
    let of = |about: &'static str, compiled: bool| -> Finding {
        match reloaded(prober, &old, &new, compiled) {
            Ok(Some((got, way))) => match (old.means(), new.means()) {
                (_, Ok(want)) if got == want => {
                    Finding::holds_not(about, format!("{way}, the new weights are used"))
                }
                (Ok(want), _) if got == want => {
                    Finding::holds(about, format!("{way}, the old weights stay")).leads_to(WRONG)
                }
                _ => {
                    Finding::holds(about, format!("{way}, the numbers are those of neither")).leads_to(WRONG)
                }
            },
            Ok(None) => Finding::unclear(
                about,
                "this engine compiles again for new weights, and has no files of its own",
            ),
            Err(outcome) => {
                Finding::unclear(about, format!("after files were rewritten the program {}", outcome.says()))
            }
        }
    };
    vec![of("W5", false), of("W5b", true)]
}

type Reloaded = Option<(Vec<Vec<f64>>, &'static str)>;

/// The results of `old` after its weights were replaced by those of `new` without compiling.
fn reloaded(prober: &Prober<'_>, old: &Case, new: &Case, compiled: bool) -> Result<Reloaded, Outcome> {
    let loaded = Loaded::open(prober.device(), old)?;
    loaded.run()?;
    let weights: &Weights = new.files();
    let way = match compiled {
        _ if loaded.kernel.rebake(weights).map_err(|e| failed(&e))? => "replaced in memory",
        false if loaded.kernel.reload(weights, false).map_err(|e| failed(&e))? => {
            "with weight files rewritten"
        }
        true if loaded.kernel.reload(weights, true).map_err(|e| failed(&e))? => {
            "with weight files and compiled files rewritten"
        }
        _ => return Ok(None),
    };
    Ok(Some((loaded.run()?, way)))
}

/// Dispatches of each thread.
const RUNS: usize = 50;

fn two_threads(prober: &Prober<'_>) -> Vec<Finding> {
    let run = || -> Result<(bool, Duration, Duration), Outcome> {
        let cases = [scaled(5), scaled(4)];
        let both = [Loaded::open(prober.device(), &cases[0])?, Loaded::open(prober.device(), &cases[1])?];
        let loop_of = |loaded: &Loaded| -> Result<(), Outcome> {
            for _ in 0..RUNS {
                loaded.dispatch()?;
            }
            Ok(())
        };
        both.iter().try_for_each(loop_of)?;
        let began = Instant::now();
        both.iter().try_for_each(loop_of)?;
        let after_another = began.elapsed();
        let began = Instant::now();
        let results: Vec<Result<(), Outcome>> = thread::scope(|threads| {
            let handles: Vec<_> = both.iter().map(|l| threads.spawn(move || loop_of(l))).collect();
            let lost = || Err(Outcome::Lost("a thread of the probe ended early".to_owned()));
            handles.into_iter().map(|h| h.join().unwrap_or_else(|_| lost())).collect()
        });
        let together = began.elapsed();
        results.into_iter().collect::<Result<Vec<()>, _>>()?;
        // The current contents were written while both ran.
        let right = both.iter().zip(&cases).all(|(l, case)| l.read().ok() == case.means().ok());
        Ok((right, after_another, together))
    };
    vec![match run() {
        Err(outcome) => Finding::unclear("W10", format!("with two threads the program {}", outcome.says())),
        Ok((false, ..)) => {
            Finding::holds_not("W10", "two programs that run on two threads give wrong numbers")
                .leads_to(WRONG)
        }
        Ok((true, one, two)) => {
            let gain = one.as_secs_f64() / two.as_secs_f64();
            let says = format!(
                "both are right; together they take {:.2} of the time of one after the other",
                1.0 / gain
            );
            // The rule: calls are serialised across threads.
            Finding::whether(gain < 1.5, "W10", says).with("gain", gain)
        }
    }]
}

fn compile_while_running(prober: &Prober<'_>) -> Vec<Finding> {
    let run = || -> Result<(usize, Vec<f64>), Outcome> {
        let loaded = Loaded::open(prober.device(), &scaled(5))?;
        loaded.dispatch()?;
        let done = AtomicBool::new(false);
        thread::scope(|threads| {
            let runs = threads.spawn(|| -> Result<usize, Outcome> {
                let mut count = 0;
                while !done.load(Ordering::Relaxed) {
                    loaded.dispatch()?;
                    count += 1;
                }
                Ok(count)
            });
            let compiled: Result<Vec<f64>, Outcome> = (1..6)
                .map(|step| {
                    let began = Instant::now();
                    Loaded::open(prober.device(), &scaled(step * 2))?;
                    Ok(began.elapsed().as_secs_f64() * 1e3)
                })
                .collect();
            done.store(true, Ordering::Relaxed);
            let lost = || Err(Outcome::Lost("a thread of the probe ended early".to_owned()));
            Ok((runs.join().unwrap_or_else(|_| lost())?, compiled?))
        })
    };
    vec![match run() {
        Err(outcome) => {
            Finding::unclear("P2", format!("beside a compilation the program {}", outcome.says()))
        }
        Ok((runs, mut ms)) => {
            ms.sort_by(f64::total_cmp);
            let median = ms[ms.len() / 2];
            let says = format!(
                "compiling and loading takes {median:.1} ms; {runs} runs went on beside five of them"
            );
            Finding::whether((11.0..=70.0).contains(&median), "P2", says)
                .with("compile_ms", median)
                .with("runs", runs as f64)
        }
    }]
}

/// Compiles programs that differ in a constant until one is refused; keeps all of them if `keep`.
fn count(prober: &Prober<'_>, about: &'static str, keep: bool) -> Finding {
    let mut kept = Vec::new();
    let mut done = 0u32;
    let how = if keep { "all kept loaded" } else { "each unloaded before the next" };
    while done < COMPILED {
        let add = f64::from(done) / 8.0;
        let case = Case::new("counted", vec![("x", plain(7))], |_, v| vec![("y", v[0] + add)]);
        let program = match case.verified() {
            Ok(program) => program,
            Err(why) => return Finding::unclear(about, why),
        };
        match prober.device().compile("counted", program, &Weights::new()) {
            Ok(kernel) if keep => kept.push(kernel),
            Ok(_) => {}
            Err(e @ DeviceError::CompileBudget { .. }) => {
                return Finding::unclear(
                    about,
                    format!("{done} programs, {how}, then our own budget ended: {e}"),
                );
            }
            Err(e) => {
                let outcome = failed(&e);
                if keep && outcome.consequence() == Some(Consequence::Refused) {
                    let says =
                        format!("{done} programs, {how}; the next is not even compiled, which is rule W6");
                    return Finding::holds_not(about, says).with("programs", f64::from(done));
                }
                return Finding::holds(
                    about,
                    format!("{done} programs, {how}; the next is refused: {}", outcome.says()),
                )
                .leads_to(outcome.consequence())
                .with("programs", f64::from(done));
            }
        }
        done += 1;
    }
    Finding::holds_not(about, format!("{done} programs, {how}, and no refusal"))
        .with("programs", f64::from(done))
}
