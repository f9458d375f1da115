//! The model of a run before compiling: a new one, or that of a checkpoint.

use super::claim::Claim;
use super::{Notice, OptimizerKind, Options, OutputInit, RunError, Settings};
use crate::checkpoint::{Checkpoint, RunFolder};
use crate::config::{ModelConfig, RopeKind, init_params, zero_outputs};
use crate::demand::{self, Use};
use crate::error::TrainError;
use crate::formats::{FolderMetadata, Initial, open_initial};
use crate::tokenizer::Tokenizer;
use std::path::Path;

/// The default model.
const MODEL: &str = "shakespeare";

/// A model to train, before it is compiled.
pub(super) struct Prepared {
    pub(super) cfg: ModelConfig,
    pub(super) settings: Settings,
    pub(super) tokenizer: Option<Tokenizer>,
    pub(super) theta: Vec<f32>,
    pub(super) metadata: FolderMetadata,
    /// The error if the data is text and there is no tokenizer: trained weights need their own.
    pub(super) missing: Option<RunError>,
    pub(super) resumed: Option<Resumed>,
}

/// The checkpoint that a run resumes from.
pub(super) struct Resumed {
    pub(super) checkpoint: Checkpoint,
    /// The settings of the run until then.
    pub(super) before: Settings,
    /// Whether it is the newest checkpoint, including damaged ones.
    pub(super) is_newest: bool,
    /// Whether the model in the folder is of the same step.
    pub(super) has_model: bool,
}

impl Prepared {
    /// A new model, or an existing model to train further in a new run.
    pub(super) fn new(options: &Options) -> Result<Prepared, RunError> {
        let name = options.model.as_deref().unwrap_or(MODEL);
        let Initial { config: mut cfg, params, tokenizer, unfit, metadata } =
            open_initial(name, options.tokenizer.as_deref())?;
        let missing = params.is_some().then(|| RunError::no_tokenizer(Path::new(name), unfit));
        if let Some(seq) = options.overrides.seq {
            cfg.seq = seq;
        }
        cfg.validate()?;
        let settings = Settings::for_new_run(&cfg, params.is_none(), &options.overrides);
        settings.validate()?;
        settings.check_given(&options.overrides, params.is_none())?;
        demand::check(&cfg, Use::Train { windows: settings.windows() })?;
        let theta = params.unwrap_or_else(|| {
            let mut theta = init_params(&cfg, settings.seed);
            if settings.output_init == OutputInit::Zero {
                zero_outputs(&cfg, &mut theta);
            }
            theta
        });
        Ok(Prepared { cfg, settings, tokenizer, theta, metadata, missing, resumed: None })
    }

    /// The model in the newest undamaged checkpoint of the run's folder.
    pub(super) fn resumed(
        options: &Options,
        claim: &mut Claim<'_>,
        notice: &mut (dyn FnMut(Notice<'_>) + Send),
    ) -> Result<Prepared, RunError> {
        let folder = &RunFolder::at(&options.out);
        if !folder.config().exists() && folder.newest()?.is_none() {
            return Err(TrainError::NoCheckpoint { dir: options.out.clone() }.into());
        }
        let mut cfg = ModelConfig::read(&folder.config())?;
        if let Some(name) = &options.model {
            check_same_model(&ModelConfig::find(name)?, &cfg, &folder.config())?;
        }
        if let Some(seq) = options.overrides.seq {
            cfg.seq = seq;
        }
        cfg.validate()?;
        demand::check(&cfg, Use::Train { windows: options.overrides.batch.unwrap_or(1) })?;
        if folder.newest()?.is_some() {
            claim.take()?;
        }
        let (mut checkpoint, passed_over) = folder.load_newest(&cfg)?;
        cfg.rope.kind = checkpoint.rope;
        let is_newest = passed_over.is_empty();
        for damage in passed_over {
            let step = checkpoint.state.step;
            notice(Notice::Warning(&format!("{damage}; resuming from the checkpoint of step {step}")));
        }
        let unreadable = |problem| TrainError::FileFormat {
            path: folder.dir().to_owned(),
            kind: "checkpoint",
            problem: format!("its settings cannot be read: {problem}"),
        };
        let settings = Settings::from_json(&checkpoint.state.settings).map_err(unreadable)?;
        check_same_optimizer(&options.out, settings.optimizer, options.overrides.optimizer)?;
        let before = settings.clone();
        let settings = settings.with(&options.overrides);
        settings.validate()?;
        settings.check_given(&options.overrides, false)?;
        demand::check(&cfg, Use::Train { windows: settings.windows() })?;
        let tokenizer = match &options.tokenizer {
            Some(path) => Some(Tokenizer::load(path, None)?),
            None => Tokenizer::load_from_folder(folder.dir(), cfg.vocab)?,
        };
        checkpoint.state.launch.check_tokenizer(folder.dir(), tokenizer.as_ref())?;
        let theta = std::mem::take(&mut checkpoint.params);
        let metadata = FolderMetadata::read(folder.dir())?;
        let has_model = folder.has_model(&cfg, &theta);
        let resumed = Some(Resumed { checkpoint, before, is_newest, has_model });
        Ok(Prepared { cfg, settings, tokenizer, theta, metadata, missing: None, resumed })
    }
}

/// Refuses another optimizer than that of the run in `dir`, whose moments mean something else.
fn check_same_optimizer(
    dir: &Path,
    run: OptimizerKind,
    wanted: Option<OptimizerKind>,
) -> Result<(), RunError> {
    match wanted {
        Some(wanted) if wanted != run => {
            Err(RunError::OtherOptimizer { dir: dir.to_owned(), want: run.name(), got: wanted.name() })
        }
        _ => Ok(()),
    }
}

/// Refuses a model `named` that is not the run's, whose configuration is in the file `path`.
fn check_same_model(named: &ModelConfig, run: &ModelConfig, path: &Path) -> Result<(), TrainError> {
    let mut named = named.clone();
    (named.seq, named.vocab) = (run.seq, run.vocab);
    // All folders have the same order of rows, whatever the model's.
    if named.rope.kind == RopeKind::Interleaved || run.rope.kind == RopeKind::Interleaved {
        named.rope.kind = run.rope.kind;
    }
    match named.difference(run) {
        Some((key, got, want)) => Err(TrainError::StateOfOtherModel {
            path: path.to_owned(),
            key: key.to_owned(),
            got: want,
            want: got,
        }),
        None => Ok(()),
    }
}
