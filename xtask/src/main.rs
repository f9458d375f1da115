//! Development tasks: what CI runs, and how expectations are rewritten.
#![forbid(unsafe_code)]

#[cfg(target_os = "linux")]
mod crash;
mod deny;
mod fuzz;
mod layout;

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

const USAGE: &str = "\
Chores of the repository

Usage: cargo xtask <CHORE>

Chores:
  ci     Check formatting, lints, dependencies, layout and docs, then run the tests; stops at the first failure
  deny   Check licences, sources and duplicates of the dependencies against deny.toml
  layout Check that no source file is long without a reason, and that no files use one another in a circle
  bless  Run the tests and rewrite the expectations of file tests and snapshots
  apple check              Type-check, lint and link everything for Apple silicon, from x86_64 Linux
  apple fake_ane [COMMAND]  Run the Apple back end against a fake of the engine: its tests, or a command of
                           `backpropane` with its `--device ane`
  apple arm64 [TEST]       Run the software engine's tests as programs for arm64 Linux, under qemu
  crash [BINARY]  Kill a training run before, after and in the middle of each of its file operations, and let each of
                  them fail; resumed, it must write the same files. Needs a C compiler and Linux
  fuzz [SECONDS] [TARGET...]  Run each target of fuzz/, or those that are named, for 600 s or SECONDS; fails if one finds
                  an input that breaks a promise, takes 2 s or 256 MiB. Needs cargo-fuzz

Examples:
  cargo xtask ci                          before a change is sent
  cargo xtask bless && git diff tests/    after a change of output: review the difference like code
  cargo xtask apple check                 after a change of code for macOS only
  cargo xtask apple fake_ane doctor        the output of `backpropane doctor` on the fake engine
";

/// One command: environment variables, then the arguments of `cargo`.
type Step = (&'static [(&'static str, &'static str)], &'static [&'static str]);

const CI: &[Step] = &[
    (&[], &["fmt", "--all", "--check"]),
    (&[], &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]),
    (&[], &["run", "--quiet", "--package", "xtask", "--", "deny"]),
    (&[("RUSTDOCFLAGS", "-D warnings")], &["doc", "--workspace", "--no-deps"]),
    (&[], &["test"]), // as the README says it
    // The command with a network, against a server in the test's own process.
    (&[], &["test", "--package", "cli", "--features", "fetch", "--test", "fetch"]),
];

// BLESS rewrites the expectations of file tests, INSTA_UPDATE the snapshots. `--no-fail-fast`: a test that fails for
// another reason must not stop the rest from being rewritten.
const BLESS: &[Step] = &[(&[("BLESS", "1"), ("INSTA_UPDATE", "always")], &["test", "--no-fail-fast"])];

fn main() -> ExitCode {
    let words: Vec<String> = env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["ci"] if !layout::holds(&root()) => ExitCode::FAILURE,
        ["ci"] => run("ci", CI),
        ["deny"] => deny::run(&root()),
        ["layout"] => layout::run(&root()),
        ["fuzz", ref words @ ..] => fuzz::run(&root(), words),
        ["bless"] => run("bless", BLESS),
        ["apple", "check"] => script("check.sh", &[]),
        ["apple", "fake_ane", ref command @ ..] => script("fake_ane.sh", command),
        ["apple", "arm64", ref tests @ ..] => script("arm64.sh", tests),
        #[cfg(target_os = "linux")]
        ["crash"] => crash::run(None),
        #[cfg(target_os = "linux")]
        ["crash", binary] => crash::run(Some(Path::new(binary))),
        ["help" | "--help" | "-h"] => {
            print!("{USAGE}");
            ExitCode::SUCCESS
        }
        [] => {
            eprint!("{USAGE}");
            ExitCode::from(2)
        }
        _ => {
            eprint!("error: no chore is called `{}`\n\n{USAGE}", words.join(" "));
            ExitCode::from(2)
        }
    }
}

/// The root of the repository.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Runs the steps from the root of the repository until one fails, and returns its exit code.
fn run(chore: &str, steps: &[Step]) -> ExitCode {
    let root = root();
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    for (variables, arguments) in steps {
        let shown = shown(variables, arguments);
        eprintln!("\n$ {shown}");
        let mut command = Command::new(&cargo);
        command.args(*arguments).envs(variables.iter().copied()).current_dir(&root);
        match command.status() {
            Ok(status) if status.success() => {}
            Ok(status) => {
                eprintln!("\nerror: `{shown}` failed: {status}");
                let code = status.code().and_then(|code| u8::try_from(code).ok());
                return ExitCode::from(code.unwrap_or(1));
            }
            Err(error) => {
                eprintln!("\nerror: `{shown}` could not be started: {error}");
                return ExitCode::from(127);
            }
        }
    }
    eprintln!("\n{chore}: done, nothing failed");
    ExitCode::SUCCESS
}

/// Runs a script of `xtask/apple` and returns its exit code.
fn script(name: &str, arguments: &[&str]) -> ExitCode {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("apple").join(name);
    match Command::new("bash").arg(&path).args(arguments).status() {
        Ok(status) => {
            let code = status.code().and_then(|code| u8::try_from(code).ok());
            ExitCode::from(code.unwrap_or(1))
        }
        Err(error) => {
            eprintln!("error: bash could not be started for `{}`: {error}", path.display());
            ExitCode::from(127)
        }
    }
}

/// The command as typed in a shell.
fn shown(variables: &[(&str, &str)], arguments: &[&str]) -> String {
    let quoted = |value: &str| if value.contains(' ') { format!("'{value}'") } else { value.to_owned() };
    let variables = variables.iter().map(|(name, value)| format!("{name}={}", quoted(value)));
    let arguments = arguments.iter().map(|argument| quoted(argument));
    variables.chain(["cargo".to_owned()]).chain(arguments).collect::<Vec<_>>().join(" ")
}
