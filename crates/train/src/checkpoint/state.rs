//! A checkpoint: weights, moments of the optimizer and state of a run, in one file.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::config::{ModelConfig, ParamSpec, RopeKind, Trainable};
use crate::error::TrainError;
use crate::formats::{config_in_folder, load_specs_from, named};
use crate::fs::{TensorFile, write_tensors};

/// Version of the state's metadata; since version 2 a file has checksums.
const VERSION: u32 = 2;

/// The oldest supported version.
const OLDEST: u32 = 1;

/// Metadata entry of a checkpoint file.
const KEY: &str = "backpropane.checkpoint";

/// The state of a run. Random numbers need no state: they depend on `seed` and `step` alone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrainState {
    /// Optimizer steps taken.
    pub step: u64,
    /// The run's seed.
    pub seed: u64,
    /// The loss scale.
    pub loss_scale: f32,
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
    /// Whether the optimizer keeps a second moment of this weight: Muon keeps none of the layers' matrices.
    fn has_second_moment(&self, spec: &ParamSpec) -> bool {
        let is_muon = self.settings.get("optimizer").is_some_and(|name| name == "muon");
        !is_muon || spec.layer_matrix().is_none()
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
    /// AdamW's first moments, Muon's momentum.
    pub m: &'a [f32],
    /// AdamW's second moments.
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
    /// AdamW's first moments, Muon's momentum.
    pub m: Vec<f32>,
    /// AdamW's second moments; 0 where Muon updates.
    pub v: Vec<f32>,
}

/// The metadata entry.
#[derive(Serialize, Deserialize)]
struct Entry {
    version: u32,
    /// The text of the model's `config.json` in Hugging Face's format.
    config: String,
    state: TrainState,
}

/// Writes a checkpoint as one safetensors file, atomically: `param.NAME`, `adamw.m.NAME` and
/// `adamw.v.NAME` for each weight, everything else in the metadata. Weights that Muon updates have no `adamw.v.NAME`.
///
/// # Errors
/// As [`write_tensors`].
pub fn save_checkpoint(path: &Path, config: &ModelConfig, snapshot: Snapshot<'_>) -> Result<(), TrainError> {
    let entry = Entry { version: VERSION, config: config.to_hugging_face(), state: snapshot.state.clone() };
    let entry = serde_json::to_string(&entry).map_err(|error| not_complete(path, error.to_string()))?;
    let trainable = snapshot.state.launch.trainable();
    let trained = trainable.trained(config);
    let mut tensors = named(&trainable.stored(config), "param.", snapshot.params);
    tensors.extend(named(&trained, "adamw.m.", snapshot.m));
    let is_stored = |spec: &ParamSpec| snapshot.state.has_second_moment(spec);
    let second = named(&trained, "adamw.v.", snapshot.v).into_iter().zip(&trained);
    tensors.extend(second.filter_map(|(tensor, spec)| is_stored(spec).then_some(tensor)));
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
    let m = load_specs_from(&file, (config, &trained), "adamw.m.", |_| true)?;
    let has_second = |spec: &ParamSpec| entry.state.has_second_moment(spec);
    let v = load_specs_from(&file, (config, &trained), "adamw.v.", has_second)?;
    Ok(Checkpoint { state: entry.state, rope: theirs.rope.kind, params, m, v })
}

fn not_complete(path: &Path, problem: String) -> TrainError {
    TrainError::FileFormat { path: path.to_owned(), kind: "checkpoint", problem }
}
