//! Slices values out of the input surface.

use super::region::SurfaceRegion;
use mil::Var;

/// The input surface, with the slices made so far.
pub(super) struct Whole<'b> {
    value: Var<'b>,
    /// Column bands over all channels: first column, number of columns, value.
    bands: Vec<(usize, usize, Var<'b>)>,
}

impl<'b> Whole<'b> {
    pub fn new(value: Var<'b>) -> Whole<'b> {
        Whole { value, bands: Vec::new() }
    }

    /// The block at `slot`. No project reports slices that are interior in both axes at once, so such a block is sliced by
    /// columns first, then by channels.
    pub fn part(&mut self, slot: &SurfaceRegion) -> Var<'b> {
        let (channels, width) = (self.value.shape()[1], self.value.shape()[3]);
        let band = match slot.columns == width {
            true => self.value,
            false => self.band(slot),
        };
        match slot.channels == channels {
            true => band,
            false => band.slice(&[0, slot.channel, 0, 0], &[1, slot.channels, 1, slot.columns]),
        }
    }

    /// The columns of `slot` with all channels; stacked blocks share this band.
    fn band(&mut self, slot: &SurfaceRegion) -> Var<'b> {
        let known =
            self.bands.iter().find(|(first, count, _)| (*first, *count) == (slot.column, slot.columns));
        if let Some(&(.., band)) = known {
            return band;
        }
        let channels = self.value.shape()[1];
        let band = self.value.slice(&[0, 0, 0, slot.column], &[1, channels, 1, slot.columns]);
        self.bands.push((slot.column, slot.columns, band));
        band
    }
}
