//! Default settings: what suits a model, its data and the optimizer.

use super::setting::{OutputInit, ScheduleKind};
use super::settings::{Overrides, Settings};
use crate::config::{ModelConfig, Task};
use crate::optim::{LossScale, OptimizerKind};

/// What the steps of a number of epochs follow from.
#[derive(Clone, Copy, Debug)]
pub(super) struct EpochFit {
    /// Windows of an epoch.
    pub windows: u64,
    /// Whether the data are examples.
    pub examples: bool,
    /// Whether the run is new.
    pub is_new: bool,
    /// Whether the model has trained weights.
    pub is_pretrained: bool,
}

/// Epochs of a run on examples.
const EPOCHS: f64 = 3.0;

/// The peak learning rate for trained weights on examples.
const TUNING_LR: f64 = 5e-5;

impl Settings {
    /// Default settings for `cfg`: small models get few tokens per step and a high learning rate, large ones the opposite.
    /// A model that `is_new` has random weights, which Muon moves faster than one should move trained weights.
    pub fn for_model(cfg: &ModelConfig, is_new: bool) -> Settings {
        let settings = Settings::default();
        if cfg.task == Task::Regression {
            // As in maderix/ANE: Adam with learning rate 1e-3 on one sample.
            return Settings {
                batch: 1,
                weight_decay: 0.0,
                warmup: 0,
                schedule: ScheduleKind::Constant,
                ..settings
            };
        }
        match cfg.param_count() {
            0..1_000_000 => Settings { steps: 200, warmup: 20, lr: 3e-3, val_every: 50, ..settings },
            // Chosen by bits per byte after two minutes on two cores: docs/default-run.md.
            1_000_000..8_000_000 if is_new => Settings {
                steps: 750,
                batch: 8,
                optimizer: OptimizerKind::Muon,
                lr: 8e-3,
                muon_iterations: 3,
                warmup: 0,
                schedule: ScheduleKind::Linear,
                output_init: OutputInit::Zero,
                save_every: 200,
                val_every: 200,
                ..settings
            },
            1_000_000..8_000_000 => {
                Settings { steps: 1200, lr: 2e-3, save_every: 200, val_every: 200, ..settings }
            }
            8_000_000..60_000_000 => Settings { steps: 2000, ..settings },
            _ => Settings { steps: 10_000, lr: 3e-4, accum: 2, ..settings },
        }
    }

    /// Default settings for adapters of a trained model.
    fn for_adapters() -> Settings {
        Settings { steps: 200, warmup: 10, lr: 5e-4, weight_decay: 0.0, val_every: 50, ..Settings::default() }
    }

    /// The settings of a new run of `cfg`: those of `given`, else those that suit the model and this processor. Weights of a
    /// model that `is_new` are random.
    pub fn for_new_run(cfg: &ModelConfig, is_new: bool, given: &Overrides) -> Settings {
        let of_model = match given.lora {
            None | Some(0) => Settings::for_model(cfg, is_new),
            Some(_) => Settings::for_adapters(),
        };
        let mut settings = of_model.with(given);
        settings.suit_optimizer(given);
        let scale = if is_new { settings.loss_scale } else { LossScale::Auto };
        settings.loss_scale = given.loss_scale.unwrap_or(scale);
        settings.math = given.math.unwrap_or_else(|| settings.storage.auto_math());
        settings
    }

    /// Fits what the user left open to the optimizer: these settings suit AdamW.
    fn suit_optimizer(&mut self, given: &Overrides) {
        if given.lr.is_none() {
            self.lr = self.optimizer.rate(self.lr);
        }
        if self.optimizer == OptimizerKind::Lion {
            self.beta2 = given.beta2.unwrap_or(0.99);
            let decay = self.weight_decay * OptimizerKind::LION as f32;
            self.weight_decay = given.weight_decay.unwrap_or(decay);
        }
    }

    /// Settings with the steps of the epochs that are wanted. A new run on examples without a number of steps takes 3 epochs; a
    /// pretrained model is then moved slowly, and warm-up takes at most a tenth of the steps.
    #[must_use]
    pub(super) fn for_epochs(mut self, fit: &EpochFit, given: &Overrides) -> Settings {
        let default = fit.examples && fit.is_new && given.steps.is_none() && self.epochs == 0.0;
        if default {
            self.epochs = EPOCHS;
        }
        if !default && given.epochs.is_none_or(|epochs| epochs <= 0.0) {
            return self;
        }
        self.steps = (self.epochs * fit.windows as f64 / self.windows() as f64).ceil().max(1.0) as u64;
        if fit.is_new {
            let tenth = u32::try_from(self.steps / 10).unwrap_or(u32::MAX);
            self.warmup = given.warmup.unwrap_or(self.warmup.min(tenth));
            if fit.examples && fit.is_pretrained && given.lr.is_none() {
                self.lr = self.lr.min(self.optimizer.rate(TUNING_LR));
            }
        }
        self
    }
}
