//! Tests of data, and what they share.

use std::fs;

use proptest::prelude::*;
use tempfile::tempdir;

use super::*;
use crate::config::ModelConfig;
use crate::tokenizer::Tokenizer;

mod split;
mod text;
mod tokens;

fn token_bytes(tokens: &[u16]) -> Vec<u8> {
    tokens.iter().flat_map(|t| t.to_le_bytes()).collect()
}

fn all_tokens(file: &TokenFile) -> Vec<u32> {
    let mut tokens = vec![0; file.len() as usize];
    file.window(0, &mut tokens).unwrap();
    tokens
}
