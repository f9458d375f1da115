//! What a run remembers of how it was started, so that nobody has to say it again.

use super::Options;
use crate::checkpoint::Launch;
use crate::data::Source;
use ane::{DeviceKind, DeviceOptions, WeightMode};
use std::path::Path;

/// Names of engines in a checkpoint; `auto` is not remembered.
const ENGINES: [(&str, DeviceKind); 2] = [("ane", DeviceKind::Ane), ("soft", DeviceKind::Soft)];

/// Names of deliveries of weights.
const WEIGHTS: [(&str, WeightMode); 2] = [("baked", WeightMode::Baked), ("dynamic", WeightMode::Dynamic)];

/// What people call the model: the name of its preset, file or folder.
pub fn model_name(model: Option<&str>, otherwise: &Path) -> String {
    let path = model.map_or(otherwise, Path::new);
    let name = if path.is_dir() { path.file_name() } else { path.file_stem() };
    name.map_or_else(|| "model".to_owned(), |name| name.to_string_lossy().into_owned())
}

impl Launch {
    /// What is remembered of a run that is opened with `options`, if `before` was.
    pub(super) fn of(options: &Options, before: Option<&Launch>) -> Launch {
        let before = before.cloned().unwrap_or_default();
        let tokens = match options.data.as_deref() {
            None => before.data,
            Some(path) => match Source::open(path) {
                // A path that is no text cannot be remembered.
                Ok(Source::Tokens(path)) => {
                    std::path::absolute(path).ok().and_then(|path| path.to_str().map(str::to_owned))
                }
                _ => None,
            },
        };
        Launch {
            model: before.model.or_else(|| Some(model_name(options.model.as_deref(), &options.out))),
            data: tokens,
            engine: name_of(&ENGINES, options.device.engine).or(before.engine),
            weights: name_of(&WEIGHTS, options.device.weights).or(before.weights),
        }
    }

    /// `wanted`, with what it leaves open as it was before.
    pub(super) fn fill(&self, wanted: DeviceOptions) -> DeviceOptions {
        DeviceOptions {
            engine: named(&ENGINES, self.engine.as_deref()).unwrap_or(wanted.engine),
            weights: named(&WEIGHTS, self.weights.as_deref()).unwrap_or(wanted.weights),
            ..wanted
        }
    }
}

fn name_of<T: PartialEq>(names: &[(&str, T)], value: T) -> Option<String> {
    names.iter().find(|(_, v)| *v == value).map(|(name, _)| (*name).to_owned())
}

fn named<T: Copy>(names: &[(&str, T)], name: Option<&str>) -> Option<T> {
    names.iter().find(|(n, _)| Some(*n) == name).map(|(_, value)| *value)
}
