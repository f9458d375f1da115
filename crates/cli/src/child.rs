//! Runs another process with a time limit.

use std::io::{self, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// The first pause between two looks at a process; each further pause is twice as long, up to [`LONGEST`].
const SHORTEST: Duration = Duration::from_millis(1);
/// The longest pause: rare enough not to disturb a measurement.
const LONGEST: Duration = Duration::from_millis(100);

/// What a process that ended has written.
#[derive(Debug)]
pub struct Finished {
    /// How it ended.
    pub status: ExitStatus,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

impl Finished {
    /// The first line on standard error that is not empty.
    pub fn complaint(&self) -> &str {
        self.stderr.lines().find(|line| !line.trim().is_empty()).unwrap_or("no message")
    }
}

/// Runs `command` without input, until it ends; `None` if `limit` passed and the process was killed.
///
/// # Errors
/// If the process cannot be started or waited for.
pub fn run(command: &mut Command, limit: Duration) -> io::Result<Option<Finished>> {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let (stdout, stderr) = (reader(child.stdout.take()), reader(child.stderr.take()));
    let Some(status) = wait(&mut child, limit)? else { return Ok(None) };
    let [stdout, stderr] = [stdout, stderr].map(|text| text.join().unwrap_or_default());
    Ok(Some(Finished { status, stdout, stderr }))
}

/// Reads all that a process writes, on a thread: a full pipe would stop the process.
fn reader(pipe: Option<impl Read + Send + 'static>) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            // Unreadable output counts as none.
            let _ = pipe.read_to_end(&mut bytes);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// Waits for the end of a process; `None` if it was killed after `limit`.
fn wait(child: &mut Child, limit: Duration) -> io::Result<Option<ExitStatus>> {
    let began = Instant::now();
    let mut pause = SHORTEST;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        let Some(left) = limit.checked_sub(began.elapsed()) else {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        };
        thread::sleep(pause.min(left));
        pause = (pause * 2).min(LONGEST);
    }
}

#[cfg(unix)]
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_takes_too_long_is_killed() {
        let slow = run(Command::new("sleep").arg("60"), Duration::from_millis(20)).unwrap();
        assert!(slow.is_none());
    }

    #[test]
    fn both_outputs_and_the_status_are_returned() {
        let script = "echo result; echo >&2; echo trouble >&2; exit 3";
        let ended = run(Command::new("sh").args(["-c", script]), Duration::from_secs(60)).unwrap().unwrap();
        assert_eq!((ended.status.code(), ended.stdout.as_str()), (Some(3), "result\n"));
        assert_eq!(ended.complaint(), "trouble");
    }
}
