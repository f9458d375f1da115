//! How factors are laid out in packed panels. A format knows no tile: a kernel of a new layout brings its own.

/// A layout of the inner dimension in words of four bytes. A packed panel `W` wide has `steps(depth)` steps of `W`
/// words each; word `i` of a step belongs to row (of the left side) or column (of the right) `i`.
#[derive(Debug)]
pub(crate) struct PackFormat {
    /// Its name, by which the test frame finds the plain loop that it is compared with.
    #[cfg_attr(not(test), expect(dead_code, reason = "read by tests alone"))]
    pub name: &'static str,
    /// Words that `depth` elements of the inner dimension take for each row or column.
    pub steps: fn(depth: usize) -> usize,
    /// The inner dimension can be cut at multiples of so many elements; steps then add up.
    pub grain: usize,
    /// Whether a panel of a width, packed, holds neither infinities nor NaN.
    pub is_finite: fn(panel: &[f32], width: usize) -> bool,
}

/// One f32 in a word.
pub(crate) const SINGLE: PackFormat = PackFormat {
    name: "single",
    steps: |depth| depth,
    grain: 1,
    is_finite: |x, _| all_finite(x, [EXPONENT; 2]),
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
