//! Probes of binding: names, counts and sizes of surfaces.

use super::prober::{Case, Loaded, Outcome, uneven};
use super::{Finding, Probe, Prober};
use crate::rules::Consequence;
use mil::{Tensor, ty};

pub(super) const PROBES: &[Probe] = &[
    Probe {
        id: "binding",
        rules: &["S1"],
        question: "Are inputs and outputs bound in the alphabetical order of their names?",
        compiles: 2,
        ask: binding,
    },
    Probe {
        id: "many-inputs",
        rules: &["S2"],
        question: "Are ten inputs bound to the right names?",
        compiles: 1,
        ask: |prober| vec![prober.try_out(&sum(10), 0.0).fails("S2", "a sum of 10 inputs")],
    },
    Probe {
        id: "bound-surfaces",
        rules: &["W11"],
        question: "Does an execution bind 33 inputs?",
        compiles: 1,
        ask: |prober| vec![prober.try_out(&sum(33), 0.0).fails("W11", "a sum of 33 inputs")],
    },
    Probe {
        id: "slot-sizes",
        rules: &["S3"],
        question: "Are inputs, or outputs, of different sizes accepted?",
        compiles: 4,
        ask: slot_sizes,
    },
    Probe {
        id: "dense",
        rules: &["S5"],
        question: "Is a surface that is larger than its tensor read densely from its first byte?",
        compiles: 1,
        ask: |prober| {
            let x = uneven(ty::f16([1, 48, 1, 64]), 7, 9, 8.0);
            let case = Case::new("dense", vec![("x", x)], |_, v| vec![("y", v[0] * 2.0 + 0.25)]);
            vec![
                prober.try_out(&case, 0.0).passes("S5", "a tensor of 6144 bytes at the begin of its surface"),
            ]
        },
    },
    Probe {
        id: "one-surface-twice",
        rules: &["S20"],
        question: "Can one surface be bound to two inputs?",
        compiles: 1,
        ask: one_surface_twice,
    },
];

/// A surface shape that satisfies all size rules: wide and large, see rules S4 to S6.
pub(super) const SHAPE: [usize; 4] = [1, 384, 1, 64];

/// The consequence of wrong numbers.
pub(super) const WRONG: Option<Consequence> = Some(Consequence::WrongNumbers);

/// Data of that shape.
pub(super) fn plain(step: usize) -> Tensor {
    uneven(ty::f16(SHAPE), step, 9, 8.0)
}

/// Names declared in non-alphabetical order, on either side.
fn binding(prober: &Prober<'_>) -> Vec<Finding> {
    let inputs = |first: usize, second: usize| {
        let inputs = vec![("b", plain(first)), ("a", plain(second))];
        Case::new("inputs", inputs, |_, v| vec![("y", v[0] - v[1] * 2.0)])
    };
    let outputs = |swapped: bool| {
        Case::new("outputs", vec![("x", plain(7))], |_, v| match swapped {
            false => vec![("z", v[0] + 1.0), ("a", v[0] * 2.0)],
            true => vec![("z", v[0] * 2.0), ("a", v[0] + 1.0)],
        })
    };
    let mut says = Vec::new();
    let mut worst: Option<Outcome> = None;
    for (side, case, swapped) in
        [("inputs", inputs(7, 5), inputs(5, 7)), ("outputs", outputs(false), outputs(true))]
    {
        let outcome = prober.try_out(&case, 0.0);
        let exchanged =
            matches!(outcome, Outcome::Wrong { .. }) && prober.gives(&case).ok() == swapped.means().ok();
        says.push(match (outcome.is_right(), exchanged) {
            (true, _) => format!("{side} are bound by name"),
            (false, true) => format!("{side} are bound in the order of their declaration"),
            (false, false) => format!("{side}: the program {}", outcome.says()),
        });
        if !outcome.is_right() {
            worst.get_or_insert(outcome);
        }
    }
    let says = says.join(", ");
    vec![match worst {
        None => Finding::holds("S1", says),
        Some(Outcome::Lost(_)) => Finding::unclear("S1", says),
        Some(outcome) => Finding::holds_not("S1", says).leads_to(outcome.consequence()),
    }]
}

