//! Runs the tests of one file.

use crate::case::{Assignment, Case, ExpectedRefusal, Test};
use crate::close::Close;
use crate::engine::Engine;
use crate::{grad, value};
use mil::diag::Place;
use mil::text::Read;
use mil::text::tree::Tree;
use mil::{Program, Report, Tensor, TensorType, ValueId, Verified, Weights, text};
use std::path::Path;

/// The result of checking a file.
#[derive(Clone, Debug, Default)]
pub struct FileResult {
    pub failures: Vec<String>,
    pub skipped: Vec<String>,
    /// The file with updated expectations, if any failed and blessing is on.
    pub blessed: Option<String>,
}

/// Runs the tests that `source` names. `file` is used in messages and to resolve relative paths.
pub fn check(file: &Path, source: &str, bless: bool) -> FileResult {
    let mut out = FileResult::default();
    let case = match Case::parse(source) {
        Ok(case) => case,
        Err(message) => {
            out.failures.push(message);
            return out;
        }
    };
    let mut run = FileRun { file, source, case: &case, bless, edits: Edits::default(), out: &mut out };
    for test in &case.tests {
        if let Err(message) = run.test(test) {
            run.out.failures.push(message);
        }
    }
    let edits = run.edits;
    if bless && !edits.is_empty() {
        out.blessed = Some(edits.apply(source, &case));
    }
    out
}

/// Expectations to update.
#[derive(Default)]
struct Edits {
    given: Vec<(String, String)>,
    refusals: Option<Vec<ExpectedRefusal>>,
}

struct FileRun<'a> {
    file: &'a Path,
    source: &'a str,
    case: &'a Case,
    bless: bool,
    edits: Edits,
    out: &'a mut FileResult,
}

