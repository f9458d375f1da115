//! Deliberately slow variants of the host's work, for [`super::ablation`](super::ablation()): row-major activations, scalar
//! RMSNorm, other lanes and waits.
//!
//! Sums are in the same order as in the fast code, so results are equal to the bit.

use flow::Lane;
use host::gemm::{Elements, MatmulPrecision, Matrix, MatrixMut, Store, matmul_rows};
use host::norm::{NormGradient, RmsNorm};
use host::squared_norms::Gradient;
use host::transpose::transpose;
use host::{Scratch, weight_grad};
use std::sync::{Mutex, PoisonError};
use train::step::{HostMath, Operand};

/// Rows per partial sum, and interleaved sums along a row: as in [`RmsNorm`], so that bits agree.
const ROWS: usize = 32;
const LANES: usize = 16;

/// The layout of an activation of C channels and S positions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ActivationLayout {
    /// `[C, S]`, as on surfaces.
    #[default]
    ChannelFirst,
    /// `[S, C]`.
    RowMajor,
}

/// The host's work with some of its optimisations switched off.
#[derive(Debug)]
pub struct SlowMath {
    /// The layout of host activations. Surfaces are channel-first: row-major activations are transposed when copied to or
    /// from a surface, and wherever the host needs columns.
    pub layout: ActivationLayout,
    /// Whether norms are vectorised and multithreaded rather than scalar.
    pub vector_norms: bool,
    /// Whether matrix gradients are computed on the CPU's lane, concurrently with dispatches, rather than on the engine's.
    pub gradients_beside: bool,
    /// Whether the schedule waits for a layer's matrix gradients only when they, or the memory of their operands, are needed,
    /// rather than at the end of the layer's backward pass.
    pub deferred_waits: bool,
    /// Working memory of the engine's lane and of the lane of gradients.
    buffers: Mutex<[Scratch; 3]>,
    gradient_buffer: Mutex<Scratch>,
    /// Unused buffers for conversions to channel-first.
    spare: Mutex<Vec<Scratch>>,
}

impl SlowMath {
    /// The host's work with everything switched on.
    pub fn new() -> SlowMath {
        SlowMath {
            layout: ActivationLayout::ChannelFirst,
            vector_norms: true,
            gradients_beside: true,
            deferred_waits: true,
            buffers: Mutex::default(),
            gradient_buffer: Mutex::default(),
            spare: Mutex::default(),
        }
    }

    fn is_row_major(&self) -> bool {
        self.layout == ActivationLayout::RowMajor
    }
}

impl Default for SlowMath {
    fn default() -> SlowMath {
        SlowMath::new()
    }
}

impl HostMath for SlowMath {
    fn gradient_lane(&self) -> Lane {
        if self.gradients_beside { Lane::Cpu } else { Lane::Engine }
    }

    fn waits_for_each_layer(&self) -> bool {
        !self.deferred_waits
    }

    fn to_host_layout(&self, values: &mut [f32], seq: usize) {
        if self.is_row_major() {
            let [_, _, buffer] = &mut *self.buffers.lock().unwrap_or_else(PoisonError::into_inner);
            let copy = buffer.take(values.len());
            copy.copy_from_slice(values);
            transpose(copy, values.len() / seq, seq, values);
        }
    }

    fn with_channel_first(&self, values: &[f32], seq: usize, f: &mut dyn FnMut(&[f32])) {
        if !self.is_row_major() {
            return f(values);
        }
        // `f` may convert other activations, so no lock is held while it runs.
        let lock = || self.spare.lock().unwrap_or_else(PoisonError::into_inner);
        let mut buffer = lock().pop().unwrap_or_default();
        let columns = buffer.take(values.len());
        transpose(values, seq, values.len() / seq, columns);
        f(columns);
        lock().push(buffer);
    }

