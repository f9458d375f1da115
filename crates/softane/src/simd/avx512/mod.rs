//! Matrix tiles with AVX-512: packing of operands, the loop that multiplies what is packed, and where it goes.
//!
//! A *panel* is a strip of an operand, as wide as a tile: 12 rows of the left side or 32 columns of the right, laid
//! down step by step along the inner dimension, in one of four forms ([`PackFormat`]). Of two bf16 in one word `vdpbf16ps`
//! sums the products in f32, of two integers `vpdpwssd` in 32 bits.

mod drain;
mod lanes;
mod multiply;
mod pack;
mod scaled;
mod transpose;

pub(super) use drain::{drain_f16, drain_f32};
pub(super) use multiply::multiply;
pub(super) use pack::{pack, pack_rows};
pub(super) use transpose::narrow_transposed;

use super::tile::PackFormat;
use std::arch::x86_64::__cpuid;
use std::sync::LazyLock;

/// What this machine has.
struct Has {
    /// What each form of panels needs.
    single: bool,
    bf16: bool,
    scaled: bool,
    /// Whether `vdpbf16ps` does more in a cycle than multiply-adds in f32.
    quick_pairs: bool,
}

static HAS: LazyLock<Has> = LazyLock::new(|| {
    let single = is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512dq");
    Has {
        single,
        bf16: single && is_x86_feature_detected!("avx512bf16"),
        scaled: single && is_x86_feature_detected!("avx512vnni"),
        quick_pairs: !is_intel(),
    }
});

/// Whether this is a processor of Intel's: `vdpbf16ps` does half of what multiply-adds do there (Emerald Rapids: 82
/// and 150 GFLOP/s, measured), twice as much on AMD's (Zen 5: 547 and 265).
fn is_intel() -> bool {
    let vendor = __cpuid(0);
    [vendor.ebx, vendor.edx, vendor.ecx].map(u32::to_le_bytes).concat() == b"GenuineIntel"
}

/// Whether this machine can multiply panels of `form` here.
pub(super) fn has(form: PackFormat) -> bool {
    match form {
        PackFormat::Single => HAS.single,
        PackFormat::Rounded | PackFormat::Pairs => HAS.bf16,
        PackFormat::Scaled => HAS.scaled,
    }
}

/// Whether panels of [`PackFormat::Pairs`] save time.
pub(super) fn has_quick_pairs() -> bool {
    HAS.bf16 && HAS.quick_pairs
}
