//! The layouts of the kernels with AVX-512 and tiles for other factors than f32.

use super::format::{PAIRS, PackFormat, SINGLE};
#[cfg(test)]
use super::format::{PlainLoops, bf16_bits};

/// One number in a word, rounded to bf16 and written as f32.
pub(crate) const ROUNDED: PackFormat = PackFormat {
    #[cfg(test)]
    plain: PlainLoops {
        word: |elements, step, _| f32::from_bits(bf16_bits(elements(step)) << 16),
        ..SINGLE.plain
    },
    ..SINGLE
};

/// Pairs of bf16 for the tile unit, the right side: 32 elements are one step of the instruction.
pub(crate) const PAIR_TILES: PackFormat = PackFormat {
    grain: TILE_K,
    #[cfg(test)]
    plain: PlainLoops {
        product: |row, column, steps| {
            (0..steps).step_by(TILE_STEPS).fold(0.0, |sum, at| tile_product(sum, (row, at), (column, at)))
        },
        is_exact: true,
        ..PAIRS.plain
    },
    ..PAIRS
};

/// The same, the left side: 16 steps of a row are contiguous.
pub(crate) const PAIR_RUNS: PackFormat = PackFormat {
    #[cfg(test)]
    plain: PlainLoops { run: TILE_STEPS, ..PAIR_TILES.plain },
    ..PAIR_TILES
};

/// Numbers as the sum of two bf16 for the tile unit, the right side: of each 32 elements 16 pairs of high terms, then 16
/// of low ones.
pub(crate) const SPLIT: PackFormat = PackFormat {
    steps: |depth| depth.next_multiple_of(TILE_K),
    #[cfg(test)]
    plain: PlainLoops {
        run: 1,
        word: |elements, step, _| {
            let (block, within) = (step / (2 * TILE_STEPS), step % (2 * TILE_STEPS));
            let term = |k| {
                let high = bf16_bits(elements(k));
                if within < TILE_STEPS {
                    return high;
                }
                bf16_bits(elements(k) - f32::from_bits(high << 16))
            };
            let k = block * TILE_K + 2 * (within % TILE_STEPS);
            f32::from_bits(term(k) | term(k + 1) << 16)
        },
        product: |row, column, steps| {
            (0..steps).step_by(2 * TILE_STEPS).fold(0.0, |sum, high| {
                let low = high + TILE_STEPS;
                let sum = tile_product(sum, (row, high), (column, low));
                let sum = tile_product(sum, (row, high), (column, high));
                tile_product(sum, (row, low), (column, high))
            })
        },
        is_exact: true,
    },
    ..PAIR_TILES
};

/// The same, the left side: 16 steps of a row are contiguous.
pub(crate) const SPLIT_RUNS: PackFormat = PackFormat {
    #[cfg(test)]
    plain: PlainLoops { run: TILE_STEPS, ..SPLIT.plain },
    ..SPLIT
};

/// Elements of the inner dimension that a tile has.
const TILE_K: usize = 32;

/// Words that they are, two bf16 each.
#[cfg(test)]
const TILE_STEPS: usize = TILE_K / 2;

/// `sum` plus the product of 16 words of a row and of a column, as the tile unit computes it.
#[cfg(test)]
fn tile_product(
    sum: f32,
    row: (&dyn Fn(usize) -> f32, usize),
    column: (&dyn Fn(usize) -> f32, usize),
) -> f32 {
    let halves = |(word, at): (&dyn Fn(usize) -> f32, usize)| -> Vec<u16> {
        let words = (at..at + TILE_STEPS).map(|step| word(step).to_bits());
        words.flat_map(|word| [word as u16, (word >> 16) as u16]).collect()
    };
    fake_amx::twin::dot_bf16(sum, &halves(row), &halves(column))
}

/// Two 16-bit integers per word; after each [`SCALED_BLOCK`] elements, and at the end, their scale as an f32.
pub(crate) const SCALED: PackFormat = PackFormat {
    steps: scaled_steps,
    grain: SCALED_BLOCK,
    // The scale of a block is NaN if a factor is not finite.
    is_finite: |panel, width| {
        let steps = panel.len() / width;
        scaled_blocks(steps).all(|block| panel[block.end * width..][..width].iter().all(|x| x.is_finite()))
    },
    #[cfg(test)]
    plain: PlainLoops { run: 1, word: scaled_word, product: scaled_product, is_exact: false },
};

