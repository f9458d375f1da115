//! The tables of `bench peers`, in Markdown.

use super::report::median;
use super::result::{PeersResult, Row};
use crate::units;
use std::fmt::Write;

/// The machine, the times, the memory, the ratios, and what was left out.
pub fn markdown(result: &PeersResult) -> String {
    let mut text = format!(
        "{}, {}, {}, {}, {}\n",
        result.processor,
        result.instructions,
        units::plural(result.cores, "core"),
        result.system,
        result.date
    );
    let _ = writeln!(
        text,
        "A training step in ms: the shortest of {}, and in brackets the median of their medians.\n",
        units::plural(result.rounds, "round")
    );
    let programs = programs(result);
    let threads = units::plural(result.subject.threads, "thread");
    table(&mut text, result, &threads, &programs, &|row| {
        Some(format!("{} ({})", ms(row.min()?), ms(row.median()?)))
    });
    table(&mut text, result, "peak memory, MiB", &programs, &|row| Some(row.mib()?.to_string()));
    ratios(&mut text, result, &programs);
    let problems = result.rows.iter().filter_map(|row| {
        Some(format!("{} did not train {}: {}", row.program, row.model, row.problem.as_ref()?))
    });
    let mut notes: Vec<String> = problems.collect();
    notes.extend(result.left_out.iter().map(|what| format!("left out: {what}")));
    for note in notes {
        let _ = writeln!(text, "- {note}");
    }
    text.trim_end().to_owned()
}

/// The rows of one program, a model each.
type Rows<'a> = Vec<&'a Row>;

/// The rows of each program; the fastest first, by the first model for which both have a time.
fn programs(result: &PeersResult) -> Vec<Rows<'_>> {
    let mut programs: Vec<Rows> = Vec::new();
    for row in &result.rows {
        match programs.iter_mut().find(|rows| rows[0].program == row.program) {
            Some(rows) => rows.push(row),
            None => programs.push(vec![row]),
        }
    }
    let key = |rows: &Rows| rows.iter().map(|row| row.min().unwrap_or(f64::INFINITY)).collect::<Vec<_>>();
    programs.sort_by(|a, b| {
        let unequal = key(a).into_iter().zip(key(b)).map(|(a, b)| a.total_cmp(&b)).find(|o| o.is_ne());
        unequal.unwrap_or(std::cmp::Ordering::Equal)
    });
    programs
}

/// A table with a row for each program and a column for each model.
fn table(
    text: &mut String,
    result: &PeersResult,
    corner: &str,
    programs: &[Rows],
    cell: &dyn Fn(&Row) -> Option<String>,
) {
    head(text, result, corner);
    for rows in programs {
        let name = name(rows);
        let name = if rows[0].ours { format!("**{name}**") } else { name };
        let cells: Vec<String> = rows.iter().map(|row| cell(row).unwrap_or_else(|| "–".to_owned())).collect();
        let _ = writeln!(text, "| {name} | {} |", cells.join(" | "));
    }
    text.push('\n');
}

fn head(text: &mut String, result: &PeersResult, corner: &str) {
    let models = result.subject.model.replace(", ", " | ");
    let rules = "---|".repeat(1 + result.subject.model.split(", ").count());
    let _ = writeln!(text, "| {corner} | {models} |\n|{rules}");
}

/// Our times over those of the fastest other program, in fp32 and in bf16, and our memory over PyTorch's; none if no other program has a time.
fn ratios(text: &mut String, result: &PeersResult, programs: &[Rows]) {
    let mut lines = String::new();
    for ours in programs.iter().filter(|rows| rows[0].ours) {
        for bf16 in [false, true] {
            let cells: Vec<String> = ours.iter().map(|row| over_the_best(result, row, bf16)).collect();
            if cells.iter().any(|cell| cell != "–") {
                let precision = if bf16 { "bf16" } else { "fp32" };
                let _ = writeln!(lines, "| {} over {precision} | {} |", name(ours), cells.join(" | "));
            }
        }
    }
    for ours in programs.iter().filter(|rows| rows[0].ours) {
        let cells: Vec<String> = ours.iter().map(|row| memory_over_torch(result, row)).collect();
        if cells.iter().any(|cell| cell != "–") {
            let _ = writeln!(lines, "| {}, memory over PyTorch's | {} |", name(ours), cells.join(" | "));
        }
    }
    if !lines.is_empty() {
        head(text, result, "ours over the best other");
        let _ = writeln!(text, "{lines}");
        text.push_str("Ratios of the shortest steps, and in brackets the median over rounds of the ratio of medians.\n\n");
    }
}

/// The time of `row` over that of the fastest other program for the same model.
fn over_the_best(result: &PeersResult, row: &Row, bf16: bool) -> String {
    let others = result.rows.iter().filter(|r| !r.ours && r.bf16 == bf16 && r.model == row.model);
    let best = others.filter_map(|r| Some((r, r.min()?))).min_by(|a, b| a.1.total_cmp(&b.1));
    let (Some((best, least)), Some(min)) = (best, row.min()) else { return "–".to_owned() };
    let pairs = row.rounds.iter().zip(&best.rounds).map(|(a, b)| a.median_ms / b.median_ms);
    let middle = median(pairs.collect()).unwrap_or(f64::NAN);
    format!("{:.2} ({middle:.2})", min / least)
}

