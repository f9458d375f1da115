//! `backpropane grads`.

use super::engine::{ModelArgs, above_zero};
use super::model::NamedModel;
use crate::error::CommandError;
use crate::ladder::Ladder;
use crate::ui::Ui;
use std::path::PathBuf;
use train::grads::{GradsOptions, grads};
use train::run::CompileEvent;

/// Run one forward and backward pass and write its gradients
///
/// For comparison with another implementation: with the same weights and tokens, compare the loss, the logits and the
/// gradient of every weight.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  backpropane grads --model llama/ --tokens tokens.safetensors --out grads.safetensors
  backpropane grads --model llama/ --tokens tokens.safetensors --out exact.safetensors --storage f32

Files:
  llama/              config.json and model.safetensors, with Hugging Face's keys and names
  tokens.safetensors  a tensor `tokens`, int32 [1, S + 1]: inputs and, one later, targets
  grads.safetensors   `loss`, `logits`, and `grad.NAME` for every weight NAME")]
pub struct GradsArgs {
    #[command(flatten)]
    model: NamedModel,

    /// The file with the tokens
    #[arg(long, value_name = "FILE")]
    tokens: PathBuf,

    /// The file to write; an existing one is replaced
    #[arg(long, value_name = "FILE")]
    out: PathBuf,

    /// Loss scale, which keeps small gradients in the range of fp16; the written gradients are divided by it
    #[arg(long, value_name = "F", default_value_t = 256.0, value_parser = above_zero::<f32>)]
    loss_scale: f32,

    #[command(flatten)]
    on: ModelArgs,
}

pub fn run(ui: &Ui, args: &GradsArgs) -> Result<(), CommandError> {
    let ladder = Ladder::here();
    let options = GradsOptions { compute: args.on.compute(ladder.known()), loss_scale: args.loss_scale };
    let on_event = &mut |event: CompileEvent<'_>| ladder.report(ui, event);
    crate::unread::note(ui, args.model.get().shown());
    let loss = grads(args.model.get(), &args.tokens, &args.out, &options, on_event)?;
    ui.result(&format!("loss {loss:.6}"))?;
    ui.say(format!("wrote gradients to `{}`", args.out.display()));
    Ok(())
}
