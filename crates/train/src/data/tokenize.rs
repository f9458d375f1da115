//! Training a tokenizer, and encoding text into a token file.

use std::path::Path;

use rayon::prelude::*;

use super::text::TextSource;
use super::token_layout::width_of;
use crate::error::TrainError;
use crate::fs::AtomicFile;
use crate::tokenizer::Tokenizer;

/// Chunks encoded at a time: enough for the threads of a large machine, some megabytes of memory.
const CHUNKS_AT_ONCE: usize = 32;

/// The most bytes of text that a tokenizer is trained from; more would change its merges little.
const LEARN_FROM: u64 = 64 << 20;

/// Trains a byte-level byte-pair tokenizer of `vocab` tokens from a text (its first 64 MiB).
///
/// # Errors
/// As [`Tokenizer::train`], and [`TrainError::Io`] or [`TrainError::NotUtf8`] of the text.
pub fn train_tokenizer(source: &TextSource, vocab: usize) -> Result<Tokenizer, TrainError> {
    let mut taken = 0;
    let texts = source
        .chunks(false)
        .take_while(move |chunk| {
            let wanted = taken < LEARN_FROM;
            taken += chunk.as_ref().map_or(0, |chunk| chunk.text.len() as u64);
            wanted
        })
        .map(|chunk| chunk.map(|chunk| chunk.text));
    Tokenizer::train(texts, vocab)
}

/// Encodes a text into a file of little-endian tokens, atomically; returns their number. Tokens have 16
/// bits, or 32 for a model with a vocabulary of more than 65536.
///
/// Documents are divided by the tokenizer's [separator](Tokenizer::separator), if it has one. `progress` gets the bytes of
/// text encoded so far. The file does not depend on the number of threads.
///
/// # Errors
/// [`TrainError::TooFewTokens`] if the text has less than one window of `seq` tokens and its targets,
/// [`TrainError::TokenizerTooLarge`] if `tokenizer` has more than `vocab` tokens, [`TrainError::Io`],
/// [`TrainError::NotUtf8`], [`TrainError::NotText`]; an existing file is then unchanged.
pub fn tokenize(
    source: &TextSource,
    tokenizer: &Tokenizer,
    (vocab, seq): (usize, usize),
    path: &Path,
    progress: &mut dyn FnMut(u64),
) -> Result<u64, TrainError> {
    tokenizer.check_vocab(vocab)?;
    let width = width_of(vocab) as usize;
    let mut file = AtomicFile::create(path)?;
    let (mut tokens_written, mut bytes_done) = (0, 0);
    let mut chunks = source.chunks(!tokenizer.splits_at_spaces());
    loop {
        let batch = chunks.by_ref().take(CHUNKS_AT_ONCE).collect::<Result<Vec<_>, _>>()?;
        if batch.is_empty() {
            let want = seq as u64 + 1;
            if tokens_written < want {
                let path = source.name().to_owned();
                return Err(TrainError::TooFewTokens { path, got: tokens_written, want, seq });
            }
            file.commit()?;
            return Ok(tokens_written);
        }
        let encoded: Vec<_> = batch
            .par_iter()
            .map(|chunk| tokenizer.encode_chunk(&chunk.text, chunk.ends))
            .collect::<Result<_, _>>()?;
        for (chunk, mut tokens) in batch.iter().zip(encoded) {
            if chunk.ends.first && tokens_written > 0 {
                tokens.splice(0..0, tokenizer.separator());
            }
            // Ids fit: the vocabulary was checked above.
            let bytes: Vec<u8> =
                tokens.iter().flat_map(|&id| id.to_le_bytes().into_iter().take(width)).collect();
            file.write(&bytes)?;
            tokens_written += tokens.len() as u64;
            bytes_done += chunk.text.len() as u64;
        }
        progress(bytes_done);
    }
}
