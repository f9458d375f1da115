//! Checkpoints of maderix/ANE: 96 bytes of header, then f32 numbers, each weight followed by its two moments, which are left out.
//!
//! Header: i32 0x424C5A54, version (2: weights baked, 4: weights on surfaces), step, steps; i32 layers, vocabulary, dim, hidden,
//! heads, sequence from byte 16; version 4 has key/value heads, the width of a head and of all query heads from byte 84. For
//! each layer Wq, Wk, Wv, Wo, W1, W2, W3 and both norms, then their moments in the same order; final norm, embedding.
//!
//! Version 2 trains without RoPE. Version 4 rotates channels 2i and 2i + 1, and adds α·f(x) to the residual stream, α = 1/√(2L):
//! here α is a factor of Wo and W2. Source: maderix/ANE, `training/`.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use super::contents::Contents;
use super::llama2c::{END, START};
use super::metadata::FolderMetadata;
use super::rope;
use super::source::{Candidate, Model, ModelSource, open_beside};
use super::weights::check_finite;
use crate::config::{ModelConfig, ParamKind, ParamSpec, RopeKind, llama};
use crate::demand::{self, Use};
use crate::error::TrainError;
use crate::tokenizer::Tokenizer;

const HEADER: usize = 96;
const MARK: i32 = 0x424C_5A54;

/// The format.
pub(super) struct AneCheckpoint;

impl ModelSource for AneCheckpoint {
    fn name(&self) -> &'static str {
        "a checkpoint of maderix/ANE"
    }

    fn detect(&self, candidate: &Candidate) -> bool {
        candidate.head.starts_with(&MARK.to_le_bytes())
    }

    fn config(&self, path: &Path) -> Result<ModelConfig, TrainError> {
        Ok(rope::config_in_folder(&open(path)?.1))
    }

    fn has_weights(&self, _: &Path) -> Result<bool, TrainError> {
        Ok(true)
    }

    fn tokenizer(&self, path: &Path, config: &ModelConfig) -> Result<Option<Tokenizer>, TrainError> {
        Tokenizer::load_from_folder(path.parent().unwrap_or(Path::new("")), config.vocab)
    }

    fn contents(&self, path: &Path) -> Result<Contents, TrainError> {
        let (_, config) = open(path)?;
        // With their moments.
        let tensor = |spec: ParamSpec| ("F32".to_owned(), spec.count() as u64, 12 * spec.count() as u64);
        let tensors = config.params().into_iter().map(tensor).collect();
        Ok(Contents { files: vec![path.to_owned()], tensors, ..Contents::default() })
    }

    fn open(&self, path: &Path, tokenizer: Option<&Path>) -> Result<Model, TrainError> {
        let config = self.config(path)?;
        let (tokenizer, unfit) = open_beside(self, path, tokenizer, &config)?;
        demand::check(&config, Use::Weights)?;
        let params = load(path)?;
        let metadata = FolderMetadata::with_ids(&config, START, END);
        Ok(Model { config, params, tokenizer, unfit, metadata })
    }
}

/// Opens a checkpoint and checks header and length; the file is then behind the header.
fn open(path: &Path) -> Result<(BufReader<File>, ModelConfig), TrainError> {
    let reading = || TrainError::io("read", path);
    let mut file = File::open(path).map_err(reading())?;
    let length = file.metadata().map_err(reading())?.len();
    let mut head = Vec::new();
    file.by_ref().take(HEADER as u64).read_to_end(&mut head).map_err(reading())?;
    let config = parse(&head).and_then(|config| check_length(&config, length).map(|()| config));
    let kind = "maderix/ANE checkpoint";
    let config = config.map_err(|problem| TrainError::FileFormat { path: path.to_owned(), kind, problem })?;
    Ok((BufReader::with_capacity(1 << 20, file), config))
}

fn check_length(config: &ModelConfig, length: u64) -> Result<(), String> {
    // Each weight with two moments.
    let want = (HEADER + 3 * 4 * config.param_count()) as u64;
    match length == want {
        true => Ok(()),
        false => Err(format!("its header implies {want} bytes, the file has {length}")),
    }
}