    fn norm(&self, norm: &RmsNorm, x: &[f32], weight: &[f32], y: &mut [f32], scratch: &mut Scratch) {
        if !self.vector_norms {
            return norm_scalar(norm, self.layout, x, weight, y);
        }
        if !self.is_row_major() {
            return norm.forward(x, weight, y, scratch);
        }
        let (s, c) = (norm.seq, x.len() / norm.seq);
        let [columns, result, _] = &mut *self.buffers.lock().unwrap_or_else(PoisonError::into_inner);
        let (columns, result) = (columns.take(x.len()), result.take(x.len()));
        transpose(x, s, c, columns);
        norm.forward(columns, weight, result, scratch);
        transpose(result, c, s, y);
    }

    fn norm_gradient(&self, norm: &RmsNorm, gradient: NormGradient<'_>, scratch: &mut Scratch) {
        if !self.vector_norms {
            return norm_gradient_scalar(norm, self.layout, gradient, scratch);
        }
        if !self.is_row_major() {
            return norm.backward(gradient, scratch);
        }
        let NormGradient { x, weight, dy, dx, store, dw } = gradient;
        let (s, c) = (norm.seq, x.len() / norm.seq);
        let buffers = &mut *self.buffers.lock().unwrap_or_else(PoisonError::into_inner);
        let [x_columns, dy_columns, dx_columns] = buffers.each_mut().map(|buffer| buffer.take(x.len()));
        for (from, to) in [(x, &mut *x_columns), (dy, dy_columns), (dx, dx_columns)] {
            transpose(from, s, c, to);
        }
        let columns = NormGradient { x: x_columns, weight, dy: dy_columns, dx: dx_columns, store, dw };
        norm.backward(columns, scratch);
        transpose(dx_columns, c, s, dx);
    }

    fn weight_gradient(
        &self,
        math: MatmulPrecision,
        dw: Gradient<'_>,
        [dz, a]: [Operand<'_>; 2],
        seq: usize,
    ) {
        if !self.is_row_major() {
            return weight_grad::outer_product(math, dw, dz.elements, a.elements, seq);
        }
        let buffer = &mut *self.gradient_buffer.lock().unwrap_or_else(PoisonError::into_inner);
        let (outputs, inputs) = (dz.elements.len(), a.elements.len());
        let (rows, columns) = buffer.take(2 * (outputs + inputs)).split_at_mut(outputs + inputs);
        let (dz_rows, a_rows) = rows.split_at_mut(outputs);
        for (operand, rows) in [(dz, &mut *dz_rows), (a, &mut *a_rows)] {
            let columns = &mut columns[..rows.len()];
            let to = if operand.is_host { &mut *rows } else { &mut *columns };
            match operand.elements {
                Elements::F16(from) => softane::convert::par_widen(from, to),
                Elements::F32(from) => to.copy_from_slice(from),
            }
            if !operand.is_host {
                transpose(columns, rows.len() / seq, seq, rows);
            }
        }
        outer_product_of_rows(math, dw, dz_rows, a_rows, seq);
    }
}

/// [`weight_grad::outer_product`] of row-major activations: `dz` `[S, O]`, `a` `[S, I]`.
fn outer_product_of_rows(math: MatmulPrecision, dw: Gradient<'_>, dz: &[f32], a: &[f32], seq: usize) {
    let (outputs, inputs) = (dz.len() / seq, a.len() / seq);
    let (dz, a) = (Matrix::new(dz, seq, outputs), Matrix::new(a, seq, inputs));
    let to = MatrixMut::new(dw.values, outputs, inputs);
    matmul_rows(math, to, dw.store, 1.0, [dz.t(), a], |first, rows| dw.squares.take(first, rows));
}

/// Indexing of an activation by its strides.
#[derive(Clone, Copy)]
struct Walk {
    channel: usize,
    position: usize,
}

impl Walk {
    fn new(norm: &RmsNorm, layout: ActivationLayout) -> Walk {
        match layout {
            ActivationLayout::ChannelFirst => Walk { channel: norm.seq, position: 1 },
            ActivationLayout::RowMajor => Walk { channel: 1, position: norm.groups * norm.channels },
        }
    }

