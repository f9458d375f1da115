//! The loss of a model on data.

mod bytes;
mod examples;
mod task;

use crate::data::{self, ExampleWindows, LossOn, Source, TokenFile};
use crate::demand::{self, Use};
use crate::error::TrainError;
use crate::formats::ModelRef;
use crate::run::{ExampleOptions, RunError, Validation};
use crate::step::{Build, CompileEvent, ComputeOptions, Network};
use crate::tokenizer::Tokenizer;
use bytes::{bytes_of, per_byte};
use examples::ExampleRequest;
use serde::Serialize;
use std::path::Path;
use task::Question;

pub(crate) use examples::measure_examples;
pub use task::TaskScore;

/// Options of an evaluation.
#[derive(Clone, Debug)]
pub struct EvaluateOptions {
    /// Where and how the model computes.
    pub compute: ComputeOptions,
    /// The largest number of windows, spread evenly; all if `None`.
    pub windows: Option<usize>,
    /// The distance of overlapping windows for a second figure, at most the model's window; none if `None`.
    pub stride: Option<usize>,
    /// How lines of JSON are read.
    pub examples: ExampleOptions,
    /// What counts in them.
    pub loss_on: LossOn,
}

/// The result of an evaluation.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Evaluation {
    /// The loss on windows that do not overlap.
    #[serde(flatten)]
    pub plain: Validation,
    /// The loss on overlapping windows, if a stride was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sliding: Option<Sliding>,
}

/// The loss on overlapping windows: each token is predicted once, after the first window from at least S − stride tokens.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Sliding {
    /// The distance between the beginnings of windows.
    pub stride: usize,
    /// Mean loss: nats per token.
    pub loss: f64,
    /// `exp(loss)`.
    pub perplexity: f64,
    /// Bits per byte of the predicted text; `None` if the text of the tokens is unknown.
    pub bits_per_byte: Option<f64>,
    /// Number of windows.
    pub windows: usize,
}

