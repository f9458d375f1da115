//! The order of rows in query and key projections.
//!
//! Readers of Hugging Face's folders rotate channels i and i + E/2 of a head together. A model whose RoPE rotates 2i and
//! 2i + 1 is the same model once rows 2i and 2i + 1 of each head are moved to i and i + E/2. Source: huggingface/transformers
//! `models/llama/convert_llama_weights_to_hf.py`, `permute`.

use std::borrow::Cow;

use crate::config::{Linear, ModelConfig, ParamKind, ParamSpec, RopeKind};

/// The weight `data` with its rows in the order of a folder.
pub(super) fn in_folder<'a>(config: &ModelConfig, spec: &ParamSpec, data: &'a [f32]) -> Cow<'a, [f32]> {
    let half = config.head_dim / 2;
    in_order(config, spec, data, RopeKind::Interleaved, |channel| from_pair(channel, half))
}

/// The weight `data` with the rows that are rotated as a pair beside one another: the opposite of [`in_folder`].
pub(super) fn in_pairs<'a>(config: &ModelConfig, spec: &ParamSpec, data: &'a [f32]) -> Cow<'a, [f32]> {
    let half = config.head_dim / 2;
    in_order(config, spec, data, RopeKind::RotateHalf, |channel| channel / 2 + half * (channel % 2))
}

/// The row that each row of a weight is moved from by [`in_folder`]; `None`, if its rows are in that order.
pub(super) fn folder_row(config: &ModelConfig, spec: &ParamSpec) -> Option<impl Fn(usize) -> usize + use<>> {
    let (e, half) = (config.head_dim, config.head_dim / 2);
    let moves = config.rope.kind == RopeKind::Interleaved && has_order(spec.kind);
    moves.then_some(move |row: usize| row / e * e + from_pair(row % e, half))
}

/// The channel, among pairs beside one another, of a head's channel `channel` in the order of a folder.
fn from_pair(channel: usize, half: usize) -> usize {
    2 * (channel % half) + channel / half
}

/// Whether the rows of such a weight are channels that RoPE rotates.
fn has_order(kind: ParamKind) -> bool {
    matches!(
        kind,
        ParamKind::Wq
            | ParamKind::Wk
            | ParamKind::Bq
            | ParamKind::Bk
            | ParamKind::QueryNorm
            | ParamKind::KeyNorm
            | ParamKind::LoraB(Linear::Q | Linear::K)
    )
}

/// The weight `data` of a folder with its rows in the order of memory: the opposite of [`in_folder`].
pub(super) fn in_memory<'a>(config: &ModelConfig, spec: &ParamSpec, data: &'a [f32]) -> Cow<'a, [f32]> {
    match config.rope.kind {
        RopeKind::Interleaved => in_pairs(&config_in_folder(config), spec, data),
        _ => Cow::Borrowed(data),
    }
}

/// The weight `data` with the row of each head's channel taken from another one, if the rows of such a weight have the order
/// `from` now.
fn in_order<'a>(
    config: &ModelConfig,
    spec: &ParamSpec,
    data: &'a [f32],
    from: RopeKind,
    source: impl Fn(usize) -> usize,
) -> Cow<'a, [f32]> {
    if config.rope.kind != from || !has_order(spec.kind) {
        return Cow::Borrowed(data);
    }
    // The rows of a norm's weight, which is one head, and of a bias are single numbers.
    let width = spec.shape.get(1).copied().unwrap_or(1);
    let e = config.head_dim;
    let mut rows = Vec::with_capacity(data.len());
    for head in data.chunks(e * width) {
        for channel in 0..e {
            let from = source(channel);
            rows.extend_from_slice(&head[from * width..(from + 1) * width]);
        }
    }
    Cow::Owned(rows)
}

/// Puts the rows of the weight `data` into the order of a folder.
pub(super) fn to_folder_order(config: &ModelConfig, spec: &ParamSpec, data: &mut [f32]) {
    if let Cow::Owned(rows) = in_folder(config, spec, data) {
        data.copy_from_slice(&rows);
    }
}

/// The configuration of the same model with its rows in the order of a folder.
pub(crate) fn config_in_folder(config: &ModelConfig) -> ModelConfig {
    let mut config = config.clone();
    if config.rope.kind == RopeKind::Interleaved {
        config.rope.kind = RopeKind::RotateHalf;
    }
    config
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_each_head_move_and_nothing_else_does() {
        let tiny = ModelConfig::preset("tiny").unwrap();
        let mut config =
            ModelConfig { dim: 2, heads: 2, kv_heads: 1, head_dim: 6, qk_norm: true, layers: 1, ..tiny };
        config.rope.kind = RopeKind::Interleaved;
        // Pairs (0, 1), (2, 3), (4, 5) become (0, 3), (1, 4), (2, 5).
        let head = [0, 2, 4, 1, 3, 5];
        let rows = |heads: usize| (0..heads).flat_map(move |h| head.map(|row| 6 * h + row));
        let matrix = |heads| rows(heads).flat_map(|row| [2 * row, 2 * row + 1]).collect::<Vec<_>>();
        for spec in config.params() {
            let data: Vec<f32> = (0..spec.count()).map(|i| i as f32).collect();
            let want = match spec.kind {
                ParamKind::Wq => matrix(2),
                ParamKind::Wk => matrix(1),
                ParamKind::QueryNorm | ParamKind::KeyNorm => rows(1).collect(),
                _ => (0..spec.count()).collect(),
            };
            let got: Vec<usize> = in_folder(&config, &spec, &data).iter().map(|&x| x as usize).collect();
            if let Some(from) = folder_row(&config, &spec) {
                let width = spec.shape.get(1).copied().unwrap_or(1);
                assert!(got.iter().step_by(width).enumerate().all(|(to, &at)| from(to) == at / width));
            }
            assert_eq!(got, want, "{}", spec.name);
            let plain = config_in_folder(&config);
            let moved = in_folder(&config, &spec, &data);
            assert_eq!(in_pairs(&plain, &spec, &moved), data, "{} and back", spec.name);
            assert!(matches!(in_folder(&plain, &spec, &data), Cow::Borrowed(_)), "{}", spec.name);
        }
    }
}
