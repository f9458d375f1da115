//! Hostile files: whatever a file says, refusing it takes at most 256 MiB, no time to speak of, and a sentence.
//!
//! Each command runs as a process of its own, whose peak of resident memory Linux reports while it runs.
#![cfg(target_os = "linux")]

#[path = "hostile/arrays.rs"]
mod arrays;
#[path = "hostile/models.rs"]
mod models;
#[path = "hostile/tokenizers.rs"]
mod tokenizers;

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The most memory that a file may cost, in bytes.
const MEMORY: u64 = 256 << 20;
/// What takes longer hangs; slow machines are slower than this by far less.
const HANGS: Duration = Duration::from_secs(100);
/// Address space of a process in KiB, so that a mistake of ours does not take the machine's memory.
const SPACE: u64 = 4 << 20;

/// A folder of hostile files, and the commands that are to read them.
pub struct Hostile {
    dir: TempDir,
    /// What is hostile, and the command.
    rows: Vec<(String, String)>,
}

impl Hostile {
    fn new() -> Hostile {
        Hostile { dir: tempfile::tempdir().expect("a folder"), rows: Vec::new() }
    }

    fn path(&self, name: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        path
    }

    /// Writes a file.
    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        fs::write(self.path(name), bytes).expect("written");
    }

    /// Writes a file that begins with `head` and goes on with zeros, which take no place, to `length` bytes.
    pub fn sparse(&self, name: &str, head: impl AsRef<[u8]>, length: u64) {
        let mut file = File::create(self.path(name)).expect("a file");
        file.write_all(head.as_ref()).expect("written");
        file.set_len(length).expect("a file system with sparse files");
    }

    /// The command that is to refuse what was written.
    pub fn refuses(&mut self, what: &str, command: &str) {
        self.rows.push((what.to_owned(), command.to_owned()));
    }
}

/// What a command came to.
struct Outcome {
    code: Option<i32>,
    stderr: String,
    hung: bool,
    /// Most resident memory, in bytes.
    peak: u64,
}

fn run(dir: &Path, command: &str) -> Outcome {
    let log = dir.join("stderr");
    let mut child = Command::new("sh")
        .args(["-c", &format!("ulimit -v {SPACE} 2>/dev/null; exec \"$0\" \"$@\"")])
        .arg(env!("CARGO_BIN_EXE_backpropane"))
        .args(command.split_whitespace())
        .current_dir(dir)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(File::create(&log).expect("a file"))
        .spawn()
        .expect("the shell starts");
    let (begun, mut most) = (Instant::now(), 0);
    let status = loop {
        most = most.max(peak(child.id()));
        match child.try_wait().expect("it can be waited for") {
            Some(status) => break Some(status),
            None if begun.elapsed() > HANGS => break None,
            None => std::thread::sleep(Duration::from_millis(1)),
        }
    };
    if status.is_none() {
        child.kill().expect("it can be killed");
        child.wait().expect("it ends");
    }
    let stderr = String::from_utf8_lossy(&fs::read(&log).expect("a log")).into_owned();
    Outcome { code: status.and_then(|s| s.code()), stderr, hung: status.is_none(), peak: most }
}

/// The most resident memory of a process so far, in bytes; 0 if it has ended.
fn peak(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    1024 * kib.unwrap_or(0)
}

#[test]
fn a_hostile_file_costs_little_and_is_refused() {
    let mut hostile = Hostile::new();
    models::add(&mut hostile);
    tokenizers::add(&mut hostile);
    arrays::add(&mut hostile);
    let mut wrong = Vec::new();
    for (what, command) in &hostile.rows {
        let Outcome { code, stderr, hung, peak } = run(hostile.dir.path(), command);
        let line = |begin| stderr.lines().find(|line: &&str| line.starts_with(begin)).unwrap_or_default();
        let (error, hint) = (line("error: "), line("hint: "));
        println!("{what}: {} MiB\n    {error}\n    {hint}", peak >> 20); // Shown where it fails.
        let mut problems = Vec::new();
        if hung {
            problems.push("it hangs".to_owned());
        } else if code != Some(2) {
            problems.push(format!("exit code {code:?}"));
        }
        if error.is_empty() || hint.is_empty() || error.len() > 1200 || hint.len() > 1200 {
            problems.push(format!("error of {} bytes, hint of {} bytes", error.len(), hint.len()));
        }
        if peak > MEMORY {
            problems.push(format!("{} MiB", peak >> 20));
        }
        if !problems.is_empty() {
            let shown: String = stderr.chars().take(600).collect();
            wrong.push(format!("{what}: `{command}`: {}\n{shown}", problems.join(", ")));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
