//! The data of a run: tokens in a file, if necessary encoded from text, or synthetic activations.

use super::claim::Claim;
use super::template::ChosenTemplate;
use super::{Notice, Options, Packing, RunError, Settings};
use crate::checkpoint::{Checkpoint, DataMark, Launch, RunFolder};
use crate::config::{ModelConfig, Task};
use crate::data::{self, ExampleWindows, Source, TextSource, TokenFile};
use crate::error::TrainError;
use crate::formats::FolderMetadata;
use crate::tokenizer::Tokenizer;
use std::path::{Path, PathBuf};

/// The share of the data for validation.
const VALIDATION: f64 = 0.05;

/// The training data of a run.
pub(super) enum Corpus {
    /// Tokens, with their split.
    Tokens { file: TokenFile, split: data::Split },
    /// Windows of examples, and a hash of the list of examples.
    Examples { file: TokenFile, windows: Box<ExampleWindows>, fingerprint: u64 },
    /// Seeded activations.
    Synthetic,
}

impl Corpus {
    /// Identifies the data.
    pub(super) fn mark(&self) -> Option<DataMark> {
        let (file, examples) = match self {
            Corpus::Tokens { file, .. } => (file, None),
            Corpus::Examples { file, fingerprint, .. } => (file, Some(*fingerprint)),
            Corpus::Synthetic => return None,
        };
        Some(DataMark { tokens: file.len(), fingerprint: file.fingerprint(), examples })
    }

    /// Windows of an epoch; `None` for synthetic data.
    pub(super) fn windows(&self) -> Option<u64> {
        match self {
            Corpus::Tokens { split, .. } => {
                Some(((split.train.end - split.train.start - 1) / split.seq as u64).max(1))
            }
            Corpus::Examples { windows, .. } => Some(windows.counts().windows as u64),
            Corpus::Synthetic => None,
        }
    }
}

/// Whether a run packs its data: they are examples, and it is told to.
///
/// # Errors
/// `NoEffect`, if the user asks for it and the data are no examples; if they cannot be opened.
pub(super) fn packs(
    settings: &Settings,
    options: &Options,
    resumed: Option<&Checkpoint>,
) -> Result<bool, RunError> {
    if settings.pack == Packing::Off {
        return Ok(false);
    }
    let is_examples = match &options.data {
        Some(path) => matches!(Source::open(path)?, Source::Examples(_)),
        None => resumed
            .and_then(|checkpoint| checkpoint.state.data.as_ref())
            .is_some_and(|mark| mark.examples.is_some()),
    };
    if !is_examples && options.overrides.pack.is_some() {
        let because = "the data are no lines of JSON";
        return Err(RunError::NoEffect {
            flag: "--pack",
            because,
            remedy: "Leave it out: text fills windows.",
        });
    }
    Ok(is_examples)
}

/// The data of a run with what they need.
pub(super) struct Opened {
    pub(super) corpus: Corpus,
    pub(super) tokenizer: Option<Tokenizer>,
    pub(super) template: Option<ChosenTemplate>,
}

/// The tokenizer of a run before its data are opened.
pub(super) struct KnownTokenizer {
    pub(super) tokenizer: Option<Tokenizer>,
    /// The error if text needs a tokenizer and there is none; `None` if one may be trained.
    pub(super) missing: Option<RunError>,
}

/// Everything that determines the data.
pub(super) struct CorpusRequest<'a> {
    pub(super) options: &'a Options,
    pub(super) cfg: &'a ModelConfig,
    pub(super) settings: &'a Settings,
    pub(super) metadata: &'a FolderMetadata,
    pub(super) launch: &'a Launch,
    pub(super) resumed: Option<&'a Checkpoint>,
    pub(super) folder: RunFolder,
    /// The name of the data in messages.
    pub(super) shown: PathBuf,
}

/// Gets the progress.
pub(super) type Report<'a> = &'a mut (dyn FnMut(Notice<'_>) + Send);

impl<'a> CorpusRequest<'a> {
    /// The data of a run with `options` and the stored options `launch`.
    pub(super) fn new(
        options: &'a Options,
        (cfg, settings, metadata): (&'a ModelConfig, &'a Settings, &'a FolderMetadata),
        launch: &'a Launch,
        resumed: Option<&'a Checkpoint>,
    ) -> CorpusRequest<'a> {
        let folder = RunFolder::at(&options.out);
        let own = if folder.tokens().exists() { folder.tokens() } else { "the built-in text".into() };
        let shown = options.data.clone().unwrap_or(own);
        CorpusRequest { options, cfg, settings, metadata, launch, resumed, folder, shown }
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
    ) -> Result<Opened, RunError> {
        let opened = |corpus, tokenizer| Opened { corpus, tokenizer, template: None };
        if self.cfg.task == Task::Regression {
            return match self.options.data {
                Some(_) => Err(RunError::NotLanguage { what: "`--data`" }),
                None => Ok(opened(Corpus::Synthetic, None)),
            };
        }
        known.tokenizer.iter().try_for_each(|tokenizer| tokenizer.check_vocab(self.cfg.vocab))?;
        match self.source()? {
            Some(Source::Text(text)) => {
                let (corpus, tokenizer) = self.tokenized(&text, claim, known, notice)?;
                Ok(opened(corpus, Some(tokenizer)))
            }
            Some(Source::Examples(source)) => {
                let (corpus, tokenizer, template) = self.encoded(&source, claim, known, notice)?;
                Ok(Opened { corpus, tokenizer: Some(tokenizer), template })
            }
            Some(Source::Tokens(path)) => {
                let corpus = self.checked(TokenFile::open(&path, self.cfg.vocab)?)?;
                self.save(known.tokenizer.as_ref(), claim)?;
                Ok(opened(corpus, known.tokenizer))
            }
            None => {
                let corpus = match self.mark().is_some_and(|mark| mark.examples.is_some()) {
                    true => self.examples(self.own_tokens()?, &self.folder.examples())?,
                    false => self.checked(self.own_tokens()?)?,
                };
                self.save(known.tokenizer.as_ref(), claim)?;
                Ok(opened(corpus, known.tokenizer))
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
        Ok(Some(source.validated_by(self.options.examples.valid.as_deref())?))
    }

    /// What identifies the data of a resumed run.
    fn mark(&self) -> Option<&DataMark> {
        self.resumed.and_then(|checkpoint| checkpoint.state.data.as_ref())
    }

    /// Opens the tokens in the folder of a resumed run.
    fn own_tokens(&self) -> Result<TokenFile, TrainError> {
        let (path, vocab) = (self.folder.tokens(), self.cfg.vocab);
        match self.mark() {
            Some(mark) => TokenFile::open_counted(&path, vocab, mark.tokens),
            None => TokenFile::open(&path, vocab),
        }
    }

    /// Refuses other tokens or examples than those of a resumed run.
    pub(super) fn check_mark(&self, file: &TokenFile, examples: Option<u64>) -> Result<(), RunError> {
        if let Some(mark) = self.mark()
            && (mark.tokens, mark.fingerprint, mark.examples) != (file.len(), file.fingerprint(), examples)
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
        Ok(())
    }

    /// The corpus of `file`; refused if a resumed run had other tokens.
    fn checked(&self, file: TokenFile) -> Result<Corpus, RunError> {
        self.check_mark(&file, None)?;
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
