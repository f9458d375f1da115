//! llama2.c's checkpoints of versions 0, 1 and 2; `layout.rs` says what is in them.

mod layout;
mod write;

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use super::contents::Contents;
use super::metadata::{FolderMetadata, ROPE_TABLES};
use super::rope;
use super::source::{Candidate, Model, ModelSource, open_beside};
use super::weights::check_finite;
use crate::config::ModelConfig;
use crate::demand::{self, Use};
use crate::error::TrainError;
use crate::tokenizer::Tokenizer;
use layout::{LONG, Layout, MARK, NEWEST, Part};

pub(super) use layout::words;
pub(super) use write::write;

/// The largest plausible size in a header: text and most token files have larger words.
const LARGEST: i32 = 1 << 20;

/// The format.
pub(super) struct Llama2c;

impl ModelSource for Llama2c {
    fn name(&self) -> &'static str {
        "a llama2.c checkpoint"
    }

    /// Detects the magic number of later versions, or seven plausible sizes.
    fn detect(&self, candidate: &Candidate) -> bool {
        let is_size = |size: i32| (1..=LARGEST).contains(&size);
        match words(&candidate.head)[..] {
            [MARK, ..] => true,
            [dim, hidden, layers, heads, kv_heads, vocab, seq, ..] => {
                [dim, hidden, layers, heads, kv_heads, seq].into_iter().all(is_size) && vocab != 0
            }
            _ => false,
        }
    }

    fn config(&self, path: &Path) -> Result<ModelConfig, TrainError> {
        Ok(rope::config_in_folder(&open(path)?.1.config))
    }

    fn has_weights(&self, _: &Path) -> Result<bool, TrainError> {
        Ok(true)
    }

    /// The tokenizer beside a checkpoint may belong to another model in the same folder.
    fn tokenizer(&self, path: &Path, config: &ModelConfig) -> Result<Option<Tokenizer>, TrainError> {
        Tokenizer::load_from_folder(path.parent().unwrap_or(Path::new("")), config.vocab)
    }

    fn contents(&self, path: &Path) -> Result<Contents, TrainError> {
        let (_, layout) = open(path)?;
        let tensor = |part: Part| {
            let bytes = layout.bytes(&part) as u64;
            match part {
                Part::Floats(spec) => Some(("F32".to_owned(), spec.count() as u64, bytes)),
                Part::Groups(spec) => Some((format!("int8/{}", layout.group), spec.count() as u64, bytes)),
                Part::Tables => None,
            }
        };
        let tensors = layout.parts().into_iter().filter_map(tensor).collect();
        Ok(Contents { files: vec![path.to_owned()], tensors, ..Contents::default() })
    }

    fn open(&self, path: &Path, tokenizer: Option<&Path>) -> Result<Model, TrainError> {
        let config = self.config(path)?;
        let (tokenizer, unfit) = open_beside(self, path, tokenizer, &config)?;
        demand::check(&config, Use::Weights)?;
        let (params, tables) = load(path)?;
        let mut metadata = FolderMetadata::with_ids(&config, START, END);
        if !tables.is_empty() && tables != rope_tables(config.seq, config.head_dim) {
            metadata.add_companion(ROPE_TABLES, tables);
        }
        Ok(Model { config, params, tokenizer, unfit, metadata })
    }
}

/// Ids of the tokens that start and end a text, the same in all checkpoints.
pub(super) const START: u32 = 1;
/// As [`START`].
pub(super) const END: u32 = 2;

/// The tables of RoPE, which no reader uses: cosines `[S, E/2]`, then sines, of the angles as PyTorch computes them in f32.
fn rope_tables(seq: usize, head_dim: usize) -> Vec<u8> {
    let frequency = |pair: usize| (1.0 / 10_000f64.powf(2.0 * pair as f64 / head_dim as f64)) as f32;
    let frequencies: Vec<f32> = (0..head_dim / 2).map(frequency).collect();
    let angles = || (0..seq).flat_map(|t| frequencies.iter().map(move |f| f64::from(t as f32 * f)));
    let numbers = angles().map(f64::cos).chain(angles().map(f64::sin));
    numbers.flat_map(|x| (x as f32).to_le_bytes()).collect()
}