/// The peak memory of `row` over that of compiled PyTorch in fp32 for the same model.
fn memory_over_torch(result: &PeersResult, row: &Row) -> String {
    let torch = result.rows.iter().find(|r| r.is_compiled_torch(false) && r.model == row.model);
    match (row.mib(), torch.and_then(Row::mib)) {
        (Some(ours), Some(theirs)) => format!("{:.2}", ours as f64 / theirs as f64),
        _ => "–".to_owned(),
    }
}

/// A program's name with its version, where it says one.
fn name(rows: &Rows) -> String {
    let name = &rows[0].program;
    let version = rows.iter().flat_map(|row| &row.rounds).find_map(|round| round.version.as_deref());
    match (version, name.split_once(',')) {
        (None, _) => name.clone(),
        (Some(version), None) => format!("{name} {version}"),
        (Some(version), Some((first, rest))) => format!("{first} {version},{rest}"),
    }
}

fn ms(time: f64) -> String {
    format!("{time:.*}", usize::from(time < 99.95))
}

#[cfg(test)]
mod tests {
    use super::super::super::output::Subject;
    use super::super::report::Report;
    use super::*;

    fn row(program: &str, model: &str, rounds: &[(f64, f64)], problem: Option<&str>) -> Row {
        let (ours, bf16) = (program.starts_with("backpropane"), program.contains("bf16"));
        let report = |&(min, median): &(f64, f64)| {
            let version = if ours { "" } else { "version 2.15.0 " };
            let line =
                format!("A x y 2 {median} # min {min} n 9 MiB 300 {version}loss0 1 gnorm 1 loss3 1 ok");
            Report::parse(&line).unwrap()
        };
        Row {
            program: program.to_owned(),
            model: model.to_owned(),
            ours,
            bf16,
            rounds: rounds.iter().map(report).collect(),
            problem: problem.map(str::to_owned),
        }
    }

    fn result(rows: Vec<Row>) -> PeersResult {
        let [command, model, math, variant] =
            ["bench peers", "layer768, stories15m", "f32", "15 steps"].map(str::to_owned);
        PeersResult {
            subject: Subject { command, model, threads: 2, math, variant },
            processor: "AMD EPYC (family 25, model 17)".to_owned(),
            instructions: "x86_64 with AVX-512".to_owned(),
            cores: 2,
            system: "linux on x86_64".to_owned(),
            date: "2026-11-30".to_owned(),
            rounds: 3,
            rows,
            left_out: vec!["JAX: there is no `venvs/jax/bin/python`".to_owned()],
        }
    }

    #[test]
    fn slower_rows_and_programs_without_times_are_shown() {
        let torch = "PyTorch, compiled";
        let shown = markdown(&result(vec![
            row(
                "backpropane --math f32",
                "layer768",
                &[(105.0, 144.0), (108.0, 110.0), (120.0, 130.0)],
                None,
            ),
            row("backpropane --math f32", "stories15m", &[(131.0, 140.0)], None),
            row(torch, "layer768", &[(98.0, 120.0), (99.0, 100.0), (98.5, 100.0)], None),
            row(torch, "stories15m", &[(146.0, 171.0)], Some("it ended with exit status: 1: no memory")),
            row("PyTorch, compiled, bf16", "layer768", &[(52.5, 60.0)], None),
            row("PyTorch, compiled, bf16", "stories15m", &[(262.0, 280.0)], None),
        ]));
        // The ratios of medians are 1.2, 1.1 and 1.3.
        assert_eq!(
            shown,
            "\
AMD EPYC (family 25, model 17), x86_64 with AVX-512, 2 cores, linux on x86_64, 2026-11-30
A training step in ms: the shortest of 3 rounds, and in brackets the median of their medians.

| 2 threads | layer768 | stories15m |
|---|---|---|
| PyTorch 2.15.0, compiled, bf16 | 52.5 (60.0) | 262 (280) |
| PyTorch 2.15.0, compiled | 98.0 (100) | – |
| **backpropane --math f32** | 105 (130) | 131 (140) |

| peak memory, MiB | layer768 | stories15m |
|---|---|---|
| PyTorch 2.15.0, compiled, bf16 | 300 | 300 |
| PyTorch 2.15.0, compiled | 300 | – |
| **backpropane --math f32** | 300 | 300 |

| ours over the best other | layer768 | stories15m |
|---|---|---|
| backpropane --math f32 over fp32 | 1.07 (1.20) | – |
| backpropane --math f32 over bf16 | 2.00 (2.40) | 0.50 (0.50) |
| backpropane --math f32, memory over PyTorch's | 1.00 | – |

Ratios of the shortest steps, and in brackets the median over rounds of the ratio of medians.

- PyTorch, compiled did not train stories15m: it ended with exit status: 1: no memory
- left out: JAX: there is no `venvs/jax/bin/python`"
        );
    }

    #[test]
    fn there_are_no_ratios_without_others() {
        let shown = markdown(&result(vec![
            row("backpropane --math f32", "layer768", &[(105.0, 144.0)], None),
            row("backpropane --math f32", "stories15m", &[(131.0, 140.0)], None),
        ]));
        assert!(shown.contains("| **backpropane --math f32** | 105 (144) | 131 (140) |"), "{shown}");
        assert!(!shown.contains("over"), "{shown}");
    }
}
