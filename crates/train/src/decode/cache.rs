//! The keys and values of a conversation.

use super::kernels::{DecodeKernels, LARGEST_CHUNK};
use crate::step::StepError;
use ane::{Surface, SurfaceBlock};

/// The fewest positions that there is room for.
pub(super) const SMALLEST: usize = 128;

/// A conversation: its tokens, and their keys and values in each layer.
#[derive(Debug, Default)]
pub struct Conversation {
    pub(super) tokens: Vec<u32>,
    pub(super) layers: Vec<LayerCache>,
}

/// The keys and values of a layer, `[K·E, C]` each: position p is in column p mod C.
#[derive(Debug)]
pub(super) struct LayerCache {
    pub(super) keys: Surface,
    pub(super) values: Surface,
    /// C: the number of columns.
    pub(super) columns: usize,
}

impl Conversation {
    /// The tokens whose keys and values it holds.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// Bytes of keys and values.
    pub fn bytes(&self) -> usize {
        self.layers.iter().map(|layer| layer.keys.bytes() + layer.values.bytes()).sum()
    }

    /// Forgets all tokens but the first `len`; returns how many are left. These are fewer where a layer with a sliding window
    /// no longer has the keys that the next token sees: then none are.
    pub fn truncate(&mut self, len: usize, windows: &[Option<usize>]) -> usize {
        let now = self.tokens.len();
        if len < now {
            let is_whole = self.layers.iter().zip(windows).all(|(layer, window)| {
                let oldest = now.saturating_sub(layer.columns);
                window.is_none_or(|window| oldest == 0 || len.saturating_sub(window) >= oldest)
            });
            self.tokens.truncate(if is_whole { len } else { 0 });
        }
        self.tokens.len()
    }

    /// Makes room for `positions` positions. A layer with a sliding window needs no more than that and one pass.
    pub(super) fn reserve(
        &mut self,
        positions: usize,
        windows: &[Option<usize>],
        kernels: &DecodeKernels,
    ) -> Result<(), StepError> {
        let all = kernels.room(positions.max(SMALLEST));
        for (l, window) in windows.iter().enumerate() {
            let most = window.map_or(usize::MAX, |window| (window + LARGEST_CHUNK).next_power_of_two());
            let columns = all.min(most);
            match self.layers.get(l) {
                None => self.layers.push(LayerCache::new(l, columns, kernels)?),
                Some(layer) if layer.columns < columns => {
                    let wider = LayerCache::new(l, columns, kernels)?;
                    // A cache that still grows has not gone around yet.
                    for (from, to) in [(&layer.keys, &wider.keys), (&layer.values, &wider.values)] {
                        let channels = from.ty().shape[1];
                        let block = SurfaceBlock { channel: 0, channels, column: 0, columns: layer.columns };
                        to.copy_columns([0, 0], from, &block)?;
                    }
                    self.layers[l] = wider;
                }
                Some(_) => {}
            }
        }
        Ok(())
    }
}

impl LayerCache {
    fn new(layer: usize, columns: usize, kernels: &DecodeKernels) -> Result<LayerCache, StepError> {
        let [keys, values] =
            ["keys", "values"].map(|name| kernels.cache(&format!("L{layer}.{name}"), columns));
        Ok(LayerCache { keys: keys?, values: values?, columns })
    }

    /// Stores keys and values, `[K·E, …]` from channels `channels` of `from` on, of `count` positions from `position` on; they are
    /// in the columns from `column` on.
    pub(super) fn store(
        &self,
        position: usize,
        (from, channels): (&Surface, [usize; 2]),
        [column, count]: [usize; 2],
    ) -> Result<(), StepError> {
        let rows = self.keys.ty().shape[1];
        let mut done = 0;
        while done < count {
            let at = (position + done) % self.columns;
            let columns = (count - done).min(self.columns - at);
            for (to, channel) in [&self.keys, &self.values].into_iter().zip(channels) {
                let block = SurfaceBlock { channel, channels: rows, column: column + done, columns };
                to.copy_columns([0, at], from, &block)?;
            }
            done += columns;
        }
        Ok(())
    }
}

/// What a column of a cache holds for a pass whose last position is `last`: the newest position with that remainder.
pub(super) fn position_of(column: usize, columns: usize, last: usize) -> Option<usize> {
    let back = (last % columns + columns - column) % columns;
    last.checked_sub(back)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_holds_the_newest_position_with_its_remainder() {
        for (columns, last) in [(8, 3), (8, 7), (8, 8), (8, 21)] {
            for column in 0..columns {
                let want = (0..=last).rev().find(|p| p % columns == column && last - p < columns);
                assert_eq!(position_of(column, columns, last), want, "column {column} of {columns}, {last}");
            }
        }
    }
}