impl FileRun<'_> {
    fn test(&mut self, test: &Test) -> Result<(), String> {
        match test {
            Test::Read => self.refusals(text::parse(self.source).err()),
            Test::Check => self.refusals(Some(text::check(&text::read(self.source)).report.errors())),
            Test::Verify => self.refusals(text::load(self.source).err()),
            Test::Print(like) => self.print(like.as_deref()),
            Test::FileRun { engines, close } => self.run(engines, *close),
            Test::Grad { wrt } => self.grad(wrt),
        }
    }

    fn name(&self) -> String {
        self.file.file_name().map_or(String::new(), |n| n.to_string_lossy().into_owned())
    }

    fn rendered(&self, report: &Report) -> String {
        report.render(&self.name(), self.source)
    }

    /// Compares the refusals with the expected ones.
    fn refusals(&mut self, report: Option<Report>) -> Result<(), String> {
        let line = |place: &Place| match place {
            Place::Text(range) => {
                let before = &self.source.as_bytes()[..range.start.min(self.source.len())];
                Some(before.iter().filter(|&&b| b == b'\n').count() + 1)
            }
            _ => None,
        };
        let diagnostics = report.iter().flat_map(|r| &r.diagnostics);
        let mut got: Vec<ExpectedRefusal> =
            diagnostics.map(|d| (line(&d.place), d.code.to_owned())).collect();
        let mut want = self.case.refusals.clone();
        got.sort();
        want.sort();
        if got == want {
            return Ok(());
        }
        if self.bless {
            self.edits.refusals = Some(got);
            return Ok(());
        }
        let shown = |list: Vec<ExpectedRefusal>| -> String {
            let shown: Vec<String> = list
                .into_iter()
                .map(|(line, code)| match line {
                    Some(line) => format!("{code} in line {line}"),
                    None => code,
                })
                .collect();
            if shown.is_empty() { "nothing".into() } else { shown.join(", ") }
        };
        let report = report.map_or(String::new(), |r| format!("\n{}", self.rendered(&r)));
        Err(format!("refused: {}; expected: {}{report}", shown(got), shown(want)))
    }

    fn print(&mut self, like: Option<&str>) -> Result<(), String> {
        let read = readable(self.source, &self.name())?;
        // Without the comments, which hold the expectations.
        let tree = Tree { comments: Vec::new(), ..read.tree };
        let printed = text::format(&tree);
        let again = readable(&printed, "printed").map_err(|r| format!("what it prints:\n{r}"))?;
        if again.tree != tree {
            return Err("its printed text is a different program".into());
        }
        let twice = text::format(&again.tree);
        if twice != printed {
            return Err(format!("printed twice: {}", first_difference(&twice, &printed)));
        }
        let commented = text::format(&readable(self.source, &self.name())?.tree);
        let twice = text::format(&readable(&commented, "printed")?.tree);
        if twice != commented {
            return Err(format!("printed twice, with comments: {}", first_difference(&twice, &commented)));
        }
        let Some(like) = like else { return Ok(()) };
        let path = self.file.with_file_name(like);
        let want = std::fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        let body: String = want.split_inclusive('\n').filter(|l| !l.starts_with("//!")).collect();
        if body.trim_end() == printed {
            return Ok(());
        }
        if self.bless {
            let head: String = want.split_inclusive('\n').filter(|l| l.starts_with("//!")).collect();
            return std::fs::write(&path, format!("{head}{printed}\n")).map_err(|e| e.to_string());
        }
        Err(format!("not printed as {like}: {}", first_difference(&printed, body.trim_end())))
    }

    fn run(&mut self, engines: &[&Engine], close: Close) -> Result<(), String> {
        let (program, weights) = self.program()?;
        let f = program.entry();
        let inputs = self.inputs(&program)?;
        for engine in engines {
            let Some(run) = engine.run else {
                self.out.skipped.push(format!("engine `{}` is not available", engine.name));
                continue;
            };
            let outputs = run(&program, &weights, &inputs).map_err(|e| format!("`{}`: {e}", engine.name))?;
            if outputs.len() != f.outputs.len() {
                return Err(format!("`{}` gives {} outputs", engine.name, outputs.len()));
            }
            for (&id, got) in f.outputs.iter().zip(outputs) {
                let name = &f.value(id).name;
                let wrong = match self.case.given(name) {
                    None => Some("the file does not give its value".to_owned()),
                    Some(want) => close.difference(&got, &elements(want, f.ty(id))?),
                };
                match wrong {
                    Some(_) if self.bless && engine.name == "reference" => {
                        self.edits.given.push((name.clone(), value::print(&got)));
                    }
                    Some(wrong) => {
                        let text = format!("output `{name}` of engine `{}`: {wrong}", engine.name);
                        self.out.failures.push(text);
                    }
                    None => {}
                }
            }
        }
        Ok(())
    }

    fn grad(&mut self, wrt: &[String]) -> Result<(), String> {
        let (program, weights) = self.program()?;
        let f = program.entry();
        let inputs = self.inputs(&program)?;
        let find = |name: &String| f.find(name).ok_or_else(|| format!("there is no input `{name}`"));
        let wrt: Vec<ValueId> = wrt.iter().map(find).collect::<Result<_, _>>()?;
        let mut cotangents = Vec::new();
        for (n, &id) in f.outputs.iter().enumerate() {
            let (name, ty) = (&f.value(id).name, f.ty(id));
            cotangents.push(match self.case.given(&format!("d_{name}")) {
                Some(given) => elements(given, ty)?,
                // Any numbers do that follow no pattern of the program.
                None => {
                    Tensor::floats(ty.clone(), (0..ty.elements()).map(|i| (1.0 + (7 * n + i) as f64).cos()))
                }
            });
        }
        grad::check(&program, &weights, &inputs, &cotangents, &wrt)
    }

    /// The program and its weight files.
    fn program(&self) -> Result<(Verified<Program>, Weights), String> {
        let program = text::load(self.source).map_err(|r| self.rendered(&r))?;
        let mut weights = Weights::new();
        for given in &self.case.given {
            let f = program.entry();
            let known = f.inputs.iter().chain(&f.outputs).any(|&id| {
                let name = &f.value(id).name;
                given.name == *name || given.name.strip_prefix("d_") == Some(name)
            });
            if given.name.starts_with('@') {
                let tensor = typed_elements(given)?;
                weights.add_tensor(&given.name, &tensor).map_err(|e| e.to_string())?;
            } else if !known {
                return Err(format!("`{}` is neither input nor output", given.name));
            }
        }
        Ok((program, weights))
    }

    fn inputs(&self, program: &Verified<Program>) -> Result<Vec<Tensor>, String> {
        let f = program.entry();
        f.inputs
            .iter()
            .map(|&id| {
                let name = &f.value(id).name;
                let given = self.case.given(name).ok_or_else(|| format!("input `{name}` is not given"))?;
                elements(given, f.ty(id))
            })
            .collect()
    }
}

