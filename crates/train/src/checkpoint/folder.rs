//! The folder of a run: paths of its files, its newest checkpoint, removal of old checkpoints.

use std::fs;
use std::path::{Path, PathBuf};

use super::state::{Checkpoint, Snapshot, TrainState, load_checkpoint, save_checkpoint};
use crate::config::{ModelConfig, Trainable};
use crate::error::TrainError;
use crate::formats::{
    ADAPTER, ADAPTER_CONFIG, AdapterModel, COMPANIONS, CONFIG, FolderMetadata, INDEX, WEIGHTS,
    foreign_weights, is_adapter_saved, is_saved, save_adapter, save_model,
};
use crate::fs::{RunLock, is_remains, write_atomically};
use crate::tokenizer::Tokenizer;

/// Files that a run writes into its folder, besides the companion files of the model it started from.
const FILES: [&str; 10] = [
    ADAPTER,
    ADAPTER_CONFIG,
    CONFIG,
    "examples.bin",
    "loss.svg",
    "metrics.jsonl",
    WEIGHTS,
    "tokenizer.bin",
    "tokenizer.json",
    "tokens.bin",
];

/// Number of checkpoints that are kept; more than one, because the newest may be damaged.
const KEPT: usize = 2;

/// A run's folder.
#[derive(Clone, Debug)]
pub struct RunFolder {
    dir: PathBuf,
}

impl RunFolder {
    /// The folder at `dir`, whether it exists or not.
    pub fn at(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
    }

    /// Creates the folder at `dir`, with its subfolders.
    ///
    /// # Errors
    /// [`TrainError::Io`].
    pub fn create(dir: &Path) -> Result<Self, TrainError> {
        let folder = Self::at(dir);
        let checkpoints = folder.checkpoints();
        fs::create_dir_all(&checkpoints).map_err(TrainError::io("create", &checkpoints))?;
        Ok(folder)
    }

    /// The folder's path.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// `config.json`.
    pub fn config(&self) -> PathBuf {
        self.dir.join(CONFIG)
    }

    /// `model.safetensors`.
    pub fn model(&self) -> PathBuf {
        self.dir.join(WEIGHTS)
    }

    /// `tokens.bin`, the text as tokens.
    pub fn tokens(&self) -> PathBuf {
        self.dir.join("tokens.bin")
    }

    /// `examples.bin`, where each example begins in the tokens, and what counts.
    pub fn examples(&self) -> PathBuf {
        self.dir.join("examples.bin")
    }

    /// `metrics.jsonl`.
    pub fn metrics(&self) -> PathBuf {
        self.dir.join("metrics.jsonl")
    }

    fn checkpoints(&self) -> PathBuf {
        self.dir.join("checkpoints")
    }

    /// Writes `config.json` and the companion files of `metadata`.
    ///
    /// # Errors
    /// [`TrainError::Io`].
    pub fn save_metadata(
        &self,
        metadata: &FolderMetadata,
        config: &ModelConfig,
        tokenizer: Option<&Tokenizer>,
    ) -> Result<(), TrainError> {
        metadata.write_companions(&self.dir)?;
        write_atomically(&self.config(), metadata.config_json(config, tokenizer).as_bytes())
    }

    /// Writes a checkpoint of the snapshot's step, then `model.safetensors` with the same weights. Then removes all but the two
    /// newest checkpoints, checkpoints of later steps (from an earlier run), and files of interrupted writes.
    ///
    /// # Errors
    /// [`TrainError::Io`]; existing checkpoints and `model.safetensors` are then unchanged.
    pub fn save(&self, config: &ModelConfig, snapshot: Snapshot<'_>) -> Result<(), TrainError> {
        let step = snapshot.state.step;
        let path = self.checkpoints().join(format!("step-{step:08}.safetensors"));
        save_checkpoint(&path, config, snapshot)?;
        self.save_model(config, snapshot.state, snapshot.model())?;
        self.prune(step)
    }

    /// Writes `model.safetensors`, or the files of an adapter, with the weights that a checkpoint of `state` stores, or their average.
    ///
    /// # Errors
    /// [`TrainError::Io`]; existing ones are then unchanged.
    pub fn save_model(
        &self,
        config: &ModelConfig,
        state: &TrainState,
        params: &[f32],
    ) -> Result<(), TrainError> {
        let trainable = state.launch.trainable();
        match adapter(config, state, (&trainable, params)) {
            Some(adapter) => save_adapter(&self.dir, adapter),
            None => save_model(&self.model(), config, params),
        }
    }

    /// Step and path of the newest checkpoint.
    ///
    /// # Errors
    /// [`TrainError::Io`] if the folder cannot be listed.
    pub fn newest(&self) -> Result<Option<(u64, PathBuf)>, TrainError> {
        Ok(self.steps()?.pop())
    }

    /// Reads the newest undamaged checkpoint; returns the errors of newer ones too.
    ///
    /// # Errors
    /// [`TrainError::NoCheckpoint`]; the error of the newest if all are damaged; otherwise as [`load_checkpoint`].
    pub fn load_newest(&self, config: &ModelConfig) -> Result<(Checkpoint, Vec<TrainError>), TrainError> {
        let mut passed_over = Vec::new();
        for (step, path) in self.steps()?.into_iter().rev() {
            match load_step(step, &path, config) {
                Ok(checkpoint) => return Ok((checkpoint, passed_over)),
                Err(error) if error.is_damage() => passed_over.push(error),
                Err(error) => return Err(error),
            }
        }
        let none = || TrainError::NoCheckpoint { dir: self.dir.clone() };
        Err(passed_over.into_iter().next().unwrap_or_else(none))
    }