    fn at(self, channel: usize, position: usize) -> usize {
        channel * self.channel + position * self.position
    }
}

/// Scalar [`RmsNorm::forward`] of activations in this layout.
///
/// # Panics
/// If a slice's length does not match the sizes.
fn norm_scalar(norm: &RmsNorm, layout: ActivationLayout, x: &[f32], weight: &[f32], y: &mut [f32]) {
    let (c, walk) = (norm.channels, Walk::new(norm, layout));
    for group in 0..norm.groups {
        for t in 0..norm.seq {
            let at = |i: usize| walk.at(group * c + i, t);
            let r = inverse(norm, blocks(c, |i| x[at(i)] * x[at(i)]));
            for i in 0..c {
                y[at(i)] = (norm.offset + weight[i]) * (x[at(i)] * r);
            }
        }
    }
}

/// Scalar [`RmsNorm::backward`] of activations in this layout.
///
/// # Panics
/// As [`norm_scalar`].
fn norm_gradient_scalar(
    norm: &RmsNorm,
    layout: ActivationLayout,
    gradient: NormGradient<'_>,
    scratch: &mut Scratch,
) {
    let NormGradient { x, weight, dy, dx, store, dw } = gradient;
    let (c, walk) = (norm.channels, Walk::new(norm, layout));
    let r = scratch.take(norm.seq);
    for group in 0..norm.groups {
        for (t, r) in r.iter_mut().enumerate() {
            let at = |i: usize| walk.at(group * c + i, t);
            *r = inverse(norm, blocks(c, |i| x[at(i)] * x[at(i)]));
            let dot = blocks(c, |i| (norm.offset + weight[i]) * dy[at(i)] * x[at(i)]);
            let pull = dot * (*r * *r / c as f32);
            for i in 0..c {
                let gradient = *r * ((norm.offset + weight[i]) * dy[at(i)] - x[at(i)] * pull);
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
            let (whole, mut lanes) = (norm.seq / LANES * LANES, [0.0f32; LANES]);
            (0..whole).for_each(|t| lanes[t % LANES] += term(t));
            *dw += lanes.iter().sum::<f32>() + (whole..norm.seq).map(term).sum::<f32>();
        }
    }
}

/// (mean + ε)^−½ of a sum of squares.
fn inverse(norm: &RmsNorm, squares: f32) -> f32 {
    1.0 / (squares / norm.channels as f32 + norm.eps).sqrt()
}

/// The sum of `c` terms: first within blocks of [`ROWS`], then over the blocks.
fn blocks(c: usize, term: impl Fn(usize) -> f32) -> f32 {
    let block = |first: usize| (first..(first + ROWS).min(c)).fold(0.0, |sum, i| sum + term(i));
    let mut sums = (0..c).step_by(ROWS).map(block);
    let first = sums.next().unwrap_or(0.0);
    sums.fold(first, |sum, block| sum + block)
}

#[cfg(test)]
mod tests {
    use super::*;
    use host::squared_norms::RowSquaredNorms;

    /// Pseudorandom numbers in ±1.
    fn noise(n: usize, seed: u64) -> Vec<f32> {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
        };
        (0..n).map(|_| next()).collect()
    }

    fn bits(values: &[f32]) -> Vec<u32> {
        values.iter().map(|x| x.to_bits()).collect()
    }

    #[test]
    fn both_layouts_give_the_bits_of_the_vectorised_norm() {
        for norm in [
            RmsNorm { channels: 5, groups: 1, seq: 3, eps: 1e-5, offset: 0.0 },
            RmsNorm { channels: 33, groups: 3, seq: 37, eps: 1e-6, offset: 1.0 },
            RmsNorm { channels: 96, groups: 1, seq: 40, eps: 1e-2, offset: 0.0 },
        ] {
            let (rows, s) = (norm.groups * norm.channels, norm.seq);
            let [x, dy, before] = [1, 2, 3].map(|seed| noise(rows * s, seed));
            let weight = noise(norm.channels, 4);
            let mut scratch = Scratch::new();
            let (mut y, mut dx, mut dw) = (before.clone(), before.clone(), noise(norm.channels, 5));
            norm.forward(&x, &weight, &mut y, &mut scratch);
            let (weight, store) = (&weight[..], Store::Add);
            let gradient = NormGradient { x: &x, weight, dy: &dy, dx: &mut dx, store, dw: &mut dw };
            norm.backward(gradient, &mut scratch);

            for layout in [ActivationLayout::ChannelFirst, ActivationLayout::RowMajor] {
                let laid = |values: &[f32], back: bool| {
                    let mut to = values.to_vec();
                    if layout == ActivationLayout::RowMajor {
                        let (rows, columns) = if back { (s, rows) } else { (rows, s) };
                        transpose(values, rows, columns, &mut to);
                    }
                    to
                };
                let [x, dy, mut got_y, mut got_dx] = [&x, &dy, &before, &before].map(|v| laid(v, false));
                let mut got_dw = noise(norm.channels, 5);
                norm_scalar(&norm, layout, &x, weight, &mut got_y);
                {
                    let (dx, dw) = (&mut got_dx[..], &mut got_dw[..]);
                    let gradient = NormGradient { x: &x, weight, dy: &dy, dx, store, dw };
                    norm_gradient_scalar(&norm, layout, gradient, &mut scratch);
                }
                assert_eq!(bits(&laid(&got_y, true)), bits(&y), "{layout:?} {norm:?}");
                assert_eq!(bits(&laid(&got_dx, true)), bits(&dx), "{layout:?} {norm:?}");
                assert_eq!(bits(&got_dw), bits(&dw), "{layout:?} {norm:?}");
            }
        }
    }

    #[test]
    fn row_major_operands_give_the_bits_of_channel_first_ones() {
        let (o, i, s) = (70, 50, 37);
        let (dz, a) = (noise(o * s, 1), noise(i * s, 2));
        let rows = |x: &[f32], c: usize| -> Vec<f32> { (0..c * s).map(|n| x[n % c * s + n / c]).collect() };
        let (dz_rows, a_rows) = (rows(&dz, o), rows(&a, i));
        let (mut want, norms) = (noise(o * i, 3), RowSquaredNorms::new(o, i));
        let to = Gradient { values: &mut want, squares: &norms, store: Store::Add };
        weight_grad::outer_product(MatmulPrecision::F32, to, (&*dz).into(), (&*a).into(), s);
        let slow = SlowMath { layout: ActivationLayout::RowMajor, ..SlowMath::new() };
        // Both operands from surfaces, both from the host, one of each.
        for (dz_is_host, a_is_host) in [(false, false), (true, true), (true, false)] {
            let [dz, a] =
                [(dz_is_host, &dz_rows, &dz), (a_is_host, &a_rows, &a)].map(|(is_host, rows, columns)| {
                    let elements = if is_host { rows } else { columns };
                    Operand { elements: (&elements[..]).into(), is_host }
                });
            let (mut got, squares) = (noise(o * i, 3), RowSquaredNorms::new(o, i));
            let to = Gradient { values: &mut got, squares: &squares, store: Store::Add };
            slow.weight_gradient(MatmulPrecision::F32, to, [dz, a], s);
            assert_eq!(bits(&got), bits(&want));
            assert_eq!(squares.sum(), norms.sum());
        }
    }

    #[test]
    fn activations_go_to_the_hosts_layout_and_back() {
        let (c, s) = (5, 7);
        let values = noise(c * s, 1);
        for (layout, differs) in [(ActivationLayout::ChannelFirst, false), (ActivationLayout::RowMajor, true)]
        {
            let slow = SlowMath { layout, ..SlowMath::new() };
            let mut kept = values.clone();
            slow.to_host_layout(&mut kept, s);
            assert_eq!(kept != values, differs);
            let mut back = Vec::new();
            slow.with_channel_first(&kept, s, &mut |values| back = values.to_vec());
            assert_eq!(back, values);
        }
    }
}
