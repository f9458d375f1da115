//! No flag changes unseen.

use crate::place::Place;

#[test]
fn all_of_help_is_as_it_was() {
    let place = Place::new();
    let mut all = String::new();
    let mut waiting = vec![String::new()];
    while let Some(command) = waiting.pop() {
        let args = format!("{command} --help");
        let outcome = place.succeed(args.trim());
        assert_eq!(outcome.stderr, "");
        assert!(outcome.stdout.contains("Examples:"), "`{command} --help` has no examples");
        all.push_str(&format!("$ backpropane {}\n{}\n", args.trim(), outcome.stdout));
        let inner = subcommands(&outcome.stdout).map(|name| format!("{command} {name}").trim().to_owned());
        waiting.extend(inner.collect::<Vec<_>>().into_iter().rev());
    }
    insta::assert_snapshot!("help", all);
}

/// The commands that the text of `--help` lists, but `help`.
fn subcommands(help: &str) -> impl Iterator<Item = &str> {
    let lines =
        help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let names = lines.filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
    names.filter(|name| !matches!(*name, "" | "help"))
}

#[test]
fn flags_refuse_impossible_values_in_a_sentence() {
    let place = Place::new();
    let before = place.snapshot();
    for (args, want) in [
        ("train --steps 0", "a whole number of at least 1 is needed"),
        ("train --batch 0", "a whole number of at least 1 is needed"),
        ("train --accum=-1", "a whole number of at least 1 is needed"),
        ("train --seq x", "a whole number of at least 1 is needed"),
        ("train --seed 99999999999999999999", "a whole number of at most 18446744073709551615 is needed"),
        ("train --warmup 4294967296", "a whole number of at most 4294967295 is needed"),
        ("train --lr NaN", "a number above 0 is needed"),
        ("train --lr 0", "a number above 0 is needed"),
        ("train --clip=-1", "a number that is 0 or more is needed"),
        ("train --loss-scale inf", "a number above 0 is needed"),
        ("train --schedule step", "cosine, linear, wsd, constant"),
        ("train --device apple", "auto, ane, soft"),
        ("train --threads 100000", "from 0 to 1024"),
        ("generate --model m --prompt x --top-p 1.5", "at most 1"),
        ("generate --model m", "--prompt <TEXT>"),
        ("train --trace-steps 3", "--trace <FILE>"),
        ("bench scaling --over width", "layers, batch, vocab, seq"),
        ("bench scaling --over seq --sizes 64,0", "a whole number of at least 1 is needed"),
        ("bench compile --samples 0", "a whole number of at least 1 is needed"),
        ("kernels", "--model <PRESET>"),
        ("", "Usage: backpropane <COMMAND>"),
    ] {
        let outcome = place.run(args);
        assert_eq!(outcome.code, Some(2), "{args}: {}", outcome.stderr);
        assert!(outcome.stderr.contains(want), "{args}: {}", outcome.stderr);
        assert!(!outcome.stderr.contains('\x1b'), "colours on a pipe: {}", outcome.stderr);
    }
    assert!(before == place.snapshot(), "files have changed");
}
