//! Tiles of matrix products: 12 rows by 32 columns, summed in registers over the whole inner dimension.
//!
//! [`has`] says whether this machine multiplies tiles at full speed; elsewhere a library does matrix products.

pub use super::form::MatmulPrecision;
pub(crate) use super::form::PackFormat;
use super::form::blocks_of;
use super::plain;
use crate::buffer::Elements;
use half::f16;

/// Rows of a tile: 24 of 32 registers hold sums.
pub(crate) const ROWS: usize = 12;

/// Columns of a tile: two registers.
pub(crate) const COLS: usize = 32;

/// Elements of a tile.
pub(crate) const TILE: usize = ROWS * COLS;

/// From one row of a panel of the left side to the next, if its rows are kept: words. No power of two, so that the
/// rows do not compete for the same lines of the cache.
pub(crate) const ROW_STRIDE: usize = 1040;

/// The most steps that a kept row has: [`pack_rows`] touches up to 16 words behind them.
pub(crate) const MOST_STEPS: usize = ROW_STRIDE - 16;

/// What a packed panel may touch behind its end: its elements are written 16 at a time.
pub(crate) const SLACK: usize = 16;

impl MatmulPrecision {
    /// How panels lie for it on this machine.
    pub(crate) fn form(self) -> PackFormat {
        match self {
            MatmulPrecision::F32 => PackFormat::Single,
            MatmulPrecision::Bf16 if has_quick_pairs() => PackFormat::Pairs,
            MatmulPrecision::Bf16 => PackFormat::Rounded,
            MatmulPrecision::Int16 => PackFormat::Scaled,
        }
    }
}

/// A strip of a matrix, to be packed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Panel<'a> {
    pub from: Elements<'a>,
    /// Its first element.
    pub at: usize,
    /// From one row (of the left side) or column (of the right) to the next.
    pub across: usize,
    /// From one element of the inner dimension to the next.
    pub along: usize,
    /// How many rows or columns there are; a panel has as many as a tile, the others are 0.
    pub width: usize,
    /// Elements along the inner dimension.
    pub depth: usize,
}

/// Where a tile goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Epilogue<'a> {
    pub rows: usize,
    pub cols: usize,
    /// Elements from one row to the next.
    pub stride: usize,
    pub alpha: f32,
    /// Added to each row, if there are any.
    pub bias: &'a [f32],
    /// Whether it is added to what is there.
    pub add: bool,
}

impl Epilogue<'_> {
    pub(crate) fn bias_of(&self, row: usize) -> f32 {
        self.bias.get(row).copied().unwrap_or(0.0)
    }
}

/// Whether this machine multiplies tiles with `math` at full speed.
pub(crate) fn has(math: MatmulPrecision) -> bool {
    has_form(math.form())
}

/// Whether it does with panels of that form.
fn has_form(form: PackFormat) -> bool {
    #[cfg(target_arch = "x86_64")]
    let has = super::avx512::has(form);
    #[cfg(target_arch = "aarch64")]
    let has = form == PackFormat::Single;
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let has = {
        let _ = form;
        false
    };
    has
}

/// Whether it is quicker with pairs of bf16 than with f32.
pub(crate) fn has_quick_pairs() -> bool {
    #[cfg(target_arch = "x86_64")]
    let has = super::avx512::has_quick_pairs();
    #[cfg(not(target_arch = "x86_64"))]
    let has = false;
    has
}

/// Packs a panel `W` wide: element `i` of step `s` goes to `s·W + i`. A step is a word.
///
/// # Panics
/// If the panel reaches outside, or `to` is shorter than its steps; of a panel 12 wide, [`SLACK`] more are touched.
pub(crate) fn pack<const W: usize>(form: PackFormat, panel: &Panel<'_>, to: &mut [f32]) {
    assert!(panel.width <= W, "a panel of {} rows", panel.width);
    #[cfg(target_arch = "x86_64")]
    if has_form(form) {
        return super::avx512::pack::<W>(form, panel, to);
    }
    #[cfg(target_arch = "aarch64")]
    if has_form(form) && super::neon::pack::<W>(panel, to) {
        return;
    }
    plain::pack::<W>(form, panel, to);
}

/// Packs a panel of the left side row by row, where the elements of a row stand side by side: row `i` begins at
/// `i·ROW_STRIDE`.
///
/// # Panics
/// If the panel reaches outside, its rows have gaps or more than [`MOST_STEPS`], or `to` is shorter than a panel.
pub(crate) fn pack_rows(form: PackFormat, panel: &Panel<'_>, to: &mut [f32]) {
    assert!(panel.width <= ROWS && panel.along == 1 && form.steps(panel.depth) <= MOST_STEPS);
    #[cfg(target_arch = "x86_64")]
    if has_form(form) {
        return super::avx512::pack_rows(form, panel, to);
    }
    #[cfg(target_arch = "aarch64")]
    if has_form(form) {
        return super::neon::pack_rows(panel, to);
    }
    plain::pack_rows(form, panel, to);
}

