//! Options that a run stores, so that resuming needs no flags.

use super::{Options, RunError};
use crate::checkpoint::{Launch, TrainState};
use crate::data::Source;
use crate::model::Rung;
use crate::tokenizer::Tokenizer;
use ane::{DeviceKind, DeviceOptions, WeightMode};
use std::path::Path;

/// The model's name for display: that of its preset, file or folder.
pub fn model_name(model: Option<&str>, otherwise: &Path) -> String {
    let path = model.map_or(otherwise, Path::new);
    let name = if path.is_dir() { path.file_name() } else { path.file_stem() };
    name.map_or_else(|| "model".to_owned(), |name| name.to_string_lossy().into_owned())
}

impl Launch {
    /// The stored options of a run opened with `options`; `state` is that of the checkpoint it resumes from.
    pub(super) fn of(options: &Options, state: Option<&TrainState>) -> Launch {
        let before = state.map(|state| state.launch.clone()).unwrap_or_default();
        let tokens = match options.data.as_deref() {
            None => before.data,
            Some(path) => match Source::open(path) {
                // Only UTF-8 paths can be stored.
                Ok(Source::Tokens(path)) => {
                    std::path::absolute(path).ok().and_then(|path| path.to_str().map(str::to_owned))
                }
                _ => None,
            },
        };
        // Earlier versions stored the plan with the settings.
        let old = || Some(state?.settings.get("rung")?.as_str()?.to_owned());
        let (device, norms) = (options.device, options.overrides.norms);
        let engine = Some(device.engine).filter(|&engine| engine != DeviceKind::Auto);
        let weights = Some(device.weights).filter(|&weights| weights != WeightMode::Auto);
        Launch {
            model: before.model.or_else(|| Some(model_name(options.model.as_deref(), &options.out))),
            data: tokens,
            engine: engine.map(|engine| engine.name().to_owned()).or(before.engine),
            weights: weights.map(|weights| weights.name().to_owned()).or(before.weights),
            rung: before.rung.or_else(old).filter(|_| norms.is_none()),
            tokenizer: before.tokenizer,
            template_time: before.template_time,
            trainable: before.trainable,
            base: before.base,
        }
    }

    /// `wanted`, with stored values for what it leaves open.
    pub(super) fn fill(&self, wanted: DeviceOptions) -> DeviceOptions {
        let engine = DeviceKind::ALL.into_iter().find(|e| Some(e.name()) == self.engine.as_deref());
        let weights = WeightMode::ALL.into_iter().find(|w| Some(w.name()) == self.weights.as_deref());
        DeviceOptions {
            engine: engine.unwrap_or(wanted.engine),
            weights: weights.unwrap_or(wanted.weights),
            ..wanted
        }
    }

    /// The plan of kernels that the run's engine accepted.
    ///
    /// # Errors
    /// If this version does not have that plan.
    pub(super) fn rung(&self) -> Result<Option<&'static Rung>, RunError> {
        let Some(name) = &self.rung else { return Ok(None) };
        let unknown = || RunError::Setting {
            what: "the run's plan of kernels",
            got: name.clone(),
            want: "one that this version knows",
        };
        Rung::named(name).map(Some).ok_or_else(unknown)
    }

    /// Refuses a tokenizer that is not the run's, and a missing one if the run had one.
    ///
    /// # Errors
    /// `TokenizerGone` or `OtherTokenizer`; the run's folder is `dir`.
    pub(super) fn check_tokenizer(&self, dir: &Path, tokenizer: Option<&Tokenizer>) -> Result<(), RunError> {
        match (&self.tokenizer, tokenizer) {
            (Some(_), None) => Err(RunError::TokenizerGone { dir: dir.to_owned() }),
            (Some(want), Some(tokenizer)) if tokenizer.fingerprint() != *want => {
                Err(RunError::OtherTokenizer {
                    dir: dir.to_owned(),
                    tokenizer: tokenizer.path().map_or_else(|| dir.to_owned(), Path::to_owned),
                })
            }
            _ => Ok(()),
        }
    }
}
