//! Places rectangles on one surface: bands of columns side by side, rectangles stacked in each band.

use crate::facts;
use std::cmp::Reverse;

/// A rectangle to place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rect {
    /// Its channels.
    pub rows: usize,
    /// Its columns.
    pub columns: usize,
    /// Whether column 0 is preferred: engines up to M2 read other columns with reduced range (rule N13), which is
    /// harmless for weights.
    pub first: bool,
    /// Whether its transpose may be placed instead, and if so, whether it is preferred.
    pub turn: Option<bool>,
}

/// The place of a rectangle.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Spot {
    pub channel: usize,
    pub column: usize,
    /// Whether its transpose is placed.
    pub transposed: bool,
}

/// All blocks on a surface of this size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Placement {
    pub spots: Vec<Spot>,
    pub channels: usize,
    pub width: usize,
}

/// The most blocks tried in both orientations: each doubles the work.
const TRIED: usize = 10;

/// A surface may exceed the smallest by `1/N` of its size, if fewer rectangles are then interior in both axes.
const GROWTH: usize = 8;

/// A small surface for `blocks`. Among those hardly larger than the smallest it chooses the one with the fewest rectangles
/// interior in both axes, which cost two slices; then the smallest; then the one with the most rectangles at their
/// preferred column, the most in their preferred orientation, the fewest channels.
///
/// Blocks begin at columns that are multiples of [`facts::LAST_AXIS_MULTIPLE`], as rows of an engine do. `None` if
/// none is within [`facts::MAX_INPUT_WIDTH`] and [`facts::MAX_AXIS`]. Taller surfaces stack rectangles that would be too
/// wide side by side.
pub(super) fn place(blocks: &[Rect]) -> Option<Placement> {
    let free: Vec<usize> = (0..blocks.len()).filter(|&i| blocks[i].turn.is_some()).take(TRIED).collect();
    let mut found: Vec<([usize; 5], Placement)> = Vec::new();
    for choice in 0..1usize << free.len() {
        let mut transposed: Vec<bool> = blocks.iter().map(|b| b.turn.unwrap_or(false)).collect();
        for (bit, &i) in free.iter().enumerate() {
            transposed[i] ^= choice >> bit & 1 == 1;
        }
        let sizes: Vec<(usize, usize)> =
            blocks.iter().zip(&transposed).map(|(b, &transposed)| size(b, transposed)).collect();
        for height in heights(&sizes) {
            let Some(layout) = bands(blocks, &sizes, &transposed, height) else { continue };
            let moved = blocks.iter().zip(&layout.spots).filter(|(b, s)| b.first && s.column > 0).count();
            let inside = sizes.iter().filter(|s| s.0 < layout.channels && s.1 < layout.width).count();
            let area = layout.channels * layout.width;
            found.push(([inside, area, moved, choice.count_ones() as usize, layout.channels], layout));
        }
    }
    let least = found.iter().map(|(cost, _)| cost[1]).min()?;
    let near = found.into_iter().filter(|(cost, _)| cost[1] - least <= least / GROWTH);
    near.min_by_key(|(cost, _)| *cost).map(|(_, layout)| layout)
}

/// Channels and columns of a block, the latter rounded up to where the next may begin.
fn size(block: &Rect, transposed: bool) -> (usize, usize) {
    let (rows, columns) = if transposed { (block.columns, block.rows) } else { (block.rows, block.columns) };
    (rows, columns.next_multiple_of(facts::LAST_AXIS_MULTIPLE.value))
}

/// Candidate heights of surfaces: one to four times the height of each block, and the sum of all.
fn heights(sizes: &[(usize, usize)]) -> Vec<usize> {
    let least = sizes.iter().map(|s| s.0).max().unwrap_or(0);
    let some = sizes.iter().flat_map(|s| (1..=4).map(|n| n * s.0));
    let mut heights: Vec<usize> = some.chain([sizes.iter().map(|s| s.0).sum()]).collect();
    heights.retain(|h| (least..=facts::MAX_AXIS.value).contains(h));
    heights.sort_unstable();
    heights.dedup();
    heights
}

