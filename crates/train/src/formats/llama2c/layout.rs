//! Headers of llama2.c's checkpoints, and the order of what follows.
//!
//! Version 0: seven i32 (dim, hidden, layers, heads, key/value heads, vocabulary, longest sequence; a negative vocabulary means
//! a classifier of its own), f32 tensors kind by kind, and before the classifier two tables of RoPE.
//! Versions 1 and 2: "ak42", the version, the seven i32, a byte that is 1 if the classifier is the embedding, for version 2 an
//! i32 with the numbers of a group, zeros up to 256 bytes; norms as f32, then matrices, f32 or each as signed bytes followed by
//! an f32 scale for each group. Source: karpathy/llama2.c `export.py`.

use crate::config::{ModelConfig, ParamKind, ParamSpec, RopeKind, llama};

/// Bytes of a header of version 0.
pub const SHORT: usize = 28;

/// Bytes of a header of later versions.
pub const LONG: usize = 256;

/// Magic number of later versions, "ak42".
pub const MARK: i32 = 0x616b_3432;

/// The newest version.
pub const NEWEST: i32 = 2;

/// A parsed header.
#[derive(Debug)]
pub struct Layout {
    /// The version.
    pub version: i32,
    /// The model, with rows as they are in the file.
    pub config: ModelConfig,
    /// Numbers of a group in version 2.
    pub group: usize,
}

/// What follows a header.
pub enum Part {
    /// A weight as f32.
    Floats(ParamSpec),
    /// A weight as signed bytes, then scales.
    Groups(ParamSpec),
    /// The tables of RoPE.
    Tables,
}

use ParamKind::{
    AttentionNorm, Classifier, Embedding, FeedForwardNorm, FinalNorm, W1, W2, W3, Wk, Wo, Wq, Wv,
};

/// The order of version 0; the tables come before the classifier.
const OLD: [ParamKind; 12] =
    [Embedding, AttentionNorm, Wq, Wk, Wv, Wo, FeedForwardNorm, W1, W2, W3, FinalNorm, Classifier];

/// The order of later versions.
const NEW: [ParamKind; 12] =
    [AttentionNorm, FeedForwardNorm, FinalNorm, Embedding, Wq, Wk, Wv, Wo, W1, W2, W3, Classifier];

/// The little-endian i32 words of `bytes`.
pub fn words(bytes: &[u8]) -> Vec<i32> {
    bytes.as_chunks::<4>().0.iter().map(|&word| i32::from_le_bytes(word)).collect()
}

