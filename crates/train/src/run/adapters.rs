//! Adapters and frozen weights of a run, from its settings.

use super::{OptimizerKind, RunError, Settings};
use crate::config::{Linear, Lora, ModelConfig, ParamSpec, Trainable, symmetric};
use fancy_regex::Regex;
use host::rng::{Purpose, stream};
use std::collections::BTreeSet;

/// The highest dropout rate: kept elements are then scaled by 100.
const MOST_DROPPED: f64 = 0.99;

impl Settings {
    /// What these settings train of a model `cfg`; random weights, which adapters would leave random, are `is_new`.
    ///
    /// # Errors
    /// `Setting`, with the first that does not fit the model.
    pub(super) fn trainable(&self, cfg: &ModelConfig, is_new: bool) -> Result<Trainable, RunError> {
        let refused = |what, got: String, want| Err(RunError::Setting { what, got, want });
        let lora = if self.lora > 0 { Some(self.adapters(cfg)?) } else { None };
        if lora.is_some() && is_new {
            let want = "the weights of a trained model: a folder or file, by `--model`";
            return refused("what `--lora` adapts", "a model with random weights".to_owned(), want);
        }
        if lora.is_some() && self.optimizer == OptimizerKind::Muon {
            let want = "another: Muon makes all directions of a whole matrix equally long, factors of low rank are none";
            return refused("the optimizer of adapters", "muon".to_owned(), want);
        }
        let set = [
            ("`lora_alpha`", self.lora_alpha != 0.0),
            ("`rslora`", self.rslora),
            ("`lora_dropout`", self.lora_dropout != 0.0),
            ("`lora_targets`", self.lora_targets.0 != "all"),
            ("`lora_layers`", self.lora_layers != 0),
            ("`train_embeddings`", self.train_embeddings),
        ];
        if lora.is_none()
            && let Some((what, _)) = set.into_iter().find(|(_, is_set)| *is_set)
        {
            return refused(what, "set without `--lora`".to_owned(), "left out, or used with `--lora RANK`");
        }
        let trainable = Trainable { lora, embeddings: self.train_embeddings, frozen: self.frozen(cfg)? };
        if trainable.trained(cfg).is_empty() {
            return refused("what `--freeze` leaves to train", "nothing".to_owned(), "at least one weight");
        }
        Ok(trainable)
    }

    fn adapters(&self, cfg: &ModelConfig) -> Result<Lora, RunError> {
        let refused = |what, got: String, want| Err(RunError::Setting { what, got, want });
        if self.lora_layers > cfg.layers {
            let got = format!("{} of {}", self.lora_layers, cfg.layers);
            return refused("the number of layers with adapters", got, "at most the layers of the model");
        }
        let least = Linear::ALL.into_iter().flat_map(|linear| linear.size(cfg)).min().unwrap_or(0);
        if self.lora > least {
            let got = format!("{}, and a projection has {least} channels", self.lora);
            return refused("the rank of adapters", got, "at most the channels of each projection");
        }
        if self.lora_dropout > MOST_DROPPED {
            return refused("`--lora-dropout`", self.lora_dropout.to_string(), "at most 0.99");
        }
        let first_layer = if self.lora_layers == 0 { 0 } else { cfg.layers - self.lora_layers };
        Ok(Lora {
            rank: self.lora,
            alpha: if self.lora_alpha == 0.0 { self.lora as f64 } else { self.lora_alpha },
            rank_stabilised: self.rslora,
            dropout: self.lora_dropout,
            targets: self.targets(cfg, first_layer)?,
            first_layer,
        })
    }

    /// The projections that `--lora-targets` names: all, a list, or those whose module's whole name a regular expression
    /// matches, as PEFT does, in each layer with adapters.
    fn targets(&self, cfg: &ModelConfig, first_layer: usize) -> Result<Vec<Linear>, RunError> {
        let text = self.lora_targets.0.as_str();
        let what = "`--lora-targets`";
        if text == "all" {
            return Ok(Linear::ALL.to_vec());
        }
        let of_name =
            |name: &str| Linear::ALL.into_iter().find(|l| [l.module(), l.short()].contains(&name.trim()));
        let listed: Option<BTreeSet<Linear>> = text.split(',').map(of_name).collect();
        if let Some(listed) = listed {
            return Ok(listed.into_iter().collect());
        }
        let names = "all, a list of q, k, v, o, gate, up and down, or a regular expression of whole modules such as \
                     `.*(q|v)_proj`, which finds the same in each layer with adapters";
        let refused = |got: String| RunError::Setting { what, got, want: names };
        let pattern = Regex::new(&format!("^(?:{text})$")).map_err(|e| refused(format!("`{text}` ({e})")))?;
        let of_layer = |layer: usize| -> Result<Vec<Linear>, RunError> {
            let mut found = Vec::new();
            for linear in Linear::ALL {
                let name = format!("model.layers.{layer}.{}", linear.path());
                if pattern.is_match(&name).map_err(|e| refused(format!("`{text}` ({e})")))? {
                    found.push(linear);
                }
            }
            Ok(found)
        };
        let found = of_layer(first_layer)?;
        for layer in first_layer..cfg.layers {
            if found.is_empty() || of_layer(layer)? != found {
                return Err(refused(format!(
                    "`{text}`, which finds {} in layer {layer}",
                    of_layer(layer)?.len()
                )));
            }
        }
        Ok(found)
    }

    /// The names of weights that `--freeze` finds.
    fn frozen(&self, cfg: &ModelConfig) -> Result<BTreeSet<String>, RunError> {
        let text = self.freeze.0.as_str();
        if text.is_empty() {
            return Ok(BTreeSet::new());
        }
        let refused = |got: String| RunError::Setting {
            what: "`--freeze`",
            got,
            want: "a regular expression that finds names of weights, such as `embed_tokens|layers\\.0\\.`",
        };
        let pattern = Regex::new(text).map_err(|e| refused(format!("`{text}` ({e})")))?;
        let mut frozen = BTreeSet::new();
        for spec in cfg.params() {
            if pattern.is_match(&spec.name).map_err(|e| refused(format!("`{text}` ({e})")))? {
                frozen.insert(spec.name);
            }
        }
        if frozen.is_empty() {
            return Err(refused(format!("`{text}`, which finds none")));
        }
        Ok(frozen)
    }
}

/// Appends the first weights of the adapters of `trainable` to the weights `theta` of a model `cfg`: A uniform, B zero.
pub(super) fn append_adapters(cfg: &ModelConfig, trainable: &Trainable, seed: u64, theta: &mut Vec<f32>) {
    let specs = trainable.table(cfg);
    let want = specs.last().map_or(0, |spec| spec.range().end);
    theta.reserve_exact(want.saturating_sub(theta.len()));
    theta.resize(want, 0.0);
    for (index, spec) in specs.iter().enumerate().filter(|(_, spec)| spec.kind.is_adapter()) {
        if let crate::config::Init::Uniform { limit } = spec.init {
            let mut rng = stream(seed, Purpose::Init, index as u64);
            theta[spec.range()].iter_mut().for_each(|w| *w = limit * symmetric(&mut rng));
        }
    }
}

/// Puts the weights that a checkpoint stores into those of its model with adapters.
pub(super) fn place_stored(cfg: &ModelConfig, trainable: &Trainable, stored: &[f32], theta: &mut [f32]) {
    let trained = trainable.table(cfg).into_iter().filter(|spec: &ParamSpec| trainable.trains(spec));
    for (to, from) in trained.zip(trainable.trained(cfg)) {
        theta[to.range()].copy_from_slice(&stored[from.range()]);
    }
}