/// The model in a header; rows of queries and keys are in the file's order.
fn parse(bytes: &[u8]) -> Result<ModelConfig, String> {
    if bytes.len() < HEADER {
        return Err(format!("it has {} bytes, too few for a header", bytes.len()));
    }
    let words = super::llama2c::words(bytes);
    let size = |index: usize, name: &str| match usize::try_from(words[index]) {
        Ok(size) if size > 0 => Ok(size),
        _ => Err(format!("its header says {name} = {}", words[index])),
    };
    let (layers, vocab, dim) = (size(4, "n_layers")?, size(5, "vocab")?, size(6, "dim")?);
    let (hidden, heads, seq) = (size(7, "hidden")?, size(8, "n_heads")?, size(9, "seq")?);
    let (kv_heads, head_dim, kind) = match words[1] {
        2 => (heads, dim / heads, RopeKind::None),
        4 => (size(21, "kv_heads")?, size(22, "head_dim")?, RopeKind::Interleaved),
        version => return Err(format!("its version is {version}; 2 and 4 can be read")),
    };
    let plain = llama(dim, layers, heads, vocab, seq, kind);
    let config = ModelConfig { hidden, kv_heads, head_dim, ..plain };
    config.validate().map_err(|error| format!("its header is invalid: {error}"))?;
    if kind == RopeKind::Interleaved && size(23, "q_dim")? != config.q_dim() {
        return Err(format!(
            "its header says q_dim = {}, not n_heads · head_dim = {}",
            words[23],
            config.q_dim()
        ));
    }
    Ok(config)
}

/// The order of a layer's weights.
const LAYER: [ParamKind; 9] = [
    ParamKind::Wq,
    ParamKind::Wk,
    ParamKind::Wv,
    ParamKind::Wo,
    ParamKind::W1,
    ParamKind::W2,
    ParamKind::W3,
    ParamKind::AttentionNorm,
    ParamKind::FeedForwardNorm,
];

