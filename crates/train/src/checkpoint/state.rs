//! A checkpoint: weights, moments of the optimizer and state of a run, in one file.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::config::{ModelConfig, ParamSpec, RopeKind, Trainable};
use crate::error::TrainError;
use crate::formats::{config_in_folder, load_specs_from, named};
use crate::fs::{TensorFile, write_tensors};
use crate::optim::{OptimizerKind, Second};

/// Version of the state's metadata; since version 2 a file has checksums.
const VERSION: u32 = 2;

/// The oldest supported version.
const OLDEST: u32 = 1;

/// The beginning of the names of an average's tensors.
const AVERAGE: &str = "average.";

/// Metadata entry of a checkpoint file.
const KEY: &str = "backpropane.checkpoint";

/// The state of a run. Random numbers need no state: they depend on `seed` and `step` alone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrainState {
    /// Optimizer steps taken.
    pub step: u64,
    /// The run's seed.
    pub seed: u64,
    /// The loss scale of the next step.
    pub loss_scale: f32,
    /// Good steps since the loss scale last changed, if it changes.
    #[serde(default)]
    pub good_steps: u32,
    /// Steps so far, if kernels computed gradients of 0 alone in all of them; `None` once one was another.
    #[serde(default)]
    pub idle_steps: Option<u32>,
    /// Tokens trained on.
    pub tokens_seen: u64,
    /// Validation loss when it was last measured, in nats per token.
    pub last_val: Option<f64>,
    /// Lowest validation loss so far, in nats per token.
    pub best_val: Option<f64>,
    /// Identifies the training data.
    pub data: Option<DataMark>,
    /// The run's settings, [`crate::run::Settings::to_json`].
    pub settings: serde_json::Value,
    /// How the run was started.
    #[serde(default)]
    pub launch: Launch,
    /// Whether a forward and backward pass with these weights had a finite loss and finite gradients.
    #[serde(default = "yes")]
    pub measured: bool,
}

impl TrainState {
    /// The optimizer; files of the first versions do not name theirs.
    fn optimizer(&self) -> OptimizerKind {
        let name = self.settings.get("optimizer").and_then(|name| name.as_str());
        OptimizerKind::ALL.into_iter().find(|kind| Some(kind.name()) == name).unwrap_or(OptimizerKind::AdamW)
    }
}

/// Options that a run was started with, besides its settings; resuming takes them as defaults.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Launch {
    /// The model's name for display.
    pub model: Option<String>,
    /// The file of tokens, as an absolute path; `None` if the run's folder has its tokens.
    pub data: Option<String>,
    /// The engine, if one was named: `ane` or `soft`.
    pub engine: Option<String>,
    /// The weight mode, if the user chose one: `baked` or `dynamic`.
    pub weights: Option<String>,
    /// The name of the plan of kernels that a Neural Engine accepted.
    pub rung: Option<String>,
    /// [`crate::tokenizer::Tokenizer::fingerprint`] of the tokenizer; `None` if there is none.
    pub tokenizer: Option<String>,
    /// The time that the chat template told when the examples were encoded, in seconds since 1970, if it tells any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub template_time: Option<u32>,
    /// What is trained, and adapters; `None`: all weights.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trainable: Option<Trainable>,
    /// The frozen model of adapters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base: Option<BaseMark>,
}

/// Identifies the model that adapters belong to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BaseMark {
    /// Its absolute path.
    pub path: String,
    /// XXH3 of its weights in checkpoint order, f32.
    pub weights: String,
}

impl Launch {
    /// What is trained.
    pub fn trainable(&self) -> Trainable {
        self.trainable.clone().unwrap_or_default()
    }
}

/// The value of `measured` in files of earlier versions.
fn yes() -> bool {
    true
}

impl Snapshot<'_> {
    /// The weights of the folder's model: the average, if there is one.
    pub fn model(&self) -> &[f32] {
        self.average.unwrap_or(self.params)
    }
}

