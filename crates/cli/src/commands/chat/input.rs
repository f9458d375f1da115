//! What the user types: lines with editing and history on a terminal, plain lines otherwise.

use crate::error::CommandError;
use crate::ladder;
use rustyline::error::ReadlineError;
use rustyline::history::DefaultHistory;
use rustyline::{Config, Editor};
use std::io::{self, BufRead, IsTerminal};
use std::path::PathBuf;

/// The prompt before a message, and before its further lines.
const PROMPTS: [&str; 2] = ["> ", ". "];

/// A line that begins and ends a message of several lines.
const FENCE: &str = "\"\"\"";

/// Messages remembered between chats.
const REMEMBERED: usize = 1000;

/// Where messages come from.
pub enum Input {
    /// A terminal.
    Terminal(Box<Terminal>),
    /// A pipe or a file.
    Lines(io::StdinLock<'static>),
}

/// A terminal with line editing.
pub struct Terminal {
    editor: Editor<(), DefaultHistory>,
    history: Option<PathBuf>,
}

/// What was typed.
#[derive(Debug, PartialEq, Eq)]
pub enum Typed {
    /// A message or a command.
    Text(String),
    /// Ctrl-C.
    Interrupt,
    /// The end of the input.
    End,
}

/// One line of it.
enum Line {
    Text(String),
    Interrupt,
    End,
}

impl Input {
    /// From stdin; a history that cannot be read is empty.
    pub fn stdin() -> Result<Input, CommandError> {
        if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
            return Ok(Input::Lines(io::stdin().lock()));
        }
        let unusable = |e: ReadlineError| CommandError::failure(format!("the terminal cannot be read: {e}"));
        let config =
            Config::builder().auto_add_history(false).max_history_size(REMEMBERED).map_err(unusable)?;
        let mut editor: Editor<(), DefaultHistory> = Editor::with_config(config.build()).map_err(unusable)?;
        let history = ladder::folder().map(|folder| folder.join("chat_history.txt"));
        if let Some(path) = &history {
            let _ = editor.load_history(path);
        }
        Ok(Input::Terminal(Box::new(Terminal { editor, history })))
    }

    /// Whether somebody sees prompts.
    pub fn is_terminal(&self) -> bool {
        matches!(self, Input::Terminal(_))
    }

    /// The next message: a line, with those that follow as long as each ends with `\`; or all lines between two `"""`.
    pub fn next(&mut self) -> Result<Typed, CommandError> {
        let read = &mut |more: bool| self.line(PROMPTS[usize::from(more)]);
        let typed = joined(read)?;
        if let (Input::Terminal(terminal), Typed::Text(text)) = (self, &typed) {
            terminal.remember(text);
        }
        Ok(typed)
    }

    fn line(&mut self, prompt: &str) -> Result<Line, CommandError> {
        match self {
            Input::Terminal(terminal) => match terminal.editor.readline(prompt) {
                Ok(line) => Ok(Line::Text(line)),
                Err(ReadlineError::Interrupted) => Ok(Line::Interrupt),
                Err(ReadlineError::Eof) => Ok(Line::End),
                Err(e) => Err(CommandError::failure(format!("the terminal cannot be read: {e}"))),
            },
            Input::Lines(lines) => {
                let mut line = String::new();
                let read = lines.read_line(&mut line);
                match read.map_err(|e| CommandError::failure(format!("cannot read stdin: {e}")))? {
                    0 => Ok(Line::End),
                    _ => Ok(Line::Text(line.trim_end_matches(['\n', '\r']).to_owned())),
                }
            }
        }
    }
}

impl Terminal {
    /// Adds a message to the history, and writes it; a failure to write is ignored.
    fn remember(&mut self, text: &str) {
        if !self.editor.add_history_entry(text).unwrap_or(false) {
            return;
        }
        if let Some(path) = &self.history {
            let _ = path.parent().map(std::fs::create_dir_all);
            let _ = self.editor.save_history(path);
        }
    }
}

/// A message of one or several lines; `read` gets whether it has begun.
fn joined(read: &mut dyn FnMut(bool) -> Result<Line, CommandError>) -> Result<Typed, CommandError> {
    let mut text = match read(false)? {
        Line::Text(line) => line,
        Line::Interrupt => return Ok(Typed::Interrupt),
        Line::End => return Ok(Typed::End),
    };
    let is_fenced = text.trim() == FENCE;
    if is_fenced {
        text.clear();
    }
    let mut is_first = true;
    while is_fenced || text.ends_with('\\') {
        match read(true)? {
            Line::Text(line) if is_fenced && line.trim() == FENCE => break,
            Line::Text(line) if is_fenced => {
                if !is_first {
                    text.push('\n');
                }
                text.push_str(&line);
            }
            Line::Text(line) => {
                text.pop();
                text.push('\n');
                text.push_str(&line);
            }
            Line::Interrupt => return Ok(Typed::Interrupt),
            Line::End => break,
        }
        is_first = false;
    }
    Ok(Typed::Text(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(lines: &[&str]) -> Typed {
        let mut lines = lines.iter();
        joined(&mut |_| Ok(lines.next().map_or(Line::End, |line| Line::Text((*line).to_owned())))).unwrap()
    }

    #[test]
    fn a_message_may_have_several_lines() {
        let text = |text: &str| Typed::Text(text.to_owned());
        assert_eq!(typed(&["one", "two"]), text("one"));
        assert_eq!(typed(&["one\\", "two\\", "three", "four"]), text("one\ntwo\nthree"));
        assert_eq!(typed(&["\"\"\"", "a", "", "b\\", "\"\"\"", "c"]), text("a\n\nb\\"));
        assert_eq!(typed(&["\"\"\"", "never ends"]), text("never ends"));
        assert_eq!(typed(&[]), Typed::End);
    }
}