fn elements(given: &Assignment, ty: &TensorType) -> Result<Tensor, String> {
    value::parse(ty, &given.text).map_err(|e| format!("`{}`: {e}", given.name))
}

/// The elements of a text such as `fp16 [[1, 2]]`; the brackets give the shape.
fn typed_elements(given: &Assignment) -> Result<Tensor, String> {
    let (dtype, text) = given.text.split_once(' ').unwrap_or((&given.text, ""));
    let dtype = mil::DType::from_name(dtype).ok_or_else(|| format!("`{}`: no type `{dtype}`", given.name))?;
    // The first rows give the shape; parsing reports rows of unequal length.
    let mut shape = Vec::new();
    let mut row = text.trim();
    while let Some(inner) = row.strip_prefix('[') {
        let (mut open, mut items, mut first) = (0, 1, inner.len());
        for (at, c) in inner.char_indices() {
            match c {
                '[' => open += 1,
                ']' if open == 0 => {
                    first = first.min(at);
                    break;
                }
                ']' => open -= 1,
                ',' if open == 0 => {
                    items += 1;
                    first = first.min(at);
                }
                _ => {}
            }
        }
        shape.push(items);
        row = inner[..first].trim();
    }
    elements(&Assignment { text: text.to_owned(), ..given.clone() }, &TensorType::new(dtype, shape))
}

/// The text as a tree, or its report.
fn readable<'s>(source: &'s str, name: &str) -> Result<Read<'s>, String> {
    let read = text::read(source);
    if read.report.has_errors() { Err(read.report.render(name, source)) } else { Ok(read) }
}

fn first_difference(got: &str, want: &str) -> String {
    let (mut got, mut want) = (got.lines(), want.lines());
    for n in 1.. {
        match (got.next(), want.next()) {
            (None, None) => break,
            (g, w) if g == w => {}
            (g, w) => {
                let end = "the end";
                return format!("line {n}\n     is {}\n should {}", g.unwrap_or(end), w.unwrap_or(end));
            }
        }
    }
    "line ends differ".into()
}

impl Edits {
    fn is_empty(&self) -> bool {
        self.given.is_empty() && self.refusals.is_none()
    }

    /// `source` with updated expectations.
    fn apply(&self, source: &str, case: &Case) -> String {
        let mut lines: Vec<Option<String>> = source.lines().map(|l| Some(l.to_owned())).collect();
        let mut added = Vec::new();
        for (name, text) in &self.given {
            let line = format!("//! {name} = {text}");
            match case.given(name) {
                Some(given) => {
                    lines[given.lines.clone()].fill(None);
                    lines[given.lines.start] = Some(line);
                }
                None => added.push(line),
            }
        }
        if let Some(refusals) = &self.refusals {
            for (n, line) in lines.iter_mut().enumerate() {
                let Some(text) = line else { continue };
                if n < case.directives {
                    if text.starts_with("//! error[") {
                        *line = None;
                    }
                    continue;
                }
                if let Some((before, _)) = text.split_once("// error[") {
                    *text = before.trim_end().to_owned();
                }
                let codes = refusals.iter().filter(|(at, _)| *at == Some(n + 1));
                let codes: Vec<String> = codes.map(|(_, code)| format!("error[{code}]")).collect();
                if !codes.is_empty() {
                    *text += &format!(" // {}", codes.join(" "));
                }
            }
            let nowhere = refusals.iter().filter(|(at, _)| at.is_none());
            added.extend(nowhere.map(|(_, code)| format!("//! error[{code}]")));
        }
        let (head, body) = lines.split_at(case.directives);
        let all = head.iter().flatten().chain(&added).chain(body.iter().flatten());
        all.map(|line| format!("{line}\n")).collect()
    }
}

#[cfg(test)]
mod tests;
