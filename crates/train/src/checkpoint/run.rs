//! The folder of a run: where its files are, which checkpoint is the newest, which may go.

use std::fs;
use std::path::{Path, PathBuf};

use super::model::save_model;
use super::state::{Checkpoint, Snapshot, load_checkpoint, save_checkpoint};
use super::{Origin, write_atomically};
use crate::config::ModelConfig;
use crate::error::TrainError;
use crate::tokenizer::Tokenizer;

/// Checkpoints that stay: should the newest turn out damaged, there is one more.
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

    /// The folder at `dir`, made with all it needs to receive a run.
    ///
    /// # Errors
    /// [`TrainError::Io`] if it cannot be made.
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
        self.dir.join("config.json")
    }

    /// `model.safetensors`.
    pub fn model(&self) -> PathBuf {
        self.dir.join("model.safetensors")
    }

    /// `tokens.bin`, the text as tokens.
    pub fn tokens(&self) -> PathBuf {
        self.dir.join("tokens.bin")
    }

    fn checkpoints(&self) -> PathBuf {
        self.dir.join("checkpoints")
    }

    /// Writes `config.json` of a model that comes from nowhere else and has no tokenizer.
    ///
    /// # Errors
    /// [`TrainError::Io`].
    pub fn save_config(&self, config: &ModelConfig) -> Result<(), TrainError> {
        self.save_origin(&Origin::default(), config, None)
    }

    /// Writes what goes along with the weights of a model that comes from `origin`: `config.json` and the files of its
    /// origin.
    ///
    /// # Errors
    /// [`TrainError::Io`].
    pub fn save_origin(
        &self,
        origin: &Origin,
        config: &ModelConfig,
        tokenizer: Option<&Tokenizer>,
    ) -> Result<(), TrainError> {
        origin.write_companions(&self.dir)?;
        write_atomically(&self.config(), origin.config_json(config, tokenizer).as_bytes())
    }

    /// Writes a checkpoint of the snapshot's step, then `model.safetensors` with the same weights, then removes
    /// what is no longer needed: all but the two newest checkpoints, any of a later step (an earlier run left
    /// them), and remains of interrupted writes.
    ///
    /// # Errors
    /// [`TrainError::Io`]; the earlier checkpoints and the earlier `model.safetensors` are then as they were.
    pub fn save(&self, config: &ModelConfig, snapshot: Snapshot<'_>) -> Result<(), TrainError> {
        let step = snapshot.state.step;
        let path = self.checkpoints().join(format!("step-{step:08}.safetensors"));
        save_checkpoint(&path, config, snapshot)?;
        save_model(&self.model(), config, snapshot.params)?;
        self.prune(step)
    }

    /// The newest checkpoint, as its step and its path.
    ///
    /// # Errors
    /// [`TrainError::Io`] if the folder cannot be listed.
    pub fn newest(&self) -> Result<Option<(u64, PathBuf)>, TrainError> {
        Ok(self.steps()?.pop())
    }

    /// Reads the newest checkpoint.
    ///
    /// # Errors
    /// [`TrainError::NoCheckpoint`], otherwise as [`load_checkpoint`].
    pub fn load_newest(&self, config: &ModelConfig) -> Result<Checkpoint, TrainError> {
        let Some((_, path)) = self.newest()? else {
            return Err(TrainError::NoCheckpoint { dir: self.dir.clone() });
        };
        load_checkpoint(&path, config)
    }

    /// All checkpoints with their steps, oldest first.
    fn steps(&self) -> Result<Vec<(u64, PathBuf)>, TrainError> {
        let step = |path: PathBuf| {
            let name = path.file_name()?.to_str()?;
            let number = name.strip_prefix("step-")?.strip_suffix(".safetensors")?;
            Some((number.parse().ok()?, path))
        };
        let mut steps: Vec<_> = self.list()?.into_iter().filter_map(step).collect();
        steps.sort();
        Ok(steps)
    }

    /// Everything in the folder of checkpoints; nothing if there is none.
    fn list(&self) -> Result<Vec<PathBuf>, TrainError> {
        let folder = self.checkpoints();
        if !folder.exists() {
            return Ok(Vec::new());
        }
        let reading = || TrainError::io("read", &folder);
        let entries = fs::read_dir(&folder).map_err(reading())?;
        entries.map(|entry| entry.map(|e| e.path()).map_err(reading())).collect()
    }

    fn prune(&self, step: u64) -> Result<(), TrainError> {
        let (kept, later): (Vec<_>, Vec<_>) = self.steps()?.into_iter().partition(|(s, _)| *s <= step);
        let surplus = kept.len().saturating_sub(KEPT);
        let old = kept.into_iter().take(surplus).chain(later).map(|(_, path)| path);
        let remains = self.list()?.into_iter().filter(|path| path.extension().is_some_and(|e| e == "tmp"));
        for path in old.chain(remains) {
            fs::remove_file(&path).map_err(TrainError::io("remove", &path))?;
        }
        Ok(())
    }
}
