//! RMSNorm one number at a time, on one thread: what [`super::norm`] is measured against.
//!
//! Sums go in the same order as there, so the results have the same bits.

use super::norm::{ROWS, RmsNorm};
use super::{LANES, Scratch, Store};

/// How an activation of C channels and S positions lies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Layout {
    /// `[C, S]`, as surfaces have it.
    #[default]
    ChannelFirst,
    /// `[S, C]`.
    RowMajor,
}

/// An activation's sizes, and where its elements are.
#[derive(Clone, Copy)]
struct Walk {
    channel: usize,
    position: usize,
}

impl Walk {
    fn new(norm: &RmsNorm, layout: Layout) -> Walk {
        match layout {
            Layout::ChannelFirst => Walk { channel: norm.seq, position: 1 },
            Layout::RowMajor => Walk { channel: 1, position: norm.groups * norm.channels },
        }
    }

    fn at(self, channel: usize, position: usize) -> usize {
        channel * self.channel + position * self.position
    }
}

impl RmsNorm {
    /// Computes what [`RmsNorm::forward`] does, of activations that lie as `layout` says.
    ///
    /// # Panics
    /// If a slice does not have the shape that the sizes say.
    pub fn forward_scalar(&self, layout: Layout, x: &[f32], weight: &[f32], y: &mut [f32]) {
        let (c, walk) = (self.channels, Walk::new(self, layout));
        for group in 0..self.groups {
            for t in 0..self.seq {
                let at = |i: usize| walk.at(group * c + i, t);
                let r = self.inverse(blocks(c, |i| x[at(i)] * x[at(i)]));
                for i in 0..c {
                    y[at(i)] = weight[i] * (x[at(i)] * r);
                }
            }
        }
    }

    /// Computes what [`RmsNorm::backward`] does, of activations that lie as `layout` says.
    ///
    /// # Panics
    /// As [`RmsNorm::forward_scalar`].
    #[expect(clippy::too_many_arguments, reason = "each is one tensor of the formula")]
    pub fn backward_scalar(
        &self,
        layout: Layout,
        x: &[f32],
        weight: &[f32],
        dy: &[f32],
        dx: &mut [f32],
        store: Store,
        dw: &mut [f32],
        scratch: &mut Scratch,
    ) {
        let (c, walk) = (self.channels, Walk::new(self, layout));
        let r = scratch.take(self.seq);
        for group in 0..self.groups {
            for (t, r) in r.iter_mut().enumerate() {
                let at = |i: usize| walk.at(group * c + i, t);
                *r = self.inverse(blocks(c, |i| x[at(i)] * x[at(i)]));
                let dot = blocks(c, |i| weight[i] * dy[at(i)] * x[at(i)]);
                let pull = dot * (*r * *r / c as f32);
                for i in 0..c {
                    let gradient = *r * (weight[i] * dy[at(i)] - x[at(i)] * pull);
                    match store {
                        Store::Replace => dx[at(i)] = gradient,
                        Store::Add => dx[at(i)] += gradient,
                    }
                }
            }
            for (i, dw) in dw.iter_mut().enumerate() {
                let term = |t: usize| {
                    let at = walk.at(group * c + i, t);
                    dy[at] * x[at] * r[t]
                };
                let (whole, mut lanes) = (self.seq / LANES * LANES, [0.0f32; LANES]);
                (0..whole).for_each(|t| lanes[t % LANES] += term(t));
                *dw += lanes.iter().sum::<f32>() + (whole..self.seq).map(term).sum::<f32>();
            }
        }
    }

    /// (mean + ε)^−½ of a sum of squares.
    fn inverse(&self, squares: f32) -> f32 {
        1.0 / (squares / self.channels as f32 + self.eps).sqrt()
    }
}

/// The sum of `c` terms in blocks of [`ROWS`], then block by block.
fn blocks(c: usize, term: impl Fn(usize) -> f32) -> f32 {
    let block = |first: usize| (first..(first + ROWS).min(c)).fold(0.0, |sum, i| sum + term(i));
    let mut sums = (0..c).step_by(ROWS).map(block);
    let first = sums.next().unwrap_or(0.0);
    sums.fold(first, |sum, block| sum + block)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{bits, noise};
    use super::super::transpose::transpose;
    use super::*;

    #[test]
    fn both_layouts_give_the_bits_of_the_vectorised_norm() {
        for norm in [
            RmsNorm { channels: 5, groups: 1, seq: 3, eps: 1e-5 },
            RmsNorm { channels: 33, groups: 3, seq: 37, eps: 1e-6 },
            RmsNorm { channels: 96, groups: 1, seq: 40, eps: 1e-2 },
        ] {
            let (rows, s) = (norm.groups * norm.channels, norm.seq);
            let [x, dy, before] = [1, 2, 3].map(|seed| noise(rows * s, seed));
            let weight = noise(norm.channels, 4);
            let mut scratch = Scratch::new();
            let (mut y, mut dx, mut dw) = (before.clone(), before.clone(), noise(norm.channels, 5));
            norm.forward(&x, &weight, &mut y, &mut scratch);
            norm.backward(&x, &weight, &dy, &mut dx, Store::Add, &mut dw, &mut scratch);

            for layout in [Layout::ChannelFirst, Layout::RowMajor] {
                let laid = |values: &[f32], back: bool| {
                    let mut to = values.to_vec();
                    if layout == Layout::RowMajor {
                        let (rows, columns) = if back { (s, rows) } else { (rows, s) };
                        transpose(values, rows, columns, &mut to);
                    }
                    to
                };
                let [x, dy, mut got_y, mut got_dx] = [&x, &dy, &before, &before].map(|v| laid(v, false));
                let mut got_dw = noise(norm.channels, 5);
                norm.forward_scalar(layout, &x, &weight, &mut got_y);
                norm.backward_scalar(
                    layout,
                    &x,
                    &weight,
                    &dy,
                    &mut got_dx,
                    Store::Add,
                    &mut got_dw,
                    &mut scratch,
                );
                assert_eq!(bits(&laid(&got_y, true)), bits(&y), "{layout:?} {norm:?}");
                assert_eq!(bits(&laid(&got_dx, true)), bits(&dx), "{layout:?} {norm:?}");
                assert_eq!(bits(&got_dw), bits(&dw), "{layout:?} {norm:?}");
            }
        }
    }
}
