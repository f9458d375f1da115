//! What both kernels share: the size of the tile, the configuration of the unit, storing.
#![expect(unsafe_code, reason = "inline assembly; each block states why it is sound")]

use super::super::super::epilogue;
use super::super::super::record::{Blocks, Epilogue, Lhs, MatrixUnit, MicroKernel, Tile};
use super::super::avx512::AVX512_F32;
use super::super::epilogue as wide;
use crate::simd::x86::has_avx512;
use half::f16;
use std::arch::asm;

/// Rows and columns of the tile: two by two tiles of the unit.
pub(super) const SIDE: usize = 32;

/// Elements of the inner dimension that one instruction multiplies.
pub(super) const K: usize = 32;

/// What both kernels have in common.
pub(super) const TILES: MicroKernel = MicroKernel {
    name: "",
    tile: Tile { mr: SIDE, nr: SIDE, k_step: K },
    alignment: 64,
    blocks: Blocks { depth: 512, least_rows: 192 },
    unit: Some(&UNIT),
    available: || crate::tile_unit::status().is_ok(),
    row_major: None,
    store_f32,
    store_f16,
    ..AVX512_F32
};

static UNIT: MatrixUnit = MatrixUnit { enter: configure, leave: release, pays };

/// Whether at least half of what the tiles multiply is no padding; else vectors are faster, as they do a third or a
/// quarter of the tiles' rate.
fn pays((m, n, k): (usize, usize, usize)) -> bool {
    let padded = m.next_multiple_of(SIDE) * n.next_multiple_of(SIDE) * k.next_multiple_of(K);
    2 * m * n * k >= padded
}

/// The operand of `ldtilecfg`: palette 1, eight tiles of 16 rows and 64 bytes.
#[repr(align(64))]
struct Config([u8; 64]);

static CONFIG: Config = {
    let mut bytes = [0; 64];
    bytes[0] = 1;
    let mut tile = 0;
    while tile < 8 {
        bytes[16 + 2 * tile] = 64;
        bytes[48 + tile] = 16;
        tile += 1;
    }
    Config(bytes)
};

/// Configures the calling thread's tiles.
fn configure() {
    assert!((TILES.available)());
    // SAFETY: the instruction exists and reads 64 bytes. No compiled code uses tiles, so none are lost.
    unsafe {
        asm!("ldtilecfg [{}]", in(reg) &raw const CONFIG.0, options(nostack, readonly, preserves_flags),
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _);
    }
}

/// Releases them, so that the system need not save them.
fn release() {
    assert!((TILES.available)());
    // SAFETY: the instruction exists.
    unsafe {
        asm!("tilerelease", options(nostack, nomem, preserves_flags),
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _);
    }
}

/// The assembly of both kernels: adds to the 32 × 32 sums at `$tile`, in tiles 0 to 3, what the lines of a step add, `$steps`
/// times; a step moves on by `$bytes` bytes of either panel, `{a}` and `{b}`. `{near}` and `{wide}` are the bytes of a row on
/// the left and on the right.
macro_rules! add_steps {
    ($steps:ident of $bytes:literal bytes, $left:ident, $right:ident, $tile:ident: $($line:literal)+) => {
        asm!(
            "tileloadd tmm0, [{c} + {wide}]",
            "tileloadd tmm1, [{c} + {wide} + 64]",
            "tileloadd tmm2, [{c} + {wide} + 2048]",
            "tileloadd tmm3, [{c} + {wide} + 2112]",
            "2:",
            $($line,)+
            concat!("add {a}, ", $bytes),
            concat!("add {b}, ", $bytes),
            "dec {steps}",
            "jnz 2b",
            "tilestored [{c} + {wide}], tmm0",
            "tilestored [{c} + {wide} + 64], tmm1",
            "tilestored [{c} + {wide} + 2048], tmm2",
            "tilestored [{c} + {wide} + 2112], tmm3",
            a = inout(reg) $left => _,
            b = inout(reg) $right => _,
            c = in(reg) $tile.as_mut_ptr(),
            steps = inout(reg) $steps => _,
            near = in(reg) 64usize,
            wide = in(reg) 128usize,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack),
        )
    };
}
pub(super) use add_steps;

/// The operands as pointers to `words` words of each panel, and the tile.
///
/// # Panics
/// If a panel is shorter, or the tile is not one of 32 × 32.
pub(super) fn operands<'t>(
    words: usize,
    lhs: Lhs<'_>,
    rhs: &[f32],
    tile: &'t mut [f32],
) -> (*const f32, *const f32, &'t mut [f32; SIDE * SIDE]) {
    let Lhs::Packed(lhs) = lhs else { unreachable!("`row_major` is `None`") };
    assert!(lhs.len() >= words && rhs.len() >= words, "a panel is too short");
    let tile = tile.as_mut_array().expect("a tile of 32 × 32");
    (lhs.as_ptr(), rhs.as_ptr(), tile)
}

fn store_f32(tile: &[f32], epilogue: &Epilogue<'_>, to: &mut [f32]) {
    match has_avx512() {
        true => wide::store_f32(tile, epilogue, to),
        false => epilogue::store::<f32, SIDE>(tile, epilogue, to),
    }
}

fn store_f16(tile: &[f32], epilogue: &Epilogue<'_>, to: &mut [f16]) {
    match has_avx512() {
        true => wide::store_f16(tile, epilogue, to),
        false => epilogue::store::<f16, SIDE>(tile, epilogue, to),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_is_one_that_the_processor_takes() {
        let config = fake_amx::Config::read(&CONFIG.0);
        assert!(matches!(config, Ok(Some(_))), "{config:?}");
    }

    #[test]
    fn products_of_which_little_fills_the_tiles_are_left_to_vectors() {
        for shape in [(32, 32, 32), (64, 64, 16), (768, 256, 768), (40, 500, 500), (97, 101, 1030)] {
            assert!(pays(shape), "{shape:?}");
        }
        for shape in [(4, 768, 768), (15, 32, 32), (33, 33, 33), (768, 256, 8), (0, 32, 32)] {
            assert_eq!(pays(shape), shape.0 == 0, "{shape:?}");
        }
    }
}
