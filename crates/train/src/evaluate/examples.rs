//! The loss on examples.

use super::bytes::{bytes_of, per_byte};
use crate::config::ModelConfig;
use crate::data::{Encoding, ExampleSet, ExampleSource, ExampleWindow, ExampleWindows, LossOn, TokenFile};
use crate::error::TrainError;
use crate::formats::FolderMetadata;
use crate::run::{ChosenTemplate, ExampleOptions, RunError, Validation};
use crate::step::Network;
use crate::tokenizer::Tokenizer;
use std::path::Path;

/// Everything that determines the windows of examples.
pub(super) struct ExampleRequest<'a> {
    pub(super) source: &'a ExampleSource,
    pub(super) cfg: &'a ModelConfig,
    pub(super) tokenizer: &'a Tokenizer,
    pub(super) metadata: &'a FolderMetadata,
    pub(super) options: &'a ExampleOptions,
    pub(super) loss_on: LossOn,
}

impl ExampleRequest<'_> {
    /// Encodes all examples into the folder `to`: a window for each, as long as the longest, at most as the model's.
    pub(super) fn encode(&self, to: &Path) -> Result<(TokenFile, ExampleWindows), RunError> {
        let chosen = ChosenTemplate::find(&self.options.template, self.metadata, self.tokenizer)?;
        let template = chosen.as_ref().map(|chosen| &chosen.template);
        let chats_only = chosen.as_ref().is_some_and(|chosen| chosen.is_assumed);
        let encoding = Encoding { tokenizer: self.tokenizer, template, chats_only, loss_on: self.loss_on };
        let (tokens, index) = (to.join("tokens.bin"), to.join("examples.bin"));
        let (keys, vocab) = (&self.options.keys, self.cfg.vocab);
        let encoded = self.source.encode(keys, &encoding, vocab, (&tokens, &index), &mut |_| {})?;
        let set = ExampleSet::open(&index, encoded.tokens)?;
        let seq = self.cfg.seq;
        let windows = ExampleWindows::in_order(set, seq);
        let path = || self.source.name().to_owned();
        let windows = windows.ok_or_else(|| TrainError::ExamplesTooLong { path: path(), seq })?;
        Ok((TokenFile::open_counted(&tokens, vocab, encoded.tokens)?, windows))
    }
}

/// The mean loss of the targets that count in `windows` windows of examples, each from `read`.
pub(crate) fn measure_examples(
    network: &Network,
    windows: usize,
    mut read: impl FnMut(usize) -> Result<ExampleWindow, TrainError>,
    lengths: Option<&[u32]>,
    step: u64,
    progress: &mut dyn FnMut(usize),
) -> Result<Validation, RunError> {
    let (mut nats, mut bytes, mut targets) = (0.0, 0u64, 0);
    for i in 0..windows {
        let window = read(i)?;
        if i == 0 && network.hides_infinity() {
            network.check_range(&window.tokens)?;
        }
        nats += network.evaluate_weighted(&window.tokens, &window.starts, window.weights(1.0))?;
        let counted = window.tokens[1..].iter().zip(&window.counted).filter(|&(_, &counts)| counts);
        bytes += counted.map(|(token, _)| bytes_of(lengths, &[*token])).sum::<u64>();
        targets += window.targets();
        progress(i + 1);
    }
    let loss = nats / targets.max(1) as f64;
    Ok(Validation { step, loss, perplexity: loss.exp(), bits_per_byte: per_byte(nats, bytes), windows })
}
