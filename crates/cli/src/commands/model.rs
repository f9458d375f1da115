//! The flags that name a model: its folder or file, and adapters to merge into it; and opening it to generate text.

use super::engine::ModelArgs;
use crate::error::CommandError;
use crate::ladder::Ladder;
use crate::output::model_help;
use crate::ui::Ui;
use crate::unread;
use std::path::{Path, PathBuf};
use train::formats::{AdapterRef, ModelRef};
use train::generate::{self, Context, OpenOptions, Writer};

/// A model and its adapters.
#[derive(clap::Args, Clone, Debug)]
pub struct NamedModel {
    #[arg(long, value_name = "DIR|FILE", required_unless_present = "adapter",
        help = model_help("The folder of a run or model (config.json, model.safetensors and a tokenizer)"))]
    pub model: Option<PathBuf>,

    #[command(flatten)]
    pub adapters: AdapterArgs,
}

/// Adapters to merge.
#[derive(clap::Args, Clone, Debug)]
pub struct AdapterArgs {
    /// Adapters to merge into the model: folders of PEFT's or mlx-lm's, or of runs with --lora; several as `a=0.5,b`, each with
    /// its share. Without --model, into the model that the first one names
    #[arg(long, value_name = "DIR[=F],…", value_delimiter = ',', value_parser = adapter)]
    pub adapter: Vec<AdapterRef>,
}

impl NamedModel {
    /// The model with its adapters.
    pub fn get(&self) -> ModelRef<'_> {
        ModelRef { path: self.model.as_deref(), adapters: &self.adapters.adapter }
    }

    /// Opens it to continue `prompt`; warns of what is not read of its configuration, and shows progress.
    pub fn open(
        &self,
        ui: &Ui,
        tokenizer: Option<&Path>,
        on: ModelArgs,
        prompt: &str,
        context: Context,
    ) -> Result<Writer, CommandError> {
        unread::note(ui, self.get().shown());
        let ladder = Ladder::here();
        let options = OpenOptions { compute: on.compute(ladder.known()), context };
        Ok(generate::open(self.get(), tokenizer, prompt, &options, &mut |event| ladder.report(ui, event))?)
    }
}

/// Parses `DIR` or `DIR=SHARE`.
fn adapter(text: &str) -> Result<AdapterRef, String> {
    let whole = || AdapterRef { path: text.into(), weight: 1.0 };
    // A folder may have such a name.
    let Some((path, share)) = text.rsplit_once('=').filter(|_| !std::path::Path::new(text).exists()) else {
        return Ok(whole());
    };
    match share.parse::<f64>() {
        Ok(weight) if weight.is_finite() => Ok(AdapterRef { path: path.into(), weight }),
        _ => Err(format!("the share `{share}` is not a number")),
    }
}