impl Layout {
    /// Parses the header at the start of a file, of which `bytes` are the first.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let words = words(bytes);
        if words.first() != Some(&MARK) {
            let header: [i32; 7] = first(&words).ok_or_else(|| too_few(bytes.len()))?;
            let tied = header[5] > 0;
            return Ok(Self { version: 0, config: config(header, tied)?, group: 0 });
        }
        let (Some(&version), Some(header)) = (words.get(1), words.get(2..).and_then(first)) else {
            return Err(too_few(bytes.len()));
        };
        let (Some(header), Some(rest)) = (Some(header), bytes.get(36..41)) else {
            return Err(too_few(bytes.len()));
        };
        let tied = match rest[0] {
            shared @ (0 | 1) => shared == 1,
            shared => return Err(format!("its header says shared_classifier = {shared}")),
        };
        if header[5] < 0 {
            return Err(format!("its header says vocab = {}", header[5]));
        }
        let config = config(header, tied)?;
        let group = i32::from_le_bytes([rest[1], rest[2], rest[3], rest[4]]);
        let layout = Self { version, config, group: usize::try_from(group).unwrap_or(0) };
        if version == 2
            && (layout.group == 0 || !matrices(&layout.config).all(|(_, n)| n.is_multiple_of(layout.group)))
        {
            return Err(format!(
                "its header says group_size = {group}, and not all matrices are whole groups"
            ));
        }
        Ok(layout)
    }

    /// Bytes of the header.
    pub fn header(&self) -> usize {
        if self.version == 0 { SHORT } else { LONG }
    }

    /// The header's bytes.
    pub fn to_bytes(&self) -> Result<Vec<u8>, String> {
        let c = &self.config;
        let word = |n: usize| i32::try_from(n).map_err(|_| format!("{n} is more than 31 bits hold"));
        let mut header = Vec::new();
        for n in [c.dim, c.hidden, c.layers, c.heads, c.kv_heads, c.vocab, c.seq] {
            header.push(word(n)?);
        }
        if self.version == 0 {
            header[5] *= if c.tied { 1 } else { -1 };
            return Ok(header.iter().flat_map(|word| word.to_le_bytes()).collect());
        }
        let start = [MARK, self.version].into_iter().chain(header);
        let mut bytes: Vec<u8> = start.flat_map(i32::to_le_bytes).collect();
        bytes.push(c.tied.into());
        if self.version == 2 {
            bytes.extend(word(self.group)?.to_le_bytes());
        }
        bytes.resize(LONG, 0);
        Ok(bytes)
    }

    /// What follows the header, in order.
    pub fn parts(&self) -> Vec<Part> {
        let specs = self.config.params();
        let mut parts = Vec::new();
        for kind in if self.version == 0 { OLD } else { NEW } {
            if kind == Classifier && self.version == 0 {
                parts.push(Part::Tables);
            }
            let own = specs.iter().filter(|spec| spec.kind == kind).cloned();
            // Norms have one axis.
            parts.extend(own.map(|spec| match self.version == 2 && spec.shape.len() > 1 {
                true => Part::Groups(spec),
                false => Part::Floats(spec),
            }));
        }
        parts
    }

    /// Bytes of a part.
    pub fn bytes(&self, part: &Part) -> usize {
        match part {
            Part::Floats(spec) => 4 * spec.count(),
            Part::Groups(spec) => spec.count() + 4 * (spec.count() / self.group.max(1)),
            Part::Tables => 4 * self.config.seq * self.config.head_dim,
        }
    }

    /// Checks the length of a file.
    ///
    /// # Errors
    /// Both lengths.
    pub fn check_length(&self, length: u64) -> Result<(), String> {
        // A list of all parts could be larger than a file whose header lies.
        let config = &self.config;
        let matrices: u128 = matrices(config).map(|(count, numbers)| count as u128 * numbers as u128).sum();
        let norms = config.param_count_wide() - matrices;
        let stored = match self.version == 2 {
            true => matrices + 4 * (matrices / self.group.max(1) as u128),
            false => 4 * matrices,
        };
        let tables = if self.version == 0 { self.bytes(&Part::Tables) } else { 0 };
        let want = u128::from(self.header() as u64) + stored + 4 * norms + tables as u128;
        let length = u128::from(length);
        match length == want {
            true => Ok(()),
            false => Err(format!("its header implies {want} bytes, the file has {length}")),
        }
    }
}

/// How many matrices there are of each size, and their numbers.
fn matrices(c: &ModelConfig) -> impl Iterator<Item = (usize, usize)> {
    let (q, kv) = (c.heads * c.head_dim, c.kv_heads * c.head_dim);
    let ends = if c.tied { 1 } else { 2 };
    let sizes = [(ends, c.vocab), (2 * c.layers, q), (2 * c.layers, kv), (3 * c.layers, c.hidden)];
    sizes.into_iter().map(|(count, rows)| (count, rows * c.dim))
}

fn first(words: &[i32]) -> Option<[i32; 7]> {
    words.first_chunk().copied()
}

fn too_few(bytes: usize) -> String {
    format!("it has {bytes} bytes, too few for a header")
}

fn config(header: [i32; 7], tied: bool) -> Result<ModelConfig, String> {
    const NAMES: [&str; 7] = ["dim", "hidden", "layers", "heads", "kv_heads", "vocab", "seq"];
    for (name, &word) in NAMES.iter().zip(&header) {
        if word < 1 && *name != "vocab" {
            return Err(format!("its header says {name} = {word}"));
        }
    }
    let [dim, hidden, layers, heads, kv_heads, vocab, seq] = header.map(|word| word.unsigned_abs() as usize);
    let plain = llama(dim, layers, heads, vocab, seq, RopeKind::Interleaved);
    let config = ModelConfig { hidden, kv_heads, tied, ..plain };
    config.validate().map_err(|error| format!("its header is invalid: {error}"))?;
    Ok(config)
}
