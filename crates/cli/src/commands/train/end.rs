//! What a run leaves behind when it ends: a picture, a sample, the report.

use super::TrainArgs;
use crate::commands::generate::Stream;
use crate::error::CommandError;
use crate::report::{self, Report, Work};
use crate::ui::{Ui, program};
use crate::{plot, units};
use std::path::Path;
use train::checkpoint::write_atomically;
use train::config::{ModelConfig, Task};
use train::generate::GenerateOptions;
use train::run::{Metrics, Run, Validation};

/// Tokens of the sample at the end.
const SAMPLE: usize = 200;
/// What the sample begins with when the text is the bundled one.
const PROMPT: &str = "Romeo.\n";

/// Whether the data have a part that is not trained on.
pub fn has_held_out(run: &Run) -> bool {
    run.config().task == Task::Regression || run.data_tokens().is_some_and(|(_, held_out)| held_out > 0)
}

/// Writes `loss.svg`.
pub fn draw(model: &str, run: &Run) -> Result<(), CommandError> {
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
pub fn interrupted(out: &Path, done: u64, steps: u64) -> CommandError {
    CommandError::interrupted(
        format!("stopped after step {done} of {steps}; everything is saved in `{}`", out.display()),
        format!("Go on with `{} train --resume --out {}`.", program(), out.display()),
    )
}

/// Lets the model write a little, for people to read as it comes.
pub fn sample(
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

pub fn report(
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
