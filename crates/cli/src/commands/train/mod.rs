//! `backpropane train`.

mod end;
mod folder;

use super::engine::{ModelArgs, ScheduleArg, above_zero, not_negative, positive};
use super::print_json;
use crate::error::CommandError;
use crate::header;
use crate::interrupt::Interrupt;
use crate::ladder::Ladder;
use crate::progress::Progress;
use crate::report::Work;
use crate::restart::{ResumeState, Timestamp};
use crate::traces::Traces;
use crate::ui::Ui;
use end::{diverged, draw, has_held_out, interrupted, is_finished, report, sample};
use folder::choose_folder;
use std::path::{Path, PathBuf};
use std::time::Duration;
use train::data::Source;
use train::run::{BudgetExhausted, Notice, Options, Overrides, Run, RunError, Saved, Unfit, model_name};

/// The model that is trained if none is named.
const MODEL: &str = "shakespeare";
/// Windows of the validations on the way: enough to see the course.
const VALIDATION: usize = 32;
/// Windows of the last validation: all, unless there are very many.
const FINAL_VALIDATION: usize = 4096;

/// Train a model on text
///
/// Without arguments: a small model on plays of Shakespeare that are built in, in about two minutes on two cores.
///
/// The run's folder receives the model as other programs read it (config.json, model.safetensors, tokenizer.json),
/// metrics.jsonl, loss.svg, and checkpoints to resume from. Ctrl-C finishes the step, saves, and ends with exit code
/// 130; a second one quits at once. Settings that are not given suit the model's size.
///
/// Where an engine lets a process compile only so many programs (--compile-budget), the run saves and goes on in a new
/// process with the bits it would have had, as often as it must; it shows as one run.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  backpropane train                                       the default, into runs/shakespeare
  backpropane train --data novels/ --out runs/novels      your own text: a file or a folder
  backpropane train --resume --out runs/novels            go on after Ctrl-C, same schedule
  backpropane train --model runs/novels --data poems.txt  start from trained weights
  backpropane train --model layer768 --steps 100          one layer alone, on synthetic data
  backpropane train --steps 20 --trace steps.json --trace-steps 3
  backpropane train --model stories15m --data stories.bin --tokenizer tokenizer.bin")]
pub struct TrainArgs {
    /// A preset (tiny, shakespeare, layer768, stories15m, stories42m, stories110m), a .toml or .json file, or a
    /// folder or llama2.c's .bin, whose weights are the start [default: shakespeare]
    #[arg(long, value_name = "PRESET|FILE|DIR")]
    model: Option<String>,

    /// A text, a folder of .txt files, or tokens: a .bin file of 2-byte ones (4-byte ones for a vocabulary above 65536)
    /// or of llm.c, or a .npy file [default: the plays that are built in]
    #[arg(long, value_name = "PATH")]
    data: Option<PathBuf>,

    /// A tokenizer.json, or llama2.c's tokenizer.bin [default: the model's; a new model's is trained from the text]
    #[arg(long, value_name = "PATH")]
    tokenizer: Option<PathBuf>,

    /// The run's folder [default: a new one in runs/]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,

    /// Optimizer steps of the whole run, also with --resume
    #[arg(long, value_name = "N", value_parser = positive::<u64>)]
    steps: Option<u64>,

    /// Tokens of a window
    #[arg(long, value_name = "N", value_parser = positive::<usize>)]
    seq: Option<usize>,

    /// Windows of a micro-batch
    #[arg(long, value_name = "N", value_parser = positive::<usize>)]
    batch: Option<usize>,

    /// Micro-batches of an optimizer step, whose gradients are averaged
    #[arg(long, value_name = "N", value_parser = positive::<usize>)]
    accum: Option<usize>,

    /// The highest learning rate
    #[arg(long, value_name = "F", value_parser = above_zero::<f64>)]
    lr: Option<f64>,

    /// Steps in which the learning rate rises from 0
    #[arg(long, value_name = "N")]
    warmup: Option<u32>,

    /// How the learning rate goes on: down to a tenth, or level
    #[arg(long, value_name = "KIND")]
    schedule: Option<ScheduleArg>,

    /// AdamW's decoupled weight decay, of matrices
    #[arg(long, value_name = "F", value_parser = not_negative::<f32>)]
    weight_decay: Option<f32>,