/// The weights in checkpoint order, rows of queries and keys in the order of a folder.
fn load(path: &Path) -> Result<Vec<f32>, TrainError> {
    let reading = || TrainError::io("read", path);
    let (mut file, config) = open(path)?;
    let specs = config.params();
    let find = |kind: ParamKind, layer: Option<usize>| {
        specs.iter().filter(move |spec| spec.kind == kind && spec.layer == layer)
    };
    let mut groups: Vec<Vec<&ParamSpec>> = Vec::new();
    for layer in 0..config.layers {
        groups.push(LAYER.into_iter().flat_map(|kind| find(kind, Some(layer))).collect());
    }
    groups.extend([ParamKind::FinalNorm, ParamKind::Embedding].map(|kind| find(kind, None).collect()));
    let alpha =
        if config.rope.kind == RopeKind::None { 1.0 } else { (2.0 * config.layers as f32).sqrt().recip() };
    let mut params = vec![0.0; config.param_count()];
    for group in groups {
        for spec in &group {
            let mut bytes = vec![0; 4 * spec.count()];
            file.read_exact(&mut bytes).map_err(reading())?;
            let numbers = &mut params[spec.range()];
            let factor = if matches!(spec.kind, ParamKind::Wo | ParamKind::W2) { alpha } else { 1.0 };
            for (to, &raw) in numbers.iter_mut().zip(bytes.as_chunks::<4>().0) {
                *to = factor * f32::from_le_bytes(raw);
            }
            check_finite(path, &spec.name, numbers)?;
            rope::to_folder_order(&config, spec, numbers);
        }
        let moments: i64 = group.iter().map(|spec| 2 * 4 * spec.count() as i64).sum();
        file.seek(SeekFrom::Current(moments)).map_err(reading())?;
    }
    Ok(params)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A checkpoint whose weights count up; moments are NaN, so that a misplaced number is noticed.
    fn file(version: i32) -> Vec<u8> {
        let (layers, vocab, dim, hidden, heads, seq) = (2, 5, 8, 6, 2, 4);
        let (kv, head) = if version == 4 { (1, 6) } else { (heads, dim / heads) };
        let mut words = [0i32; 24];
        words[..2].copy_from_slice(&[MARK, version]);
        words[4..10].copy_from_slice(&[layers, vocab, dim, hidden, heads, seq]);
        if version == 4 {
            words[21..].copy_from_slice(&[kv, head, heads * head]);
        }
        let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let (q, k) = (heads * head * dim, kv * head * dim);
        let layer = 2 * q + 2 * k + 3 * dim * hidden + 2 * dim;
        let mut next = 0i32;
        for count in [layer, layer, dim, vocab * dim] {
            (0..count).for_each(|i| bytes.extend(((next + i) as f32).to_le_bytes()));
            bytes.extend(f32::NAN.to_le_bytes().repeat(2 * count as usize));
            next += count;
        }
        bytes
    }

    #[test]
    fn weights_are_where_the_original_writes_them() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ckpt.bin");
        // α of two layers is a half.
        for (version, kind, alpha) in [(2, RopeKind::None, 1.0f32), (4, RopeKind::RotateHalf, 0.5)] {
            std::fs::write(&path, file(version)).unwrap();
            let model = crate::formats::open_model(&path, None).unwrap();
            let config = &model.config;
            assert_eq!((config.dim, config.layers, config.rope.kind), (8, 2, kind));
            let (q, k) = (config.q_dim() * 8, config.kv_dim() * 8);
            let layer = 2 * q + 2 * k + 3 * 48 + 16;
            let first = |kind: ParamKind, layer: Option<usize>| {
                let specs = config.params();
                let spec = specs.iter().find(|s| s.kind == kind && s.layer == layer).unwrap();
                model.params[spec.offset]
            };
            for (kind, place, factor) in [
                (ParamKind::Wq, 0, 1.0),
                (ParamKind::Wk, q, 1.0),
                (ParamKind::Wo, q + 2 * k, alpha),
                (ParamKind::W1, 2 * q + 2 * k, 1.0),
                (ParamKind::W2, 2 * q + 2 * k + 48, alpha),
                (ParamKind::W3, 2 * q + 2 * k + 96, 1.0),
                (ParamKind::FeedForwardNorm, layer - 8, 1.0),
            ] {
                for l in 0..2 {
                    assert_eq!(first(kind, Some(l)), factor * (l * layer + place) as f32, "{kind:?} {l}");
                }
            }
            assert_eq!(first(ParamKind::FinalNorm, None), (2 * layer) as f32);
            assert_eq!(first(ParamKind::Embedding, None), (2 * layer + 8) as f32);
            if version == 4 {
                // Row 2 of a head goes to the second place, as channels 2i and 2i + 1 become i and i + 3.
                let specs = config.params();
                let wq = specs.iter().find(|s| s.kind == ParamKind::Wq).unwrap();
                assert_eq!(model.params[wq.offset + 8], 16.0);
            }
        }
    }

    #[test]
    fn broken_headers_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ckpt.bin");
        for (at, word, want) in [
            (1, 3, "its version is 3; 2 and 4 can be read"),
            (4, 0, "its header says n_layers = 0"),
            (6, -8, "its header says dim = -8"),
            (21, 3, "is invalid: `heads` = 2 is not a multiple of `kv_heads` = 3"),
            (23, 5, "its header says q_dim = 5, not n_heads · head_dim = 12"),
            (5, 6, "its header implies"),
            (5, i32::MAX, "its header is invalid: these sizes make 17179870080 weights"),
        ] {
            let mut bytes = file(4);
            bytes[4 * at..4 * at + 4].copy_from_slice(&i32::to_le_bytes(word));
            std::fs::write(&path, bytes).unwrap();
            let error = crate::formats::open_model(&path, None).unwrap_err().to_string();
            assert!(
                error.contains("is not a complete maderix/ANE checkpoint file") && error.contains(want),
                "{error}"
            );
        }
        std::fs::write(&path, &file(2)[..95]).unwrap();
        let error = crate::formats::open_model(&path, None).unwrap_err().to_string();
        assert!(error.ends_with("it has 95 bytes, too few for a header"), "{error}");
    }
}
