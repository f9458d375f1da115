//! Output of commands: results on stdout, messages on stderr; colours and progress bars on terminals only.

use crate::error::CommandError;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use std::borrow::Cow;
use std::env;
use std::fmt::Display;
use std::io::{self, IsTerminal, StdoutLock, Write};
use std::path::Path;

/// Width of a progress bar in columns: with a run's numbers, a line has less than 80.
const BAR: usize = 24;

/// The output of a command. Clones share its progress bars.
#[derive(Clone, Debug)]
pub struct Ui {
    quiet: bool,
    terminal: bool,
    colour: bool,
    bars: MultiProgress,
}

impl Ui {
    /// Output that, if `quiet`, prints only results, warnings and errors.
    pub fn new(quiet: bool) -> Ui {
        let dumb = env::var_os("TERM").is_some_and(|term| term == "dumb");
        let terminal = io::stderr().is_terminal() && !dumb;
        let plain = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Ui { quiet, terminal, colour: terminal && !plain, bars: MultiProgress::new() }
    }

    /// Locked stdout, for results.
    pub fn out(&self) -> StdoutLock<'static> {
        io::stdout().lock()
    }

    /// Prints a result to stdout, above progress bars on the same terminal.
    pub fn result(&self, text: &str) -> Result<(), CommandError> {
        self.bars.suspend(|| {
            let mut out = self.out();
            writeln!(out, "{text}").and_then(|()| out.flush())
        })?;
        Ok(())
    }

    /// Prints a message, unless quiet.
    pub fn say(&self, line: impl Display) {
        if !self.quiet {
            self.line(&line.to_string());
        }
    }

    /// Prints a warning, even if quiet.
    pub fn warn(&self, line: impl Display) {
        self.line(&format!("{}: {}", self.paint("warning", "1;33"), self.harmless(&line.to_string())));
    }

    /// Prints a message of little importance, on terminals only.
    pub fn aside(&self, line: impl Display) {
        if self.terminal {
            self.say(self.dim(&line.to_string()));
        }
    }

    /// Prints an error with its hint, even if quiet.
    pub fn error(&self, error: &CommandError) {
        let Some(message) = error.message() else { return };
        let message = self.harmless(message);
        if error.is_failure() {
            self.line(&format!("{}: {message}", self.paint("error", "1;31")));
        } else {
            self.say(message);
        }
        if let Some(hint) = error.hint() {
            let line = format!("{}: {}", self.paint("hint", "1;36"), self.harmless(hint));
            if error.is_failure() { self.line(&line) } else { self.say(line) }
        }
    }

    /// Prints the problems of the program `source`, even if quiet.
    pub fn report(&self, report: &mil::Report, name: &str, source: &str) {
        let shown = match self.colour {
            true => report.render_coloured(name, source),
            false => self.harmless(&report.render(name, source)).into_owned(),
        };
        let shown = shown.trim_end();
        if !shown.is_empty() {
            self.line(shown);
        }
    }

    /// Replaces control characters on a terminal: names and lines come from files.
    fn harmless<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let control = |c: char| c.is_control() && !matches!(c, '\n' | '\t');
        match self.terminal && text.contains(control) {
            true => Cow::Owned(text.replace(control, "\u{fffd}")),
            false => Cow::Borrowed(text),
        }
    }

    /// A progress bar of `len`, on a terminal and unless quiet.
    pub fn bar(&self, what: &str, len: u64) -> Option<ProgressBar> {
        if self.quiet || !self.terminal {
            return None;
        }
        let paint = if self.colour { ".cyan/dim" } else { "" };
        let template = format!("{{prefix}} {{bar:{BAR}{paint}}} {{msg}}");
        let style = ProgressStyle::with_template(&template).unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = self.bars.add(ProgressBar::new(len));
        bar.set_style(style.progress_chars("━╸─"));
        bar.set_prefix(what.to_owned());
        Some(bar)
    }

    /// A progress bar for counted steps; removed on drop.
    pub fn steps(&self, what: &'static str) -> Steps {
        Steps(self.bar(what, 1))
    }

    /// Whether progress is shown by bars rather than by lines.
    pub fn is_watched(&self) -> bool {
        self.terminal && !self.quiet
    }

    /// `text` in bold.
    pub fn bold(&self, text: &str) -> String {
        self.paint(text, "1")
    }

    /// `text` dimmed.
    pub fn dim(&self, text: &str) -> String {
        self.paint(text, "2")
    }

    fn paint(&self, text: &str, code: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// Errors of stderr are ignored.
    fn line(&self, line: &str) {
        self.bars.suspend(|| writeln!(io::stderr(), "{line}").ok());
    }
}

/// The progress bar of [`Ui::steps`], if there is one.
#[derive(Debug)]
pub struct Steps(Option<ProgressBar>);

impl Steps {
    /// Shows that `done` of `of` steps are done.
    pub fn at(&self, done: usize, of: usize) {
        if let Some(bar) = &self.0 {
            bar.set_length(of as u64);
            bar.set_position(done as u64);
            bar.set_message(format!("{done} of {of}"));
        }
    }
}

impl Drop for Steps {
    fn drop(&mut self) {
        if let Some(bar) = self.0.take() {
            bar.finish_and_clear();
        }
    }
}

/// A path quoted for a shell, so that it is one word and not a flag.
pub fn word(path: &Path) -> String {
    let text = path.to_string_lossy();
    let text = if text.starts_with('-') { Cow::Owned(format!("./{text}")) } else { text };
    // Only NUL cannot be quoted, and no path has one.
    shlex::try_quote(&text).map_or_else(|_| text.to_string(), Cow::into_owned)
}

/// The command that resumes the run in `out`.
pub fn resume_command(out: &Path) -> String {
    format!("{} train --resume --out {}", program(), word(out))
}

/// The command that started this program, for messages that suggest a command.
pub fn program() -> &'static str {
    match (env::var_os("CARGO").is_some(), cfg!(debug_assertions)) {
        (true, false) => "cargo run --release --",
        (true, true) => "cargo run --",
        (false, _) => "backpropane",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_takes_a_path_for_one_word() {
        for (path, word) in [
            ("runs/tiny-2", "runs/tiny-2"),
            ("my runs/a", "'my runs/a'"),
            ("it's", "\"it's\""),
            ("$HOME", "'$HOME'"),
            ("a;b", "'a;b'"),
            ("-run", "./-run"),
            ("é\"`", "'é\"`'"),
        ] {
            assert_eq!(super::word(Path::new(path)), word);
        }
    }
}