/// `Σ (1 + i mod 4)·xᵢ` of `n` inputs whose names are in order: exact in fp16.
fn sum(n: usize) -> Case {
    let names: Vec<String> = (0..n).map(|i| format!("a{i:02}")).collect();
    let tensor = |i: usize| uneven(ty::f16(SHAPE), i + 2, 37, 32.0);
    let inputs = names.iter().enumerate().map(|(i, name)| (name.as_str(), tensor(i))).collect();
    Case::new("sum", inputs, |_, v| {
        let terms = v.iter().enumerate().map(|(i, &x)| x * (1 + i % 4) as f64);
        terms.reduce(|sum, term| sum + term).map(|y| vec![("y", y)]).unwrap_or_default()
    })
}

/// Ascending and descending sizes, on either side.
fn slot_sizes(prober: &Prober<'_>) -> Vec<Finding> {
    let [c, s] = [SHAPE[1], SHAPE[3]];
    let wide = || uneven(ty::f16([1, 2 * c, 1, s]), 5, 9, 8.0);
    let part = [1, c, 1, s];
    let cases = [
        (
            "inputs, the smaller first",
            Case::new("ascending", vec![("a", plain(7)), ("b", wide())], |_, v| {
                vec![("y", v[0] - v[1].slice(&[0, c, 0, 0], &part) * 2.0)]
            }),
        ),
        (
            "inputs, the larger first",
            Case::new("descending", vec![("a", wide()), ("b", plain(7))], |_, v| {
                vec![("y", v[1] - v[0].slice(&[0, c, 0, 0], &part) * 2.0)]
            }),
        ),
        (
            "outputs, the larger first",
            Case::new("falling", vec![("x", wide())], |_, v| {
                vec![("y", v[0] * 2.0), ("z", v[0].slice(&[0, c, 0, 0], &part) + 1.0)]
            }),
        ),
        (
            "outputs, the smaller first",
            Case::new("rising", vec![("x", wide())], |_, v| {
                vec![("y", v[0].slice(&[0, c, 0, 0], &part) + 1.0), ("z", v[0] * 2.0)]
            }),
        ),
    ];
    let outcomes = cases.map(|(what, case)| (what, prober.try_bare(&case, 0.0)));
    vec![any_fails("S3", outcomes)]
}

/// A finding that holds if any of these forms fails; each is said.
pub(super) fn any_fails(
    about: &'static str,
    outcomes: impl IntoIterator<Item = (impl AsRef<str>, Outcome)>,
) -> Finding {
    let (mut says, mut lost, mut failing) = (Vec::new(), 0, None);
    for (what, outcome) in outcomes {
        says.push(format!("{}: {}", what.as_ref(), outcome.says()));
        match outcome {
            Outcome::Right { .. } => {}
            Outcome::Lost(_) => lost += 1,
            other => failing = failing.or(other.consequence()),
        }
    }
    let says = says.join("; ");
    match failing {
        Some(consequence) => Finding::holds(about, says).leads_to(Some(consequence)),
        None if lost > 0 => Finding::unclear(about, says),
        None => Finding::holds_not(about, says),
    }
}

/// `y = a − 2b` where `b` reads what is written as `a`.
fn one_surface_twice(prober: &Prober<'_>) -> Vec<Finding> {
    let case =
        Case::new("twice", vec![("a", plain(7)), ("b", plain(7))], |_, v| vec![("y", v[0] - v[1] * 2.0)]);
    let run = || {
        let mut loaded = Loaded::open(prober.device(), &case)?;
        loaded.share(1, 0);
        loaded.run()
    };
    let outcome = match (run(), case.means()) {
        (Ok(got), Ok(want)) => Outcome::of(&got, &want, 0.0),
        (Err(outcome), _) => outcome,
        (_, Err(why)) => Outcome::Lost(why),
    };
    vec![outcome.passes("S20", "a program with one surface for two inputs")]
}
