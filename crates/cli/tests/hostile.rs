//! Hostile files: whatever a file says, refusing it takes at most 256 MiB, 2 s of one processor, and a sentence.
//!
//! Each command runs as a process of its own, whose peak of resident memory and processor time Linux reports.
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
/// The most processor time that a file may cost an optimised build. The others are up to four times as slow: they check
/// each sum and index, and inline less.
const TIME: Duration = Duration::from_secs(if cfg!(debug_assertions) { 8 } else { 2 });
/// What takes longer hangs, however busy the machine is.
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
    /// Time on processors.
    time: Duration,
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
    let mut hung = false;
    // A process that has ended keeps its times until it is waited for.
    while !hung && !ended(child.id()) {
        most = most.max(peak(child.id()));
        hung = begun.elapsed() > HANGS;
        std::thread::sleep(Duration::from_millis(1));
    }
    if hung {
        child.kill().expect("it can be killed");
    }
    let time = time(child.id());
    let code = child.wait().expect("it ends").code();
    let stderr = String::from_utf8_lossy(&fs::read(&log).expect("a log")).into_owned();
    Outcome { code, stderr, hung, peak: most, time }
}

/// The fields of Linux's `/proc/PID/stat` from the third on, which is the state.
fn stat(process: u32) -> Vec<String> {
    let text = fs::read_to_string(format!("/proc/{process}/stat")).expect("it was not waited for");
    let (_, fields) = text.rsplit_once(')').expect("the name of the program");
    fields.split_whitespace().map(str::to_owned).collect()
}

fn ended(process: u32) -> bool {
    stat(process)[0] == "Z"
}

/// The time that a process has spent on processors, its own and the system's.
fn time(process: u32) -> Duration {
    /// Linux counts in these whatever the machine: `USER_HZ`.
    const TICKS: u64 = 100;
    let fields = stat(process);
    let ticks = |at: usize| fields[at].parse::<u64>().expect("a number");
    Duration::from_millis((ticks(11) + ticks(12)) * 1000 / TICKS)
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
        let Outcome { code, stderr, hung, peak, time } = run(hostile.dir.path(), command);
        let line = |begin| stderr.lines().find(|line: &&str| line.starts_with(begin)).unwrap_or_default();
        let (error, hint) = (line("error: "), line("hint: "));
        // Shown where it fails.
        println!("{what}: {} MiB, {} ms\n    {error}\n    {hint}", peak >> 20, time.as_millis());
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
        if time > TIME {
            problems.push(format!("{} ms on processors", time.as_millis()));
        }
        if !problems.is_empty() {
            let shown: String = stderr.chars().take(600).collect();
            wrong.push(format!("{what}: `{command}`: {}\n{shown}", problems.join(", ")));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
