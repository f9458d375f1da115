//! The model of a run before compiling: a new one, or that of a checkpoint.

use super::adapters::{append_adapters, place_stored};
use super::claim::Claim;
use super::{Notice, OptimizerKind, Options, OutputInit, RunError, Settings};
use crate::checkpoint::{BaseMark, Checkpoint, RunFolder};
use crate::config::{ModelConfig, RopeKind, Trainable, init_params, zero_outputs};
use crate::demand::{self, Training, Use};
use crate::error::TrainError;
use crate::formats::{FolderMetadata, Initial, fingerprint, is_adapter_alone, open_initial, open_model};
use crate::tokenizer::Tokenizer;
use std::path::Path;

/// The default model.
const MODEL: &str = "shakespeare";

/// A model to train, before it is compiled.
pub(super) struct Prepared {
    pub(super) cfg: ModelConfig,
    pub(super) settings: Settings,
    pub(super) tokenizer: Option<Tokenizer>,
    /// The weights, those of adapters last.
    pub(super) theta: Vec<f32>,
    pub(super) trainable: Trainable,
    /// The frozen model of adapters.
    pub(super) base: Option<BaseMark>,
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
        let trainable = settings.trainable(&cfg, params.is_none())?;
        demand::check(&cfg, use_of(&cfg, &trainable, settings.windows(), false))?;
        let mut theta = params.unwrap_or_else(|| {
            let mut theta = init_params(&cfg, settings.seed);
            if settings.output_init == OutputInit::Zero {
                zero_outputs(&cfg, &mut theta);
            }
            theta
        });
        let base = trainable.lora.as_ref().map(|_| base_mark(name, &theta)).transpose()?;
        append_adapters(&cfg, &trainable, settings.seed, &mut theta);
        Ok(Prepared { cfg, settings, tokenizer, theta, trainable, base, metadata, missing, resumed: None })
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
        demand::check(&cfg, Use::Infer)?;
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
        check_same_trainable(&before, &settings)?;
        let trainable = checkpoint.state.launch.trainable();
        demand::check(&cfg, use_of(&cfg, &trainable, settings.windows(), false))?;
        let tokenizer = match &options.tokenizer {
            Some(path) => Some(Tokenizer::load(path, None)?),
            None => Tokenizer::load_from_folder(folder.dir(), cfg.vocab)?,
        };
        checkpoint.state.launch.check_tokenizer(folder.dir(), tokenizer.as_ref())?;
        let stored = std::mem::take(&mut checkpoint.params);
        let metadata = FolderMetadata::read(folder.dir())?;
        let model = checkpoint.average.as_deref().unwrap_or(&stored);
        let has_model = folder.has_model(&cfg, &checkpoint.state, model);
        let base = checkpoint.state.launch.base.clone();
        let theta = match &base {
            None => stored,
            Some(base) => {
                let mut theta = open_base(folder.dir(), base, &cfg)?;
                append_adapters(&cfg, &trainable, settings.seed, &mut theta);
                place_stored(&cfg, &trainable, &stored, &mut theta);
                theta
            }
        };
        let resumed = Some(Resumed { checkpoint, before, is_newest, has_model });
        Ok(Prepared { cfg, settings, tokenizer, theta, trainable, base, metadata, missing: None, resumed })
    }
}

/// What the memory is needed for.
pub(super) fn use_of(cfg: &ModelConfig, trainable: &Trainable, windows: usize, packed: bool) -> Use {
    let training = Training { windows, packed, classifier: trainable.trains_classifier(cfg) };
    match &trainable.lora {
        Some(_) => Use::Adapt(training),
        None => Use::Train(training),
    }
}

/// The mark of the model called `name`, whose weights are `theta`.
///
/// # Errors
/// [`TrainError::Adapter`], if it is itself an adapter, or its path cannot be stored.
fn base_mark(name: &str, theta: &[f32]) -> Result<BaseMark, TrainError> {
    let path = Path::new(name);
    let refused = |problem: &str, remedy: String| TrainError::Adapter {
        path: path.to_owned(),
        problem: problem.to_owned(),
        remedy,
    };
    if is_adapter_alone(path) {
        let remedy = format!("Merge it first: `backpropane export --merge {name} --to hf {name}-merged`.");
        return Err(refused("another one is trained on a whole model only", remedy));
    }
    let absolute = std::path::absolute(path).map_err(TrainError::io("read", path))?;
    let Some(stored) = absolute.to_str() else {
        return Err(refused("its path is not UTF-8", "Rename the folders on the way to it.".to_owned()));
    };
    Ok(BaseMark { path: stored.to_owned(), weights: fingerprint(theta) })
}

/// The weights of the frozen model of the run in `dir`.
///
/// # Errors
/// As [`open_model`]; [`TrainError::Adapter`] if it is not the model that the run began with.
fn open_base(dir: &Path, base: &BaseMark, cfg: &ModelConfig) -> Result<Vec<f32>, TrainError> {
    let path = Path::new(&base.path);
    let other = |problem: String| TrainError::Adapter {
        path: dir.to_owned(),
        problem,
        remedy: format!("Put the model that the run began with back to `{}`.", base.path),
    };
    if !path.exists() {
        return Err(other(format!("its model `{}` is not there", base.path)));
    }
    let model = open_model(path, None)?;
    check_same_model(&model.config, cfg, path)?;
    let got = fingerprint(&model.params);
    if got != base.weights {
        let want = &base.weights;
        return Err(other(format!(
            "`{}` has weights with fingerprint {got}, the run began with {want}",
            base.path
        )));
    }
    Ok(model.params)
}

/// Settings that a resumed run keeps: moments and adapters are of what was trained, windows are counted as they were packed.
const KEPT: [(&str, &str); 9] = [
    ("lora", "`--lora` of a resumed run"),
    ("lora_alpha", "`--lora-alpha` of a resumed run"),
    ("rslora", "`--rslora` of a resumed run"),
    ("lora_dropout", "`--lora-dropout` of a resumed run"),
    ("lora_targets", "`--lora-targets` of a resumed run"),
    ("lora_layers", "`--lora-layers` of a resumed run"),
    ("train_embeddings", "`--train-embeddings` of a resumed run"),
    ("freeze", "`--freeze` of a resumed run"),
    ("pack", "`--pack` of a resumed run"),
];

/// Rejects a resume that changes the trainable parameters or the packing of windows.
fn check_same_trainable(before: &Settings, after: &Settings) -> Result<(), RunError> {
    for (name, before, after) in after.changes(before) {
        if let Some((_, what)) = KEPT.into_iter().find(|(kept, _)| *kept == name) {
            let got = format!("`{after}`, and the run began with `{before}`");
            return Err(RunError::Setting { what, got, want: "left out, or a new run in another folder" });
        }
    }
    Ok(())
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
