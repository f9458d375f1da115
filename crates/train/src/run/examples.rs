//! Examples of a run: chats, prompts with completions and texts, in lines of JSON.

use super::claim::Claim;
use super::corpus::{Corpus, CorpusRequest, KnownTokenizer, Report};
use super::template::ChosenTemplate;
use super::{Notice, Packing, RunError};
use crate::data::{Encoding, ExampleSet, ExampleSource, ExampleWindows, TokenFile};
use crate::error::TrainError;
use crate::tokenizer::Tokenizer;
use std::path::Path;

/// The share of the examples for validation.
const VALIDATION: f64 = 0.05;

impl CorpusRequest<'_> {
    /// Encodes the examples of `source`.
    ///
    /// # Errors
    /// If a line is no example, there is no tokenizer, or a resumed run had other examples.
    pub(super) fn encoded(
        &self,
        source: &ExampleSource,
        claim: &mut Claim<'_>,
        known: KnownTokenizer,
        notice: Report<'_>,
    ) -> Result<(Corpus, Tokenizer, Option<ChosenTemplate>), RunError> {
        let tokenizer = match (known.tokenizer, known.missing) {
            (Some(tokenizer), _) => tokenizer,
            (None, Some(missing)) => return Err(missing),
            (None, None) => return Err(RunError::ExamplesNeedTokenizer),
        };
        let wanted = &self.options.examples.template;
        let chosen = ChosenTemplate::find(wanted, self.metadata, &tokenizer)?;
        let chosen = chosen.map(|chosen| chosen.at(self.launch.template_time));
        if chosen.as_ref().is_some_and(|chosen| chosen.is_assumed) {
            notice(Notice::Warning("the model has no chat template: chats are written as ChatML"));
        }
        claim.take()?;
        let encoding = Encoding {
            tokenizer: &tokenizer,
            template: chosen.as_ref().map(|chosen| &chosen.template),
            chats_only: chosen.as_ref().is_some_and(|chosen| chosen.is_assumed),
            loss_on: self.settings.loss_on,
        };
        let (keys, vocab, total) = (&self.options.examples.keys, self.cfg.vocab, source.bytes());
        let mut encode = |tokens: &Path, index: &Path| {
            let progress = &mut |done| notice(Notice::Tokenizing { done, total });
            source.encode(keys, &encoding, vocab, (tokens, index), progress)
        };
        let (tokens, index) = (self.folder.tokens(), self.folder.examples());
        if self.resumed.is_some() {
            // The run's own examples are kept until the new ones are known to be the same.
            let aside = tempfile::tempdir().map_err(TrainError::io("create", &std::env::temp_dir()))?;
            let (tokens, index) = (aside.path().join("tokens.bin"), aside.path().join("examples.bin"));
            let encoded = encode(&tokens, &index)?;
            self.examples(TokenFile::open_counted(&tokens, vocab, encoded.tokens)?, &index)?;
        }
        let encoded = encode(&tokens, &index)?;
        tokenizer.save_to_folder(&self.options.out)?;
        let corpus = self.examples(TokenFile::open_counted(&tokens, vocab, encoded.tokens)?, &index)?;
        // What no example was written with is not the model's template from now on.
        Ok((corpus, tokenizer, chosen.filter(|_| encoded.chats > 0)))
    }

    /// The examples in a file of tokens, by their `index`.
    ///
    /// # Errors
    /// If the index is damaged, the examples are not those of a resumed run, or no window has a target.
    pub(super) fn examples(&self, file: TokenFile, index: &Path) -> Result<Corpus, RunError> {
        let set = ExampleSet::open(index, file.len())?;
        self.check_mark(&file, Some(set.fingerprint()))?;
        let (seq, fingerprint) = (self.cfg.seq, set.fingerprint());
        let windows =
            ExampleWindows::new(set, seq, self.settings.seed, VALIDATION, self.settings.pack == Packing::On);
        let windows = windows.ok_or_else(|| TrainError::ExamplesTooLong { path: self.shown.clone(), seq })?;
        Ok(Corpus::Examples { file, windows: Box::new(windows), fingerprint })
    }
}
