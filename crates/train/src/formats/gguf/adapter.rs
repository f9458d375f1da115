//! Writing an adapter as llama.cpp reads it.
//!
//! Source: llama.cpp `src/llama-adapter.cpp` and `convert_lora_to_gguf.py`.

use std::path::Path;

use super::encode::encode;
use super::table::{architecture, stores_pairs, tensor_name};
use super::write::{ALIGNMENT, Key, Tensor, Value, header};
use crate::config::{ModelConfig, ParamSpec};
use crate::error::TrainError;
use crate::formats::rope;
use crate::formats::weight_type::{WeightType, check_range};
use crate::fs::AtomicFile;

/// The factors of a projection's adapter.
pub struct Factors<'a> {
    /// The projection's weight.
    pub spec: &'a ParamSpec,
    /// A, `[R, I]`.
    pub a: (&'a [f32], [usize; 2]),
    /// B, `[O, R]`, with rows in the order of a folder.
    pub b: (&'a [f32], [usize; 2]),
    /// s: the factor on B·A.
    pub scale: f64,
}

/// Writes adapters of a model `config` as `kind`, F32, F16 or BF16. A reader multiplies B·A by alpha/R: alpha is that of the
/// first factors, and B of others with another factor is scaled.
///
/// # Errors
/// [`TrainError::Export`] for a tensor without a name in the format, and numbers out of the range of `kind`;
/// [`TrainError::Io`].
pub fn write_adapter(
    path: &Path,
    config: &ModelConfig,
    all: &[Factors<'_>],
    kind: WeightType,
) -> Result<(), TrainError> {
    let cannot = |problem: String| TrainError::Export {
        format: "an adapter of GGUF",
        problem,
        remedy: "Merge it: `--merge`.".to_owned(),
    };
    if kind.float().is_none() {
        return Err(TrainError::Export {
            format: "an adapter of GGUF",
            problem: format!("its numbers cannot be {}", kind.name()),
            remedy: "Use `--dtype f32`, `f16` or `bf16`.".to_owned(),
        });
    }
    let alpha = all.first().map_or(1.0, |factors| factors.scale * factors.a.1[0] as f64) as f32;
    let (mut tensors, mut data) = (Vec::new(), Vec::new());
    for Factors { spec, a: (a, [rank, inputs]), b: (b, [outputs, _]), scale } in all {
        let name = tensor_name(&spec.name, config.variant.family.has_post_norms())
            .ok_or_else(|| cannot(format!("no name is known for tensor `{}`", spec.name)))?;
        let rows = ParamSpec { shape: vec![*outputs, *rank], ..(*spec).clone() };
        let folder = rope::config_in_folder(config);
        let b =
            if stores_pairs(config) { rope::in_pairs(&folder, &rows, b).into_owned() } else { b.to_vec() };
        let rest = (scale * *rank as f64 / f64::from(alpha)) as f32;
        let b: Vec<f32> = b.into_iter().map(|x| x * rest).collect();
        for (letter, shape, values) in [("a", [*rank, *inputs], a.to_vec()), ("b", [*outputs, *rank], b)] {
            let name = format!("{name}.lora_{letter}");
            check_range(kind, &name, &values)?;
            tensors.push(Tensor { name, shape: shape.to_vec(), kind });
            data.push(values);
        }
    }
    let text = |text: &str| Value::Str(text.to_owned());
    let keys: Vec<Key> = vec![
        ("general.architecture".to_owned(), text(architecture(config))),
        ("general.type".to_owned(), text("adapter")),
        ("general.file_type".to_owned(), Value::U32(kind.file_type())),
        ("adapter.type".to_owned(), text("lora")),
        ("adapter.lora.alpha".to_owned(), Value::F32(alpha)),
    ];
    let mut file = AtomicFile::create(path)?;
    file.write(&header(&keys, &tensors))?;
    for (tensor, values) in tensors.iter().zip(&data) {
        let mut bytes = Vec::new();
        encode(kind, values, &mut bytes);
        bytes.resize(tensor.bytes().next_multiple_of(ALIGNMENT) as usize, 0);
        file.write(&bytes)?;
    }
    file.commit()
}