impl Checkpoint {
    /// The weights of the folder's model: the average, if there is one.
    pub fn model(&self) -> &[f32] {
        self.average.as_deref().unwrap_or(&self.params)
    }
}

/// Identifies a token file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataMark {
    /// Number of tokens.
    pub tokens: u64,
    /// [`crate::data::TokenFile::fingerprint`].
    pub fingerprint: u64,
    /// A hash of the list of examples; `None` if the tokens are a text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub examples: Option<u64>,
}

/// The content of a checkpoint to be written: weights in the order of [`Trainable::stored`], moments in that of
/// [`Trainable::trained`]. Where all weights are trained, both are `[N]` in checkpoint order.
#[derive(Clone, Copy, Debug)]
pub struct Snapshot<'a> {
    /// The state of the run.
    pub state: &'a TrainState,
    /// Weights.
    pub params: &'a [f32],
    /// The average of the weights, in their order, if there is one.
    pub average: Option<&'a [f32]>,
    /// First moments, or the momentum.
    pub m: &'a [f32],
    /// Second moments.
    pub v: &'a [f32],
}

/// The content of a checkpoint, in the order of a [`Snapshot`].
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    /// The state of the run.
    pub state: TrainState,
    /// The pairing of RoPE's channels in these weights; if interleaved, the folder's model has another order of rows.
    pub rope: RopeKind,
    /// Weights.
    pub params: Vec<f32>,
    /// The average of the weights, if there is one.
    pub average: Option<Vec<f32>>,
    /// First moments, or the momentum; 0 where the optimizer keeps none.
    pub m: Vec<f32>,
    /// Second moments, as [`crate::optim::OptimizerState`] has them.
    pub v: Vec<f32>,
}

/// The moments that a file holds, as places in those of the optimizer.
struct Moments {
    first: Vec<ParamSpec>,
    second: Vec<ParamSpec>,
    /// Means of rows and of columns, in place of the second moments of matrices.
    rows: Vec<ParamSpec>,
    columns: Vec<ParamSpec>,
}

impl Moments {
    /// Those that an optimizer keeps of the parameters `trained`.
    fn of(optimizer: OptimizerKind, trained: &[ParamSpec]) -> Moments {
        let (mut first, mut second, mut rows, mut columns) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for spec in trained {
            let kept = optimizer.keeps(spec);
            if kept.first {
                first.push(spec.clone());
            }
            match kept.second {
                Second::None => {}
                Second::Whole => second.push(spec.clone()),
                Second::Factored([r, c]) => {
                    let offset = spec.offset + r;
                    rows.push(ParamSpec { shape: vec![r], ..spec.clone() });
                    columns.push(ParamSpec { shape: vec![c], offset, ..spec.clone() });
                }
            }
        }
        Moments { first, second, rows, columns }
    }
}

/// The metadata entry.
#[derive(Serialize, Deserialize)]
struct Entry {
    version: u32,
    /// The text of the model's `config.json` in Hugging Face's format.
    config: String,
    state: TrainState,
}

/// Writes a checkpoint as one safetensors file, atomically: for each weight `param.NAME`, and what its optimizer keeps of it, be
/// it AdamW or another: `adamw.m.NAME` and `adamw.v.NAME`, `adafactor.rows.NAME` and `adafactor.columns.NAME`; `average.NAME` if
/// weights are averaged. Everything else is in the metadata.
///
/// # Errors
/// As [`write_tensors`].
pub fn save_checkpoint(path: &Path, config: &ModelConfig, snapshot: Snapshot<'_>) -> Result<(), TrainError> {
    let entry = Entry { version: VERSION, config: config.to_hugging_face(), state: snapshot.state.clone() };
    let entry = serde_json::to_string(&entry).map_err(|error| not_complete(path, error.to_string()))?;
    let trainable = snapshot.state.launch.trainable();
    let trained = trainable.trained(config);
    let mut tensors = named(&trainable.stored(config), "param.", snapshot.params);
    if let Some(average) = snapshot.average {
        tensors.extend(named(&trainable.stored(config), AVERAGE, average));
    }
    let moments = Moments::of(snapshot.state.optimizer(), &trained);
    tensors.extend(named(&moments.first, "adamw.m.", snapshot.m));
    tensors.extend(named(&moments.second, "adamw.v.", snapshot.v));
    tensors.extend(named(&moments.rows, "adafactor.rows.", snapshot.v));
    tensors.extend(named(&moments.columns, "adafactor.columns.", snapshot.v));
    write_tensors(path, Some((KEY, entry)), &tensors)
}