/// The most bytes of tables that are kept, as of a model's other files: those of 32,768 positions.
const LARGEST_TABLES: u64 = 16 << 20;

/// Opens a checkpoint and checks header and length; the file is then behind the header.
///
/// # Errors
/// [`TrainError::Io`], [`TrainError::Llama2cVersion`], [`TrainError::FileFormat`] if it is truncated or of another kind.
fn open(path: &Path) -> Result<(BufReader<File>, Layout), TrainError> {
    let reading = || TrainError::io("read", path);
    let mut file = File::open(path).map_err(reading())?;
    let length = file.metadata().map_err(reading())?.len();
    let mut head = Vec::new();
    file.by_ref().take(LONG as u64).read_to_end(&mut head).map_err(reading())?;
    if let [MARK, version, ..] = words(&head)[..]
        && !(1..=NEWEST).contains(&version)
    {
        return Err(TrainError::Llama2cVersion { path: path.to_owned(), version });
    }
    let parsed = Layout::parse(&head).and_then(|layout| layout.check_length(length).map(|()| layout));
    let layout = parsed.map_err(|problem| TrainError::FileFormat {
        path: path.to_owned(),
        kind: "llama2.c checkpoint",
        problem,
    })?;
    file.seek(SeekFrom::Start(layout.header() as u64)).map_err(reading())?;
    Ok((BufReader::with_capacity(1 << 20, file), layout))
}

/// Reads the weights and the bytes of the tables; the weights are in checkpoint order, rows of query and key projections in
/// Hugging Face's.
///
/// # Errors
/// As [`open`], or [`TrainError::TensorNotFinite`].
fn load(path: &Path) -> Result<(Vec<f32>, Vec<u8>), TrainError> {
    let (mut file, layout) = open(path)?;
    let (mut params, tables) = read(&mut file, &layout).map_err(TrainError::io("read", path))?;
    for spec in layout.config.params() {
        let numbers = &mut params[spec.range()];
        check_finite(path, &spec.name, numbers)?;
        rope::to_folder_order(&layout.config, &spec, numbers);
    }
    Ok((params, tables))
}

/// Reads what follows the header; rows keep the file's order.
fn read(file: &mut (impl Read + Seek), layout: &Layout) -> io::Result<(Vec<f32>, Vec<u8>)> {
    let (mut params, mut tables) = (vec![0.0; layout.config.param_count()], Vec::new());
    for part in layout.parts() {
        let size = layout.bytes(&part);
        if matches!(part, Part::Tables) && size as u64 > LARGEST_TABLES {
            file.seek(SeekFrom::Current(size as i64))?;
            continue;
        }
        let mut bytes = vec![0; size];
        file.read_exact(&mut bytes)?;
        match part {
            Part::Tables => tables = bytes,
            Part::Floats(spec) => {
                floats(&bytes).zip(&mut params[spec.range()]).for_each(|(x, to)| *to = x);
            }
            Part::Groups(spec) => {
                let (quantised, scales) = bytes.split_at(spec.count());
                let groups =
                    params[spec.range()].chunks_mut(layout.group).zip(quantised.chunks(layout.group));
                for ((to, from), scale) in groups.zip(floats(scales)) {
                    to.iter_mut().zip(from).for_each(|(to, &q)| *to = f32::from(q as i8) * scale);
                }
            }
        }
    }
    Ok((params, tables))
}

fn floats(bytes: &[u8]) -> impl Iterator<Item = f32> {
    bytes.as_chunks::<4>().0.iter().map(|&b| f32::from_le_bytes(b))
}

/// Parses a checkpoint; rows keep the file's order.
#[cfg(test)]
pub(super) fn parse(bytes: &[u8]) -> Result<(ModelConfig, Vec<f32>), String> {
    let layout = Layout::parse(bytes)?;
    layout.check_length(bytes.len() as u64)?;
    let (params, _) =
        read(&mut io::Cursor::new(&bytes[layout.header()..]), &layout).map_err(|e| e.to_string())?;
    Ok((layout.config, params))
}
