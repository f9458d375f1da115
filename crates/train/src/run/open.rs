//! Opening a run: new or resumed, with everything checked before anything is written.

use super::{Metrics, Overrides, Run, RunError, Settings};
use crate::checkpoint::{Checkpoint, DataMark, Launch, RunFolder, TrainState};
use crate::config::{ModelConfig, RopeKind, Task, init_params};
use crate::data::{self, Source, TextSource, TokenFile};
use crate::demand::{self, Use};
use crate::error::TrainError;
use crate::formats::{FolderMetadata, Initial, open_initial, save_model};
use crate::fs::RunLock;
use crate::model::Rung;
use crate::step::{Build, Chosen, Heard, Network, Request, StepError, StepGraph};
use crate::tokenizer::Tokenizer;
use ane::{DeviceOptions, Engine};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The share of the data that validates.
const VALIDATION: f64 = 0.05;

/// What a run is opened with.
#[derive(Clone, Debug)]
pub struct Options {
    /// A preset, a file, or a folder or llama2.c file with weights; `shakespeare` if absent, or the run's own when it is
    /// resumed.
    pub model: Option<String>,
    /// Text or tokens; the bundled text if absent.
    pub data: Option<PathBuf>,
    /// A tokenizer; the model folder's if absent, or one that is trained from the text.
    pub tokenizer: Option<PathBuf>,
    /// The folder of the run.
    pub out: PathBuf,
    /// Whether to go on from the newest checkpoint of that folder.
    pub resume: bool,
    /// Settings that were given.
    pub overrides: Overrides,
    /// Threads to compute on; 0 means as many as the machine runs at once.
    pub threads: usize,
    /// Which engine; products are computed as the settings say.
    pub device: DeviceOptions,
}

/// What opening a run is busy with.
#[derive(Clone, Copy, Debug)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Notice<'a> {
    TrainingTokenizer { vocab: usize },
    Tokenizing { done: u64, total: u64 },
    Compiling { done: usize, total: usize },
    Kernels(Heard<'a>),
    Warning(&'a str),
}

/// A model to train, before it is compiled.
struct Start {
    cfg: ModelConfig,
    settings: Settings,
    tokenizer: Option<Tokenizer>,
    theta: Vec<f32>,
    metadata: FolderMetadata,
    /// What to say if text needs a tokenizer and there is none: weights that were trained with one take no other.
    missing: Option<RunError>,
    resumed: Option<Resumed>,
}

/// Where a run goes on.
struct Resumed {
    checkpoint: Checkpoint,
    /// Whether it is the newest checkpoint of all.
    is_newest: bool,
    /// Whether the folder's model is of the same step.
    has_model: bool,
}

/// The folder of a run, which is made and taken when something is to be written there first.
struct Place<'a> {
    options: &'a Options,
    lock: Option<RunLock>,
}

impl Place<'_> {
    /// Takes the folder for this process, if it has not done so before.
    fn take(&mut self) -> Result<RunFolder, RunError> {
        let out = &self.options.out;
        if self.lock.is_some() {
            return Ok(RunFolder::at(out));
        }
        let folder = RunFolder::create(out)?;
        let lock = RunLock::take(out)?.ok_or_else(|| RunError::Busy { dir: out.clone() })?;
        // Another process may have had it since this one looked.
        if !self.options.resume && is_occupied(&folder)? {
            return Err(RunError::Occupied { dir: out.clone() });
        }
        folder.clean()?;
        self.lock = Some(lock);
        Ok(folder)
    }
}

fn is_occupied(folder: &RunFolder) -> Result<bool, RunError> {
    Ok(folder.newest()?.is_some() || folder.model().exists())
}

/// What a run learns from.
pub(super) enum Corpus {
    /// Tokens, with their split.
    Tokens { file: TokenFile, split: data::Split },
    /// Seeded activations.
    Synthetic,
}

