//! The end of a run: chart of the loss, sample, report.

use super::args::TrainArgs;
use crate::commands::generate::Stream;
use crate::error::CommandError;
use crate::report::{self, Report, Work};
use crate::ui::{Ui, resume_command};
use crate::{plot, units};
use std::path::{Path, PathBuf};
use train::config::{ModelConfig, Task};
use train::fs::write_atomically;
use train::generate::GenerateOptions;
use train::run::{Metrics, Run, RunError, Validation, Worsened};
use train::sample::SamplingOptions;

/// Tokens of the sample at the end.
const SAMPLE: usize = 200;
/// The prompt of the sample for the built-in text.
const PROMPT: &str = "Romeo.\n";

/// Whether there are data for validation.
pub fn has_held_out(run: &Run) -> bool {
    run.config().task == Task::Regression || run.data_tokens().is_some_and(|(_, held_out)| held_out > 0)
}

/// The path of the loss chart.
fn picture_of(run: &Run) -> PathBuf {
    run.folder().dir().join("loss.svg")
}

/// The loss chart as SVG; `None` without any loss.
fn picture(run: &Run) -> Result<Option<String>, CommandError> {
    let (steps, validations) = Metrics::read(&run.folder().metrics())?;
    let (unit, cfg) = (loss_unit(run.config()), run.config());
    let title = format!("{}: {} parameters", run.name(), units::count(cfg.param_count() as f64));
    plot::loss_svg(&title, unit, &steps, &validations)
        .map_err(|e| CommandError::failure(format!("the loss cannot be drawn: {e}")))
}

/// Writes `loss.svg`.
pub fn draw(run: &Run) -> Result<(), CommandError> {
    if let Some(svg) = picture(run)? {
        write_atomically(&picture_of(run), svg.as_bytes())?;
    }
    Ok(())
}

/// Whether model, last validation (on at most `windows` windows) and loss chart of the last step exist.
pub fn is_finished(run: &Run, windows: usize) -> Result<bool, CommandError> {
    let drawn = || -> Result<bool, CommandError> {
        Ok(picture(run)?
            .is_none_or(|svg| std::fs::read(picture_of(run)).is_ok_and(|there| there == svg.as_bytes())))
    };
    let validated = || run.validation(windows).is_some_and(|v| v.loss.is_finite());
    Ok(run.is_saved() && run.is_measured() && (!has_held_out(run) || validated()) && drawn()?)
}

fn loss_unit(cfg: &ModelConfig) -> &'static str {
    match cfg.task {
        Task::Language => "nats per token",
        Task::Regression => "mean squared error",
    }
}

/// The outcome of an interrupted run after saving.
pub fn interrupted(out: &Path, done: u64, steps: u64) -> CommandError {
    CommandError::interrupted(
        format!("stopped after step {done} of {steps}; everything is saved in `{}`", out.display()),
        format!("Go on with `{}`.", resume_command(out)),
    )
}

/// Adds a hint how to continue, if the training has diverged.
pub fn diverged(error: RunError, run: &Run) -> CommandError {
    let command = resume_command(run.folder().dir());
    let hint = error.fault().map(|(fault, saved)| fault.hint(saved, &command));
    let error = CommandError::from(error);
    match hint {
        Some(hint) => error.with_hint(hint),
        None => error,
    }
}

/// Warns of a loss that ends above that of the first step.
pub fn warn_of_loss(ui: &Ui, run: &Run, validation: Option<&Validation>) -> Result<(), CommandError> {
    if let Some(Worsened { first, last, fault }) = run.worsened(validation.map(|v| v.loss))? {
        let flags = fault.flags().unwrap_or_default();
        ui.warn(format!(
            "the loss ends at {last:.3}, above the {first:.3} of the first step; start again with {}, such as `{flags}`",
            fault.remedy()
        ));
    }
    Ok(())
}

/// Generates a short text and streams it.
pub fn sample(
    ui: &Ui,
    args: &TrainArgs,
    run: &Run,
    bundled: bool,
    first: impl FnOnce(),
) -> Result<Option<String>, CommandError> {
    let prompt = if bundled { PROMPT } else { "" };
    let Some(generator) = run.generator() else { return Ok(None) };
    let (prompt, tokens) = match run.example_prompt()? {
        Some(tokens) => (generator.text(&tokens), tokens),
        None => match generator.encode(prompt) {
            Ok(tokens) => (prompt.to_owned(), tokens),
            Err(_) => return Ok(None),
        },
    };
    let seed = run.settings().seed;
    let sampling = SamplingOptions { temperature: 0.8, top_p: 0.95, seed, ..SamplingOptions::default() };
    let options = GenerateOptions { tokens: SAMPLE, sampling, ..GenerateOptions::default() };
    let mut text = prompt.clone();
    if args.json {
        generator.complete(&tokens, &options, &mut |piece| {
            text.push_str(piece);
            true
        })?;
        return Ok(Some(text));
    }
    first();
    ui.result(&format!("\n{}", ui.dim("a sample")))?;
    let mut stream = Stream::stdout(ui);
    stream.write(&prompt);
    generator.complete(&tokens, &options, &mut |piece| {
        text.push_str(piece);
        stream.write(piece)
    })?;
    stream.end()?;
    ui.result("")?;
    Ok(Some(text))
}

/// The report of a finished run.
pub fn report(
    run: &Run,
    work: Work,
    loss: Option<f64>,
    validation: Option<Validation>,
    (sample, is_chat): (Option<String>, bool),
) -> Report {
    let (memory, device, folder) = (run.memory(), run.device(), run.folder());
    const FILES: [&str; 8] = [
        "model.safetensors",
        "adapter_model.safetensors",
        "adapter_config.json",
        "config.json",
        "tokenizer.json",
        "tokenizer.bin",
        "metrics.jsonl",
        "loss.svg",
    ];
    let files = FILES.iter().filter(|name| folder.dir().join(name).exists()).map(|&name| name.to_owned());
    Report {
        model: run.name().to_owned(),
        parameters: run.config().param_count(),
        device: device.name.clone(),
        chip: device.chip.clone(),
        threads: device.threads,
        kernels_per_layer: run.kernels_per_layer(),
        steps: run.step_count(),
        work,
        loss,
        validation,
        memory: report::MemoryReport {
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
        is_chat,
    }
}
