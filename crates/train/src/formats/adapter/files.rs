//! The tensors of an adapter's folder, by module.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::Xxh3Default;

use super::config::{ADAPTER_CONFIG, AdapterConfig};
use super::refused;
use crate::error::TrainError;
use crate::formats::weights::check_finite;
use crate::fs::TensorFile;

/// Name of PEFT's file of factors.
pub(crate) const ADAPTER: &str = "adapter_model.safetensors";

/// Name of mlx-lm's.
const MLX_ADAPTER: &str = "adapters.safetensors";

/// Metadata entry with the [`fingerprint`] of the model that an adapter was trained on.
pub(super) const BASE: &str = "backpropane.base";

/// PEFT's prefix of all names.
pub(super) const PREFIX: &str = "base_model.model.";

/// An adapter to use, and how much of it.
#[derive(Clone, Debug, PartialEq)]
pub struct AdapterRef {
    /// Its folder.
    pub path: PathBuf,
    /// A factor on what it adds.
    pub weight: f64,
}

/// XXH3 of the weights `params` of a model, f32, in hexadecimal.
pub fn fingerprint(params: &[f32]) -> String {
    let mut hash = Xxh3Default::new();
    for part in params.chunks(1 << 20) {
        match cfg!(target_endian = "little") {
            true => hash.update(bytemuck::cast_slice(part)),
            false => part.iter().for_each(|x| hash.update(&x.to_le_bytes())),
        }
    }
    format!("{:016x}", hash.digest())
}

/// A matrix, row-major.
#[derive(Debug, Default)]
pub(super) struct Factor {
    pub(super) name: String,
    pub(super) shape: [usize; 2],
    pub(super) values: Vec<f32>,
}

impl Factor {
    fn transposed(self) -> Factor {
        let [rows, cols] = self.shape;
        let values = (0..rows * cols).map(|i| self.values[i % rows * cols + i / rows]).collect();
        Factor { shape: [cols, rows], values, ..self }
    }
}

/// What an adapter does to a module.
#[derive(Debug, Default)]
pub(super) struct Change {
    /// `[R, I]`
    pub(super) a: Option<Factor>,
    /// `[O, R]`
    pub(super) b: Option<Factor>,
    /// DoRA's norms of the rows, `[O]`.
    pub(super) magnitude: Option<Vec<f32>>,
    /// Whether the module is an embedding, whose weight is `[I, O]` then.
    pub(super) is_embedding: bool,
}

/// An adapter in memory.
#[derive(Debug)]
pub(super) struct Adapter {
    pub(super) path: PathBuf,
    pub(super) config: AdapterConfig,
    /// By module.
    pub(super) changes: BTreeMap<String, Change>,
    /// Whole weights, by name.
    pub(super) whole: BTreeMap<String, (Vec<usize>, Vec<f32>)>,
    /// The [`fingerprint`] of the model that it was trained on, if it says.
    pub(super) base: Option<String>,
}

impl Adapter {
    /// Reads the folder `dir`.
    ///
    /// # Errors
    /// As [`AdapterConfig::read`] and [`TensorFile::open`]; [`TrainError::Adapter`] for a tensor whose meaning is not known.
    pub(super) fn open(dir: &Path) -> Result<Adapter, TrainError> {
        let config_file = dir.join(ADAPTER_CONFIG);
        if !config_file.is_file() {
            let problem = format!("it has no `{ADAPTER_CONFIG}`");
            return Err(refused(
                dir,
                problem,
                "Name a folder of PEFT's or mlx-lm's, or of a run with `--lora`.",
            ));
        }
        let config = AdapterConfig::read(&config_file)?;
        let path = dir.join(if config.is_mlx { MLX_ADAPTER } else { ADAPTER });
        if !path.exists() && dir.join("adapter_model.bin").exists() {
            let remedy = "Save it again with PEFT's `save_pretrained`, which writes safetensors.";
            return Err(refused(dir, "its factors are a pickle, `adapter_model.bin`", remedy));
        }
        let file = TensorFile::open(&path)?;
        let base = file.metadata(BASE).map(str::to_owned);
        let mut adapter = Adapter { path, config, changes: BTreeMap::new(), whole: BTreeMap::new(), base };
        for name in file.names() {
            adapter.add(&file, &name)?;
        }
        if adapter.changes.is_empty() && adapter.whole.is_empty() {
            return Err(refused(&adapter.path, "it holds no tensors", "Save the adapter again."));
        }
        Ok(adapter)
    }

    /// Reads tensor `name`.
    fn add(&mut self, file: &TensorFile, name: &str) -> Result<(), TrainError> {
        let path = file.path();
        let unknown = |problem: &str| {
            refused(path, format!("tensor `{name}` {problem}"), "Merge it with the program that made it.")
        };
        let prefix = if self.config.is_mlx { "" } else { PREFIX };
        let Some(own) = name.strip_prefix(prefix) else { return Err(unknown("has a name of another kind")) };
        let shape = file.shape(name)?.to_vec();
        let mut values = vec![0.0; shape.iter().product()];
        file.read(name, &shape, &mut values)?;
        check_finite(path, name, &values)?;
        let matrix = |values: Vec<f32>| match shape[..] {
            [rows, cols] => Ok(Factor { name: name.to_owned(), shape: [rows, cols], values }),
            _ => Err(unknown(&format!("has shape {shape:?}, and a factor has two axes"))),
        };
        let parts: [(&str, Part); 9] = [
            (".lora_A.weight", Part::A),
            (".lora_B.weight", Part::B),
            (".lora_embedding_A", Part::EmbeddingA),
            (".lora_embedding_B", Part::EmbeddingB),
            (".lora_magnitude_vector", Part::Magnitude),
            (".lora_magnitude_vector.weight", Part::Magnitude),
            (".lora_a", Part::TransposedA),
            (".lora_b", Part::TransposedB),
            (".m", Part::Magnitude),
        ];
        let parts = if self.config.is_mlx { &parts[6..] } else { &parts[..6] };
        let found = parts.iter().find_map(|&(suffix, part)| Some((own.strip_suffix(suffix)?, part)));
        let Some((module, part)) = found else {
            if self.config.is_mlx || own.contains("lora_") {
                return Err(unknown("is not known"));
            }
            // PEFT saves the own weight of an embedding that has an adapter.
            let own = own.replace(".base_layer.", ".");
            self.whole.insert(own, (shape.clone(), values));
            return Ok(());
        };
        let change = self.changes.entry(module.to_owned()).or_default();
        change.is_embedding |= matches!(part, Part::EmbeddingA | Part::EmbeddingB);
        match part {
            Part::A | Part::EmbeddingA => change.a = Some(matrix(values)?),
            Part::B | Part::EmbeddingB => change.b = Some(matrix(values)?),
            Part::TransposedA => change.a = Some(matrix(values)?.transposed()),
            Part::TransposedB => change.b = Some(matrix(values)?.transposed()),
            Part::Magnitude => change.magnitude = Some(values),
        }
        Ok(())
    }
}

/// The part of a change that a tensor is.
#[derive(Clone, Copy)]
enum Part {
    A,
    B,
    EmbeddingA,
    EmbeddingB,
    TransposedA,
    TransposedB,
    Magnitude,
}
