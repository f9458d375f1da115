//! The settings of a run.

use super::RunError;
use crate::config::ModelConfig;
use crate::model::{Norms, Precision, Rung, Start};
use crate::optim::{AdamW, Schedule};
use ane::MatmulPrecision;
use serde::{Deserialize, Serialize};

/// How the learning rate goes over a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ScheduleKind {
    /// Warm-up, then half a cosine down to a tenth.
    Cosine,
    /// Warm-up, then level.
    Constant,
}

/// The element type of programs and surfaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Storage {
    /// fp16: what an engine computes with.
    F16,
    /// f32: a debugging switch of the software engine.
    F32,
}

impl Storage {
    /// As the model's programs want it.
    pub fn precision(self) -> Precision {
        match self {
            Storage::F16 => Precision::F16,
            Storage::F32 => Precision::F32,
        }
    }
}

/// The settings of a run; they stand in each checkpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// Optimizer steps of the whole run.
    pub steps: u64,
    /// Windows of a micro-batch.
    pub batch: usize,
    /// Micro-batches of an optimizer step.
    pub accum: usize,
    /// The highest learning rate.
    pub lr: f64,
    /// Steps in which the learning rate rises.
    pub warmup: u32,
    /// How it goes on.
    pub schedule: ScheduleKind,
    /// The share of each matrix, times the learning rate, that it loses a step.
    pub weight_decay: f32,
    /// The largest global norm of the gradient; 0 for none.
    pub clip: f64,
    /// The factor on the loss's gradient that keeps small gradients in the range of fp16.
    pub loss_scale: f32,
    /// Steps between checkpoints; 0 for the last alone.
    pub save_every: u64,
    /// Steps between validations; 0 for the last alone.
    pub val_every: u64,
    /// What all randomness of the run follows from.
    pub seed: u64,
    /// The element type of programs and surfaces.
    pub storage: Storage,
    /// How matrix products are computed.
    #[serde(default, with = "math_name")]
    pub math: MatmulPrecision,
    /// Where norms of the forward pass are computed.
    #[serde(default)]
    pub norms: Norms,
    /// The name of the rung of the ladder that the run's kernels are of, once a Neural Engine has taken it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rung: Option<String>,
}

/// [`MatmulPrecision`] by its name.
mod math_name {
    use ane::MatmulPrecision;
    use serde::de::{Deserialize, Deserializer, Error};
    use serde::ser::Serializer;

    pub fn serialize<S: Serializer>(math: &MatmulPrecision, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(math.name())
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<MatmulPrecision, D::Error> {
        let name = String::deserialize(from)?;
        MatmulPrecision::named(&name)
            .ok_or_else(|| D::Error::custom(format!("no products are computed in `{name}`")))
    }
}

/// What the command line gave; the rest is as it was, or as the model is best trained.
#[derive(Clone, Debug, Default, PartialEq)]
#[expect(missing_docs, reason = "each is the setting of that name")]
pub struct Overrides {
    pub steps: Option<u64>,
    pub seq: Option<usize>,
    pub batch: Option<usize>,
    pub accum: Option<usize>,
    pub lr: Option<f64>,
    pub warmup: Option<u32>,
    pub schedule: Option<ScheduleKind>,
    pub weight_decay: Option<f32>,
    pub clip: Option<f64>,
    pub loss_scale: Option<f32>,
    pub save_every: Option<u64>,
    pub seed: Option<u64>,
    pub storage: Option<Storage>,
    pub math: Option<MatmulPrecision>,
    pub norms: Option<Norms>,
}

impl Settings {
    /// Settings that train `cfg` well: small models with few tokens a step and a high rate, large ones the other way.
    pub fn for_model(cfg: &ModelConfig) -> Settings {
        let settings = Settings {
            steps: 1000,
            batch: 4,
            accum: 1,
            lr: 1e-3,
            warmup: 100,
            schedule: ScheduleKind::Cosine,
            weight_decay: 0.1,
            clip: 1.0,
            loss_scale: 256.0,
            save_every: 100,
            val_every: 100,
            seed: 42,
            storage: Storage::F16,
            math: MatmulPrecision::F32,
            norms: Norms::Auto,
            rung: None,
        };
        if cfg.task == crate::config::Task::Regression {
            // As maderix/ANE trains it: Adam at 1e-3 on one sample.
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
            1_000_000..8_000_000 => {
                Settings { steps: 1200, lr: 2e-3, save_every: 200, val_every: 200, ..settings }
            }
            8_000_000..60_000_000 => Settings { steps: 2000, ..settings },
            _ => Settings { steps: 10_000, lr: 3e-4, accum: 2, ..settings },
        }
    }

    /// These settings with what `given` says.
    pub fn with(mut self, given: &Overrides) -> Settings {
        macro_rules! take {
            ($($field:ident),*) => { $(if let Some(x) = given.$field { self.$field = x; })* };
        }
        take!(
            steps,
            batch,
            accum,
            lr,
            warmup,
            schedule,
            weight_decay,
            clip,
            loss_scale,
            save_every,
            seed,
            storage,
            math,
            norms
        );
        if given.norms.is_some() {
            self.rung = None;
        }
        self
    }

    /// Refuses settings that train nothing.
    ///
    /// # Errors
    /// `Setting`, with the first that is wrong.
    pub fn validate(&self) -> Result<(), RunError> {
        let wrong = |what, got: String, want| Err(RunError::Setting { what, got, want });
        if let Some(rung) = self.rung.as_ref().filter(|name| Rung::named(name).is_none()) {
            return wrong("the run's plan of kernels", rung.clone(), "one that this version knows");
        }
        if self.steps == 0 || u32::try_from(self.steps).is_err() {
            return wrong("the number of steps", self.steps.to_string(), "from 1 to 4294967295");
        }
        if self.batch == 0 || self.accum == 0 || self.batch.saturating_mul(self.accum) > 1 << 20 {
            let got = format!("{} × {}", self.batch, self.accum);
            return wrong("batch × accumulation", got, "at least 1 and at most 1048576");
        }
        if !(self.lr.is_finite() && self.lr >= 0.0) {
            return wrong("the learning rate", self.lr.to_string(), "a number that is not negative");
        }
        if !(self.weight_decay.is_finite() && self.weight_decay >= 0.0) {
            return wrong("the weight decay", self.weight_decay.to_string(), "a number that is not negative");
        }
        if self.clip.is_nan() || self.clip < 0.0 {
            return wrong("the largest gradient norm", self.clip.to_string(), "positive, or 0 for none");
        }
        if !(self.loss_scale.is_finite() && self.loss_scale > 0.0) {
            return wrong("the loss scale", self.loss_scale.to_string(), "a positive number");
        }
        Ok(())
    }

    /// Which plans of kernels are tried; `known` is what such an engine took before.
    pub(super) fn start(&self, known: Option<&'static Rung>) -> Start {
        Start { norms: self.norms, known, exact: self.rung.as_deref().and_then(Rung::named) }
    }

    /// Windows of an optimizer step.
    pub fn windows(&self) -> usize {
        self.batch.saturating_mul(self.accum)
    }

    pub(super) fn schedule(&self) -> Schedule {
        let (warmup, total) = (self.warmup, u32::try_from(self.steps).unwrap_or(u32::MAX));
        match self.schedule {
            ScheduleKind::Cosine => Schedule::Cosine { warmup, total, min_ratio: 0.1 },
            ScheduleKind::Constant => Schedule::Constant { warmup },
        }
    }

    pub(super) fn optimizer(&self) -> AdamW {
        AdamW { weight_decay: self.weight_decay, ..AdamW::default() }
    }
}
