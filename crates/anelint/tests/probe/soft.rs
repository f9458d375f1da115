//! Every probe on the software engine: it computes what programs mean.

use super::soft_engine;
use anelint::probe::{self, Observed, Prober};
use anelint::rules::{self, Consequence};
use std::collections::BTreeSet;

/// What is said of engines and so of a correct one: nothing fails because of it.
const HOLD: [&str; 11] = ["S1", "S5", "S20", "T1", "T6", "N7", "N9", "N12", "N15", "N16", "N19"];

/// What is no program, here as on an engine: other spellings of names, and what is computed that has to be constant.
const UNREAD: [&str; 2] = ["T4", "T10"];

/// What depends on how fast the machine is, and how busy.
const TIMED: [&str; 4] = ["P2", "P4", "P13", "W10"];

/// What this engine has not got.
const ABSENT: [&str; 1] = ["W8"];

#[test]
fn a_correct_engine_breaks_no_rule_and_leaves_no_probe_in_doubt() {
    let device = soft_engine();
    let prober = Prober::new(device.as_ref());
    let mut asked = BTreeSet::new();
    for probe in probe::all() {
        let findings = probe.ask(&prober);
        let abouts: Vec<&str> = findings.iter().map(|f| f.about).collect();
        if probe.rules.is_empty() {
            assert_eq!(abouts, [probe.id]);
        } else {
            assert_eq!(abouts, probe.rules, "{}", probe.id);
        }
        for f in findings {
            assert!(asked.insert(f.about), "{} is asked twice", f.about);
            let unread = UNREAD.contains(&f.about);
            let wanted = match f.about {
                about if HOLD.contains(&about) || unread => Observed::Holds,
                about if ABSENT.contains(&about) => Observed::Unclear,
                _ => Observed::HoldsNot,
            };
            // Times that wander on a busy machine leave one question open.
            match TIMED.contains(&f.about) {
                true => assert!(f.seen != Observed::Unclear || f.about == "P13", "{}: {f:?}", probe.id),
                false => assert_eq!(f.seen, wanted, "{}: {f:?}", probe.id),
            }
            let consequence = unread.then_some(Consequence::Refused);
            assert_eq!(f.consequence, consequence, "{}: {f:?}", probe.id);
        }
    }
    assert!(asked.len() > 50, "{asked:?}");
}

#[test]
fn probes_have_names_of_their_own_and_decide_rules_that_there_are() {
    let mut ids = BTreeSet::new();
    for probe in probe::all() {
        assert!(ids.insert(probe.id), "{} is there twice", probe.id);
        assert!(probe.question.ends_with('?') && probe.compiles > 0, "{probe:?}");
        for id in probe.rules {
            assert!(rules::find(id).is_some(), "{}: no rule {id}", probe.id);
        }
    }
    assert_eq!(probe::find("BINDING").map(|p| p.id), Some("binding"));
    assert!(probe::find("nothing").is_none());
}
