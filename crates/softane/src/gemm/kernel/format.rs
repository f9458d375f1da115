//! Layouts of factors in packed panels, independent of tile sizes. A kernel with a new layout adds its own format.

/// A layout of the inner dimension in words of four bytes. A packed panel `W` wide has `steps(depth)` steps of `W`
/// words each, one for each row (of the left side) or column (of the right).
#[derive(Debug)]
pub(crate) struct PackFormat {
    /// Words that `depth` elements of the inner dimension take for each row or column.
    pub steps: fn(depth: usize) -> usize,
    /// The inner dimension can be cut at multiples of so many elements; steps then add up.
    pub grain: usize,
    /// Whether a panel of a width, packed, holds neither infinities nor NaN.
    pub is_finite: fn(panel: &[f32], width: usize) -> bool,
    /// What packing and multiplying are compared with.
    #[cfg(test)]
    pub plain: PlainLoops,
}

impl PackFormat {
    /// Where word `step` of row or column `i` is in a packed panel `width` wide.
    #[cfg(test)]
    pub fn at(&self, width: usize, i: usize, step: usize) -> usize {
        let run = self.plain.run;
        step / run * run * width + i * run + step % run
    }
}

/// Elements or words by their number.
#[cfg(test)]
type ByIndex<'a> = &'a dyn Fn(usize) -> f32;

/// A format in plain loops, for the test frame.
#[cfg(test)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct PlainLoops {
    /// Steps that are stored together, row by row: 1 if each step is contiguous.
    pub run: usize,
    /// Word `step` of `steps` of a row or column with these elements.
    pub word: fn(elements: ByIndex<'_>, step: usize, steps: usize) -> f32,
    /// The product of a row and a column of `steps` words each.
    pub product: fn(row: ByIndex<'_>, column: ByIndex<'_>, steps: usize) -> f32,
    /// Whether a kernel computes the bits of `product`.
    pub is_exact: bool,
}

/// One f32 in a word.
pub(crate) const SINGLE: PackFormat = PackFormat {
    steps: |depth| depth,
    grain: 1,
    is_finite: |x, _| all_finite(x, [EXPONENT; 2]),
    #[cfg(test)]
    plain: PlainLoops {
        run: 1,
        word: |elements, step, _| elements(step),
        product: |row, column, steps| {
            (0..steps).fold(0.0f32, |sum, step| row(step).mul_add(column(step), sum))
        },
        is_exact: false,
    },
};

/// Two bf16 in a word.
pub(crate) const PAIRS: PackFormat = PackFormat {
    steps: |depth| depth.div_ceil(2),
    grain: 2,
    is_finite: |x, _| all_finite(x, [EXPONENT, EXPONENT >> 16]),
    #[cfg(test)]
    plain: PlainLoops {
        word: |elements, step, _| {
            let bits = |k| bf16_bits(elements(k));
            f32::from_bits(bits(2 * step) | bits(2 * step + 1) << 16)
        },
        product: |row, column, steps| {
            (0..steps).fold(0.0, |sum, step| {
                let ([x0, x1], [y0, y1]) = (halves(row(step)), halves(column(step)));
                x0.mul_add(y0, x1.mul_add(y1, sum))
            })
        },
        ..SINGLE.plain
    },
};

/// The bits of `x` rounded to bf16; the instructions take a subnormal number for 0.
#[cfg(test)]
pub(super) fn bf16_bits(x: f32) -> u32 {
    u32::from(half::bf16::from_f32(if x.is_subnormal() { 0f32.copysign(x) } else { x }).to_bits())
}

/// The two bf16 of a word.
#[cfg(test)]
pub(super) fn halves(word: f32) -> [f32; 2] {
    [word.to_bits() << 16, word.to_bits() & 0xFFFF_0000].map(f32::from_bits)
}

/// The exponent of an f32, all ones where the number is not finite.
pub(super) const EXPONENT: u32 = 0x7F80_0000;

/// Whether no word has all bits of one of these exponents set.
fn all_finite(words: &[f32], exponents: [u32; 2]) -> bool {
    crate::simd::vectorised(
        #[inline(always)]
        || {
            let odd = |x: &f32| exponents.iter().fold(false, |any, b| any | (x.to_bits() & b == *b));
            !words.iter().fold(false, |any, x| any | odd(x))
        },
    )
}
