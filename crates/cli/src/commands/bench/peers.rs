//! `backpropane bench peers`.

mod programs;
mod report;
mod result;
mod table;

use super::output::{Measured, OutputArgs, Subject};
use crate::child;
use crate::commands::engine::{named, positive, threads};
use crate::error::CommandError;
use crate::machine;
use crate::output::{append_line, check_place};
use crate::ui::Ui;
use crate::units;
use ane::MatmulPrecision;
use clap::ValueEnum;
use programs::Program;
use report::{Model, Report};
use result::{PeersResult, Row};
use std::num::NonZero;
use std::path::{self, Path, PathBuf};
use std::thread::available_parallelism;
use std::time::Duration;

/// Time a training step beside PyTorch, JAX, MLX, candle and burn, and print the table for this processor
///
/// Runs the programs of `benches/peers` that are set up there (its README says how), and this one in each precision that
/// the processor has, in turns: all train the same model from the same numbers. The table is Markdown. It has every row,
/// slower ones included, and names processor and date. The first loss, the norm of the first gradient and the fourth loss
/// are compared with those that the programs agree on; a program that fails or computes something else is named, and
/// the exit code is 1.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  backpropane bench peers                             all three models, three rounds: up to an hour
  backpropane bench peers --model layer768 --rounds 1 --threads 1
  backpropane bench peers --venvs ~/venvs --json > before.json
  backpropane bench peers --compare before.json
  backpropane bench peers --avx2 --log rounds.jsonl")]
pub struct PeersArgs {
    /// The folder with the programs
    #[arg(long, value_name = "DIR", default_value = "benches/peers")]
    folder: PathBuf,

    /// The folder with the Python environments torch, jax and mlx [default: `venvs` in the folder with the programs]
    #[arg(long, value_name = "DIR")]
    venvs: Option<PathBuf>,

    /// A model to train; may be given several times [default: all]
    #[arg(long, value_name = "MODEL")]
    model: Vec<Model>,

    /// A precision of our matrix products; may be given several times [default: all that the processor has]
    #[arg(long, value_name = "MATH",
        value_parser = named(MatmulPrecision::ALL, MatmulPrecision::name))]
    math: Vec<MatmulPrecision>,

    /// Threads to compute on; 0: as many as the machine runs at once
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = threads)]
    threads: usize,

    /// Rounds; in each, every program runs once for each model
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = positive::<usize>)]
    rounds: usize,

    /// Steps that a program times in a round, after a warm-up of four
    #[arg(long, value_name = "N", default_value_t = 15, value_parser = positive::<usize>)]
    samples: usize,

    /// Use no instructions beyond AVX2, in those programs that can be told so
    #[arg(long)]
    avx2: bool,

    /// Append a line of JSON for each program that ran, with its round, as soon as it has run
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,

    /// Seconds after which a program is killed
    #[arg(long, value_name = "SECONDS", default_value_t = 400, value_parser = positive::<u64>)]
    limit: u64,

    #[command(flatten)]
    output: OutputArgs,
}

pub fn run(ui: &Ui, args: &PeersArgs) -> Result<(), CommandError> {
    args.output.check("bench peers")?;
    let maths = if args.math.is_empty() { &MatmulPrecision::ALL[..] } else { &args.math };
    let folder = folder(&args.folder)?;
    let venvs = venvs(args)?.unwrap_or_else(|| folder.join("venvs"));
    let found = programs::find(folder, venvs, args.avx2, maths)?;
    check_place(args.log.as_deref())?;
    let models = if args.model.is_empty() { Model::value_variants() } else { &args.model };
    let cores = available_parallelism().map_or(1, NonZero::get);
    let threads = if args.threads == 0 { cores } else { args.threads };
    let rows = measure(ui, args, &found.programs, models, threads)?;
    let failed = rows.iter().any(|row| row.problem.is_some());
    let names: Vec<&str> = models.iter().map(|model| model.name()).collect();
    let result = PeersResult {
        subject: Subject {
            command: "bench peers".to_owned(),
            model: names.join(", "),
            threads,
            math: maths.iter().map(|math| math.name()).collect::<Vec<_>>().join(", "),
            variant: units::plural(args.samples, "step") + if args.avx2 { ", AVX2" } else { "" },
        },
        processor: machine::processor(),
        instructions: softane::instruction_set() + if args.avx2 { ", restricted to AVX2" } else { "" },
        cores,
        system: machine::system(),
        date: machine::date(),
        rounds: args.rounds,
        rows,
        left_out: found.left_out,
    };
    args.output.show(ui, &result)?;
    if failed { Err(CommandError::negative()) } else { Ok(()) }
}

