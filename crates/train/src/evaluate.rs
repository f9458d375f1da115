//! The loss of a model on data.

use crate::data::{self, Source, TokenFile};
use crate::demand::{self, Use};
use crate::error::TrainError;
use crate::formats::open_model;
use crate::model::{Precision, Start};
use crate::run::{RunError, Validation};
use crate::step::{Build, CompileEvent, CompileRequest, Network, compile};
use ane::{DeviceOptions, Pool};
use std::path::Path;

/// Options of an evaluation.
#[derive(Clone, Copy, Debug)]
pub struct EvaluateOptions {
    /// Number of compute threads; 0: as many as the machine runs at once.
    pub threads: usize,
    /// The engine.
    pub device: DeviceOptions,
    /// The plans of kernels to try.
    pub start: Start,
    /// The element type of programs and surfaces.
    pub storage: Precision,
    /// The largest number of windows, spread evenly; all if `None`.
    pub windows: Option<usize>,
}

/// The loss of the model at `dir` on all of `data`: text or tokens. `tokenizer`, if given, replaces the model's own.
/// `progress` gets the numbers of windows done and to do, `on_event` the progress of compiling.
///
/// # Errors
/// If `dir` is not a model, the data do not fit it, or `data` is text and there is no tokenizer.
pub fn evaluate(
    dir: &Path,
    tokenizer: Option<&Path>,
    data: &Path,
    options: &EvaluateOptions,
    on_event: &mut dyn FnMut(CompileEvent<'_>),
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Validation, RunError> {
    let model = open_model(dir, tokenizer)?;
    let (mut cfg, tokenizer) = (model.config, model.tokenizer);
    if cfg.task == crate::config::Task::Regression {
        return Err(RunError::NotLanguage { what: "data" });
    }
    demand::check(&cfg, Use::Infer)?;
    let pool = Pool::new(options.threads).map_err(crate::step::StepError::Threads)?;
    let folder = tempfile::tempdir().map_err(TrainError::io("create", &std::env::temp_dir()))?;
    let file = match Source::open(data)? {
        Source::Tokens(path) => TokenFile::open(&path, cfg.vocab)?,
        Source::Text(text) => {
            let Some(tokenizer) = &tokenizer else {
                return Err(RunError::no_tokenizer(dir, model.unfit));
            };
            let path = folder.path().join("tokens.bin");
            // A text shorter than the model's window is one window.
            let sizes = (cfg.vocab, 1);
            let count = pool.install(|| data::tokenize(&text, tokenizer, sizes, &path, &mut |_| {}))?;
            TokenFile::open_counted(&path, cfg.vocab, count)?
        }
    };
    cfg.seq = usize::try_from(file.len().saturating_sub(1)).unwrap_or(usize::MAX).clamp(1, cfg.seq);
    let split = file.split(cfg.seq, 0.0)?;
    let starts = data::windows(0..file.len(), split.seq, options.windows.unwrap_or(usize::MAX));
    let build = Build::infer(options.storage).on(options.device);
    let (wanted, start) = (options.device, options.start);
    let request = CompileRequest { cfg: &cfg, wanted, pool: &pool, build: &build, start };
    let network = compile(request, model.params, on_event)?;
    let lengths = tokenizer.map(|t| t.text_lengths());
    let total = starts.len();
    measure(&network, &file, &starts, lengths.as_deref(), 0, &mut |done| progress(done, total))
}

/// The mean loss of the windows that begin at `starts`.
pub(crate) fn measure(
    network: &Network,
    file: &TokenFile,
    starts: &[u64],
    lengths: Option<&[u32]>,
    step: u64,
    progress: &mut dyn FnMut(usize),
) -> Result<Validation, RunError> {
    let seq = network.cfg.seq;
    let mut tokens = vec![0; seq + 1];
    let (mut nats, mut bytes) = (0.0, 0u64);
    for (i, &start) in starts.iter().enumerate() {
        file.window(start, &mut tokens)?;
        if i == 0 && network.hides_infinity() {
            network.check_range(&tokens)?;
        }
        nats += network.evaluate(&tokens)? * seq as f64;
        if let Some(lengths) = lengths {
            let length = |&t: &u32| u64::from(lengths.get(t as usize).copied().unwrap_or(0));
            bytes += tokens[1..].iter().map(length).sum::<u64>();
        }
        progress(i + 1);
    }
    let loss = nats / (starts.len() * seq).max(1) as f64;
    let bits_per_byte = (bytes > 0).then(|| nats / std::f64::consts::LN_2 / bytes as f64);
    Ok(Validation { step, loss, perplexity: loss.exp(), bits_per_byte, windows: starts.len() })
}
