//! The table is whole, and its entries can be shown.

use anelint::rules::{self, Check, Chip, Chips, Confidence, Consequence, Route};
use std::collections::HashSet;

#[test]
fn rules_are_counted_without_gaps() {
    let ids: Vec<&str> = rules::all().map(|r| r.id).collect();
    assert_eq!(ids.iter().collect::<HashSet<_>>().len(), ids.len(), "an id stands twice");
    for letter in ["W", "S", "T", "N", "P"] {
        // `W5b` stands beside `W5`.
        let numbers: HashSet<usize> = ids
            .iter()
            .filter_map(|id| id.strip_prefix(letter)?.trim_end_matches(char::is_alphabetic).parse().ok())
            .collect();
        let most = numbers.iter().copied().max().expect("rules of each letter");
        assert!((1..=most).all(|n| numbers.contains(&n)), "{letter}: {numbers:?}");
    }
    let order: Vec<usize> = ids.iter().filter_map(|id| "WSTNP".find(&id[..1])).collect();
    assert!(order.len() == ids.len() && order.is_sorted(), "letter by letter: {ids:?}");
}

#[test]
fn the_readme_counts_them() {
    let readme = include_str!("../../../../README.md");
    let (before, _) =
        readme.split_once(" reported rules of the engine").expect("the README counts the rules");
    let count = before.rsplit(' ').next().expect("a number");
    assert_eq!(count, rules::all().count().to_string(), "correct the number of rules in README.md");
}

#[test]
fn every_rule_is_explained() {
    for rule in rules::all() {
        let id = rule.id;
        assert_eq!(rules::find(&id.to_lowercase()).map(|r| r.id), Some(id));
        for (what, text) in [("title", rule.title), ("repair", rule.repair)] {
            assert!(text.len() > 10 && text.ends_with('.') && !text.contains('\n'), "{what} of {id}: {text}");
        }
        assert!(!rule.source.is_empty(), "{id} has no source");
        assert!(rule.conflict.is_none_or(|c| c.len() > 10), "{id}");
        if let Check::Never(why) = rule.check {
            assert!(why.len() > 10, "{id}: {why}");
        }
    }
    assert!(rules::find("X1").is_none());
}

#[test]
fn conflicts_stay_visible() {
    let disputed: HashSet<_> = rules::all().filter(|r| r.conflict.is_some()).map(|r| r.id).collect();
    for id in ["W5b", "S2", "S3", "S4", "S12", "T9", "T12", "T14", "T16", "T17", "T18", "T22", "T30"] {
        assert!(disputed.contains(id), "{id}");
    }
}

#[test]
fn words_are_parsed_and_shown() {
    for chip in Chip::ALL {
        assert_eq!(Chip::parse(&chip.to_string().to_lowercase()), Some(chip));
    }
    assert_eq!(Chip::parse("m9"), None);
    for route in Route::ALL {
        assert_eq!(Route::parse(&route.to_string()), Some(route));
    }
    assert_eq!(Chips::Any.to_string(), "any");
    assert_eq!(Chips::Only(&[Chip::M1, Chip::M4]).to_string(), "M1, M4");
    assert_eq!(Consequence::Evaluation.to_string(), "error 0x1d at evaluation");
    assert!(Confidence::A.to_string().starts_with("A ("));
}
