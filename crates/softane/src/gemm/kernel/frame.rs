//! The test frame of micro-kernels: every record that this processor can run against plain loops, for all layouts,
//! sizes and kinds of numbers. Records that cannot run here are counted and named.
//!
//! Two records of the frame's own have tiles that no processor has, and go the whole way through blocking.

use super::epilogue;
use super::format::{PackFormat, SINGLE};
use super::record::{Blocks, Epilogue, Lhs, MatrixUnit, MicroKernel, Panel, SLACK, Tile};
use super::registry::KERNELS;
use crate::buffer::Elements;
use crate::numerics::MatmulPrecision;
use half::{bf16, f16};

/// A tile of odd sizes.
pub(crate) static ODD: MicroKernel = MicroKernel { name: "test-5x7x3", ..plain_kernel::<5, 7, 3>() };

/// A tile as large as those of matrix units.
pub(crate) static LARGE: MicroKernel = MicroKernel {
    name: "test-32x32x32",
    alignment: 64,
    blocks: Blocks { depth: 96, least_rows: 64 },
    unit: Some(&UNIT),
    run: |depth, lhs, rhs, tile| {
        assert!(READY.get(), "a product before the unit is ready");
        let before = tile.to_vec();
        (plain_kernel::<32, 32, 32>().run)(depth, lhs, rhs, tile);
        tile.iter_mut().zip(before).for_each(|(sum, before)| *sum += before);
    },
    ..plain_kernel::<32, 32, 32>()
};

/// A matrix unit that checks that it is entered once, and left.
static UNIT: MatrixUnit = MatrixUnit {
    enter: || assert!(!READY.replace(true), "entered twice"),
    leave: || assert!(READY.replace(false), "left before it was entered"),
    pays: |(m, n, k)| m * n * k > 1000,
};

