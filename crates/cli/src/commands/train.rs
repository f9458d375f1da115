//! `backpropane train`.

use super::engine::{EngineArgs, ScheduleArg, StorageArg, WeightsArgs, above_zero, not_negative, positive};
use super::generate::Stream;
use super::print_json;
use crate::error::CommandError;
use crate::interrupt::Interrupt;
use crate::progress::Progress;
use crate::report::{self, Report, Work};
use crate::traces::Traces;
use crate::ui::{Ui, program};
use crate::{plot, units};
use std::path::{Path, PathBuf};
use std::time::Instant;
use train::checkpoint::{RunFolder, write_atomically};
use train::config::{ModelConfig, Task};
use train::generate::GenerateOptions;
use train::run::{Metrics, Options, Overrides, Run, Settings, Validation};

/// The model that is trained if none is named.
const MODEL: &str = "shakespeare";
/// Where runs go if no folder is named.
const RUNS: &str = "runs";
/// Windows of the validations on the way: enough to see the course.
const VALIDATION: usize = 32;
/// Windows of the last validation: all, unless there are very many.
const FINAL_VALIDATION: usize = 4096;
/// Tokens of the sample at the end.
const SAMPLE: usize = 200;
/// What the sample begins with when the text is the bundled one.
const PROMPT: &str = "Romeo.\n";

/// Train a model on text
///
/// Without arguments: a small model on plays of Shakespeare that are built in, in about two minutes on two cores.
///
/// The run's folder receives the model as other programs read it (config.json, model.safetensors, tokenizer.json),
/// metrics.jsonl, loss.svg, and checkpoints to resume from. Ctrl-C finishes the step, saves, and ends with exit code
/// 130; a second one quits at once. Settings that are not given suit the model's size.
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
    /// folder, whose weights are the start [default: shakespeare]
    #[arg(long, value_name = "PRESET|FILE|DIR")]
    model: Option<String>,

    /// A text, a folder of .txt files, or a .bin file of 2-byte tokens [default: the plays that are built in]
    #[arg(long, value_name = "PATH")]
    data: Option<PathBuf>,

    /// A tokenizer.json, or llama2.c's tokenizer.bin [default: the model's, or one trained from the text]
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

    /// Element type of programs and surfaces; f32 is for debugging, on the software engine alone
    #[arg(long, value_name = "TYPE")]
    storage: Option<StorageArg>,

    #[command(flatten)]
    engine: EngineArgs,

    #[command(flatten)]
    weights: WeightsArgs,

    /// Go on from the newest checkpoint of the folder
    #[arg(long)]
    resume: bool,

    /// Write when each task of the last step ran, what lanes waited for and where they were idle, as a Chrome trace
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,

    /// How many of the last steps are in the trace
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = positive::<usize>, requires = "trace")]
    trace_steps: usize,

    /// Say nothing but errors and the report
    #[arg(long)]
    pub quiet: bool,

    /// Print the report as one JSON object
    #[arg(long)]
    json: bool,
}

pub fn run(ui: &Ui, args: &TrainArgs) -> Result<(), CommandError> {
    let interrupt = Interrupt::watch(ui)?;
    let options = options(ui, args)?;
    let mut traces = Traces::new(args.trace.as_deref(), args.trace_steps)?;
    let mut progress = Progress::new(ui);
    let mut run = Run::open(&options, &mut |notice| progress.notice(notice))?;
    progress.clear();
    let model = model_name(options.model.as_deref(), &options.out);
    header(ui, &model, &options, &run);
    if run.is_done() {
        ui.say(format!("all {} steps are taken; more with --steps", run.settings().steps));
        return Ok(());
    }

    progress.start(run.step_count(), run.settings().steps);
    let began = Instant::now();
    let (mut work, mut last) = (Work::default(), None);
    interrupt.guard();
    while !run.is_done() && !interrupt.asked() {
        let record = run.step()?;
        work.add(&record, run.tokens_per_step());
        traces.add(run.trace());
        progress.step(&record);
        if run.validation_due() && !run.is_done() {
            progress.busy("validating");
            progress.validation(&run.validate(VALIDATION)?);
        }
        if run.save_due() {
            progress.busy("saving");
            run.save()?;
        }
    }
    progress.busy("saving");
    run.save()?;
    traces.write()?;
    let stopped = interrupt.release() && !run.is_done();
    if stopped {
        progress.clear();
        draw(&model, &run)?;
        return Err(interrupted(&options.out, &run));
    }
    if has_held_out(&run) {
        progress.busy("validating");
        let validation = run.validate(FINAL_VALIDATION)?;
        progress.validation(&validation);
        last = Some(validation);
    }
    draw(&model, &run)?;
    work.wall_s = began.elapsed().as_secs_f64();
    progress.busy("writing a sample");
    let loss = progress.loss();
    let bundled = options.data.is_none() && !options.resume;
    let sample = sample(ui, args, &run, bundled, || progress.clear())?;
    progress.clear();
    let report = report(model, &run, work, loss, last, sample);
    if args.json { print_json(ui, &report) } else { ui.result(&report.text(ui)) }
}

