//! Writing of llama2.c's checkpoints: version 0 with f32, version 2 with signed bytes.

use std::path::Path;

use super::layout::{Layout, Part};
use super::rope_tables;
use crate::config::{ModelConfig, Rope, RopeKind};
use crate::error::TrainError;
use crate::formats::metadata::ROPE_TABLES;
use crate::formats::rope;
use crate::formats::source::Model;
use crate::formats::weight_type::WeightType;
use crate::fs::{AtomicFile, FloatType, float_bytes};

/// Numbers of a group, where a row has a multiple of it.
const GROUP: usize = 64;

/// Writes `model` to the file `path`, as F32 or Q8_0.
///
/// # Errors
/// [`TrainError::Export`] for what the format cannot express; [`TrainError::Io`].
pub fn write(model: &Model, path: &Path, kind: WeightType) -> Result<(), TrainError> {
    let cannot = |problem: String, remedy: &str| TrainError::Export {
        format: "a llama2.c checkpoint",
        problem,
        remedy: remedy.to_owned(),
    };
    let version = match kind {
        WeightType::F32 => 0,
        WeightType::Q8_0 => 2,
        _ => {
            let problem = format!("its numbers cannot be {}", kind.name());
            return Err(cannot(problem, "Use `--dtype f32` or `q8_0`, or `--to gguf`."));
        }
    };
    let layout = layout(model, version)
        .map_err(|problem| cannot(problem, "Export to another format, with `--to hf` or `--to gguf`."))?;
    let header = layout.to_bytes().map_err(|problem| cannot(problem, "Use `--to gguf`."))?;
    let mut file = AtomicFile::create(path)?;
    file.write(&header)?;
    for part in layout.parts() {
        let mut bytes = Vec::new();
        match &part {
            Part::Tables => {
                let kept = model.metadata.companion_bytes(ROPE_TABLES).map(<[u8]>::to_vec);
                let fits = |bytes: &Vec<u8>| bytes.len() == layout.bytes(&part);
                bytes = kept
                    .filter(fits)
                    .unwrap_or_else(|| rope_tables(layout.config.seq, layout.config.head_dim));
            }
            Part::Floats(spec) | Part::Groups(spec) => {
                let numbers = model.params.get(spec.range()).unwrap_or(&[]);
                let rows = rope::in_pairs(&model.config, spec, numbers);
                match part {
                    Part::Groups(_) => groups(&rows, layout.group, &mut bytes),
                    _ => float_bytes(&rows, FloatType::F32, &mut bytes),
                }
            }
        }
        file.write(&bytes)?;
    }
    file.commit()
}

/// Signed bytes, the nearest to x/s, ties to even, then the scale s of each group: its largest magnitude over 127.
/// Source: karpathy/llama2.c `export.py`, `quantize_q80`.
fn groups(numbers: &[f32], group: usize, bytes: &mut Vec<u8>) {
    let scale = |group: &[f32]| group.iter().fold(0.0f32, |m, x| m.max(x.abs())) / 127.0;
    for group in numbers.chunks(group) {
        let scale = scale(group);
        // Of a group of zeros, 0/0 becomes 0.
        bytes.extend(group.iter().map(|x| (x / scale).round_ties_even() as i8 as u8));
    }
    numbers.chunks(group).for_each(|group| bytes.extend(scale(group).to_le_bytes()));
}

/// The layout of a file from which a reader gets the same model.
fn layout(model: &Model, version: i32) -> Result<Layout, String> {
    let own = &model.config;
    let mut config = ModelConfig { seq: model.metadata.context(own), ..own.clone() };
    if own.rope.kind == RopeKind::RotateHalf {
        config.rope = Rope { kind: RopeKind::Interleaved, ..own.rope };
    }
    // Its reader leaves out the rest of a row that is not whole groups.
    let fits = |group: &usize| own.dim.is_multiple_of(*group) && own.hidden.is_multiple_of(*group);
    let group = (0..=6).map(|n| GROUP >> n).find(fits).unwrap_or(1);
    let layout = Layout { version, config, group };
    let read = Layout::parse(&layout.to_bytes()?)?;
    if let Some((key, own, read)) = layout.config.difference(&read.config) {
        return Err(format!("it has {key} = {own}, and the format has {key} = {read}"));
    }
    let known = |name: &str| {
        let is = |part: &Part| matches!(part, Part::Floats(spec) | Part::Groups(spec) if spec.name == name);
        layout.parts().iter().any(is)
    };
    match own.params().iter().find(|spec| !known(&spec.name)) {
        Some(spec) => Err(format!("it has tensor `{}`, for which there is no place", spec.name)),
        None => Ok(layout),
    }
}