    /// The largest global norm of the gradient; 0: any
    #[arg(long, value_name = "F", value_parser = not_negative::<f64>)]
    clip: Option<f64>,

    /// The factor that keeps small gradients in the range of fp16
    #[arg(long, value_name = "F", value_parser = above_zero::<f32>)]
    loss_scale: Option<f32>,

    /// Steps between checkpoints; 0: only at the end
    #[arg(long, value_name = "N")]
    save_every: Option<u64>,

    /// What all randomness follows from: same seed, same bits
    #[arg(long, value_name = "N")]
    seed: Option<u64>,

    #[command(flatten)]
    on: ModelArgs,

    /// Go on from the newest checkpoint of the folder
    #[arg(long)]
    resume: bool,

    /// Write when each task of the last step ran, what lanes waited for and where they were idle, as a Chrome trace
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,

    /// How many of the last steps are in the trace, of those that one process took
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = positive::<usize>, requires = "trace")]
    trace_steps: usize,

    /// Print what a step's time went into: engine, conversion, host, waiting, optimizer, compiling; metrics.jsonl has
    /// it of each step, the report with --json of all
    #[arg(long)]
    profile: bool,

    /// Say nothing but errors and the report
    #[arg(long)]
    pub quiet: bool,

    /// Print the report as one JSON object
    #[arg(long)]
    json: bool,
}

/// How a process ends its part of a run.
enum Outcome {
    /// It was the last one.
    Done,
    /// It has compiled what it may: the run goes on in a new process.
    Restart(Box<ResumeState>),
}

pub fn run(ui: &Ui, args: &TrainArgs) -> Result<(), CommandError> {
    let before = ResumeState::take()?;
    let interrupt = Interrupt::watch(ui, before.is_some())?;
    match train(ui, args, &interrupt, before.as_ref())? {
        Outcome::Done => Ok(()),
        // What the run held is gone by now: an engine has unloaded its programs.
        Outcome::Restart(next) => {
            interrupt.leave();
            Err(next.start(ui))
        }
    }
}