/// What the library is asked for.
fn options(ui: &Ui, args: &TrainArgs) -> Result<Options, CommandError> {
    let out = match &args.out {
        Some(out) => out.clone(),
        None => choose_folder(ui, &model_name(args.model.as_deref(), Path::new(MODEL)), args.resume)?,
    };
    Ok(Options {
        model: args.model.clone(),
        data: args.data.clone(),
        tokenizer: args.tokenizer.clone(),
        out,
        resume: args.resume,
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
            storage: args.storage.map(Into::into),
        },
        threads: args.engine.threads,
        device: args.weights.of(args.engine.device()),
    })
}

/// What people call the model: the name of its preset, file or folder.
fn model_name(model: Option<&str>, otherwise: &Path) -> String {
    let path = model.map_or(otherwise, Path::new);
    let name = if path.is_dir() { path.file_name() } else { path.file_stem() };
    name.map_or_else(|| "model".to_owned(), |name| name.to_string_lossy().into_owned())
}

/// The folder of a run that was given none: the first of `runs/NAME`, `runs/NAME-2`, … with nothing in it; to resume,
/// the last with a checkpoint.
fn choose_folder(ui: &Ui, name: &str, resume: bool) -> Result<PathBuf, CommandError> {
    let first = Path::new(RUNS).join(name);
    let numbered = |n: u32| Path::new(RUNS).join(format!("{name}-{n}"));
    let mut folders = std::iter::once(first.clone()).chain((2..=u32::MAX).map(numbered));
    if resume {
        let mut last = None;
        for folder in folders.take_while(|folder| folder.exists()) {
            if RunFolder::at(&folder).newest()?.is_some() {
                last = Some(folder);
            }
        }
        return Ok(last.unwrap_or(first));
    }
    let free = |folder: &PathBuf| match std::fs::read_dir(folder) {
        Ok(mut entries) => entries.next().is_none(),
        Err(e) => e.kind() != std::io::ErrorKind::NotADirectory || !folder.exists(),
    };
    let folder = folders.find(free).unwrap_or_else(|| first.clone());
    if folder != first {
        let (first, folder) = (first.display(), folder.display());
        ui.say(format!("`{first}` is in use, so this run goes to `{folder}` (to go on: --resume --out DIR)"));
    }
    Ok(folder)
}

/// What is about to happen, in a few lines.
fn header(ui: &Ui, model: &str, options: &Options, run: &Run) {
    let (cfg, settings, device) = (run.config(), run.settings(), run.device());
    let mut rows = vec![("model", model_line(model, cfg))];
    let data = match (&options.data, run.data_tokens()) {
        (_, None) => "seeded synthetic activations".to_owned(),
        (data, Some((train, val))) => {
            let from = match data {
                Some(path) => path.display().to_string(),
                None if options.resume => "as before".to_owned(),
                None => "15 plays of Shakespeare, built in".to_owned(),
            };
            let (train, val) = (units::count(train as f64), units::count(val as f64));
            format!("{from}: {train} tokens to train on, {val} held out")
        }
    };
    rows.push(("data", data));
    rows.push((
        "engine",
        format!("{}: {}, {}", device.name, device.chip, units::plural(device.threads, "thread")),
    ));
    let kernels = run.kernels_per_layer();
    let dispatches = kernels * cfg.layers * settings.windows();
    let each =
        if run.has_dynamic_weights() { "for all layers, weights on their surfaces" } else { "a layer" };
    rows.push(("kernels", format!("{kernels} {each}, {} a step", units::plural(dispatches, "dispatch"))));
    rows.push(("step", step_line(cfg, settings, run.tokens_per_step())));
    let at =
        if run.step_count() > 0 { format!(", resumed at step {}", run.step_count()) } else { String::new() };
    rows.push(("folder", format!("{}{at}", options.out.display())));
    for (name, text) in rows {
        ui.say(format!("{} {text}", ui.dim(&format!("{name:<8}"))));
    }
}

