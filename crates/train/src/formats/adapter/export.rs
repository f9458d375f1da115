//! Writing an adapter in another format, without its model.

use std::path::{Path, PathBuf};

use super::config::ADAPTER_CONFIG;
use super::files::{ADAPTER, Adapter};
use super::refused;
use super::source::base_of;
use crate::config::ModelConfig;
use crate::error::TrainError;
use crate::formats::export::{ExportOptions, Exported, Target, refuse_existing};
use crate::formats::gguf::{Factors, write_adapter};

/// Writes the adapter in the folder `from` to `out`: PEFT's folder, or a GGUF file for llama.cpp.
///
/// # Errors
/// [`TrainError::Adapter`] and [`TrainError::Export`] for what the format cannot hold; [`TrainError::Exists`];
/// [`TrainError::Io`].
pub fn export_adapter(from: &Path, out: &Path, options: &ExportOptions<'_>) -> Result<Exported, TrainError> {
    refuse_existing(out, options.to)?;
    let adapter = Adapter::open(from)?;
    let files = match options.to {
        Target::HuggingFace => adapter.copy_to(from, out)?,
        Target::Gguf => vec![adapter.write_gguf(out, options)?],
        Target::Llama2c => {
            let remedy = "Merge it into its model: `--merge`.";
            return Err(refused(from, "llama2.c's format has no adapters", remedy));
        }
    };
    let size = |path: &PathBuf| path.metadata().map_err(TrainError::io("read", path)).map(|m| m.len());
    let bytes = files.iter().map(size).sum::<Result<u64, _>>()?;
    Ok(Exported { files, bytes, params: adapter.count(), lost: Vec::new(), notes: Vec::new() })
}

impl Adapter {
    /// Number of weights.
    fn count(&self) -> usize {
        let of = |factor: &Option<super::files::Factor>| factor.as_ref().map_or(0, |f| f.values.len());
        let changes = self.changes.values();
        let whole: usize = self.whole.values().map(|(_, values)| values.len()).sum();
        changes.map(|c| of(&c.a) + of(&c.b) + c.magnitude.as_ref().map_or(0, Vec::len)).sum::<usize>() + whole
    }

    fn copy_to(&self, from: &Path, out: &Path) -> Result<Vec<PathBuf>, TrainError> {
        if self.config.is_mlx {
            let remedy = "Merge it into its model: `--merge`.";
            return Err(refused(&self.path, "mlx-lm's adapters are not written as PEFT's", remedy));
        }
        std::fs::create_dir_all(out).map_err(TrainError::io("create", out))?;
        let copy = |name: &str| {
            let to = out.join(name);
            std::fs::copy(from.join(name), &to).map_err(TrainError::io("write", &to))?;
            Ok(to)
        };
        [ADAPTER, ADAPTER_CONFIG].into_iter().map(copy).collect()
    }

    fn write_gguf(&self, out: &Path, options: &ExportOptions<'_>) -> Result<PathBuf, TrainError> {
        let base = base_of(self)?;
        let config = ModelConfig::find(&base.to_string_lossy())?;
        let cannot = |problem: String| refused(&self.path, problem, "Merge it into its model: `--merge`.");
        if let Some(name) = self.whole.keys().next() {
            return Err(cannot(format!("it replaces `{name}`, which an adapter of GGUF cannot")));
        }
        let specs = config.params();
        let mut all = Vec::new();
        for (module, change) in &self.changes {
            self.check_change(&config, module, change)?;
            let spec = specs.iter().find(|spec| spec.name == format!("{module}.weight"));
            let (Some(spec), Some(a), Some(b)) = (spec, &change.a, &change.b) else {
                return Err(cannot(format!("`{module}` is not whole")));
            };
            if change.magnitude.is_some() || change.is_embedding {
                return Err(cannot(format!("it changes `{module}` as an adapter of GGUF cannot")));
            }
            let scale = self.config.scale(module, a.shape[0]).map_err(cannot)?;
            all.push(Factors { spec, a: (&a.values, a.shape), b: (&b.values, b.shape), scale });
        }
        all.sort_by_key(|factors| factors.spec.offset);
        write_adapter(out, &config, &all, options.dtype)?;
        Ok(out.to_owned())
    }
}
