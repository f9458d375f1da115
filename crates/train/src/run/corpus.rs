//! The data of a run: tokens in a file, if necessary encoded from text, or synthetic activations.

use super::claim::Claim;
use super::{Notice, Options, RunError};
use crate::checkpoint::{Checkpoint, Launch, RunFolder};
use crate::config::{ModelConfig, Task};
use crate::data::{self, Source, TextSource, TokenFile};
use crate::error::TrainError;
use crate::tokenizer::Tokenizer;
use std::path::{Path, PathBuf};

/// The share of the data for validation.
const VALIDATION: f64 = 0.05;

/// The training data of a run.
pub(super) enum Corpus {
    /// Tokens, with their split.
    Tokens { file: TokenFile, split: data::Split },
    /// Seeded activations.
    Synthetic,
}

/// The tokenizer of a run before its data are opened.
pub(super) struct KnownTokenizer {
    pub(super) tokenizer: Option<Tokenizer>,
    /// The error if text needs a tokenizer and there is none; `None` if one may be trained.
    pub(super) missing: Option<RunError>,
}

/// Everything that determines the data.
pub(super) struct CorpusRequest<'a> {
    options: &'a Options,
    cfg: &'a ModelConfig,
    launch: &'a Launch,
    resumed: Option<&'a Checkpoint>,
    folder: RunFolder,
    /// The name of the data in messages.
    shown: PathBuf,
}

