//! Output of a measurement's result, as text or JSON, and its comparison with an earlier one.

use crate::error::CommandError;
use crate::output::print_json;
use crate::ui::Ui;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// The output flags of a measurement.
#[derive(clap::Args, Clone, Debug)]
pub struct OutputArgs {
    /// Print the result as JSON, for programs and for --compare
    #[arg(long)]
    json: bool,

    /// Show how much longer each line takes than in FILE, which this command wrote with --json: new/old
    #[arg(long, value_name = "FILE")]
    compare: Option<PathBuf>,
}

/// What was measured, and how; results that differ here cannot be compared.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Subject {
    /// The command, as it is typed.
    pub command: String,
    /// The model as the user named it; the engine's name in measurements without one.
    pub model: String,
    /// Number of compute threads.
    pub threads: usize,
    /// How matrix products are computed.
    pub math: String,
    /// Other options: element type, batch and so on.
    pub variant: String,
}

/// The result of a measurement.
pub trait Measured: Serialize + DeserializeOwned {
    /// What was measured.
    fn subject(&self) -> &Subject;
    /// The comparable times by name; one name has one unit in all results.
    fn lines(&self) -> Vec<(String, f64)>;
    /// The result as text.
    fn text(&self) -> String;
}

/// A result as JSON.
#[derive(Serialize)]
struct Shown<'a, T> {
    #[serde(flatten)]
    result: &'a T,
    #[serde(skip_serializing_if = "Option::is_none")]
    compared: Option<Vec<Ratio>>,
}

/// A line that two results share.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Ratio {
    line: String,
    old: f64,
    new: f64,
    /// New over old time; below 1 is faster.
    ratio: f64,
}

impl OutputArgs {
    /// Refuses a `--compare` file that holds no result of `command`, before anything is measured.
    pub fn check(&self, command: &str) -> Result<(), CommandError> {
        let Some(path) = &self.compare else { return Ok(()) };
        let all = read(path)?;
        let mut commands = all.iter().filter_map(|result| result["command"].as_str());
        match (commands.clone().any(|c| c == command), commands.next()) {
            (true, _) => Ok(()),
            (false, Some(other)) => Err(CommandError::input(
                format!(
                    "`{}` cannot be compared: it is of `backpropane {other}`, this is `backpropane {command}`",
                    path.display()
                ),
                SAME,
            )),
            (false, None) => Err(not_a_result(path, command)),
        }
    }

    /// Prints the only result of a command.
    pub fn show<T: Measured>(&self, ui: &Ui, result: &T) -> Result<(), CommandError> {
        let compared = self.compared(result)?;
        if self.json {
            return print_json(ui, &Shown { result, compared });
        }
        self.show_text(ui, &result.text(), compared.as_deref())
    }

    /// Prints one of several results of a command as text; [`OutputArgs::show_list`] prints the JSON.
    pub fn show_one<T: Measured>(&self, ui: &Ui, text: &str, result: &T) -> Result<(), CommandError> {
        match self.json {
            true => Ok(()),
            false => self.show_text(ui, text, self.compared(result)?.as_deref()),
        }
    }

    /// Prints all results of a command as one JSON list, with `--json`.
    pub fn show_list<T: Measured>(&self, ui: &Ui, results: &[T]) -> Result<(), CommandError> {
        if !self.json {
            return Ok(());
        }
        let shown = results.iter().map(|result| Ok(Shown { result, compared: self.compared(result)? }));
        print_json(ui, &shown.collect::<Result<Vec<_>, CommandError>>()?)
    }

    fn show_text(&self, ui: &Ui, text: &str, compared: Option<&[Ratio]>) -> Result<(), CommandError> {
        ui.result(text)?;
        let (Some(ratios), Some(path)) = (compared, &self.compare) else { return Ok(()) };
        let width = ratios.iter().map(|r| r.line.chars().count()).max().unwrap_or(0);
        let rows = ratios.iter().map(|r| format!("\n  {:<width$}  {:.3}", r.line, r.ratio));
        ui.result(&format!("new/old, compared with `{}`:{}", path.display(), rows.collect::<String>()))
    }

    fn compared<T: Measured>(&self, new: &T) -> Result<Option<Vec<Ratio>>, CommandError> {
        let Some(path) = &self.compare else { return Ok(None) };
        ratios(path, read(path)?, new).map(Some)
    }
}

/// The hint if the results are of different measurements.
const SAME: &str = "Measure both with the same command, model, threads and options.";
/// The hint if a file is not a result.
const ANOTHER: &str = "Name a file that the same `bench` command wrote with `--json`.";

fn not_a_result(path: &Path, command: &str) -> CommandError {
    let message = format!("`{}` is not a result of `backpropane {command}`", path.display());
    CommandError::input(message, ANOTHER)
}

