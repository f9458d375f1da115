//! Values taken out of the surface that a program reads.

use super::region::SurfaceRegion;
use mil::Var;

/// The surface that a program reads, and how parts of it are taken.
pub(super) struct Whole<'b> {
    value: Var<'b>,
    /// Bands taken so far, with all channels: first column, number of columns, value.
    bands: Vec<(usize, usize, Var<'b>)>,
}

impl<'b> Whole<'b> {
    pub fn new(value: Var<'b>) -> Whole<'b> {
        Whole { value, bands: Vec::new() }
    }

    /// The block at `slot`. No slice is inside both axes at once, which no project reports of hardware: where the block
    /// is, its columns are taken first, with all channels, then its channels of these.
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

    /// The columns of `slot` with all channels, which several blocks below one another share.
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