/// Reads a checkpoint of a model with this configuration; the order of RoPE's rows may differ.
///
/// # Errors
/// As [`TensorFile::open`], [`TrainError::StateOfOtherModel`] with the first key that differs, or one of the
/// `Tensor…` cases of [`TrainError`]; numbers that are not finite are one.
pub fn load_checkpoint(path: &Path, config: &ModelConfig) -> Result<Checkpoint, TrainError> {
    let file = TensorFile::open(path)?;
    let Some(entry) = file.metadata(KEY) else {
        return Err(not_complete(path, "it holds no training state".to_owned()));
    };
    let entry: Entry = serde_json::from_str(entry)
        .map_err(|error| not_complete(path, format!("its training state cannot be read: {error}")))?;
    if !(OLDEST..=VERSION).contains(&entry.version) {
        let (path, version) = (path.to_owned(), entry.version);
        return Err(TrainError::CheckpointVersion { path, version, oldest: OLDEST, newest: VERSION });
    }
    if entry.version > OLDEST && !file.has_checksums() {
        let problem = "its checksums are missing".to_owned();
        return Err(TrainError::Damaged { path: path.to_owned(), problem });
    }
    let theirs = ModelConfig::from_json_in(path, &entry.config)?;
    let (in_folder, wanted) = (config_in_folder(&theirs), config_in_folder(config));
    if let Some((key, got, want)) = in_folder.difference(&wanted) {
        return Err(TrainError::StateOfOtherModel { path: path.to_owned(), key: key.to_owned(), got, want });
    }
    let trainable = entry.state.launch.trainable();
    let (stored, trained) = (trainable.stored(config), trainable.trained(config));
    let params = load_specs_from(&file, (config, &stored), "param.", |_| true)?;
    let has_average = file.names().iter().any(|name| name.starts_with(AVERAGE));
    let average =
        has_average.then(|| load_specs_from(&file, (config, &stored), AVERAGE, |_| true)).transpose()?;
    let total = trained.last().map_or(0, |spec| spec.range().end);
    let moments = Moments::of(entry.state.optimizer(), &trained);
    let read = |specs: &[ParamSpec], prefix| -> Result<Vec<f32>, TrainError> {
        let mut values = load_specs_from(&file, (config, specs), prefix, |_| true)?;
        if values.is_empty() {
            // Zeros that nobody has touched take no memory.
            return Ok(vec![0.0; total]);
        }
        values.resize(total, 0.0);
        Ok(values)
    };
    let m = read(&moments.first, "adamw.m.")?;
    let mut v = read(&moments.second, "adamw.v.")?;
    for (specs, prefix) in [(&moments.rows, "adafactor.rows."), (&moments.columns, "adafactor.columns.")] {
        let factors = read(specs, prefix)?;
        specs.iter().for_each(|spec| v[spec.range()].copy_from_slice(&factors[spec.range()]));
    }
    Ok(Checkpoint { state: entry.state, rope: theirs.rope.kind, params, average, m, v })
}

fn not_complete(path: &Path, problem: String) -> TrainError {
    TrainError::FileFormat { path: path.to_owned(), kind: "checkpoint", problem }
}
