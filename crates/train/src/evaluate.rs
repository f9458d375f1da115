//! The loss of a model on data.

use crate::data::{self, Source, TokenFile};
use crate::demand::{self, Use};
use crate::error::TrainError;
use crate::formats::ModelRef;
use crate::model::{Precision, Start};
use crate::run::{RunError, Validation};
use crate::step::{Build, CompileEvent, CompileRequest, Network, compile};
use ane::{DeviceOptions, Pool};
use serde::Serialize;
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
    /// The distance of overlapping windows for a second figure, at most the model's window; none if `None`.
    pub stride: Option<usize>,
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

/// The loss of the model at `dir` on all of `data`: text or tokens. `tokenizer`, if given, replaces the model's own.
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
    let pool = Pool::new(options.threads).map_err(crate::step::StepError::Threads)?;
    let folder = tempfile::tempdir().map_err(TrainError::io("create", &std::env::temp_dir()))?;
    let file = match Source::open(data)? {
        Source::Tokens(path) => TokenFile::open(&path, cfg.vocab)?,
        Source::Text(text) => {
            let Some(tokenizer) = &tokenizer else {
                return Err(RunError::no_tokenizer(from.shown(), model.unfit));
            };
            let path = folder.path().join("tokens.bin");
            // A text shorter than the model's window is one window.
            let sizes = (cfg.vocab, 1);
            let count = pool.install(|| data::tokenize(&text, tokenizer, sizes, &path, &mut |_| {}))?;
            TokenFile::open_counted(&path, cfg.vocab, count)?
        }
    };
    cfg.seq = usize::try_from(file.len().saturating_sub(1)).unwrap_or(usize::MAX).clamp(1, cfg.seq);
    if let Some(stride) = options.stride.filter(|&stride| stride > cfg.seq) {
        let (got, want) = (stride.to_string(), "at most the window of the model and the length of the data");
        return Err(RunError::Setting { what: "the stride", got, want });
    }
    let split = file.split(cfg.seq, 0.0)?;
    let starts = data::windows(0..file.len(), split.seq, options.windows.unwrap_or(usize::MAX));
    let build = Build::infer(options.storage).on(options.device);
    let (wanted, start) = (options.device, options.start);
    let request = CompileRequest { cfg: &cfg, wanted, pool: &pool, build: &build, start };
    let network = compile(request, model.params, on_event)?;
    let lengths = tokenizer.map(|t| t.text_lengths());
    let slides = options.stride.map(|stride| slides(file.len(), cfg.seq, stride));
    let total = starts.len() + slides.as_ref().map_or(0, Vec::len);
    let plain = measure(&network, &file, &starts, lengths.as_deref(), 0, &mut |done| progress(done, total))?;
    let sliding = options.stride.zip(slides).map(|(stride, slides)| {
        let progress = &mut |done| progress(starts.len() + done, total);
        let (nats, bytes, count) = measure_slides(&network, &file, &slides, lengths.as_deref(), progress)?;
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
        let logits = network.logits(&tokens)?;
        for at in first..seq {
            let target = tokens[at + 1] as usize;
            let of = logits.iter().skip(at).step_by(seq).map(|&x| f64::from(x));
            let most = of.clone().fold(f64::NEG_INFINITY, f64::max);
            nats +=
                most + of.map(|x| (x - most).exp()).sum::<f64>().ln() - f64::from(logits[target * seq + at]);
        }
        bytes += bytes_of(lengths, &tokens[first + 1..]);
        count += seq - first;
        progress(i + 1);
    }
    Ok((nats, bytes, count))
}

/// Bytes of the text of `tokens`; 0 if it is unknown.
fn bytes_of(lengths: Option<&[u32]>, tokens: &[u32]) -> u64 {
    let length = |&t: &u32| u64::from(lengths.and_then(|l| l.get(t as usize)).copied().unwrap_or(0));
    tokens.iter().map(length).sum()
}

/// Bits per byte; `None` if there are no bytes.
fn per_byte(nats: f64, bytes: u64) -> Option<f64> {
    (bytes > 0).then(|| nats / std::f64::consts::LN_2 / bytes as f64)
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