/// The folder with the programs, as an absolute path: programs start in it.
fn folder(path: &Path) -> Result<PathBuf, CommandError> {
    let is_it = path.join("common.py").is_file();
    let absolute = is_it.then(|| path.canonicalize()).and_then(Result::ok);
    absolute.ok_or_else(|| {
        CommandError::input(
            format!("`{}` has no `common.py`: it is not the folder of the other programs", path.display()),
            "Run it where backpropane was cloned, or name its `benches/peers` with `--folder`.",
        )
    })
}

/// The folder with the Python environments, if it was named. Its links are kept: an environment is found by its path.
fn venvs(args: &PeersArgs) -> Result<Option<PathBuf>, CommandError> {
    let Some(named) = &args.venvs else { return Ok(None) };
    match path::absolute(named) {
        Ok(absolute) if absolute.is_dir() => Ok(Some(absolute)),
        _ => Err(CommandError::input(
            format!("there is no folder `{}`", named.display()),
            "Name the folder that holds the Python environments `torch`, `jax` and `mlx`.",
        )),
    }
}

/// Runs all programs in turns. A program that failed for a model is not started for it again.
fn measure(
    ui: &Ui,
    args: &PeersArgs,
    programs: &[Program],
    models: &[Model],
    threads: usize,
) -> Result<Vec<Row>, CommandError> {
    let mut rows: Vec<Row> = programs.iter().flat_map(|p| models.iter().map(|&m| p.row(m))).collect();
    let bar = ui.steps("measuring");
    let (all, mut done) = (args.rounds * rows.len(), 0);
    for round in 0..args.rounds {
        for (m, &model) in models.iter().enumerate() {
            for (p, program) in programs.iter().enumerate() {
                bar.at(done, all);
                done += 1;
                let row = &mut rows[p * models.len() + m];
                if row.problem.is_some() {
                    continue;
                }
                let result = time(args, program, model, threads);
                if let Some(path) = &args.log {
                    append_line(path, &row.line(round + 1, threads, &result))?;
                }
                match result {
                    Ok(report) => row.rounds.push(report),
                    Err(problem) => {
                        ui.warn(format!("{} did not train {}: {problem}", row.program, model.name()));
                        row.problem = Some(problem);
                    }
                }
            }
        }
    }
    Ok(rows)
}

/// Runs a program once.
///
/// # Errors
/// A sentence: it did not start, failed, took too long, or trained something else.
fn time(args: &PeersArgs, program: &Program, model: Model, threads: usize) -> Result<Report, String> {
    let mut command = program.command(model, threads, args.samples);
    let ended = child::run(&mut command, Duration::from_secs(args.limit))
        .map_err(|e| format!("it cannot be started: {e}"))?
        .ok_or_else(|| format!("it took longer than {} s; `--limit` gives it more time", args.limit))?;
    if !ended.status.success() {
        return Err(format!("it ended with {}: {}", ended.status, program.complaint(&ended)));
    }
    let report = Report::parse(&ended.stdout)?;
    report.check(model, program.bf16, threads)?;
    Ok(report)
}

impl Measured for PeersResult {
    fn subject(&self) -> &Subject {
        &self.subject
    }

    fn lines(&self) -> Vec<(String, f64)> {
        let line = |row: &Row| Some((format!("{}, {}", row.program, row.model), row.min()?));
        self.rows.iter().filter_map(line).collect()
    }

    fn text(&self) -> String {
        table::markdown(self)
    }
}