fn model_line(model: &str, cfg: &ModelConfig) -> String {
    let parameters = units::count(cfg.param_count() as f64);
    let layers = units::plural(cfg.layers, "layer");
    let vocab = if cfg.vocab > 0 { format!(", vocabulary {}", cfg.vocab) } else { String::new() };
    format!("{model}: {parameters} parameters, {layers}, dim {}, {} heads{vocab}", cfg.dim, cfg.heads)
}

fn step_line(cfg: &ModelConfig, settings: &Settings, tokens: u64) -> String {
    let accum = if settings.accum > 1 { format!(" × {}", settings.accum) } else { String::new() };
    let (batch, seq, steps) = (settings.batch, cfg.seq, settings.steps);
    format!("{tokens} tokens: {batch}{accum} windows of {seq}; {steps} steps, learning rate {}", settings.lr)
}

/// Whether the data have a part that is not trained on.
fn has_held_out(run: &Run) -> bool {
    run.config().task == Task::Regression || run.data_tokens().is_some_and(|(_, held_out)| held_out > 0)
}

/// Writes `loss.svg`.
fn draw(model: &str, run: &Run) -> Result<(), CommandError> {
    let (steps, validations) = Metrics::read(&run.folder().dir().join("metrics.jsonl"))?;
    let (unit, cfg) = (loss_unit(run.config()), run.config());
    let title = format!("{model}: {} parameters", units::count(cfg.param_count() as f64));
    let svg = plot::loss_svg(&title, unit, &steps, &validations)
        .map_err(|e| CommandError::failure(format!("the loss cannot be drawn: {e}")))?;
    if let Some(svg) = svg {
        write_atomically(&run.folder().dir().join("loss.svg"), svg.as_bytes())?;
    }
    Ok(())
}

fn loss_unit(cfg: &ModelConfig) -> &'static str {
    match cfg.task {
        Task::Language => "nats per token",
        Task::Regression => "mean squared error",
    }
}

/// What was lost: nothing.
fn interrupted(out: &Path, run: &Run) -> CommandError {
    let (done, steps) = (run.step_count(), run.settings().steps);
    CommandError::interrupted(
        format!("stopped after step {done} of {steps}; everything is saved in `{}`", out.display()),
        format!("Go on with `{} train --resume --out {}`.", program(), out.display()),
    )
}

/// Lets the model write a little, for people to read as it comes.
fn sample(
    ui: &Ui,
    args: &TrainArgs,
    run: &Run,
    bundled: bool,
    first: impl FnOnce(),
) -> Result<Option<String>, CommandError> {
    let Some(generator) = run.generator() else { return Ok(None) };
    let prompt = if bundled { PROMPT } else { "" };
    let options =
        GenerateOptions { tokens: SAMPLE, temperature: 0.8, top_p: 0.95, seed: run.settings().seed };
    let mut text = prompt.to_owned();
    if args.json {
        generator.generate(prompt, &options, &mut |piece| {
            text.push_str(piece);
            true
        })?;
        return Ok(Some(text));
    }
    first();
    ui.result(&format!("\n{}", ui.dim("a sample")))?;
    let mut stream = Stream::stdout(ui);
    stream.write(prompt);
    generator.generate(prompt, &options, &mut |piece| {
        text.push_str(piece);
        stream.write(piece)
    })?;
    stream.end()?;
    ui.result("")?;
    Ok(Some(text))
}

fn report(
    model: String,
    run: &Run,
    work: Work,
    loss: Option<f64>,
    validation: Option<Validation>,
    sample: Option<String>,
) -> Report {
    let (memory, device, folder) = (run.memory(), run.device(), run.folder());
    const FILES: [&str; 6] =
        ["model.safetensors", "config.json", "tokenizer.json", "tokenizer.bin", "metrics.jsonl", "loss.svg"];
    let files = FILES.iter().filter(|name| folder.dir().join(name).exists()).map(|&name| name.to_owned());
    Report {
        model,
        parameters: run.config().param_count(),
        device: device.name.clone(),
        chip: device.chip.clone(),
        threads: device.threads,
        kernels_per_layer: run.kernels_per_layer(),
        steps: run.step_count(),
        work,
        loss,
        validation,
        memory: report::Memory {
            weights: memory.weights,
            optimizer: memory.optimizer,
            surfaces: memory.surfaces,
            kernels: memory.kernels,
            shared: memory.shared,
            process_peak: report::process_peak(),
        },
        folder: folder.dir().to_owned(),
        files: files.collect(),
        sample,
    }
}