thread_local! {
    static READY: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

const fn plain_kernel<const MR: usize, const NR: usize, const K: usize>() -> MicroKernel {
    MicroKernel {
        name: "",
        numerics: MatmulPrecision::F32.numerics(),
        tile: Tile { mr: MR, nr: NR, k_step: K },
        lhs: SINGLE,
        rhs: SINGLE,
        alignment: 4,
        blocks: Blocks::VECTORS,
        unit: None,
        available: || true,
        preferred: || true,
        pack_lhs: |panel, to| pack(&SINGLE, (MR, K), panel, to),
        pack_rhs: |panel, to| pack(&SINGLE, (NR, K), panel, to),
        row_major: None,
        run: |depth, lhs, rhs, tile| {
            let Lhs::Packed(lhs) = lhs else { unreachable!("`row_major` is `None`") };
            // Whole instructions: the padding is multiplied, too.
            let depth = depth.next_multiple_of(K);
            assert_eq!((lhs.as_ptr().addr() % 4, tile.len()), (0, MR * NR));
            for (at, sum) in tile.iter_mut().enumerate() {
                let (i, j) = (at / NR, at % NR);
                *sum = (0..depth).fold(0.0, |sum, k| lhs[k * MR + i].mul_add(rhs[k * NR + j], sum));
            }
        },
        store_f32: epilogue::store::<f32, NR>,
        store_f16: epilogue::store::<f16, NR>,
    }
}

/// Calls `f` with every record that this processor can run, and the frame's own; prints the unavailable ones.
pub(crate) fn each_kernel(test: &str, mut f: impl FnMut(&'static MicroKernel)) {
    let (here, absent): (Vec<_>, Vec<_>) = KERNELS.iter().partition(|k| (k.available)());
    let absent: Vec<&str> = absent.into_iter().map(|k| k.name).collect();
    println!(
        "{test}: {} of {} kernels, not available: {} {absent:?}",
        here.len(),
        KERNELS.len(),
        absent.len()
    );
    assert!(!here.is_empty(), "the generic kernel runs everywhere");
    here.into_iter().chain([&ODD, &LARGE]).for_each(&mut f);
}

/// Element `k` of row or column `i` of a panel.
fn element(panel: &Panel<'_>, i: usize, k: usize) -> f32 {
    match i < panel.width && k < panel.depth {
        true => panel.from.get(panel.at + i * panel.across + k * panel.along),
        false => 0.0,
    }
}

/// Step `step` of row or column `i` of a packed panel of `steps` steps.
fn word(format: &PackFormat, panel: &Panel<'_>, (i, step): (usize, usize), steps: usize) -> f32 {
    (format.plain.word)(&|k| element(panel, i, k), step, steps)
}

/// Packs a panel with plain loops.
fn pack(format: &PackFormat, (width, k_step): (usize, usize), panel: &Panel<'_>, to: &mut [f32]) {
    let steps = (format.steps)(panel.depth.next_multiple_of(k_step));
    for (step, i) in (0..steps).flat_map(|step| (0..width).map(move |i| (step, i))) {
        to[format.at(width, i, step)] = word(format, panel, (i, step), steps);
    }
}

/// Multiplies packed panels of `kernel` with plain loops.
fn multiply(kernel: &MicroKernel, depth: usize, lhs: &[f32], rhs: &[f32]) -> Vec<f32> {
    let Tile { mr, nr, .. } = kernel.tile;
    let steps = (kernel.lhs.steps)(depth.next_multiple_of(kernel.tile.k_step));
    let sum = |i: usize, j: usize| {
        let row = |step: usize| lhs[kernel.lhs.at(mr, i, step)];
        (kernel.lhs.plain.product)(&row, &|step| rhs[kernel.rhs.at(nr, j, step)], steps)
    };
    (0..mr * nr).map(|at| sum(at / nr, at % nr)).collect()
}

fn noise(n: usize) -> Vec<f32> {
    (0..n).map(|i| ((i * 7919 % 1013) as f32 - 506.0) / 64.0).collect()
}

/// Whether words are equal; any NaN equals any other, also in one half of a word.
fn same(got: &[f32], want: &[f32]) -> bool {
    let halves = |x: f32| [x.to_bits() as u16, (x.to_bits() >> 16) as u16].map(bf16::from_bits);
    let equal = |(g, w): (bf16, bf16)| g.to_bits() == w.to_bits() || g.is_nan() && w.is_nan();
    got.iter().zip(want).all(|(&g, &w)| {
        g.to_bits() == w.to_bits()
            || g.is_nan() && w.is_nan()
            || halves(g).into_iter().zip(halves(w)).all(equal)
    })
}

/// A panel without its elements, for messages.
fn shape(panel: &Panel<'_>) -> String {
    let Panel { from, across, along, width, depth, .. } = panel;
    let dtype = if matches!(from, Elements::F16(_)) { "f16" } else { "f32" };
    format!("{width} × {depth} of {dtype}, {across} across, {along} along")
}

/// Numbers to pack: ordinary ones, subnormal ones, and ordinary ones with infinities and NaN among them.
fn kinds_of_numbers() -> [Vec<f32>; 3] {
    let plain = noise(14_000);
    let small = plain.iter().map(|x| x * 2f32.powi(-24)).collect();
    let special = [f32::INFINITY, f32::NEG_INFINITY, f32::NAN, f32::MAX, -0.0, f32::MIN_POSITIVE / 2.0];
    let odd = plain.iter().enumerate().map(|(i, &x)| if i % 97 == 0 { special[i / 97 % 6] } else { x });
    [plain.clone(), small, odd.collect()]
}

/// Every width, depth and order of axes, f32 and f16, some of which end in the middle of a block.
#[test]
fn panels_are_packed_as_the_plain_loop_packs_them() {
    let numbers = kinds_of_numbers();
    each_kernel("packing", |kernel| {
        for single in &numbers {
            let half: Vec<f16> = single.iter().map(|&x| f16::from_f32(x)).collect();
            for depth in [1, 2, 3, 15, 16, 17, 31, 33, 64, 70, 128, 131, 290] {
                for (across, along) in [(80, 1), (1, 40), (3, 41), (310, 1)] {
                    for from in [Elements::F32(single), Elements::F16(&half)] {
                        let Tile { mr, nr, .. } = kernel.tile;
                        for width in [1, mr / 2, mr - 1, mr] {
                            check_left(kernel, &Panel { from, at: 3, across, along, width, depth });
                        }
                        for width in [1, nr / 2 + 1, nr - 1, nr] {
                            check_right(kernel, &Panel { from, at: 3, across, along, width, depth });
                        }
                    }
                }
            }
        }
    });
}

fn check_left(kernel: &MicroKernel, panel: &Panel<'_>) {
    let Tile { mr, k_step, .. } = kernel.tile;
    let words = kernel.lhs_words(panel.depth);
    let steps = (kernel.lhs.steps)(panel.depth.next_multiple_of(k_step));
    let (mut got, mut want) = (vec![7.0; words + SLACK], vec![7.0; steps * mr]);
    (kernel.pack_lhs)(panel, &mut got);
    pack(&kernel.lhs, (mr, k_step), panel, &mut want);
    assert!(same(&got, &want), "{}: {}", kernel.name, shape(panel));
    if panel.along == 1
        && let Some(rows) = &kernel.row_major
    {
        let mut got = vec![7.0; mr * rows.stride];
        (rows.pack)(panel, &mut got);
        for (i, row) in got.chunks(rows.stride).enumerate() {
            let want: Vec<f32> = (0..steps).map(|step| word(&kernel.lhs, panel, (i, step), steps)).collect();
            assert!(same(row, &want), "{}: row {i} of {}", kernel.name, shape(panel));
        }
    }
}

fn check_right(kernel: &MicroKernel, panel: &Panel<'_>) {
    let Tile { nr, k_step, .. } = kernel.tile;
    let steps = (kernel.rhs.steps)(panel.depth.next_multiple_of(k_step));
    let (mut got, mut want) = (vec![7.0; kernel.rhs_words(panel.depth)], vec![7.0; steps * nr]);
    (kernel.pack_rhs)(panel, &mut got);
    pack(&kernel.rhs, (nr, k_step), panel, &mut want);
    assert!(same(&got, &want), "{}: {}", kernel.name, shape(panel));
    let finite = (0..panel.width).all(|i| (0..panel.depth).all(|k| element(panel, i, k).abs() < 1e30));
    let is_finite = (kernel.rhs.is_finite)(&got[..steps * nr], nr);
    assert!(is_finite || !finite, "{}: {} is finite", kernel.name, shape(panel));
    let infinite = (0..panel.width).any(|i| (0..panel.depth).any(|k| !element(panel, i, k).is_finite()));
    assert!(!is_finite || !infinite, "{}: {} is not finite", kernel.name, shape(panel));
}

#[test]
fn products_agree_with_the_plain_loop() {
    let numbers = kinds_of_numbers();
    each_kernel("multiplying", |kernel| {
        let Tile { mr, nr, k_step } = kernel.tile;
        for (kind, from) in numbers.iter().enumerate() {
            for depth in [0, 1, 2, 31, 100, 128, 200] {
                let panel = |at, width| {
                    let from = Elements::F32(&from[at..]);
                    Panel { from, at: 0, across: 1, along: width, width, depth }
                };
                let (left, right) = (panel(0, mr), panel(5, nr));
                let padded = depth.next_multiple_of(k_step);
                let steps = ((kernel.lhs.steps)(padded), (kernel.rhs.steps)(padded));
                let (mut lhs, mut rhs) = (vec![0.0; steps.0 * mr], vec![0.0; steps.1 * nr]);
                pack(&kernel.lhs, (mr, k_step), &left, &mut lhs);
                pack(&kernel.rhs, (nr, k_step), &right, &mut rhs);
                let want = multiply(kernel, depth, &lhs, &rhs);
                let mut got = vec![f32::NAN; mr * nr];
                let _ready = kernel.enter();
                kernel.multiply(depth, Lhs::Packed(&lhs), &rhs, &mut got);
                if kernel.lhs.plain.is_exact {
                    assert!(same(&got, &want), "{}, {depth} elements of kind {kind}: bits", kernel.name);
                    continue;
                }
                // Sums of up to 200 products of at most 64, in one order or another, times the square of what the
                // numbers are scaled by; sums of integers are exact within a block.
                let scale = if kind == 1 { 2f32.powi(-48) } else { 1.0 };
                let tolerance = 200.0 * 64.0 * f32::EPSILON * 4.0 * scale;
                for (at, (g, w)) in got.iter().zip(&want).enumerate() {
                    let close = (g - w).abs() <= tolerance || g == w || !w.is_finite() && !g.is_finite();
                    assert!(close, "{}, {depth} elements: {at} is {g}, not {w}", kernel.name);
                }
                let Some(rows) = &kernel.row_major else { continue };
                let (mut by_rows, mut other) = (vec![f32::NAN; mr * rows.stride], vec![3.0; mr * nr]);
                for (at, &x) in lhs.iter().enumerate() {
                    by_rows[at % mr * rows.stride + at / mr] = x;
                }
                (kernel.run)(depth, Lhs::RowMajor(&by_rows), &rhs, &mut other);
                assert!(same(&got, &other), "{}: both layouts of the left side", kernel.name);
            }
        }
    });
}

#[test]
fn tiles_are_stored_where_they_belong() {
    each_kernel("storing", |kernel| {
        let Tile { mr, nr, .. } = kernel.tile;
        let tile: Vec<f32> = (0..mr * nr).map(|i| i as f32).collect();
        let bias: Vec<f32> = (0..mr).map(|i| i as f32 / 2.0).collect();
        let stride = nr + 8;
        for add in [false, true] {
            for (rows, cols) in [(mr, nr), (mr / 2, nr), (mr, nr / 2 + 1), (mr, nr - 1), (1, 1)] {
                let epilogue = Epilogue { rows, cols, stride, alpha: 0.25, bias: &bias, add };
                let mut to = vec![1.0f32; mr * stride];
                let mut half = vec![f16::ONE; mr * stride];
                (kernel.store_f32)(&tile, &epilogue, &mut to);
                (kernel.store_f16)(&tile, &epilogue, &mut half);
                for (i, (x, h)) in to.iter().zip(&half).enumerate() {
                    let (row, col) = (i / stride, i % stride);
                    let old = if add { 1.0 } else { 0.0 };
                    let want = match row < rows && col < cols {
                        true => tile[row * nr + col] * 0.25 + bias[row] + old,
                        false => 1.0,
                    };
                    let name = kernel.name;
                    assert_eq!(
                        (*x, *h),
                        (want, f16::from_f32(want)),
                        "{name}: {rows}×{cols} at {row}, {col}"
                    );
                }
            }
        }
    });
}

#[test]
fn records_are_consistent() {
    each_kernel("records", |kernel| {
        let name = kernel.name;
        assert!(KERNELS.iter().filter(|k| k.name == name).count() <= 1, "two kernels called {name}");
        assert!(kernel.alignment <= crate::buffer::ALIGN && kernel.alignment.is_power_of_two(), "{name}");
        let (grain, skip) = (kernel.grain(), kernel.skip());
        assert!(grain.is_multiple_of(kernel.tile.k_step) && skip.is_multiple_of(grain), "{name}");
        // Panels that begin after skipped elements are aligned like others.
        assert!((4 * kernel.rhs_offset(skip)).is_multiple_of(kernel.alignment), "{name}");
        assert_eq!(
            kernel.rhs_words(grain) + kernel.rhs_words(3 * grain),
            kernel.rhs_words(4 * grain),
            "{name}"
        );
        if let Some(rows) = &kernel.row_major {
            assert!(rows.stride >= (kernel.lhs.steps)(1024) + SLACK, "{name}");
        }
    });
}
