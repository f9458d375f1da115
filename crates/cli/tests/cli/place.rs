//! A folder to work in, with a text and what was trained on it.

use assert_cmd::Command;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A temporary folder, the working directory of every command.
pub struct Place {
    dir: TempDir,
}

/// What a command came to.
pub struct Outcome {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Place {
    /// A folder with `text.txt` in it.
    pub fn new() -> Place {
        let place = Place { dir: tempfile::tempdir().expect("a folder") };
        place.write("text.txt", text(24_000));
        place
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        fs::write(path, bytes).expect("written");
    }

    pub fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
    }

    pub fn exists(&self, name: &str) -> bool {
        self.path(name).exists()
    }

    /// The binary with arguments that stand between spaces, in this folder.
    pub fn command(&self, args: &str) -> Command {
        let mut command = Command::new(binary());
        command.current_dir(self.dir.path()).args(args.split_whitespace());
        // What the messages say must not depend on who runs the tests.
        command.env_remove("CARGO").env_remove("NO_COLOR").env_remove("COLUMNS");
        command
    }

    /// Runs the command.
    pub fn run(&self, args: &str) -> Outcome {
        Outcome::of(&mut self.command(args))
    }

    /// Runs the command, which must succeed.
    pub fn succeed(&self, args: &str) -> Outcome {
        let outcome = self.run(args);
        assert_eq!(outcome.code, Some(0), "{args}\n{}{}", outcome.stdout, outcome.stderr);
        outcome
    }

    /// The bytes of every file but the locks of runs, which are empty.
    pub fn snapshot(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut files = BTreeMap::new();
        collect(self.dir.path(), &mut files);
        files
    }

    /// The lines of a metrics file.
    pub fn metrics(&self, name: &str) -> Vec<Value> {
        let text = String::from_utf8(self.read(name)).expect("UTF-8");
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }
}

impl Outcome {
    pub fn of(command: &mut Command) -> Outcome {
        let output = command.output().expect("the binary starts");
        Outcome {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("{e}: {}", self.stdout))
    }
}

/// A place with a trained model in `run`.
pub fn trained() -> Place {
    let place = Place::new();
    place.succeed("train --model tiny --data text.txt --batch 2 --steps 30 --warmup 2 --quiet --out run");
    place
}

/// The binary under test.
pub fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_backpropane"))
}

/// Starts the binary, whose talk is kept.
pub fn start(place: &Place, args: &str) -> Child {
    std::process::Command::new(binary())
        .args(args.split_whitespace())
        .current_dir(place.path(""))
        .env_remove("CARGO")
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts")
}

/// Waits until the child has made `path`.
pub fn wait_for(child: &mut Child, path: &Path) {
    let began = Instant::now();
    while !path.exists() {
        assert!(child.try_wait().expect("a child").is_none(), "it ended before it made {}", path.display());
        // Long enough for a slow machine: a minute is a failure by any measure.
        assert!(began.elapsed() < Duration::from_secs(60), "{} is never made", path.display());
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// About `bytes` of words in an order that is no pure repetition.
pub fn text(bytes: usize) -> String {
    const WORDS: [&str; 12] =
        ["to", "be", "or", "not", "that", "is", "the", "question:", "whether", "nobler", "in", "mind.\n"];
    let mut text = String::new();
    let mut i = 0usize;
    while text.len() < bytes {
        text.push_str(WORDS[(i * i + i / 7) % WORDS.len()]);
        text.push(' ');
        i += 1;
    }
    text
}

fn collect(dir: &Path, files: &mut BTreeMap<PathBuf, Vec<u8>>) {
    for entry in fs::read_dir(dir).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.file_name().is_none_or(|name| name != ".lock") {
            files.insert(path.clone(), fs::read(&path).expect("a file"));
        }
    }
}

/// A file of the repository's `tests`.
pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests").join(name)
}
