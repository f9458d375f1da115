//! The table of a run's settings, which generates structs, flags, checks and the form in checkpoints.

use super::RunError;
use super::fault::Knob;
use super::setting::{Check, OutputInit, Packing, Pattern, ScheduleKind, Setting, SettingValue};
use crate::config::ModelConfig;
use crate::data::LossOn;
use crate::model::{Norms, Precision};
use crate::optim::{Adafactor, AdamW, Lion, LossScale, Muon, Optimizer, OptimizerKind, Rule, Schedule, Sgd};
use ane::MatmulPrecision;
use serde_json::{Map, Value};

/// `name: type = default, flag and placeholder, valid values, help`.
///
/// A row without a default is a property of the model, stored in `config.json`, that the user can override. A row with
/// `NO_FLAG` has no flag, or one shared by all commands (`cli/src/commands/engine.rs`).
macro_rules! settings {
    ($($name:ident: $ty:ty $(= $default:expr)?, $flag:expr, $check:expr, $help:literal;)*) => {
        /// The settings of a run, stored in each checkpoint.
        #[derive(Clone, Debug, PartialEq)]
        pub struct Settings {
            $($(#[doc = $help] pub $name: first_type!($ty, $default),)?)*
        }

        /// Settings that the user gave; the others are those of the resumed run, or suit the model's size.
        #[derive(Clone, Debug, Default, PartialEq)]
        pub struct Overrides {
            $(#[doc = $help] pub $name: Option<$ty>,)*
        }

        impl Default for Settings {
            fn default() -> Settings {
                Settings { $($($name: $default,)?)* }
            }
        }

        impl Settings {
            /// These settings, overridden by those of `given`.
            #[must_use]
            pub fn with(mut self, given: &Overrides) -> Settings {
                $($(self.$name = given.$name.clone().unwrap_or(first!(self.$name, $default));)?)*
                self
            }

            /// Their form in checkpoints.
            pub fn to_json(&self) -> Value {
                let mut all = Map::new();
                $($(all.insert(stringify!($name).to_owned(), first!(self.$name.to_json(), $default));)?)*
                all.into()
            }

            /// The inverse of [`Settings::to_json`]; settings that earlier versions did not have get their defaults.
            ///
            /// # Errors
            /// If one is missing or invalid.
            pub fn from_json(all: &Value) -> Result<Settings, String> {
                Ok(Settings { $($($name: stored(all, stringify!($name), $default)?,)?)* })
            }

            /// The settings that differ from those `before`: name, earlier and present value.
            pub fn changes(&self, before: &Settings) -> Vec<(&'static str, String, String)> {
                let mut all = Vec::new();
                $($(
                    let (then, now) = first!((before.$name.text(), self.$name.text()), $default);
                    if then != now {
                        all.push((stringify!($name), then, now));
                    }
                )?)*
                all
            }

            /// Refuses the first setting with an invalid value.
            fn check_each(&self) -> Result<(), RunError> {
                $($(check(concat!("`", stringify!($name), "`"), &first!(self.$name, $default), $check)?;)?)*
                Ok(())
            }
        }

        impl Overrides {
            /// Sets the setting `name` to the value `text`.
            ///
            /// # Errors
            /// If the setting does not exist or the value is invalid.
            pub fn set(&mut self, name: &str, text: &str) -> Result<(), String> {
                match name {
                    $(stringify!($name) => self.$name = Some($check.parse::<$ty>(text)?),)*
                    _ => return Err(format!("there is no setting `{name}`")),
                }
                Ok(())
            }
        }

        /// Settings with a flag of their own, in the order of the table.
        pub fn flags() -> impl Iterator<Item = Setting> {
            let all = [$($flag.map(|flag| Setting {
                name: stringify!($name),
                flag,
                help: $help,
                values: <$ty as SettingValue>::names,
                check: |text| $check.parse::<$ty>(text).map(|_| ()),
            })),*];
            all.into_iter().flatten()
        }
    };
}

/// The default of a row; nothing for a row without a default.
macro_rules! first {
    ($first:expr, $second:expr) => {
        $first
    };
}

/// The type of a row; nothing for a row without a default.
macro_rules! first_type {
    ($first:ty, $second:expr) => {
        $first
    };
}

settings! {
    steps: u64 = 1000, Some(("steps", "N")), Check::Positive, "Optimizer steps of the whole run, including those before --resume";
    epochs: f64 = 0.0, Some(("epochs", "F")), Check::NotNegative,
        "Passes over the data, in place of --steps; 0: as many as the steps make, 3 for lines of JSON";
    seq: usize, Some(("seq", "N")), Check::Positive, "Tokens of a window";
    batch: usize = 4, Some(("batch", "N")), Check::Positive, "Windows of a micro-batch";
    accum: usize = 1, Some(("accum", "N")), Check::Positive,
        "Micro-batches of an optimizer step, whose gradients are averaged";
    optimizer: OptimizerKind = OptimizerKind::AdamW, Some(("optimizer", "KIND")), Check::Any,
        "What updates the weights: AdamW, or Muon for the matrices of layers and AdamW for all else, SGD with momentum, \
         Adafactor, or Lion";
    lr: f64 = 1e-3, Some(("lr", "F")), Check::AboveZero,
        "The peak learning rate; relative to the size of weights for Adafactor";
    muon_lr: f64 = 0.02, Some(("muon-lr", "F")), Check::AboveZero, "The peak learning rate of what Muon updates";
    muon_iterations: u32 = 5, Some(("muon-iterations", "N")), Check::Positive,
        "Newton-Schulz iterations of Muon: 3 take less time and orthogonalise less exactly";
    beta2: f32 = 0.95, Some(("beta2", "F")), Check::Share,
        "Decay of AdamW's second moment per step; of Lion's momentum, for which 0.99 is usual";
    ema: f64 = 0.0, Some(("ema", "DECAY")), Check::Share,
        "Average the weights by this decay per step, such as 0.99; the average is what is validated and what the folder's \
         model has. 0: no average";
    momentum: f32 = 0.9, Some(("momentum", "F")), Check::Share, "Momentum of SGD; 0: none";
    warmup: u32 = 100, Some(("warmup", "N")), Check::Any, "Steps of linear warm-up of the learning rate";
    schedule: ScheduleKind = ScheduleKind::Cosine, Some(("schedule", "KIND")), Check::Any,
        "Learning rate after warm-up: cosine decay to a tenth, linear to 0, constant and then linear to 0 over the last \
         40 %, or constant";
    weight_decay: f32 = 0.1, Some(("weight-decay", "F")), Check::NotNegative,
        "Decoupled weight decay, for matrices only";
    clip: f64 = 1.0, Some(("clip", "F")), Check::NotNegative, "Clip the gradient to this global norm; 0: no clipping";
    loss_scale: LossScale = LossScale::Fixed(256.0), Some(("loss-scale", "F|auto")), Check::AboveZeroOrAuto,
        "Loss scale, which keeps small gradients in the range of fp16: 256 for a new model; auto, for trained weights, \
         halves it where gradients overflow and doubles it after 200 good steps";
    save_every: u64 = 100, Some(("save-every", "N")), Check::Any, "Steps between checkpoints; 0: only at the end";
    val_every: u64 = 100, NO_FLAG, Check::Any, "Steps between validations; 0: only at the end";
    loss_on: LossOn = LossOn::Completion, Some(("loss-on", "WHAT")), Check::Any,
        "What counts in the loss of lines of JSON: completions and answers of the assistant, or all tokens";
    pack: Packing = Packing::Off, Some(("pack", "WHETHER")), Check::Any,
        "Whether a window of lines of JSON holds as many as fit, none of which sees another, or one";
    output_init: OutputInit = OutputInit::Scaled, Some(("output-init", "KIND")), Check::Any,
        "Initial weights of new projections onto the residual stream: small random numbers, or 0";
    seed: u64 = 42, Some(("seed", "N")), Check::Any, "Seed of all randomness: same seed, same bits";
    storage: Precision = Precision::F16, NO_FLAG, Check::Any, "Element type of programs and surfaces";
    math: MatmulPrecision = MatmulPrecision::F32, NO_FLAG, Check::Any, "How matrix products are computed";
    norms: Norms = Norms::Auto, NO_FLAG, Check::Any, "Where norms of the forward pass are computed";
    lora: usize = 0, Some(("lora", "RANK")), Check::Any,
        "Train adapters of this rank (LoRA) and freeze the model; 0: train the model";
    lora_alpha: f64 = 0.0, Some(("lora-alpha", "F")), Check::NotNegative,
        "Alpha of the adapters, which are scaled by alpha/RANK; 0: the rank, as in PEFT";
    rslora: bool = false, Some(("rslora", "BOOL")), Check::Any,
        "Scale adapters by alpha/sqrt(RANK), which suits high ranks";
    lora_dropout: f64 = 0.0, Some(("lora-dropout", "P")), Check::Share,
        "The probability that a step leaves out an element of what adapters project, such as 0.05; 0: none is";
    lora_targets: Pattern = Pattern("all".to_owned()), Some(("lora-targets", "WHICH")), Check::Pattern,
        "The projections with adapters: all, as in mlx-lm; a list such as q,v; or a regular expression of modules";
    lora_layers: usize = 0, Some(("lora-layers", "N")), Check::Any, "Only the last N layers have adapters; 0: all have";
    train_embeddings: bool = false, Some(("train-embeddings", "BOOL")), Check::Any,
        "Besides adapters, train the embedding and the classifier";
    freeze: Pattern = Pattern(String::new()), Some(("freeze", "REGEX")), Check::Pattern,
        "Freeze the weights whose names a regular expression finds, such as `embed|layers\\.[0-3]\\.`";
}

/// For rows without a flag in this table.
const NO_FLAG: Option<(&str, &str)> = None;

/// Settings that checkpoints of earlier versions lack.
const ADDED_LATER: [&str; 20] = [
    "ema",
    "momentum",
    "math",
    "norms",
    "optimizer",
    "muon_lr",
    "muon_iterations",
    "beta2",
    "output_init",
    "lora",
    "lora_alpha",
    "rslora",
    "lora_dropout",
    "lora_targets",
    "lora_layers",
    "train_embeddings",
    "freeze",
    "epochs",
    "loss_on",
    "pack",
];

/// The setting `name` in a checkpoint's settings.
fn stored<T: SettingValue>(all: &Value, name: &str, default: T) -> Result<T, String> {
    match all.get(name) {
        Some(value) => T::from_json(value).ok_or_else(|| format!("`{name}` is {value}")),
        None if ADDED_LATER.contains(&name) => Ok(default),
        None => Err(format!("`{name}` is missing")),
    }
}

fn check<T: SettingValue>(what: &'static str, value: &T, check: Check) -> Result<(), RunError> {
    match value.number() {
        Some(x) if !check.accepts(x) => {
            Err(RunError::Setting { what, got: x.to_string(), want: check.want() })
        }
        _ => Ok(()),
    }
}

impl Settings {
    /// Refuses settings that are out of range together.
    ///
    /// # Errors
    /// `Setting`, with the first invalid one.
    pub fn validate(&self) -> Result<(), RunError> {
        self.check_each()?;
        if u32::try_from(self.steps).is_err() {
            let (got, want) = (self.steps.to_string(), "at most 4294967295");
            return Err(RunError::Setting { what: "the number of steps", got, want });
        }
        if self.windows() > 1 << 20 {
            let got = format!("{} × {}", self.batch, self.accum);
            return Err(RunError::Setting { what: "batch × accumulation", got, want: "at most 1048576" });
        }
        Ok(())
    }

    /// Refuses settings of `given` that nothing reads.
    ///
    /// # Errors
    /// `NoEffect`, with the first one.
    pub(super) fn check_given(&self, given: &Overrides, is_new: bool) -> Result<(), RunError> {
        use OptimizerKind::{AdamW, Lion, Muon, Sgd};
        let of_muon = "Leave it out; a new run takes it with `--optimizer muon`.";
        let of_sgd = "Leave it out; a new run takes it with `--optimizer sgd`.";
        let of_moments = "Leave it out; a new run takes it with `--optimizer adamw`, `muon` or `lion`.";
        let owned: [(_, _, &[OptimizerKind], _); 4] = [
            ("--muon-lr", given.muon_lr.is_some(), &[Muon], of_muon),
            ("--muon-iterations", given.muon_iterations.is_some(), &[Muon], of_muon),
            ("--momentum", given.momentum.is_some(), &[Sgd], of_sgd),
            ("--beta2", given.beta2.is_some(), &[AdamW, Muon, Lion], of_moments),
        ];
        let unused = owned.into_iter().find(|(_, given, by, _)| *given && !by.contains(&self.optimizer));
        if let Some((flag, _, _, remedy)) = unused {
            let because = match self.optimizer {
                OptimizerKind::AdamW => "the optimizer of this run is `adamw`",
                OptimizerKind::Muon => "the optimizer of this run is `muon`",
                OptimizerKind::Sgd => "the optimizer of this run is `sgd`",
                OptimizerKind::Adafactor => "the optimizer of this run is `adafactor`",
                OptimizerKind::Lion => "the optimizer of this run is `lion`",
            };
            return Err(RunError::NoEffect { flag, because, remedy });
        }
        if given.output_init.is_some() && !is_new {
            let because = "the model has trained weights";
            let remedy = "Leave it out; a new model takes it: a preset, or a `.toml` or `.json` file.";
            return Err(RunError::NoEffect { flag: "--output-init", because, remedy });
        }
        Ok(())
    }

    /// The learning rates that are in use, beside what suits the model `cfg`.
    pub(super) fn rates(&self, cfg: &ModelConfig) -> Vec<Knob> {
        let is_muon = self.optimizer == OptimizerKind::Muon;
        let usual = Settings::for_model(cfg, is_muon);
        let rate = |flag, value, usual| Knob { flag, value, usual, divisor: 10.0 };
        let mut rates = vec![rate("--lr", self.lr, self.optimizer.rate(usual.lr))];
        if is_muon {
            rates.push(rate("--muon-lr", self.muon_lr, usual.muon_lr));
        }
        rates
    }

    /// Windows of an optimizer step.
    pub fn windows(&self) -> usize {
        self.batch.saturating_mul(self.accum)
    }

    pub(super) fn schedule(&self) -> Schedule {
        let (warmup, total) = (self.warmup, u32::try_from(self.steps).unwrap_or(u32::MAX));
        match self.schedule {
            ScheduleKind::Cosine => Schedule::Cosine { warmup, total, min_ratio: 0.1 },
            ScheduleKind::Linear => Schedule::Linear { warmup, total, decay: 1.0 },
            ScheduleKind::Wsd => Schedule::Linear { warmup, total, decay: 0.4 },
            ScheduleKind::Constant => Schedule::Constant { warmup },
        }
    }

    pub(super) fn optimizer(&self) -> Optimizer {
        let (beta2, weight_decay) = (self.beta2, self.weight_decay);
        let muon = Muon {
            lr_ratio: (self.muon_lr / self.lr) as f32,
            momentum: 0.95,
            weight_decay,
            iterations: self.muon_iterations,
        };
        let rule = match self.optimizer {
            OptimizerKind::AdamW | OptimizerKind::Muon => {
                Rule::AdamW(AdamW { beta2, weight_decay, ..AdamW::default() })
            }
            OptimizerKind::Sgd => Rule::Sgd(Sgd { momentum: self.momentum, weight_decay }),
            OptimizerKind::Adafactor => Rule::Adafactor(Adafactor { weight_decay }),
            OptimizerKind::Lion => Rule::Lion(Lion { beta1: 0.9, beta2, weight_decay }),
        };
        Optimizer { rule, muon: (self.optimizer == OptimizerKind::Muon).then_some(muon) }
    }
}

#[cfg(test)]
mod tests;