/// Gets the progress.
type Report<'a> = &'a mut (dyn FnMut(Notice<'_>) + Send);

impl<'a> CorpusRequest<'a> {
    /// The data of a run with `options` and the stored options `launch`.
    pub(super) fn new(
        options: &'a Options,
        cfg: &'a ModelConfig,
        launch: &'a Launch,
        resumed: Option<&'a Checkpoint>,
    ) -> CorpusRequest<'a> {
        let folder = RunFolder::at(&options.out);
        let own = if folder.tokens().exists() { folder.tokens() } else { "the built-in text".into() };
        let shown = options.data.clone().unwrap_or(own);
        CorpusRequest { options, cfg, launch, resumed, folder, shown }
    }

    /// Opens the data; encodes text and trains a tokenizer where necessary.
    ///
    /// # Errors
    /// If the data do not fit the model, or differ from those of the resumed run.
    pub(super) fn open(
        &self,
        claim: &mut Claim<'_>,
        known: KnownTokenizer,
        notice: Report<'_>,
    ) -> Result<(Corpus, Option<Tokenizer>), RunError> {
        if self.cfg.task == Task::Regression {
            return match self.options.data {
                Some(_) => Err(RunError::NotLanguage { what: "`--data`" }),
                None => Ok((Corpus::Synthetic, None)),
            };
        }
        known.tokenizer.iter().try_for_each(|tokenizer| tokenizer.check_vocab(self.cfg.vocab))?;
        match self.source()? {
            Some(Source::Text(text)) => {
                let (corpus, tokenizer) = self.tokenized(&text, claim, known, notice)?;
                Ok((corpus, Some(tokenizer)))
            }
            Some(Source::Tokens(path)) => {
                let corpus = self.checked(TokenFile::open(&path, self.cfg.vocab)?)?;
                self.save(known.tokenizer.as_ref(), claim)?;
                Ok((corpus, known.tokenizer))
            }
            None => {
                let corpus = self.checked(self.own_tokens()?)?;
                self.save(known.tokenizer.as_ref(), claim)?;
                Ok((corpus, known.tokenizer))
            }
        }
    }

    /// The data that the user named, now or at the start of the run; `None` if the folder holds them as tokens.
    fn source(&self) -> Result<Option<Source>, RunError> {
        let source = match (&self.options.data, &self.launch.data) {
            (Some(path), _) => Source::open(path)?,
            (None, Some(path)) => Source::open(Path::new(path)).map_err(|error| RunError::NoData {
                dir: self.options.out.clone(),
                data: path.into(),
                source: error.into(),
            })?,
            _ if self.resumed.is_some() && self.folder.tokens().exists() => return Ok(None),
            _ => Source::Text(TextSource::bundled()),
        };
        Ok(Some(source))
    }

    /// Opens the tokens in the folder of a resumed run.
    fn own_tokens(&self) -> Result<TokenFile, TrainError> {
        let (path, vocab) = (self.folder.tokens(), self.cfg.vocab);
        match self.resumed.and_then(|checkpoint| checkpoint.state.data.as_ref()) {
            Some(mark) => TokenFile::open_counted(&path, vocab, mark.tokens),
            None => TokenFile::open(&path, vocab),
        }
    }

    /// The corpus of `file`; refused if a resumed run had other tokens.
    fn checked(&self, file: TokenFile) -> Result<Corpus, RunError> {
        let mark = self.resumed.and_then(|checkpoint| checkpoint.state.data.as_ref());
        if let Some(mark) = mark
            && (mark.tokens, mark.fingerprint) != (file.len(), file.fingerprint())
        {
            return Err(RunError::OtherData {
                dir: self.options.out.clone(),
                data: self.shown.clone(),
                want: mark.tokens,
                want_mark: mark.fingerprint,
                got: file.len(),
                got_mark: file.fingerprint(),
            });
        }
        let split = file.split(self.cfg.seq, VALIDATION)?;
        Ok(Corpus::Tokens { file, split })
    }

    /// Writes the tokenizer into the folder, unless a resumed run's folder has it.
    fn save(&self, tokenizer: Option<&Tokenizer>, claim: &mut Claim<'_>) -> Result<(), RunError> {
        let Some(tokenizer) = tokenizer else { return Ok(()) };
        if self.resumed.is_none() || !self.options.out.join(tokenizer.file_name()).exists() {
            claim.take()?;
            tokenizer.save_to_folder(&self.options.out)?;
        }
        Ok(())
    }

    /// The tokens of `text`, and the tokenizer that made them.
    fn tokenized(
        &self,
        text: &TextSource,
        claim: &mut Claim<'_>,
        known: KnownTokenizer,
        notice: Report<'_>,
    ) -> Result<(Corpus, Tokenizer), RunError> {
        let vocab = self.cfg.vocab;
        let tokenizer = match (known.tokenizer, known.missing) {
            (Some(tokenizer), _) => tokenizer,
            (None, Some(missing)) => return Err(missing),
            (None, None) => {
                notice(Notice::TrainingTokenizer { vocab });
                data::train_tokenizer(text, vocab)?
            }
        };
        claim.take()?;
        let total = text.bytes();
        let mut tokenize = |path: &Path| {
            let mut progress = |done| notice(Notice::Tokenizing { done, total });
            data::tokenize(text, &tokenizer, (vocab, self.cfg.seq), path, &mut progress)
        };
        let tokens = self.folder.tokens();
        let mut unchanged = None;
        if self.resumed.is_some() {
            // The run's own tokens are kept until the new ones are known to be the same.
            let aside = tempfile::tempdir().map_err(TrainError::io("create", &std::env::temp_dir()))?;
            let path = aside.path().join("tokens.bin");
            let count = tokenize(&path)?;
            self.checked(TokenFile::open_counted(&path, vocab, count)?)?;
            // Damaged tokens are encoded again.
            let file = TokenFile::open_counted(&tokens, vocab, count);
            unchanged = file.is_ok_and(|file| self.checked(file).is_ok()).then_some(count);
        }
        let count = match unchanged {
            Some(count) => count,
            None => {
                let count = tokenize(&tokens)?;
                tokenizer.save_to_folder(&self.options.out)?;
                count
            }
        };
        Ok((self.checked(TokenFile::open_counted(&tokens, vocab, count)?)?, tokenizer))
    }
}