/// Where along the inner dimension a panel is not all 0: from the first element to behind the last, about, at multiples
/// of [`PackFormat::skipped`] elements. All of it, if its elements stand side by side along neither axis.
pub(crate) fn nonzero(form: PackFormat, panel: &Panel<'_>) -> (usize, usize) {
    match panel.from {
        Elements::F16(from) => nonzero_of(form, panel, from),
        Elements::F32(from) => nonzero_of(form, panel, from),
    }
}

fn nonzero_of<T: bytemuck::Pod>(form: PackFormat, panel: &Panel<'_>, from: &[T]) -> (usize, usize) {
    let Panel { at, across, along, width, depth, .. } = *panel;
    let block = form.skipped();
    let is_zero = |at: usize| bytemuck::bytes_of(&from[at]).iter().all(|&b| b == 0);
    // What has no zeros at the ends of its first row is not looked at.
    let may_be = width > 0 && depth > 0 && (is_zero(at) || is_zero(at + (depth - 1) * along));
    if across != 1 && along != 1 || !may_be {
        return (0, depth);
    }
    // Runs of `len` elements, `step` apart, taken together; −0 counts as something.
    let all_zero = |first: usize, step: usize, runs: usize, len: usize| {
        super::vectorised(
            #[inline(always)]
            || {
                let mut any = 0;
                for start in (0..runs).map(|i| first + i * step) {
                    let (words, rest) = bytemuck::cast_slice::<T, u8>(&from[start..start + len]).as_chunks();
                    any = words.iter().fold(any, |any, w| any | u64::from_ne_bytes(*w));
                    any = rest.iter().fold(any, |any, &b| any | u64::from(b));
                }
                any == 0
            },
        )
    };
    let zero = |b: usize| {
        let (k, len) = (b * block, block.min(depth - b * block));
        match along == 1 {
            true => all_zero(at + k, across, width, len),
            false => all_zero(at + k * along, along, len, width),
        }
    };
    let blocks = depth.div_ceil(block);
    let first = (0..blocks).find(|&b| !zero(b)).unwrap_or(blocks);
    let last = (first..blocks).rfind(|&b| !zero(b)).map_or(first, |b| b + 1);
    (depth.min(first * block), depth.min(last * block))
}

/// Whether packed panels of the right side, each of `steps` steps, hold neither infinities nor NaN.
pub(crate) fn all_finite(form: PackFormat, steps: usize, panels: &[f32]) -> bool {
    // The exponent of an f32, or of both bf16, is all ones where a number is not finite.
    let bits = match form {
        PackFormat::Single | PackFormat::Rounded => [0x7F80_0000; 2],
        PackFormat::Pairs => [0x7F80_0000, 0x7F80],
        PackFormat::Scaled => {
            // The scales tell.
            let finite = |scales: &[f32]| scales.iter().all(|x| x.is_finite());
            let whole = |panel: &[f32]| blocks_of(steps).all(|b| finite(&panel[b.end * COLS..][..COLS]));
            return panels.chunks_exact((steps * COLS).max(1)).all(whole);
        }
    };
    super::vectorised(
        #[inline(always)]
        || {
            let odd = |x: &f32| bits.iter().fold(false, |any, b| any | (x.to_bits() & b == *b));
            !panels.iter().fold(false, |any, x| any | odd(x))
        },
    )
}

