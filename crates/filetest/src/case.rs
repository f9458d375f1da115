//! The header of a test file: what to test and what to expect.

use crate::close::Close;
use crate::engine::{ENGINES, Engine};
use std::ops::Range;

/// A test that a file names.
#[derive(Clone, Debug)]
pub enum Test {
    Read,
    /// The file with the expected text.
    Print(Option<String>),
    Check,
    Verify,
    FileRun {
        engines: Vec<&'static Engine>,
        close: Close,
    },
    Grad {
        wrt: Vec<String>,
    },
}

/// A line `NAME = TEXT` of a file.
#[derive(Clone, Debug)]
pub struct Assignment {
    pub name: String,
    pub text: String,
    /// Its lines, counted from 0.
    pub lines: Range<usize>,
}

/// The location of a refusal: its line from 1, if any, and its code.
pub type ExpectedRefusal = (Option<usize>, String);

/// A parsed test file.
#[derive(Clone, Debug, Default)]
pub struct Case {
    pub tests: Vec<Test>,
    pub given: Vec<Assignment>,
    pub refusals: Vec<ExpectedRefusal>,
    /// Lines before the program.
    pub directives: usize,
}

impl Case {
    pub fn parse(source: &str) -> Result<Case, String> {
        let lines: Vec<&str> = source.lines().collect();
        let mut case = Case::default();
        let mut at = 0;
        while let Some(line) = lines.get(at).and_then(|l| l.strip_prefix("//!")) {
            let first = at;
            at += 1;
            let mut line = line.trim().to_owned();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if let Some(tests) = line.strip_prefix("test ") {
                case.tests.extend(tests_of(tests).map_err(|e| format!("line {at}: {e}"))?);
                continue;
            }
            if let Some(codes) = codes(&line) {
                case.refusals.extend(codes.into_iter().map(|code| (None, code)));
                continue;
            }
            // Elements may continue on the following lines.
            while open_brackets(&line) > 0
                && let Some(more) = lines.get(at).and_then(|l| l.strip_prefix("//!"))
            {
                line += more;
                at += 1;
            }
            let Some((name, text)) = line.split_once('=') else {
                return Err(format!("line {}: `{line}` is not a directive", first + 1));
            };
            let given = Assignment { name: name.trim().into(), text: text.trim().into(), lines: first..at };
            case.given.push(given);
        }
        case.directives = at;
        for (n, line) in lines.iter().enumerate().skip(at) {
            let codes = line.split_once("// error").and_then(|(_, rest)| codes(&format!("error{rest}")));
            case.refusals.extend(codes.into_iter().flatten().map(|code| (Some(n + 1), code)));
        }
        if case.tests.is_empty() {
            return Err("no test is named; add a line such as `//! test read print verify`".into());
        }
        Ok(case)
    }

    pub fn given(&self, name: &str) -> Option<&Assignment> {
        self.given.iter().find(|g| g.name == name)
    }
}

/// The codes of `error[a] error[b]`; `None` if the text is anything else.
fn codes(text: &str) -> Option<Vec<String>> {
    text.split_whitespace()
        .map(|word| Some(word.strip_prefix("error[")?.strip_suffix(']')?.to_owned()))
        .collect::<Option<Vec<_>>>()
        .filter(|codes| !codes.is_empty())
}

fn open_brackets(text: &str) -> i64 {
    text.chars().map(|c| i64::from(c == '[') - i64::from(c == ']')).sum()
}

/// The tests of `read print as=FILE verify` or `run engine=reference close=exact`.
fn tests_of(text: &str) -> Result<Vec<Test>, String> {
    let mut tests = Vec::new();
    for word in text.split_whitespace() {
        let test = match word.split_once('=') {
            None => match word {
                "read" => Test::Read,
                "print" => Test::Print(None),
                "check" => Test::Check,
                "verify" => Test::Verify,
                "run" => Test::FileRun { engines: Vec::new(), close: Close::Exact },
                "grad" => Test::Grad { wrt: Vec::new() },
                _ => return Err(format!("there is no test `{word}`")),
            },
            Some((key, value)) => {
                match (key, tests.last_mut()) {
                    ("as", Some(Test::Print(file))) => *file = Some(value.to_owned()),
                    ("engine", Some(Test::FileRun { engines, .. })) => {
                        for name in value.split(',') {
                            let found = ENGINES.iter().find(|e| e.name == name);
                            engines.push(found.ok_or_else(|| format!("there is no engine `{name}`"))?);
                        }
                    }
                    ("close", Some(Test::FileRun { close, .. })) => *close = Close::parse(value)?,
                    ("wrt", Some(Test::Grad { wrt })) => {
                        *wrt = value.split(',').map(str::to_owned).collect();
                    }
                    _ => return Err(format!("`{key}` is not an option of this test")),
                }
                continue;
            }
        };
        tests.push(test);
    }
    for test in &tests {
        match test {
            Test::FileRun { engines, .. } if engines.is_empty() => {
                return Err("`run` needs `engine=`".into());
            }
            Test::Grad { wrt } if wrt.is_empty() => return Err("`grad` needs `wrt=`".into()),
            _ => {}
        }
    }
    Ok(tests)
}

#[cfg(test)]
mod tests {
    use super::{Case, Test};

    #[test]
    fn the_first_lines_and_the_refusals_are_read() {
        let case = Case::parse(
            "//! # What it shows.\n//! test read verify\n//! test run engine=reference,soft close=ulp16:2\n\
             //! test grad wrt=x,w\n//! error[no-output]\n//! x = [[1],\n//!  [2]]\n//! @w.bin = fp16 3\n\
             program // error[a] error[b]\n}",
        )
        .expect("readable");
        assert!(matches!(&case.tests[2], Test::FileRun { engines, .. } if engines.len() == 2));
        assert!(matches!(&case.tests[3], Test::Grad { wrt } if wrt == &["x", "w"]));
        let refusals = [(None, "no-output"), (Some(9), "a"), (Some(9), "b")];
        assert_eq!(case.refusals, refusals.map(|(line, code)| (line, code.to_owned())));
        let x = case.given("x").expect("given");
        assert_eq!((x.text.as_str(), x.lines.clone()), ("[[1],  [2]]", 5..7));
        assert_eq!(case.given("@w.bin").map(|g| g.text.as_str()), Some("fp16 3"));
        assert_eq!(case.directives, 8);
    }

    #[test]
    fn unknown_words_are_refused() {
        for (text, says) in [
            ("program(1.3)", "no test is named"),
            ("//! test reed", "no test `reed`"),
            ("//! test run", "needs `engine=`"),
            ("//! test run engine=coral", "no engine `coral`"),
            ("//! test run engine=reference close=near", "close=near"),
            ("//! test grad", "needs `wrt=`"),
            ("//! test read wrt=x", "not an option"),
            ("//! test read\n//! hello", "line 2: `hello` is not a directive"),
        ] {
            let refused = Case::parse(text).expect_err(text);
            assert!(refused.contains(says), "{refused}");
        }
    }
}