    /// Whether the folder has what [`RunFolder::save_model`] writes, undamaged.
    pub fn has_model(&self, config: &ModelConfig, state: &TrainState, params: &[f32]) -> bool {
        let trainable = state.launch.trainable();
        match adapter(config, state, (&trainable, params)) {
            Some(adapter) => is_adapter_saved(&self.dir, adapter),
            None => is_saved(&self.model(), config, params),
        }
    }

    /// Removes the checkpoint of `step`, whose weights are unfit, and writes the model from the checkpoint before it. Does
    /// nothing without an undamaged earlier checkpoint.
    ///
    /// # Errors
    /// [`TrainError::Io`].
    pub fn withdraw(&self, step: u64, config: &ModelConfig) -> Result<(), TrainError> {
        let steps = self.steps()?;
        let Some((_, path)) = steps.iter().find(|(s, _)| *s == step) else { return Ok(()) };
        let before = steps.iter().rev().filter(|(s, _)| *s < step);
        let Some(checkpoint) = before.into_iter().find_map(|(s, path)| load_step(*s, path, config).ok())
        else {
            return Ok(());
        };
        self.save_model(config, &checkpoint.state, checkpoint.model())?;
        remove(path)
    }

    /// As [`RunFolder::withdraw`]; without an earlier checkpoint, removes it and the model all the same.
    ///
    /// # Errors
    /// [`TrainError::Io`].
    pub fn discard(&self, step: u64, config: &ModelConfig) -> Result<(), TrainError> {
        self.withdraw(step, config)?;
        let left = self.steps()?.into_iter().find(|(s, _)| *s == step);
        left.map_or(Ok(()), |(_, path)| [path, self.model()].iter().try_for_each(|path| remove(path)))
    }

    /// Removes temporary files of interrupted writes from the folder.
    ///
    /// # Errors
    /// [`TrainError::Io`].
    pub fn clean(&self) -> Result<(), TrainError> {
        let is_ours = |name: &str| FILES.contains(&name) || COMPANIONS.contains(&name);
        let in_run = list(&self.dir)?.into_iter().filter(|path| is_remains(path, is_ours));
        let in_checkpoints = list(&self.checkpoints())?;
        let in_checkpoints =
            in_checkpoints.into_iter().filter(|path| is_remains(path, |name| step_of(name).is_some()));
        in_run.chain(in_checkpoints).try_for_each(|path| remove(&path))
    }

    /// In a folder without a run: a file that a run would overwrite, or that belongs to another model.
    pub fn foreign_file(&self) -> Option<String> {
        if RunLock::is_in(&self.dir) || self.model().exists() || self.checkpoints().exists() {
            return None;
        }
        let files = FILES.iter().chain(&COMPANIONS).copied().chain([INDEX]).chain(foreign_weights(&self.dir));
        files.into_iter().find(|name| self.dir.join(name).exists()).map(str::to_owned)
    }

    /// All checkpoints with their steps, oldest first.
    fn steps(&self) -> Result<Vec<(u64, PathBuf)>, TrainError> {
        let step = |path: PathBuf| Some((step_of(path.file_name()?.to_str()?)?, path));
        let mut steps: Vec<_> = list(&self.checkpoints())?.into_iter().filter_map(step).collect();
        steps.sort();
        Ok(steps)
    }

    /// Removes old files of a run whose newest checkpoint is of `step`, as described at [`RunFolder::save`].
    ///
    /// # Errors
    /// [`TrainError::Io`].
    pub fn prune(&self, step: u64) -> Result<(), TrainError> {
        let (kept, later): (Vec<_>, Vec<_>) = self.steps()?.into_iter().partition(|(s, _)| *s <= step);
        let surplus = kept.len().saturating_sub(KEPT);
        kept.into_iter().take(surplus).chain(later).try_for_each(|(_, path)| remove(&path))?;
        self.clean()
    }
}

/// The adapter of a run that trains one.
fn adapter<'a>(
    config: &'a ModelConfig,
    state: &'a TrainState,
    (trainable, params): (&'a Trainable, &'a [f32]),
) -> Option<AdapterModel<'a>> {
    let base = state.launch.base.as_ref().filter(|_| trainable.lora.is_some())?;
    Some(AdapterModel { config, trainable, params, base: &base.path, weights: &base.weights })
}

/// Reads the checkpoint whose name contains `step`.
fn load_step(step: u64, path: &Path, config: &ModelConfig) -> Result<Checkpoint, TrainError> {
    let checkpoint = load_checkpoint(path, config)?;
    if checkpoint.state.step != step {
        let problem = format!("it holds the state of step {}", checkpoint.state.step);
        return Err(TrainError::Damaged { path: path.to_owned(), problem });
    }
    Ok(checkpoint)
}

/// The step in a checkpoint's name.
fn step_of(name: &str) -> Option<u64> {
    name.strip_prefix("step-")?.strip_suffix(".safetensors")?.parse().ok()
}

/// The entries of a folder; none if it does not exist.
fn list(folder: &Path) -> Result<Vec<PathBuf>, TrainError> {
    if !folder.exists() {
        return Ok(Vec::new());
    }
    let reading = || TrainError::io("read", folder);
    let entries = fs::read_dir(folder).map_err(reading())?;
    entries.map(|entry| entry.map(|e| e.path()).map_err(reading())).collect()
}

fn remove(path: &Path) -> Result<(), TrainError> {
    fs::remove_file(path).map_err(TrainError::io("remove", path))
}
