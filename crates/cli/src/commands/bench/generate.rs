//! `backpropane bench generate`.

use super::output::{Measured, OutputArgs, Subject};
use crate::commands::engine::{ModelArgs, positive};
use crate::error::CommandError;
use crate::report::process_peak;
use crate::ui::Ui;
use crate::units;
use ::bench::{GenerateBenchOptions, GenerateTimes, generation};
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::time::Duration;
use train::config::{ModelConfig, init_params};
use train::formats::{QuantWeights, open_model, open_quantised};

/// Time text generation: the first token, and every further one
///
/// Prompts are pseudo-random tokens, the likeliest token is taken each time, keys and values are kept. The share of memory bandwidth is what
/// reading each weight and the kept keys and values once takes, of the time of a token; bandwidth is measured by reading 256 MiB.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  backpropane bench generate --model SmolLM2-135M.gguf
  backpropane bench generate --model stories110m --prompt-tokens 128      a preset, with random weights
  backpropane bench generate --model SmolLM2-135M.gguf --batch 8          eight conversations together
  backpropane bench generate --model SmolLM2-135M.gguf --json > before.json
  backpropane bench generate --model SmolLM2-135M.gguf --compare before.json")]
pub struct GenerateArgs {
    /// A preset, or a model: a folder or a file
    #[arg(long, value_name = "MODEL", default_value = "stories110m")]
    model: String,

    /// Tokens of the prompt
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = positive::<usize>)]
    prompt_tokens: usize,

    /// Tokens to generate
    #[arg(long, value_name = "N", default_value_t = 128, value_parser = positive::<usize>)]
    tokens: usize,

    /// Conversations that are decoded together
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = positive::<usize>)]
    batch: usize,

    /// Repetitions, after one that is not counted
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = positive::<usize>)]
    samples: usize,

    #[command(flatten)]
    on: ModelArgs,

    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, Serialize, Deserialize)]
struct GenerateResult {
    #[serde(flatten)]
    subject: Subject,
    chip: String,
    prompt_tokens: usize,
    tokens: usize,
    samples: usize,
    /// Medians.
    first_ms: f64,
    token_ms: f64,
    prefill_tokens_per_second: f64,
    decode_tokens_per_second: f64,
    weight_bytes: usize,
    cache_bytes: usize,
    bandwidth: f64,
    bandwidth_share: f64,
    process_peak: Option<u64>,
}

pub fn run(ui: &Ui, args: &GenerateArgs) -> Result<(), CommandError> {
    args.output.check("bench generate")?;
    let (config, weights) = match ModelConfig::preset(&args.model) {
        Some(config) => {
            let params = init_params(&config, 1);
            (config, (params, QuantWeights::new()))
        }
        None => {
            let path = Path::new(&args.model);
            let model = open_model(path, None)?;
            (model.config, (model.params, open_quantised(path)?))
        }
    };
    if config.vocab == 0 {
        return Err(CommandError::input(
            format!("`{}` is not trained on text: it generates none", args.model),
            "Name a language model, such as `stories110m`.",
        ));
    }
    let options = GenerateBenchOptions {
        threads: args.on.engine.threads,
        device: args.on.device(),
        storage: args.on.storage(),
        prompt: args.prompt_tokens,
        tokens: args.tokens,
        batch: args.batch,
        samples: args.samples,
    };
    let bar = ui.steps("generating");
    let times = generation(&config, weights, &options, &mut |done, total| bar.at(done, total))?;
    drop(bar);
    args.output.show(ui, &summary(args, &times))
}

fn summary(args: &GenerateArgs, times: &GenerateTimes) -> GenerateResult {
    let median = |times: &[Duration]| {
        let mut seconds: Vec<f64> = times.iter().map(Duration::as_secs_f64).collect();
        seconds.sort_by(f64::total_cmp);
        seconds.get(seconds.len() / 2).copied().unwrap_or(f64::NAN)
    };
    let (first, token) = (median(&times.first), median(&times.token));
    let read = (times.weight_bytes + args.batch * times.cache_bytes) as f64;
    let batch = if args.batch > 1 { format!(", {} conversations", args.batch) } else { String::new() };
    let sizes = format!(", {} tokens after {}", args.tokens, args.prompt_tokens);
    GenerateResult {
        subject: Subject {
            command: "bench generate".to_owned(),
            model: args.model.clone(),
            threads: times.device.threads,
            math: times.device.math.name().to_owned(),
            variant: super::model::storage_name(args.on.storage()) + &sizes + &batch,
        },
        chip: times.device.chip.clone(),
        prompt_tokens: args.prompt_tokens,
        tokens: args.tokens,
        samples: args.samples,
        first_ms: first * 1e3,
        token_ms: token * 1e3,
        prefill_tokens_per_second: args.prompt_tokens as f64 / first,
        decode_tokens_per_second: args.batch as f64 / token,
        weight_bytes: times.weight_bytes,
        cache_bytes: times.cache_bytes,
        bandwidth: times.bandwidth,
        bandwidth_share: read / times.bandwidth / token,
        process_peak: process_peak(),
    }
}

impl Measured for GenerateResult {
    fn subject(&self) -> &Subject {
        &self.subject
    }

    fn lines(&self) -> Vec<(String, f64)> {
        vec![("first token".to_owned(), self.first_ms), ("a further token".to_owned(), self.token_ms)]
    }

    fn text(&self) -> String {
        let s = &self.subject;
        format!(
            "{} on {}, {}, {}\n\
             first token  {:.1} ms: a prompt of {} tokens at {:.0} tokens/s\n\
             further ones {:.2} ms: {:.1} tokens/s, {:.0} % of memory bandwidth ({:.1} GB/s measured)\n\
             memory       {} of weights are read for a token, {} of keys and values, process peak {}",
            s.model,
            self.chip,
            units::plural(s.threads, "thread"),
            s.variant,
            self.first_ms,
            self.prompt_tokens,
            self.prefill_tokens_per_second,
            self.token_ms,
            self.decode_tokens_per_second,
            100.0 * self.bandwidth_share,
            self.bandwidth / 1e9,
            units::bytes(self.weight_bytes as u64),
            units::bytes(self.cache_bytes as u64),
            self.process_peak.map_or("unknown".to_owned(), units::bytes),
        )
    }
}
