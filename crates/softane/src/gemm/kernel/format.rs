//! Layouts of factors in packed panels, independent of tile sizes. A kernel with a new layout adds its own format.

/// A layout of the inner dimension in words of four bytes. A packed panel `W` wide has `steps(depth)` steps of `W`
/// words each; word `i` of a step belongs to row (of the left side) or column (of the right) `i`.
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

/// Elements or words by their number.
#[cfg(test)]
type ByIndex<'a> = &'a dyn Fn(usize) -> f32;

/// A format in plain loops, for the test frame.
#[cfg(test)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct PlainLoops {
    /// Word `step` of `steps` of a row or column with these elements.
    pub word: fn(elements: ByIndex<'_>, step: usize, steps: usize) -> f32,
    /// The product of a row and a column of `steps` words each.
    pub product: fn(row: ByIndex<'_>, column: ByIndex<'_>, steps: usize) -> f32,
}

/// One f32 in a word.
pub(crate) const SINGLE: PackFormat = PackFormat {
    steps: |depth| depth,
    grain: 1,
    is_finite: |x, _| all_finite(x, [EXPONENT; 2]),
    #[cfg(test)]
    plain: PlainLoops {
        word: |elements, step, _| elements(step),
        product: |row, column, steps| {
            (0..steps).fold(0.0f32, |sum, step| row(step).mul_add(column(step), sum))
        },
    },
};

/// The exponent of an f32, all ones where the number is not finite.
pub(super) const EXPONENT: u32 = 0x7F80_0000;

/// Whether no word has all bits of one of these exponents set.
pub(super) fn all_finite(words: &[f32], exponents: [u32; 2]) -> bool {
    crate::simd::vectorised(
        #[inline(always)]
        || {
            let odd = |x: &f32| exponents.iter().fold(false, |any, b| any | (x.to_bits() & b == *b));
            !words.iter().fold(false, |any, x| any | odd(x))
        },
    )
}
