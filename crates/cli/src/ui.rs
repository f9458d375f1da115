//! How commands speak: results on stdout, talk on stderr, colours and bars on terminals alone.

use crate::error::CommandError;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use std::borrow::Cow;
use std::env;
use std::fmt::Display;
use std::io::{self, IsTerminal, StdoutLock, Write};
use std::path::Path;

/// Width of a bar: with the numbers of a run beside it, a line has less than 80 columns.
const BAR: usize = 24;

/// A command's voice. Clones speak for the same command.
#[derive(Clone, Debug)]
pub struct Ui {
    quiet: bool,
    terminal: bool,
    colour: bool,
    bars: MultiProgress,
}

impl Ui {
    /// A voice that, if `quiet`, tells of errors and nothing else.
    pub fn new(quiet: bool) -> Ui {
        let dumb = env::var_os("TERM").is_some_and(|term| term == "dumb");
        let terminal = io::stderr().is_terminal() && !dumb;
        let plain = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Ui { quiet, terminal, colour: terminal && !plain, bars: MultiProgress::new() }
    }

    /// Where results go.
    pub fn out(&self) -> StdoutLock<'static> {
        io::stdout().lock()
    }

    /// Writes results past the bars, which may be on the same terminal.
    pub fn result(&self, text: &str) -> Result<(), CommandError> {
        self.bars.suspend(|| {
            let mut out = self.out();
            writeln!(out, "{text}").and_then(|()| out.flush())
        })?;
        Ok(())
    }

    /// Says a line.
    pub fn say(&self, line: impl Display) {
        if !self.quiet {
            self.line(&line.to_string());
        }
    }

    /// Says what is not as it should be and does not stop the command, even if quiet.
    pub fn warn(&self, line: impl Display) {
        self.line(&format!("{}: {}", self.paint("warning", "1;33"), self.harmless(&line.to_string())));
    }

    /// Says a line that only somebody who watches wants to know.
    pub fn aside(&self, line: impl Display) {
        if self.terminal {
            self.say(self.dim(&line.to_string()));
        }
    }

    /// Says what went wrong, even if quiet.
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

    /// Says what is wrong with the program `source`, even if quiet.
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

    /// `text` without what would steer the terminal, if there is one: names and lines come from files.
    fn harmless<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let control = |c: char| c.is_control() && !matches!(c, '\n' | '\t');
        match self.terminal && text.contains(control) {
            true => Cow::Owned(text.replace(control, "\u{fffd}")),
            false => Cow::Borrowed(text),
        }
    }

    /// A bar of `len`, if somebody watches.
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

    /// A bar for work whose steps are counted, which goes away with what is returned.
    pub fn steps(&self, what: &'static str) -> Steps {
        Steps(self.bar(what, 1))
    }

    /// Whether talk is drawn and redrawn, not written line by line.
    pub fn is_watched(&self) -> bool {
        self.terminal && !self.quiet
    }

    /// Important.
    pub fn bold(&self, text: &str) -> String {
        self.paint(text, "1")
    }

    /// Less important.
    pub fn dim(&self, text: &str) -> String {
        self.paint(text, "2")
    }

    fn paint(&self, text: &str, code: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// Talk that cannot be said is no reason to stop.
    fn line(&self, line: &str) {
        self.bars.suspend(|| writeln!(io::stderr(), "{line}").ok());
    }
}

/// The bar of [`Ui::steps`], if somebody watches.
#[derive(Debug)]
pub struct Steps(Option<ProgressBar>);

impl Steps {
    /// `done` steps are done, of `of`.
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

/// A path as a shell takes it for one word, which no command takes for a flag.
pub fn word(path: &Path) -> String {
    let text = path.to_string_lossy();
    let text = if text.starts_with('-') { Cow::Owned(format!("./{text}")) } else { text };
    // No path holds a NUL, which alone cannot be quoted.
    shlex::try_quote(&text).map_or_else(|_| text.to_string(), Cow::into_owned)
}

/// The command that goes on with the run in `out`.
pub fn resume_command(out: &Path) -> String {
    format!("{} train --resume --out {}", program(), word(out))
}

/// How this program was called, for messages that show what to type next.
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
