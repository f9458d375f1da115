//! Checks that a training run, killed at any of its file operations or failing there, writes the same files after
//! resuming.

use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output};

/// Kills before, after or within an operation.
const KILLS: [&str; 3] = ["kill", "killafter", "partial"];

/// Errors of an operation and all later ones: ENOSPC, EIO.
const ERRORS: [&str; 2] = ["28", "5"];

/// The run: two checkpoints that are kept, one that is removed, a validation in the middle and one at the end.
const ARGUMENTS: &str = "train --threads 1 --device soft --model tiny --data text.txt --batch 1 --warmup 2 --steps 52 \
                         --save-every 15 --quiet";

/// Runs the check with `binary`; builds one if there is none.
pub fn run(binary: Option<&Path>) -> ExitCode {
    match Place::new(binary).and_then(|place| place.try_all()) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(wrong) => {
            eprintln!("\nerror: {wrong} of the runs did not resume to the same files");
            ExitCode::FAILURE
        }
        Err(problem) => {
            eprintln!("error: {problem}");
            ExitCode::FAILURE
        }
    }
}

struct Place {
    dir: tempfile::TempDir,
    binary: PathBuf,
}

impl Place {
    fn new(binary: Option<&Path>) -> Result<Place, String> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let binary = match binary {
            Some(binary) => binary.to_owned(),
            None => {
                let mut build = Command::new("cargo");
                check(build.args(["build", "--release", "-p", "cli"]).current_dir(&root))?;
                root.join("target/release/backpropane")
            }
        };
        let said = |e: std::io::Error| e.to_string();
        let binary = binary.canonicalize().map_err(|e| format!("{}: {e}", binary.display()))?;
        let dir = tempfile::tempdir().map_err(said)?;
        let plays = fs::read_to_string(root.join("assets/shakespeare-15-plays.txt")).map_err(said)?;
        fs::write(dir.path().join("text.txt"), plays.chars().take(40_000).collect::<String>())
            .map_err(said)?;
        let mut compile = Command::new("cc");
        compile.args(["-O1", "-shared", "-fPIC", "-o"]).arg(dir.path().join("shim.so"));
        check(compile.arg(root.join("xtask/crash/shim.c")).arg("-ldl"))?;
        Ok(Place { dir, binary })
    }

    /// Tries every fault; returns the number of failures.
    fn try_all(&self) -> Result<usize, String> {
        self.expect(&self.train(&format!("{ARGUMENTS} --out whole"), &[]))?;
        let whole = self.files("whole")?;
        let log = self.dir.path().join("log");
        let logged = [("FI_LOG", log.display().to_string())];
        self.expect(&self.train(&format!("{ARGUMENTS} --out logged"), &logged))?;
        let log = fs::read_to_string(&log).map_err(|e| e.to_string())?;
        let operations: Vec<&str> = log.lines().collect();
        let mut wrong = 0;
        for mode in KILLS.into_iter().chain(ERRORS) {
            let mut good = 0;
            for (i, operation) in operations.iter().enumerate() {
                match self.try_one(mode, i + 1, &whole) {
                    Ok(()) => good += 1,
                    Err(problem) => eprintln!("{mode} at {operation}: {problem}"),
                }
                let _ = fs::remove_dir_all(self.dir.path().join("run"));
            }
            println!("{mode:<10} {good} of {} resume to the same files", operations.len());
            wrong += operations.len() - good;
        }
        Ok(wrong)
    }

    /// Injects one fault at operation `n`, then resumes without it.
    fn try_one(&self, mode: &str, n: usize, whole: &BTreeMap<String, Vec<u8>>) -> Result<(), String> {
        let again = format!("{ARGUMENTS} --out run");
        let mut faults = vec![("FI_MODE", mode.to_owned()), ("FI_N", n.to_string())];
        if !KILLS.contains(&mode) {
            faults.push(("FI_STICKY", "1".to_owned()));
        }
        let cut = self.train(&again, &faults);
        let said = String::from_utf8_lossy(&cut.stderr);
        match KILLS.contains(&mode) {
            true if cut.status.signal() != Some(9) => {
                return Err(format!("it was not killed: {}", cut.status));
            }
            false if cut.status.success() => return Err("the run ignored a failed operation".to_owned()),
            false if !said.starts_with("error: ") || !said.contains("run/") && !said.contains("`run") => {
                return Err(format!("the error does not name the file: {said}"));
            }
            _ => {}
        }
        // Before the first checkpoint there is nothing to resume.
        if !self.train("train --resume --out run --quiet", &[]).status.success() {
            self.expect(&self.train(&again, &[]))?;
        }
        let files = self.files("run")?;
        let different: Vec<&String> = whole
            .keys()
            .chain(files.keys().filter(|name| !whole.contains_key(*name)))
            .filter(|name| whole.get(*name) != files.get(*name))
            .collect();
        if different.is_empty() { Ok(()) } else { Err(format!("other files: {different:?}")) }
    }

    fn train(&self, arguments: &str, faults: &[(&str, String)]) -> Output {
        let mut command = Command::new(&self.binary);
        command.args(arguments.split_whitespace()).current_dir(self.dir.path());
        if !faults.is_empty() {
            let out = arguments.rsplit(' ').next().unwrap_or_default();
            command.env("LD_PRELOAD", self.dir.path().join("shim.so"));
            command.env("FI_ROOT", self.dir.path().join(out));
            command.envs(faults.iter().map(|(name, value)| (name, value)));
        }
        command.output().unwrap_or_else(|e| panic!("{}: {e}", self.binary.display()))
    }

    fn expect(&self, output: &Output) -> Result<(), String> {
        let said = String::from_utf8_lossy(&output.stderr);
        if output.status.success() { Ok(()) } else { Err(format!("{}: {said}", output.status)) }
    }

    /// The files of a run by name; metrics without times.
    fn files(&self, run: &str) -> Result<BTreeMap<String, Vec<u8>>, String> {
        let mut files = BTreeMap::new();
        let root = self.dir.path().join(run);
        for folder in [root.clone(), root.join("checkpoints")] {
            for entry in fs::read_dir(&folder).map_err(|e| format!("{}: {e}", folder.display()))? {
                let path = entry.map_err(|e| e.to_string())?.path();
                if path.is_file() {
                    let name = path.strip_prefix(&root).unwrap_or(&path).display().to_string();
                    files.insert(name, fs::read(&path).map_err(|e| e.to_string())?);
                }
            }
        }
        if let Some(metrics) = files.get_mut("metrics.jsonl") {
            *metrics = without_times(metrics)?.into_bytes();
        }
        Ok(files)
    }
}

fn without_times(metrics: &[u8]) -> Result<String, String> {
    let mut out = String::new();
    for line in String::from_utf8_lossy(metrics).lines() {
        let mut value: Value = serde_json::from_str(line).map_err(|e| format!("`{line}`: {e}"))?;
        if let Some(line) = value.as_object_mut() {
            line.retain(|key, _| !key.ends_with("_ms") && key != "ms" && key != "tokens_per_s");
        }
        out.push_str(&value.to_string());
        out.push('\n');
    }
    Ok(out)
}

fn check(command: &mut Command) -> Result<(), String> {
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{command:?} failed: {status}")),
        Err(error) => Err(format!("{command:?} could not be started: {error}")),
    }
}