/// Trains as long as this process can; `before` is what the one before it says, if there was one.
fn train(
    ui: &Ui,
    args: &TrainArgs,
    interrupt: &Interrupt,
    before: Option<&ResumeState>,
) -> Result<Outcome, CommandError> {
    let ladder = Ladder::here();
    let options = options(ui, args, before)?;
    let mut traces = Traces::new(args.trace.as_deref(), args.trace_steps)?;
    let mut progress = Progress::new(ui);
    let silent = before.is_some() && !ui.is_watched();
    let opened = Run::open_knowing(&options, ladder.known(), &mut |notice| match notice {
        Notice::Kernels(heard) => ladder.hear(ui, heard),
        notice if !silent || matches!(notice, Notice::Warning(_)) => progress.notice(notice),
        _ => {}
    });
    progress.clear();
    let mut run = match (opened, before) {
        (Ok(run), _) => run,
        (Err(e), Some(before)) if e.is_retryable() => {
            if interrupt.release() {
                return Err(interrupted(&options.out, before.step, before.steps));
            }
            return before.clone().again(&options.out, e.into()).map(|next| Outcome::Restart(next.into()));
        }
        (Err(e), _) => return Err(e.into()),
    };
    let model = run.name().to_owned();
    let bundled = before.map_or(options.data.is_none() && !options.resume, |b| b.bundled);
    let (mut work, mut last, mut began) = (Work::default(), None, Timestamp::now());
    match before {
        Some(before) => {
            (work, began) = (before.work.clone(), before.began);
            let took = before.left.elapsed();
            work.restart_s += took;
            run.note_restart(Duration::from_secs_f64(took));
            progress.go_on(&before.pace, run.step_count(), run.settings().steps);
        }
        None => {
            header::say(ui, &model, &options, &run);
            let steps = run.settings().steps;
            if run.is_done() && is_finished(&run, FINAL_VALIDATION)? {
                ui.say(format!("all {steps} steps are taken; more with --steps"));
                return Ok(Outcome::Done);
            }
            if run.is_done() {
                ui.say(format!("all {steps} steps are taken; what was not written after them follows"));
            }
            progress.start(run.step_count(), run.settings().steps);
        }
    }
    interrupt.guard();
    while run.spent().is_none() && !interrupt.asked() {
        // What is due after a step, whichever process took it.
        if run.validation_due() && !run.is_done() {
            progress.busy("validating");
            let validation = run.validate(VALIDATION);
            progress.validation(&validation.map_err(|e| diverged(e, &run))?);
        }
        if run.save_due() {
            progress.busy("saving");
            // After the last step the reason is an error.
            if let Saved::Withheld(unfit) = run.save()?
                && !run.is_done()
            {
                ui.say(format!("step {}: no checkpoint, as {unfit}", run.step_count()));
            }
        }
        if run.is_done() {
            break;
        }
        let record = run.step().map_err(|e| diverged(e, &run))?;
        work.add(&record, run.tokens_per_step());
        traces.add(run.trace());
        progress.step(&record);
    }
    let left = Timestamp::now();
    progress.busy("saving");
    run.save_last().map_err(|e| diverged(e, &run))?;
    traces.write()?;
    if interrupt.release() && (run.spent().is_some() || !run.is_done()) {
        progress.clear();
        draw(&run)?;
        return Err(interrupted(&options.out, run.step_count(), run.settings().steps));
    }
    if let Some(spent) = run.spent() {
        ResumeState::check_progress(before, run.step_count())?;
        progress.clear();
        if let (BudgetExhausted::Refused { said }, 0) = (spent, work.restarts) {
            ui.say(format!("{said}; the run goes on in a new process"));
        }
        work.restarts += 1;
        let out = args.out.is_none().then(|| options.out.to_string_lossy().into_owned());
        let (step, steps, pace) = (run.step_count(), run.settings().steps, progress.pace());
        let next = ResumeState { out, bundled, step, steps, failures: 0, began, left, work, pace };
        return Ok(Outcome::Restart(next.into()));
    }
    if has_held_out(&run) {
        progress.busy("validating");
        let validation = match run.validation(FINAL_VALIDATION) {
            Some(made) => made,
            None => {
                let made = run.validate(FINAL_VALIDATION);
                made.map_err(|e| diverged(e, &run))?
            }
        };
        progress.validation(&validation);
        last = Some(validation);
    }
    draw(&run)?;
    if let Some(loss) = last.as_ref().map(|v| v.loss).filter(|loss| !loss.is_finite()) {
        let (step, saved) = (run.step_count(), Some(run.step_count()));
        let unfit = Unfit::Validation { loss, found: None };
        return Err(diverged(RunError::Diverged { step, unfit, saved }, &run));
    }
    work.wall_s = began.elapsed();
    progress.busy("writing a sample");
    let loss = progress.loss();
    let sample = sample(ui, args, &run, bundled, || progress.clear())?;
    progress.clear();
    let report = report(model, &run, work, loss, last, sample);
    if args.json {
        print_json(ui, &report)?;
    } else {
        ui.result(&report.text(ui))?;
        if args.profile {
            ui.result(&format!("\n{}", report.work.profile()))?;
        }
    }
    Ok(Outcome::Done)
}

/// What the library is asked for.
fn options(ui: &Ui, args: &TrainArgs, before: Option<&ResumeState>) -> Result<Options, CommandError> {
    let out = match (before, &args.out) {
        (Some(before), out) => before.folder(out.as_deref()),
        (None, Some(out)) => out.clone(),
        (None, None) => choose_folder(ui, &model_name(args.model.as_deref(), Path::new(MODEL)), args.resume)?,
    };
    // The folder of a run that goes on has its model, and its text as tokens.
    let (mut model, mut data) = (args.model.clone(), args.data.clone());
    if before.is_some() {
        model = None;
        data = data.filter(|path| !matches!(Source::open(path), Ok(Source::Text(_))));
    }
    Ok(Options {
        model,
        data,
        tokenizer: args.tokenizer.clone(),
        out,
        resume: args.resume || before.is_some(),
        overrides: Overrides {
            steps: args.steps,
            seq: args.seq,
            batch: args.batch,
            accum: args.accum,
            lr: args.lr,
            warmup: args.warmup,
            schedule: args.schedule.map(Into::into),
            weight_decay: args.weight_decay,
            clip: args.clip,
            loss_scale: args.loss_scale,
            save_every: args.save_every,
            seed: args.seed,
            storage: args.on.given_storage(),
            math: args.on.engine.math,
            // A new process of a run takes the plan of the one before it.
            norms: args.on.given_norms().filter(|_| before.is_none()),
        },
        threads: args.on.engine.threads,
        device: args.on.device(),
    })
}
