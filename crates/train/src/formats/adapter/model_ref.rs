//! A model by its path, with adapters to merge into it.

use std::path::{Path, PathBuf};

use super::files::{Adapter, AdapterRef};
use super::merge::check_base;
use super::source::base_of;
use crate::error::TrainError;
use crate::formats::source::{Model, QuantWeights};
use crate::formats::{open_model, open_quantised};

/// A model, and adapters to merge into it.
#[derive(Clone, Copy, Debug)]
pub struct ModelRef<'a> {
    /// The model; `None`: the one that the first adapter names.
    pub path: Option<&'a Path>,
    /// The adapters, in order.
    pub adapters: &'a [AdapterRef],
}

impl<'a> From<&'a Path> for ModelRef<'a> {
    fn from(path: &'a Path) -> ModelRef<'a> {
        ModelRef { path: Some(path), adapters: &[] }
    }
}

impl<'a> From<&'a PathBuf> for ModelRef<'a> {
    fn from(path: &'a PathBuf) -> ModelRef<'a> {
        path.as_path().into()
    }
}

impl<'a> ModelRef<'a> {
    /// Reads the model, and merges the adapters into it. The tokenizer at `tokenizer`, if given, replaces the model's own.
    ///
    /// # Errors
    /// As [`open_model`]; [`TrainError::Adapter`] for an adapter that does not fit, with tensor and shapes.
    pub fn open(self, tokenizer: Option<&Path>) -> Result<Model, TrainError> {
        let opened = self.adapters.iter().map(|of| Ok((Adapter::open(&of.path)?, of.weight)));
        let opened = opened.collect::<Result<Vec<_>, TrainError>>()?;
        let mut model = match (self.path, opened.first()) {
            (None, Some((first, _))) => {
                let base = base_of(first)?;
                let model = open_model(&base, tokenizer)?;
                check_base(first, &base, &model)?;
                model
            }
            (path, _) => open_model(path.unwrap_or(Path::new("")), tokenizer)?,
        };
        for (adapter, weight) in &opened {
            adapter.merge(&model.config, &mut model.params, *weight)?;
        }
        Ok(model)
    }

    /// Reads the model's matrices that are stored in 8 bits or fewer an element, as they are, without adapters.
    ///
    /// # Errors
    /// As [`open_model`].
    pub fn open_quantised(self) -> Result<QuantWeights, TrainError> {
        match (self.path, self.adapters.first()) {
            (None, Some(first)) => open_quantised(&base_of(&Adapter::open(&first.path)?)?),
            (path, _) => open_quantised(path.unwrap_or(Path::new(""))),
        }
    }

    /// The path to show: the model's, else that of the first adapter.
    pub fn shown(self) -> &'a Path {
        let first = || self.adapters.first().map(|adapter| adapter.path.as_path());
        self.path.or_else(first).unwrap_or(Path::new(""))
    }
}
