//! Writing adapters as PEFT reads them.

use std::borrow::Cow;
use std::path::Path;

use serde_json::json;

use super::config::ADAPTER_CONFIG;
use super::files::{ADAPTER, BASE, PREFIX};
use crate::config::{ModelConfig, ParamKind, ParamSpec, Trainable};
use crate::error::TrainError;
use crate::formats::rope;
use crate::fs::{NamedTensor, TensorFile, write_atomically, write_tensors};

/// What is trained of a model, with its values.
#[derive(Clone, Copy, Debug)]
pub struct AdapterModel<'a> {
    /// The configuration of the frozen model.
    pub config: &'a ModelConfig,
    /// The adapters.
    pub trainable: &'a Trainable,
    /// The trained weights, in the order of [`Trainable::trained`].
    pub params: &'a [f32],
    /// The frozen model's path.
    pub base: &'a str,
    /// The [`super::fingerprint`] of its weights.
    pub weights: &'a str,
}

/// Writes `adapter_config.json` and `adapter_model.safetensors` into the folder `dir`, the factors first.
///
/// # Errors
/// [`TrainError::Io`]; existing files are then unchanged.
pub(crate) fn save_adapter(dir: &Path, model: AdapterModel<'_>) -> Result<(), TrainError> {
    let write = |tensors: &[NamedTensor<'_>]| {
        write_tensors(&dir.join(ADAPTER), Some((BASE, model.weights.to_owned())), tensors)
    };
    model.as_saved(write)?;
    write_atomically(&dir.join(ADAPTER_CONFIG), model.config_json().as_bytes())
}

/// Whether the folder `dir` has what [`save_adapter`] writes, undamaged.
pub(crate) fn is_adapter_saved(dir: &Path, model: AdapterModel<'_>) -> bool {
    let config = || std::fs::read(dir.join(ADAPTER_CONFIG)).ok();
    let whole = |file: TensorFile| {
        model.as_saved(|tensors| file.claims(tensors))
            && file.verify().is_ok()
            && config().as_deref() == Some(model.config_json().as_bytes())
    };
    TensorFile::open(&dir.join(ADAPTER)).is_ok_and(whole)
}

impl AdapterModel<'_> {
    /// Calls `f` with the tensors, under PEFT's names and with rows in the order of a folder. A tied embedding that is
    /// trained is written twice: PEFT has a copy of each module.
    fn as_saved<R>(&self, f: impl FnOnce(&[NamedTensor<'_>]) -> R) -> R {
        let specs = self.trainable.trained(self.config);
        let rows = |spec: &ParamSpec| {
            rope::in_folder(self.config, spec, self.params.get(spec.range()).unwrap_or(&[]))
        };
        let data: Vec<Cow<'_, [f32]>> = specs.iter().map(rows).collect();
        let mut tensors = Vec::new();
        for (spec, data) in specs.iter().zip(&data) {
            let mut add = |name: &str| {
                let name = format!("{PREFIX}{name}");
                tensors.push(NamedTensor { name, shape: spec.shape.clone(), data });
            };
            add(&spec.name);
            if spec.kind == ParamKind::Embedding && self.config.tied {
                add("lm_head.weight");
            }
        }
        f(&tensors)
    }

    /// The text of `adapter_config.json`.
    fn config_json(&self) -> String {
        let Some(lora) = &self.trainable.lora else { return String::new() };
        let targets: Vec<&str> = lora.targets.iter().map(|linear| linear.module()).collect();
        let layers =
            (lora.first_layer > 0).then(|| (lora.first_layer..self.config.layers).collect::<Vec<_>>());
        let whole = self.trainable.embeddings.then_some(["embed_tokens", "lm_head"]);
        let config = json!({
            "peft_type": "LORA",
            "task_type": "CAUSAL_LM",
            "base_model_name_or_path": self.base,
            "r": lora.rank,
            "lora_alpha": lora.alpha,
            "lora_dropout": lora.dropout,
            "use_rslora": lora.rank_stabilised,
            "target_modules": targets,
            "layers_to_transform": layers,
            "modules_to_save": whole,
            "bias": "none",
            "fan_in_fan_out": false,
            "inference_mode": true,
            "init_lora_weights": true,
        });
        format!("{config:#}\n")
    }
}