impl Run {
    /// Opens a run. Nothing is written before model, settings and data are known to fit.
    ///
    /// # Errors
    /// Whatever is wrong with the model, the settings, the data or the folder.
    pub fn open(options: &Options, notice: &mut (dyn FnMut(Notice<'_>) + Send)) -> Result<Run, RunError> {
        Run::open_knowing(options, None, notice)
    }

    /// The same with the rung of the ladder that such an engine has taken before, to begin with.
    ///
    /// # Errors
    /// As [`Run::open`].
    pub fn open_knowing(
        options: &Options,
        known: Option<&'static Rung>,
        notice: &mut (dyn FnMut(Notice<'_>) + Send),
    ) -> Result<Run, RunError> {
        let folder = RunFolder::at(&options.out);
        let mut place = Place { options, lock: None };
        if !options.resume
            && let Some(file) = folder.foreign_file()
        {
            return Err(RunError::Foreign { dir: options.out.clone(), file });
        }
        let start = match (options.resume, is_occupied(&folder)?) {
            (false, true) => return Err(RunError::Occupied { dir: options.out.clone() }),
            (true, _) => Start::resumed(options, &mut place, notice)?,
            (false, false) => Start::new(options)?,
        };
        start.settings.validate()?;
        let Start { cfg, mut settings, tokenizer, theta, metadata, missing, resumed } = start;
        let launch = Launch::of(options, resumed.as_ref().map(|r| &r.checkpoint.state.launch));

        let pool = ane::Pool::new(options.threads).map_err(|reason| StepError::Threads(reason.clone()))?;
        let wanted = launch.fill(DeviceOptions { math: settings.math, ..options.device });
        let build = Build::train(settings.storage.precision()).on(wanted);
        let start = settings.start(known);
        let request = Request { cfg: &cfg, wanted, pool: &pool, build: &build, start };
        let device = request.open_engine()?;
        let source = Known { tokenizer, missing };
        let before = resumed.as_ref().map(|r| &r.checkpoint);
        let (corpus, tokenizer) =
            pool.install(|| corpus(&mut place, &cfg, source, &launch, before, notice))?;
        let lengths = tokenizer.as_ref().map(Tokenizer::text_lengths);

        notice(Notice::Compiling { done: 0, total: cfg.layers });
        let total = cfg.layers;
        let heard = &mut |heard: Heard<'_>| {
            notice(match heard {
                Heard::Layers(done) => Notice::Compiling { done, total },
                heard => Notice::Kernels(heard),
            });
        };
        let network = request.compile_on(device, theta, heard)?;
        if let Some(Chosen { rung, engine: Engine::Apple, .. }) = network.rung() {
            settings.rung = Some(rung.name.to_owned());
        }
        let programs = u32::try_from(network.kernels.programs()).unwrap_or(u32::MAX);
        let budget = network.device().compiles_left().map(|left| left.saturating_add(programs));
        network.set_loss_scale(settings.loss_scale);
        let network = Arc::new(network);
        let graph = StepGraph::new(Arc::clone(&network), settings.windows())?;

        let folder = place.take()?;
        publish(&folder, &metadata, &network, tokenizer.as_ref())?;
        let n = cfg.param_count();
        let has_model = resumed.as_ref().is_some_and(|r| r.has_model);
        let (mut state, m, v) = match resumed {
            Some(Resumed { checkpoint: c, is_newest, .. }) => {
                if is_newest {
                    // The process that wrote it may have been killed before it did this.
                    folder.prune(c.state.step)?;
                }
                (c.state, c.m, c.v)
            }
            None => (first_state(&settings, &corpus), vec![0.0; n], vec![0.0; n]),
        };
        state.launch = launch;
        let metrics = Metrics::open(&folder.dir().join("metrics.jsonl"), state.step)?;
        // A process that validated and ended before it saved has left the result there alone.
        if let Some(last) = metrics.validations().last() {
            state.last_val = Some(last.loss);
            state.best_val = metrics.validations().iter().map(|v| v.loss).reduce(f64::min);
        }
        Ok(Run::assemble(super::trainer::Parts {
            folder,
            settings,
            state,
            network,
            graph,
            corpus,
            tokenizer,
            lengths,
            ends: metadata.ends().to_vec(),
            m,
            v,
            metrics,
            budget,
            has_model,
            lock: place.lock,
        }))
    }
}

impl Start {
    fn new(options: &Options) -> Result<Start, RunError> {
        let name = options.model.as_deref().unwrap_or("shakespeare");
        let Initial { config: mut cfg, params: theta, tokenizer, unfit, metadata } =
            open_initial(name, options.tokenizer.as_deref())?;
        let missing = theta.is_some().then(|| RunError::no_tokenizer(Path::new(name), unfit));
        if let Some(seq) = options.overrides.seq {
            cfg.seq = seq;
        }
        cfg.validate()?;
        let settings = Settings::for_model(&cfg).with(&options.overrides);
        settings.validate()?;
        demand::check(&cfg, Use::Train { windows: settings.windows() })?;
        let theta = theta.unwrap_or_else(|| init_params(&cfg, settings.seed));
        Ok(Start { cfg, settings, tokenizer, theta, metadata, missing, resumed: None })
    }

    fn resumed(
        options: &Options,
        place: &mut Place<'_>,
        notice: &mut (dyn FnMut(Notice<'_>) + Send),
    ) -> Result<Start, RunError> {
        let folder = &RunFolder::at(&options.out);
        let mut cfg = ModelConfig::read(&folder.config())?;
        if let Some(name) = &options.model {
            // The model that was named must be the run's.
            let mut named = ModelConfig::find(name)?;
            named.seq = cfg.seq;
            named.vocab = cfg.vocab;
            // A folder has one order of rows, whatever the model's own is.
            if named.rope.kind == RopeKind::Interleaved || cfg.rope.kind == RopeKind::Interleaved {
                named.rope.kind = cfg.rope.kind;
            }
            if let Some((key, got, want)) = named.difference(&cfg) {
                let (path, key) = (folder.config(), key.to_owned());
                return Err(TrainError::StateOfOtherModel { path, key, got: want, want: got }.into());
            }
        }
        if let Some(seq) = options.overrides.seq {
            cfg.seq = seq;
        }
        cfg.validate()?;
        demand::check(&cfg, Use::Train { windows: options.overrides.batch.unwrap_or(1) })?;
        if folder.newest()?.is_some() {
            place.take()?;
        }
        let (mut checkpoint, passed_over) = folder.load_newest(&cfg)?;
        cfg.rope.kind = checkpoint.rope;
        let is_newest = passed_over.is_empty();
        for damage in passed_over {
            let step = checkpoint.state.step;
            notice(Notice::Warning(&format!("{damage}; going on from the checkpoint of step {step}")));
        }
        let settings: Settings = serde_json::from_value(checkpoint.state.settings.clone()).map_err(|e| {
            TrainError::FileFormat {
                path: folder.dir().to_owned(),
                kind: "checkpoint",
                problem: format!("its settings cannot be read: {e}"),
            }
        })?;
        let settings = settings.with(&options.overrides);
        settings.validate()?;
        demand::check(&cfg, Use::Train { windows: settings.windows() })?;
        let tokenizer = match &options.tokenizer {
            Some(path) => Some(Tokenizer::load(path, None)?),
            None => Tokenizer::load_from_folder(folder.dir(), cfg.vocab)?,
        };
        let theta = std::mem::take(&mut checkpoint.params);
        let metadata = FolderMetadata::read(folder.dir())?;
        let has_model = folder.has_model(&cfg, &theta);
        let resumed = Some(Resumed { checkpoint, is_newest, has_model });
        Ok(Start { cfg, settings, tokenizer, theta, metadata, missing: None, resumed })
    }
}

/// Writes what goes along with the weights, and the weights too where the folder of an earlier version has rows of
/// queries and keys in another order. At no time is there a model that means something else.
fn publish(
    folder: &RunFolder,
    metadata: &FolderMetadata,
    network: &Network,
    tokenizer: Option<&Tokenizer>,
) -> Result<(), RunError> {
    let path = folder.model();
    let is_old = path.exists() && ModelConfig::read(&folder.config())?.rope.kind == RopeKind::Interleaved;
    if is_old {
        std::fs::remove_file(&path).map_err(TrainError::io("remove", &path))?;
    }
    folder.save_metadata(metadata, &network.cfg, tokenizer)?;
    if is_old {
        let theta = network.params.theta.read().map_err(StepError::from)?;
        save_model(&path, &network.cfg, &theta)?;
    }
    Ok(())
}

fn first_state(settings: &Settings, corpus: &Corpus) -> TrainState {
    TrainState {
        step: 0,
        seed: settings.seed,
        loss_scale: settings.loss_scale,
        tokens_seen: 0,
        last_val: None,
        best_val: None,
        data: match corpus {
            Corpus::Tokens { file, .. } => {
                Some(DataMark { tokens: file.len(), fingerprint: file.fingerprint() })
            }
            Corpus::Synthetic => None,
        },
        settings: serde_json::Value::Null,
        launch: Launch::default(),
        measured: true,
    }
}

/// Refuses a file of other tokens than the run had; `shown` is what people call it.
fn same_data(dir: &Path, checkpoint: &Checkpoint, file: &TokenFile, shown: &Path) -> Result<(), RunError> {
    match &checkpoint.state.data {
        Some(mark) if (mark.tokens, mark.fingerprint) != (file.len(), file.fingerprint()) => {
            Err(RunError::OtherData {
                dir: dir.to_owned(),
                data: shown.to_owned(),
                want: mark.tokens,
                want_mark: mark.fingerprint,
                got: file.len(),
                got_mark: file.fingerprint(),
            })
        }
        _ => Ok(()),
    }
}

/// What is known of a run's tokenizer before its data.
struct Known {
    tokenizer: Option<Tokenizer>,
    missing: Option<RunError>,
}

/// Finds or makes the tokens, and the tokenizer that stands for them.
fn corpus(
    place: &mut Place<'_>,
    cfg: &ModelConfig,
    Known { tokenizer, missing }: Known,
    launch: &Launch,
    resumed: Option<&Checkpoint>,
    notice: &mut (dyn FnMut(Notice<'_>) + Send),
) -> Result<(Corpus, Option<Tokenizer>), RunError> {
    let options = place.options;
    let folder = &RunFolder::at(&options.out);
    if cfg.task == Task::Regression {
        if options.data.is_some() {
            return Err(RunError::NotLanguage { what: "`--data`" });
        }
        return Ok((Corpus::Synthetic, None));
    }
    tokenizer.iter().try_for_each(|tokenizer| tokenizer.check_vocab(cfg.vocab))?;
    let known = folder.tokens().exists();
    let bundled = || if known { folder.tokens() } else { "the built-in text".into() };
    let shown = options.data.clone().unwrap_or_else(bundled);
    let opened = |file: TokenFile| -> Result<Corpus, RunError> {
        if let Some(checkpoint) = resumed {
            same_data(&options.out, checkpoint, &file, &shown)?;
        }
        let split = file.split(cfg.seq, VALIDATION)?;
        Ok(Corpus::Tokens { file, split })
    };
    let source = match (&options.data, &launch.data) {
        (Some(path), _) => Source::open(path)?,
        (None, Some(path)) => Source::open(Path::new(path)).map_err(|error| RunError::NoData {
            dir: options.out.clone(),
            data: path.into(),
            source: error.into(),
        })?,
        // The text of a resumed run is in its folder already, as tokens.
        _ if resumed.is_some() && folder.tokens().exists() => {
            let mark = resumed.and_then(|checkpoint| checkpoint.state.data.as_ref());
            let file = match mark {
                Some(mark) => TokenFile::open_counted(&folder.tokens(), cfg.vocab, mark.tokens)?,
                None => TokenFile::open(&folder.tokens(), cfg.vocab)?,
            };
            return Ok((opened(file)?, tokenizer));
        }
        _ => Source::Text(TextSource::bundled()),
    };
    match source {
        Source::Tokens(path) => {
            let corpus = opened(TokenFile::open(&path, cfg.vocab)?)?;
            if let Some(t) = &tokenizer {
                place.take()?;
                t.save_to_folder(&options.out)?;
            }
            Ok((corpus, tokenizer))
        }
        Source::Text(text) => {
            let tokenizer = match (tokenizer, missing) {
                (Some(t), _) => t,
                (None, Some(missing)) => return Err(missing),
                (None, None) => {
                    notice(Notice::TrainingTokenizer { vocab: cfg.vocab });
                    data::train_tokenizer(&text, cfg.vocab)?
                }
            };
            tokenizer.check_vocab(cfg.vocab)?;
            place.take()?;
            let total = text.bytes();
            let mut tokenize = |path: &Path| {
                let mut progress = |done| notice(Notice::Tokenizing { done, total });
                data::tokenize(&text, &tokenizer, (cfg.vocab, cfg.seq), path, &mut progress)
            };
            let mut there = None;
            if resumed.is_some() {
                // The run's own tokens stay as they are until these are known to be the same.
                let aside = tempfile::tempdir().map_err(TrainError::io("create", &std::env::temp_dir()))?;
                let path = aside.path().join("tokens.bin");
                let count = tokenize(&path)?;
                opened(TokenFile::open_counted(&path, cfg.vocab, count)?)?;
                // What is damaged is made again.
                let file = TokenFile::open_counted(&folder.tokens(), cfg.vocab, count);
                there = file.is_ok_and(|file| opened(file).is_ok()).then_some(count);
            }
            let count = match there {
                Some(count) => count,
                None => {
                    let count = tokenize(&folder.tokens())?;
                    tokenizer.save_to_folder(&options.out)?;
                    count
                }
            };
            Ok((opened(TokenFile::open_counted(&folder.tokens(), cfg.vocab, count)?)?, Some(tokenizer)))
        }
    }
}