/// Distributes blocks over bands of at most `height` channels, the widest first; `None` if the result is too wide. Bands
/// whose blocks prefer column 0 come first.
fn bands(blocks: &[Rect], sizes: &[(usize, usize)], transposed: &[bool], height: usize) -> Option<Placement> {
    struct Band {
        width: usize,
        used: usize,
        first: usize,
    }
    let mut order: Vec<usize> = (0..sizes.len()).collect();
    order.sort_by_key(|&i| (Reverse((sizes[i].1, sizes[i].0)), i));
    let mut bands: Vec<Band> = Vec::new();
    let mut within = vec![(0, 0); sizes.len()];
    for i in order {
        let (rows, columns) = sizes[i];
        let at = match bands.iter().position(|b| b.width >= columns && b.used + rows <= height) {
            Some(at) => at,
            None => {
                bands.push(Band { width: columns, used: 0, first: 0 });
                bands.len() - 1
            }
        };
        within[i] = (at, bands[at].used);
        bands[at].used += rows;
        bands[at].first += usize::from(blocks[i].first);
    }
    let mut order: Vec<usize> = (0..bands.len()).collect();
    order.sort_by_key(|&at| (Reverse(bands[at].first), at));
    let (mut columns, mut width) = (vec![0; bands.len()], 0);
    for at in order {
        columns[at] = width;
        width += bands[at].width;
    }
    let spot = |(&(at, channel), &transposed): (&(usize, usize), &bool)| Spot {
        channel,
        column: columns[at],
        transposed,
    };
    let spots = within.iter().zip(transposed).map(spot).collect();
    let channels = bands.iter().map(|b| b.used).max().unwrap_or(0);
    (width <= facts::MAX_INPUT_WIDTH.value).then_some(Placement { spots, channels, width })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fixed(rows: usize, columns: usize) -> Rect {
        Rect { rows, columns, first: true, turn: None }
    }

    fn free(rows: usize, columns: usize, better: bool) -> Rect {
        Rect { rows, columns, first: false, turn: Some(better) }
    }

    /// No two blocks overlap, none is out of range, and all begin at aligned columns.
    fn check(blocks: &[Rect], layout: &Placement) {
        let areas: Vec<_> = blocks
            .iter()
            .zip(&layout.spots)
            .map(|(b, s)| {
                let (rows, columns) = size(b, s.transposed);
                assert!(s.column.is_multiple_of(32), "{s:?}");
                assert!(s.channel + rows <= layout.channels && s.column + columns <= layout.width, "{s:?}");
                (s.channel..s.channel + rows, s.column..s.column + columns)
            })
            .collect();
        for (i, a) in areas.iter().enumerate() {
            for b in &areas[..i] {
                let disjoint = |x: &std::ops::Range<usize>, y: &std::ops::Range<usize>| {
                    x.end <= y.start || y.end <= x.start
                };
                assert!(disjoint(&a.0, &b.0) || disjoint(&a.1, &b.1), "{a:?} and {b:?}");
            }
        }
    }

    #[test]
    fn a_feed_forward_layer_wastes_nothing_but_the_column_of_its_norm() {
        // x [768, 256], a norm, w1 and w3 [2048, 768], w2 [768, 2048].
        let matrices = [free(2048, 768, false), free(2048, 768, false), free(768, 2048, false)];
        let blocks = [&[fixed(768, 256), fixed(768, 1)], &matrices[..]].concat();
        let layout = place(&blocks).expect("fits");
        check(&blocks, &layout);
        assert_eq!((layout.channels, layout.width), (768, 256 + 32 + 3 * 2048));
        assert_eq!(
            layout.spots.iter().map(|s| s.transposed).collect::<Vec<_>>(),
            [false, false, true, true, false]
        );
    }

    #[test]
    fn of_equal_surfaces_the_one_with_direct_products_is_taken() {
        let blocks = [fixed(64, 32), free(64, 64, true), free(64, 64, false)];
        let layout = place(&blocks).expect("fits");
        check(&blocks, &layout);
        assert_eq!((layout.channels, layout.width), (64, 160));
        assert_eq!(layout.spots.iter().map(|s| s.transposed).collect::<Vec<_>>(), [false, true, false]);
    }

    /// The gradient of a feed-forward layer: three values of 4864 channels in all, three matrices of 2048 × 768. Of
    /// surfaces of one size, 6144 channels would have all values at column 0, and six blocks inside both axes.
    #[test]
    fn as_few_blocks_as_can_be_lie_inside_both_axes() {
        let values = [fixed(2048, 256), fixed(2048, 256), fixed(768, 256)];
        let matrices = [free(2048, 768, true), free(2048, 768, true), free(768, 2048, true)];
        let blocks = [values, matrices].concat();
        let layout = place(&blocks).expect("fits");
        check(&blocks, &layout);
        assert_eq!((layout.channels, layout.width), (2048, 3072));
        assert_eq!(layout.spots.iter().map(|s| s.channel).collect::<Vec<_>>(), [0; 6]);
    }

    #[test]
    fn values_begin_at_column_0_where_that_costs_nothing() {
        let blocks = [free(64, 64, false), fixed(64, 32), free(64, 64, false)];
        let layout = place(&blocks).expect("fits");
        check(&blocks, &layout);
        assert_eq!((layout.channels, layout.width, layout.spots[1].column), (64, 160, 0), "{layout:?}");
    }

    #[test]
    fn what_is_too_wide_goes_below_one_another() {
        // Side by side in 4096 channels these would need 33,280 columns.
        let blocks =
            [fixed(4096, 256), free(11008, 4096, true), free(11008, 4096, true), free(4096, 11008, false)];
        let layout = place(&blocks).expect("fits");
        check(&blocks, &layout);
        assert!(layout.width <= 16384 && layout.channels <= 65536, "{layout:?}");
        // With 20,000 rows as well as columns nothing helps.
        assert_eq!(place(&[fixed(64, 32), free(20_000, 20_000, false)]), None);
        let below = place(&[fixed(64, 32), free(20_000, 16_384, false)]).expect("fits");
        assert_eq!((below.channels, below.width), (20_064, 16_384));
    }

    #[test]
    fn narrow_blocks_share_a_band() {
        let blocks = [fixed(64, 32), fixed(32, 32), fixed(32, 32), fixed(16, 1), fixed(16, 1)];
        let layout = place(&blocks).expect("fits");
        check(&blocks, &layout);
        assert_eq!((layout.channels, layout.width), (160, 32));
    }
}