/// The loss of the model at `dir` on all of `data`: text, examples or tokens. `tokenizer`, if given, replaces the model's own.
/// `progress` gets the numbers of windows done and to do, `on_event` the progress of compiling.
///
/// # Errors
/// If it is not a model, the data do not fit it, or `data` is text and there is no tokenizer.
pub fn evaluate<'m>(
    model: impl Into<ModelRef<'m>>,
    tokenizer: Option<&Path>,
    data: &Path,
    options: &EvaluateOptions,
    on_event: &mut dyn FnMut(CompileEvent<'_>),
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Evaluation, RunError> {
    let from = model.into();
    let model = from.open(tokenizer)?;
    let (mut cfg, tokenizer) = (model.config, model.tokenizer);
    if cfg.task == crate::config::Task::Regression {
        return Err(RunError::NotLanguage { what: "data" });
    }
    demand::check(&cfg, Use::Infer)?;
    let pool = options.compute.pool()?;
    let folder = tempfile::tempdir().map_err(TrainError::io("create", &std::env::temp_dir()))?;
    let lengths = tokenizer.as_ref().map(Tokenizer::text_lengths);
    let source = Source::open(data)?;
    let tokens = folder.path().join("tokens.bin");
    let data = match (source, &tokenizer) {
        (Source::Tokens(path), _) => Data::Tokens(TokenFile::open(&path, cfg.vocab)?),
        (_, None) => return Err(RunError::no_tokenizer(from.shown(), model.unfit)),
        (Source::Examples(source), Some(tokenizer)) => {
            let request = ExampleRequest {
                source: &source,
                cfg: &cfg,
                tokenizer,
                metadata: &model.metadata,
                options: &options.examples,
                loss_on: options.loss_on,
            };
            let (file, windows) = pool.install(|| request.encode(folder.path()))?;
            Data::Examples(file, Box::new(windows))
        }
        (Source::Text(text), Some(tokenizer)) => {
            // A text shorter than the model's window is one window.
            let sizes = (cfg.vocab, 1);
            let count = pool.install(|| data::tokenize(&text, tokenizer, sizes, &tokens, &mut |_| {}))?;
            Data::Tokens(TokenFile::open_counted(&tokens, cfg.vocab, count)?)
        }
    };
    cfg.seq = data.seq(cfg.seq);
    if let Some(stride) = options.stride
        && (stride > cfg.seq || matches!(data, Data::Examples(..)))
    {
        let (got, want) = (stride.to_string(), "at most the window of the model and the length of the text");
        return Err(RunError::Setting { what: "the stride", got, want });
    }
    let network = options.compute.compile(&cfg, &pool, Build::infer, model.params, on_event)?;
    let most = options.windows.unwrap_or(usize::MAX);
    match data {
        Data::Tokens(file) => {
            of_tokens(&network, &file, (most, options.stride), lengths.as_deref(), progress)
        }
        Data::Examples(file, windows) => {
            let taken = windows.valid_windows(most);
            let progress = &mut |done| progress(done, taken);
            let read = |at| windows.valid(&file, at, taken);
            let plain = measure_examples(&network, taken, read, lengths.as_deref(), 0, progress)?;
            Ok(Evaluation { plain, sliding: None })
        }
    }
}

/// The score of the `model` on the multiple-choice questions in the file `questions`, a JSON object each line: `query`,
/// `choices` and `gold`, the index of the right one. Otherwise as [`evaluate`].
///
/// # Errors
/// As [`evaluate`], and if a line is no question.
pub fn evaluate_task<'m>(
    model: impl Into<ModelRef<'m>>,
    tokenizer: Option<&Path>,
    questions: &Path,
    options: &EvaluateOptions,
    on_event: &mut dyn FnMut(CompileEvent<'_>),
    progress: &mut dyn FnMut(usize, usize),
) -> Result<TaskScore, RunError> {
    let mut questions = Question::read_all(questions)?;
    questions.truncate(options.windows.unwrap_or(usize::MAX));
    let from = model.into();
    let model = from.open(tokenizer)?;
    let mut cfg = model.config;
    if cfg.task == crate::config::Task::Regression {
        return Err(RunError::NotLanguage { what: "questions" });
    }
    let Some(tokenizer) = model.tokenizer else {
        return Err(RunError::no_tokenizer(from.shown(), model.unfit));
    };
    tokenizer.check_vocab(cfg.vocab)?;
    let encoded =
        questions.iter().map(|question| question.encode(&tokenizer)).collect::<Result<Vec<_>, _>>()?;
    let longest = encoded.iter().flatten().map(|(tokens, _)| tokens.len() - 1).max().unwrap_or(1);
    cfg.seq = cfg.seq.min(longest).max(1);
    demand::check(&cfg, Use::Infer)?;
    let pool = options.compute.pool()?;
    let network = options.compute.compile(&cfg, &pool, Build::infer, model.params, on_event)?;
    task::score(&network, &questions, &encoded, &mut |done| progress(done, questions.len()))
}

/// Data as tokens.
enum Data {
    Tokens(TokenFile),
    Examples(TokenFile, Box<ExampleWindows>),
}

impl Data {
    /// Predictions of a window: those of the model, or of all data if these are shorter.
    fn seq(&self, most: usize) -> usize {
        match self {
            Self::Tokens(file) => {
                usize::try_from(file.len().saturating_sub(1)).unwrap_or(usize::MAX).clamp(1, most)
            }
            Self::Examples(_, windows) => windows.seq(),
        }
    }
}

/// The loss on at most `most` windows of `file`, and on windows with a stride.
fn of_tokens(
    network: &Network,
    file: &TokenFile,
    (most, stride): (usize, Option<usize>),
    lengths: Option<&[u32]>,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Evaluation, RunError> {
    let seq = network.cfg.seq;
    let split = file.split(seq, 0.0)?;
    let starts = data::windows(0..file.len(), split.seq, most);
    let slides = stride.map(|stride| slides(file.len(), seq, stride));
    let total = starts.len() + slides.as_ref().map_or(0, Vec::len);
    let plain = measure(network, file, &starts, lengths, 0, &mut |done| progress(done, total))?;
    let sliding = stride.zip(slides).map(|(stride, slides)| {
        let progress = &mut |done| progress(starts.len() + done, total);
        let (nats, bytes, count) = measure_slides(network, file, &slides, lengths, progress)?;
        let (loss, bits_per_byte) = (nats / count.max(1) as f64, per_byte(nats, bytes));
        Ok::<_, RunError>(Sliding {
            stride,
            loss,
            perplexity: loss.exp(),
            bits_per_byte,
            windows: slides.len(),
        })
    });
    Ok(Evaluation { plain, sliding: sliding.transpose()? })
}

/// Windows of `seq` predictions that overlap: the first token of each, and its first prediction that counts. All
/// predictions of `len` tokens count once; the last window ends with the data.
fn slides(len: u64, seq: usize, stride: usize) -> Vec<(u64, usize)> {
    let (last, mut counted) = (len.saturating_sub(1 + seq as u64), seq as u64);
    let mut slides = vec![(0, 0)];
    while counted + 1 < len {
        let start = (counted + stride as u64 - seq as u64).min(last);
        slides.push((start, (counted - start) as usize));
        counted = start + seq as u64;
    }
    slides
}

/// Nats, bytes and number of the predictions that count in `slides`.
fn measure_slides(
    network: &Network,
    file: &TokenFile,
    slides: &[(u64, usize)],
    lengths: Option<&[u32]>,
    progress: &mut dyn FnMut(usize),
) -> Result<(f64, u64, usize), RunError> {
    let seq = network.cfg.seq;
    let mut tokens = vec![0; seq + 1];
    let (mut nats, mut bytes, mut count) = (0.0, 0, 0);
    for (i, &(start, first)) in slides.iter().enumerate() {
        file.window(start, &mut tokens)?;
        let mut weights = vec![1.0; seq];
        weights[..first].fill(0.0);
        nats += network.evaluate_weighted(&tokens, &[], weights)?;
        bytes += bytes_of(lengths, &tokens[first + 1..]);
        count += seq - first;
        progress(i + 1);
    }
    Ok((nats, bytes, count))
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
        bytes += bytes_of(lengths, &tokens[1..]);
        progress(i + 1);
    }
    let loss = nats / (starts.len() * seq).max(1) as f64;
    let bits_per_byte = per_byte(nats, bytes);
    Ok(Validation { step, loss, perplexity: loss.exp(), bits_per_byte, windows: starts.len() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlapping_windows_count_each_prediction_once() {
        for (len, seq, stride) in [(9, 8, 1), (10, 8, 8), (100, 8, 3), (25, 8, 8), (2, 1, 1), (33, 8, 4)] {
            let slides = slides(len, seq, stride);
            let counted: Vec<u64> = slides
                .iter()
                .flat_map(|&(start, first)| (first as u64..seq as u64).map(move |at| start + at))
                .collect();
            assert_eq!(counted, (0..len - 1).collect::<Vec<_>>(), "{len} tokens, {seq}, {stride}");
            // What counts has at least S − stride tokens before it, after the first window.
            assert!(slides[1..].iter().all(|&(_, first)| first >= seq - stride), "{slides:?}");
        }
    }
}
