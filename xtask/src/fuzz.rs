//! `cargo xtask fuzz`: each target of `fuzz/` for some time, one after the other.

use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};

/// Seconds for each target.
const SECONDS: u32 = 600;

/// Targets that run programs, which may compute results of any size; all others have a limit of memory.
const UNLIMITED: [&str; 2] = ["run", "text"];

/// What each finding is: longer than this hangs, and is kept as `timeout-…`.
const HANGS: &str = "-timeout=10";
/// An input that takes 2 s is kept as `slow-unit-…`.
const SLOW: &str = "-report_slow_units=2";
/// 256 MiB, and what the fuzzer itself takes. More is kept as `oom-…`.
const MEMORY: &str = "-rss_limit_mb=300";

/// Where the files of an input are written: a file system on a disk writes a file that is replaced at once, which takes
/// hundreds of times longer than to read it.
const IN_MEMORY: &str = "/dev/shm";

/// Runs the targets that `words` name, or all, for the seconds that they begin with.
pub fn run(root: &Path, words: &[&str]) -> ExitCode {
    let folder = root.join("fuzz");
    let (seconds, named) = match words.split_first().map(|(first, rest)| (first.parse::<u32>(), rest)) {
        Some((Ok(seconds), rest)) => (seconds, rest),
        _ => (SECONDS, words),
    };
    let all = targets(&folder);
    if let Some(unknown) = named.iter().find(|name| !all.iter().any(|target| target == *name)) {
        eprintln!("error: no target is called `{unknown}`\n  = help: they are {}", all.join(", "));
        return ExitCode::from(2);
    }
    if !matches!(Command::new("cargo").args(["fuzz", "--version"]).output(), Ok(o) if o.status.success()) {
        eprintln!(
            "error: cargo-fuzz is missing\n  = help: run `cargo install cargo-fuzz`; it needs a C++ compiler"
        );
        return ExitCode::from(127);
    }
    let chosen = all.iter().filter(|target| named.is_empty() || named.contains(&target.as_str()));
    let mut failed = Vec::new();
    for target in chosen {
        let before = artifacts(&folder, target);
        let ended_well = fuzz(&folder, target, seconds);
        let found = artifacts(&folder, target).into_iter().filter(|name| !before.contains(name));
        let found: Vec<String> = found.map(|name| format!("fuzz/artifacts/{target}/{name}")).collect();
        if !ended_well || !found.is_empty() {
            failed.push(format!(
                "{target}: {}",
                if found.is_empty() { "see above".to_owned() } else { found.join(" ") }
            ));
        }
    }
    if failed.is_empty() {
        eprintln!("\nfuzz: done, nothing was found");
        return ExitCode::SUCCESS;
    }
    eprintln!("\nerror: fuzzing has findings\n{}", failed.join("\n"));
    ExitCode::FAILURE
}

/// Runs a target; whether nothing was found. New inputs stay in `fuzz/target`, the kept ones are its seeds.
fn fuzz(folder: &Path, target: &str, seconds: u32) -> bool {
    let made = folder.join("target/corpus").join(target);
    if let Err(error) = fs::create_dir_all(&made) {
        eprintln!("error: `{}` cannot be made: {error}", made.display());
        return false;
    }
    let mut command = Command::new("cargo");
    command.current_dir(folder).args(["fuzz", "run", "-s", "none", target]);
    command.arg(format!("target/corpus/{target}")).arg(format!("corpus/{target}"));
    command.args(["--", HANGS, SLOW, "-max_len=8192", "-print_final_stats=1"]);
    command.arg(format!("-max_total_time={seconds}"));
    if !UNLIMITED.contains(&target) {
        command.arg(MEMORY);
    }
    if Path::new(IN_MEMORY).is_dir() {
        command.env("TMPDIR", IN_MEMORY);
    }
    eprintln!("\n{target}: {seconds} s");
    command.status().is_ok_and(|status| status.success())
}

/// The names of all targets.
fn targets(folder: &Path) -> Vec<String> {
    let names = names(&folder.join("targets")).into_iter();
    names.filter_map(|name| name.strip_suffix(".rs").map(str::to_owned)).collect()
}

/// Inputs that a target has failed for.
fn artifacts(folder: &Path, target: &str) -> Vec<String> {
    names(&folder.join("artifacts").join(target))
}

/// The names in a folder, sorted; none if there is no such folder.
fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.map(|e| e.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}