/// How a packed panel of the left side lies.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Lhs<'a> {
    /// As [`pack`] has it.
    Packed(&'a [f32]),
    /// As [`pack_rows`] has it.
    RowMajor(&'a [f32]),
}

/// The product of two packed panels of `steps` steps.
///
/// # Panics
/// If a panel is shorter.
pub(crate) fn multiply(form: PackFormat, steps: usize, left: Lhs<'_>, right: &[f32], tile: &mut [f32; TILE]) {
    #[cfg(target_arch = "x86_64")]
    if has_form(form) {
        return super::avx512::multiply(form, steps, left, right, tile);
    }
    #[cfg(target_arch = "aarch64")]
    if has_form(form) {
        return super::neon::multiply(steps, left, right, tile);
    }
    plain::multiply(form, steps, left, right, tile);
}

/// Writes a tile as f32; `false` if this machine has no vectors for it.
pub(crate) fn drain_f32(tile: &[f32; TILE], drain: &Epilogue<'_>, to: &mut [f32]) -> bool {
    #[cfg(target_arch = "x86_64")]
    if has_form(PackFormat::Single) {
        super::avx512::drain_f32(tile, drain, to);
        return true;
    }
    let _ = (tile, drain, to);
    false
}

/// As [`drain_f32`], rounded to half precision; nothing is added.
pub(crate) fn drain_f16(tile: &[f32; TILE], drain: &Epilogue<'_>, to: &mut [f16]) -> bool {
    #[cfg(target_arch = "x86_64")]
    if !drain.add && has_form(PackFormat::Single) {
        super::avx512::drain_f16(tile, drain, to);
        return true;
    }
    let _ = (tile, drain, to);
    false
}

#[cfg(test)]
mod tests {
    use super::super::form::MOST;
    use super::*;

    fn noise(n: usize) -> Vec<f32> {
        (0..n).map(|i| ((i * 7919 % 1013) as f32 - 506.0) / 64.0).collect()
    }

    /// Every width, depth and direction, of which some end in the middle of a block.
    #[test]
    fn panels_are_packed_as_the_plain_loop_packs_them() {
        let single = noise(12_000);
        let half: Vec<f16> = single.iter().map(|&x| f16::from_f32(x)).collect();
        for form in [PackFormat::Single, PackFormat::Rounded, PackFormat::Pairs, PackFormat::Scaled] {
            let sizes = [(1, 1), (2, 12), (15, 5), (16, 12), (17, 11), (33, 12), (70, 7)];
            let long = [(128, 12), (131, 5), (290, 12), (290, 32), (64, 17)];
            for (depth, width) in sizes.into_iter().chain(long) {
                for (across, along) in [(80, 1), (1, 40), (3, 41)] {
                    for from in [Elements::F32(&single), Elements::F16(&half)] {
                        let panel = Panel { from, at: 3, across, along, width, depth };
                        if width <= ROWS {
                            both::<ROWS>(form, &panel);
                        }
                        both::<COLS>(form, &panel);
                    }
                }
            }
        }
    }

    fn both<const W: usize>(form: PackFormat, panel: &Panel<'_>) {
        let steps = form.steps(panel.depth);
        let (mut got, mut want) = (vec![7.0; steps * W + SLACK], vec![7.0; steps * W]);
        pack::<W>(form, panel, &mut got);
        plain::pack::<W>(form, panel, &mut want);
        let same = |got: &[f32], want: &[f32]| got.iter().zip(want).all(|(g, w)| g.to_bits() == w.to_bits());
        assert!(same(&got, &want), "{form:?}, {W} wide, {panel:?}");
        if panel.along == 1 && panel.width <= ROWS {
            let (mut got, mut want) = (vec![7.0; ROWS * ROW_STRIDE], vec![7.0; ROWS * ROW_STRIDE]);
            pack_rows(form, panel, &mut got);
            plain::pack_rows(form, panel, &mut want);
            let rows = got.chunks(ROW_STRIDE).zip(want.chunks(ROW_STRIDE));
            assert!(rows.into_iter().all(|(g, w)| same(&g[..steps], &w[..steps])), "{form:?}, {panel:?}");
        }
    }

    #[test]
    fn products_agree_with_the_plain_loop() {
        for form in [PackFormat::Single, PackFormat::Rounded, PackFormat::Pairs, PackFormat::Scaled] {
            for steps in [0, 1, 2, 31, 100] {
                let word = |step: usize, x: f32| match form {
                    PackFormat::Single | PackFormat::Rounded => x,
                    // Both halves are small numbers.
                    PackFormat::Pairs => f32::from_bits(x.to_bits() & 0xFFFF_0000 | 0x3F80),
                    PackFormat::Scaled if blocks_of(steps).any(|b| b.end == step) => x / MOST as f32,
                    // Two integers, up to 12 bits.
                    PackFormat::Scaled => f32::from_bits(((x * 517.0) as i16 as u16 as u32) << 16 | 0xF001),
                };
                let panel = |width: usize, noise: &[f32]| -> Vec<f32> {
                    noise.iter().enumerate().map(|(at, &x)| word(at / width, x)).collect()
                };
                let left = panel(ROWS, &noise(steps * ROWS));
                let right = panel(COLS, &noise(steps * COLS + 5)[5..]);
                let mut rows = vec![f32::NAN; ROWS * ROW_STRIDE];
                for (at, &x) in left.iter().enumerate() {
                    rows[at % ROWS * ROW_STRIDE + at / ROWS] = x;
                }
                let (mut got, mut other, mut want) = ([1.0; TILE], [3.0; TILE], [2.0; TILE]);
                multiply(form, steps, Lhs::Packed(&left), &right, &mut got);
                multiply(form, steps, Lhs::RowMajor(&rows), &right, &mut other);
                plain::multiply(form, steps, Lhs::Packed(&left), &right, &mut want);
                assert_eq!(got, other, "both layouts");
                // Sums of up to 200 products of at most 64, in one order or another; sums of integers are exact, but two
                // or more blocks of them times up to 64.
                let close = |(g, w): (&f32, &f32)| (g - w).abs() <= 200.0 * 64.0 * f32::EPSILON * 4.0;
                assert!(got.iter().zip(&want).all(close), "{form:?}, {steps} steps");
            }
        }
    }
}