/// The results in a file: one, or a list.
fn read(path: &Path) -> Result<Vec<Value>, CommandError> {
    let wrong = |problem: String| {
        let message = format!("`{}` is not a result of a measurement: {problem}", path.display());
        CommandError::input(message, ANOTHER)
    };
    let text = std::fs::read_to_string(path).map_err(|e| wrong(e.to_string()))?;
    Ok(match serde_json::from_str(&text).map_err(|e| wrong(e.to_string()))? {
        Value::Array(all) => all,
        one => vec![one],
    })
}

/// The ratios of `new` to the result in `all` with the same subject, line by line.
fn ratios<T: Measured>(path: &Path, all: Vec<Value>, new: &T) -> Result<Vec<Ratio>, CommandError> {
    let want = new.subject();
    let mut other = None;
    for value in all {
        let Ok(subject) = Subject::deserialize(&value) else { continue };
        if subject != *want {
            other.get_or_insert(subject);
            continue;
        }
        let old = T::deserialize(&value).map_err(|e| {
            let message = format!("`{}` is a result of another version: {e}", path.display());
            CommandError::input(message, "Measure again with the version that you want to compare with.")
        })?;
        let old = old.lines();
        let ratio = |(line, new): (String, f64)| {
            let old = old.iter().find(|(name, _)| *name == line)?.1;
            Some(Ratio { line, old, new, ratio: new / old })
        };
        return Ok(new.lines().into_iter().filter_map(ratio).collect());
    }
    Err(match other {
        Some(other) => CommandError::input(
            format!("`{}` cannot be compared: {}", path.display(), difference(&other, want)),
            SAME,
        ),
        None => not_a_result(path, &want.command),
    })
}

/// The most important difference between two subjects.
fn difference(old: &Subject, new: &Subject) -> String {
    if old.command != new.command {
        return format!("it is of `backpropane {}`", old.command);
    }
    let pairs = [("model", &old.model, &new.model), ("math", &old.math, &new.math)];
    if let Some((what, old, new)) = pairs.into_iter().find(|(_, old, new)| old != new) {
        return format!("its {what} is `{old}`, here it is `{new}`");
    }
    match old.threads == new.threads {
        false => format!("it was measured on {} threads, this on {}", old.threads, new.threads),
        true => format!("it was measured with {}, this with {}", old.variant, new.variant),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize, Deserialize)]
    struct Result {
        #[serde(flatten)]
        subject: Subject,
        a: f64,
        b: f64,
    }

    impl Measured for Result {
        fn subject(&self) -> &Subject {
            &self.subject
        }
        fn lines(&self) -> Vec<(String, f64)> {
            vec![("a".to_owned(), self.a), ("b".to_owned(), self.b)]
        }
        fn text(&self) -> String {
            String::new()
        }
    }

    fn result(model: &str, threads: usize, a: f64) -> Result {
        let [command, math, variant] = ["bench x", "f32", "storage f16"].map(str::to_owned);
        Result { subject: Subject { command, model: model.to_owned(), threads, math, variant }, a, b: 1.0 }
    }

    fn compare(old: &[Result], new: &Result) -> std::result::Result<Vec<Ratio>, String> {
        let values = old.iter().map(|r| serde_json::to_value(r).unwrap()).collect();
        ratios(Path::new("old.json"), values, new).map_err(|e| e.message().unwrap_or_default().to_owned())
    }

    #[test]
    fn each_line_is_divided_by_the_same_line_of_the_same_subject() {
        let old = [result("m", 1, 9.0), result("n", 1, 4.0)];
        let got = compare(&old, &result("n", 1, 3.0)).unwrap();
        assert_eq!(got[0], Ratio { line: "a".to_owned(), old: 4.0, new: 3.0, ratio: 0.75 });
        assert_eq!((got.len(), got[1].ratio), (2, 1.0));
    }

    #[test]
    fn results_of_something_else_are_refused_with_the_difference() {
        let refused = |old: Result| compare(&[old], &result("m", 2, 1.0)).unwrap_err();
        let mut other = result("m", 2, 1.0);
        other.subject.command = "bench y".to_owned();
        assert!(refused(other).contains("cannot be compared: it is of `backpropane bench y`"));
        assert!(refused(result("n", 2, 1.0)).contains("its model is `n`, here it is `m`"));
        assert!(refused(result("m", 1, 1.0)).contains("measured on 1 threads, this on 2"));
        let mut other = result("m", 2, 1.0);
        other.subject.variant = "storage f32".to_owned();
        assert!(refused(other).contains("measured with storage f32, this with storage f16"));
        let nothing = ratios(Path::new("old.json"), vec![Value::Null], &result("m", 2, 1.0)).unwrap_err();
        assert!(nothing.message().is_some_and(|m| m.contains("not a result of `backpropane bench x`")));
    }
}