#[cfg(test)]
fn scaled_word(elements: &dyn Fn(usize) -> f32, step: usize, steps: usize) -> f32 {
    let (block, within) = (step / SCALED_STEPS, step % SCALED_STEPS);
    let magnitudes = (block * SCALED_BLOCK..).take(SCALED_BLOCK).map(|k| elements(k).to_bits() << 1 >> 1);
    let (scale, inverse) = scale_of(f32::from_bits(magnitudes.max().unwrap_or(0)));
    if within == SCALED_STEPS - 1 || step + 1 == steps {
        return scale;
    }
    let integer = |k| match elements(block * SCALED_BLOCK + k) {
        x if !scale.is_nan() => u32::from((x * inverse).round_ties_even() as i16 as u16),
        _ => 0,
    };
    f32::from_bits(integer(2 * within) | integer(2 * within + 1) << 16)
}

#[cfg(test)]
fn scaled_product(row: &dyn Fn(usize) -> f32, column: &dyn Fn(usize) -> f32, steps: usize) -> f32 {
    let halves = |x: f32| [x.to_bits() as u16, (x.to_bits() >> 16) as u16].map(|h| i32::from(h as i16));
    scaled_blocks(steps).fold(0.0, |sum, block| {
        let end = block.end;
        let products = block.map(|step| {
            let ([x0, x1], [y0, y1]) = (halves(row(step)), halves(column(step)));
            x0 * y0 + x1 * y1
        });
        (products.sum::<i32>() as f32 * column(end)).mul_add(row(end), sum)
    })
}

/// Elements that share a scale: as many as products of integers up to [`LARGEST_INTEGER`] can be summed in 32 bits.
pub(crate) const SCALED_BLOCK: usize = 128;

/// Steps of a block of [`SCALED_BLOCK`] elements: its words and its scales.
pub(crate) const SCALED_STEPS: usize = SCALED_BLOCK / 2 + 1;

/// The largest integer that a factor becomes.
pub(crate) const LARGEST_INTEGER: i32 = 4095;

const _: () = assert!((SCALED_BLOCK as i64) * (LARGEST_INTEGER as i64) * (LARGEST_INTEGER as i64) < 1 << 31);

/// Steps of [`SCALED`] for `depth` elements.
pub(crate) fn scaled_steps(depth: usize) -> usize {
    depth.div_ceil(2) + depth.div_ceil(SCALED_BLOCK)
}

/// The blocks among `steps` steps of [`SCALED`]: ranges of their words; the scales are at the end of each range.
pub(crate) fn scaled_blocks(steps: usize) -> impl Iterator<Item = std::ops::Range<usize>> {
    (0..steps).step_by(SCALED_STEPS).map(move |at| at..steps.min(at + SCALED_STEPS) - 1)
}

/// The scale of a block whose largest magnitude is `largest`, a power of two, and its inverse: no integer is more than
/// [`LARGEST_INTEGER`]. NaN and 0 if a factor is not finite, or would not be after rounding; 0 and 0 if all magnitudes
/// are below 2⁻¹¹⁵.
#[cfg(test)]
pub(crate) fn scale_of(largest: f32) -> (f32, f32) {
    // The exponent after rounding to 12 bits: half of the last of them is 2¹¹ of the 2²³ of an f32.
    let exponent = (largest.to_bits() + (1 << 11)) >> 23;
    match exponent {
        255.. => (f32::NAN, 0.0),
        12.. => (f32::from_bits((exponent - 11) << 23), f32::from_bits((265 - exponent) << 23)),
        _ => (0.0, 0.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_use_all_bits_and_no_more() {
        let rounds_to = |x: f32| {
            let (scale, inverse) = scale_of(x);
            assert_eq!(scale * inverse, 1.0, "{x}");
            (x * inverse).round_ties_even()
        };
        assert_eq!(rounds_to(1.0), 2048.0);
        assert_eq!(rounds_to(4095.4), 4095.0);
        assert_eq!(rounds_to(4095.5), 2048.0, "4096 would be one too many");
        assert_eq!(scale_of(0.0), (0.0, 0.0));
        assert_eq!(scale_of(1e-36), (0.0, 0.0));
        for x in [f32::INFINITY, f32::NAN, f32::MAX] {
            let (scale, inverse) = scale_of(x);
            assert!(scale.is_nan() && inverse == 0.0, "{x}");
        }
    }

    #[test]
    fn steps_add_up_where_a_depth_is_cut() {
        for (i, format) in [SINGLE, ROUNDED, PAIRS, SCALED, PAIR_RUNS, SPLIT, SPLIT_RUNS].iter().enumerate() {
            for (cut, depth) in [(128, 160), (128, 129), (256, 300), (1024, 2048)] {
                let steps = format.steps;
                assert_eq!(steps(cut) + steps(depth - cut), steps(depth), "format {i}, {depth}");
            }
        }
        assert_eq!(scaled_blocks(scaled_steps(130)).collect::<Vec<_>>(), [0..64, 65..66]);
        assert_eq!(scaled_blocks(0).count(), 0);
    }
}
